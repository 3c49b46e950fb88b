//! Losses per member with their gradient, in one pass.

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
/// loss. Sums are taken in f64 in row order.
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
    if let Some(bad) = classes.iter().find(|&&c| c as usize >= width) {
        return Err(Error::shape(format!(
            "cross_entropy: class {bad} does not fit a network with {width} outputs"
        )));
    }
    dispatch!(outputs, T => per_row::<T>(outputs, gradient, [members, rows, width], |row, z, g| {
        cross_entropy_row(z, classes[row] as usize, g)
    }))
}

/// Squared error of each member, mean over batch and outputs as PyTorch's `MSELoss`, for `outputs
/// [members, batch, outputs]` and row-major `targets` of `batch × outputs`; with `gradient` also
/// the gradient of each member's loss. Sums are taken in f64 in row order.
///
/// # Errors
/// If the targets do not fit the outputs in number.
pub fn mse(outputs: &Tensor, targets: &[f64], gradient: Option<&Tensor>) -> Result<Vec<f64>> {
    let (members, rows, width) = outputs.dims3()?;
    check("mse", outputs, targets.len(), rows * width)?;
    dispatch!(outputs, T => per_row::<T>(outputs, gradient, [members, rows, width], |row, z, g| {
        squared_row(z, &targets[row * width..][..width], g)
    }))
}

/// Runs `row_loss(row, outputs, gradient)` over all rows of all members; means over rows.
fn per_row<T: Elem>(
    outputs: &Tensor,
    gradient: Option<&Tensor>,
    [members, rows, width]: [usize; 3],
    row_loss: impl Fn(usize, &[T], Option<&mut [T]>) -> f64 + Sync,
) -> Result<Vec<f64>> {
    let per_member = (rows * width).max(1);
    read(outputs, |zs: &[T]| match gradient {
        None => Ok((0..members)
            .into_par_iter()
            .map(|member| {
                let z = &zs[member * per_member..][..rows * width];
                let sum: f64 = z
                    .chunks_exact(width)
                    .enumerate()
                    .map(|(row, z)| row_loss(row, z, None))
                    .sum();
                sum / rows as f64
            })
            .collect()),
        Some(gradient) => write(gradient, |gs: &mut [T]| {
            let scale = T::of(1.0 / rows as f64);
            Ok(gs
                .par_chunks_mut(per_member)
                .zip(zs.par_chunks(per_member))
                .map(|(g, z)| {
                    let mut sum = 0.0;
                    let pairs = g.chunks_exact_mut(width).zip(z.chunks_exact(width));
                    for (row, (g, z)) in pairs.enumerate() {
                        sum += row_loss(row, z, Some(g));
                        g.iter_mut().for_each(|g| *g *= scale);
                    }
                    sum / rows as f64
                })
                .collect())
        }),
    })
}

fn cross_entropy_row<T: Elem>(z: &[T], class: usize, gradient: Option<&mut [T]>) -> f64 {
    let max = z
        .iter()
        .copied()
        .fold(T::neg_infinity(), num_traits::Float::max);
    let sum: T = z.iter().map(|&z| (z - max).exp()).sum();
    if let Some(gradient) = gradient {
        for (j, (g, &z)) in gradient.iter_mut().zip(z).enumerate() {
            let target = if j == class { T::one() } else { T::zero() };
            *g = (z - max).exp() / sum - target;
        }
    }
    (max + sum.ln() - z[class]).f64()
}

fn squared_row<T: Elem>(z: &[T], target: &[f64], gradient: Option<&mut [T]>) -> f64 {
    let n = z.len() as f64;
    if let Some(gradient) = gradient {
        for ((g, &z), &y) in gradient.iter_mut().zip(z).zip(target) {
            *g = T::of(2.0 / n) * (z - T::of(y));
        }
    }
    let squares = z.iter().zip(target).map(|(z, y)| (z.f64() - y).powi(2));
    squares.sum::<f64>() / n
}
