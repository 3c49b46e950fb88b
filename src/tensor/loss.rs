//! Losses per member with their gradient, in one pass.
//!
//! The functions of this module take tensors of many members; those of [`mod@cross_entropy`] and
//! [`mod@mse`] take slices of one.

pub mod cross_entropy;
pub mod mse;

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{Elem, dispatch, read, write};
use crate::error::{Error, Result};

fn check(name: &str, outputs: &Tensor, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{name}: outputs {:?} need {wanted} labels, got {found}",
        outputs.dims()
    )))
}

/// Cross-entropy, −log of the softmax at the class, of each member, mean over the batch, for `outputs
/// [members, batch, classes]`; with `gradient` (same shape) also the gradient of each member's
/// loss. Sums are taken in f64 in a fixed order.
///
/// # Errors
/// If there is not one class per row, or a class is out of range.
pub fn cross_entropy(
    outputs: &Tensor,
    classes: &[u32],
    gradient: Option<&Tensor>,
) -> Result<Vec<f64>> {
    let (members, rows, width) = outputs.dims3()?;
    check("cross_entropy", outputs, classes.len(), rows)?;
    cross_entropy::check_classes(classes, width)?;
    dispatch!(outputs, T => per_member::<T>(outputs, gradient, members, |z, g| {
        cross_entropy::forward(z, width, classes, g)
    }))
}

/// Squared error of each member, mean over batch and outputs as PyTorch's `MSELoss`, for `outputs
/// [members, batch, outputs]` and row-major `targets` of `batch × outputs`; with `gradient` also
/// the gradient of each member's loss. Sums are taken in f64 in a fixed order.
///
/// # Errors
/// If the targets do not fit the outputs in number.
pub fn mse(outputs: &Tensor, targets: &[f64], gradient: Option<&Tensor>) -> Result<Vec<f64>> {
    let (members, rows, width) = outputs.dims3()?;
    check("mse", outputs, targets.len(), rows * width)?;
    dispatch!(outputs, T => {
        let targets: Vec<T> = targets.iter().map(|&y| <T as Elem>::of(y)).collect();
        per_member::<T>(outputs, gradient, members, |z, g| mse::forward(z, &targets, g))
    })
}

/// Runs `loss(outputs, gradient)` for all members.
fn per_member<T: Elem>(
    outputs: &Tensor,
    gradient: Option<&Tensor>,
    members: usize,
    loss: impl Fn(&[T], Option<&mut [T]>) -> f64 + Sync,
) -> Result<Vec<f64>> {
    read(outputs, |zs: &[T]| {
        let size = zs.len() / members.max(1);
        let z = |member: usize| &zs[member * size..][..size];
        match gradient {
            Some(gradient) if size > 0 => write(gradient, |gs: &mut [T]| {
                let parts = gs.par_chunks_mut(size).enumerate();
                Ok(parts.map(|(m, g)| loss(z(m), Some(g))).collect())
            }),
            _ => Ok((0..members)
                .into_par_iter()
                .map(|m| loss(z(m), None))
                .collect()),
        }
    })
}

#[cfg(test)]
mod tests;
