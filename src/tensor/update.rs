//! Optimizer updates in place: one pass over each parameter, its gradient and its state.
//!
//! The functions of this module take tensors of many members; [`Sgd::update`] and [`Adam::update`]
//! take slices of one.

mod adam;
mod sgd;

use candle_core::Tensor;

pub use self::adam::Adam;
pub use self::sgd::Sgd;
use super::elem::{dispatch, read, write};
use crate::error::{Error, Result};

/// Checks that all tensors have the parameter's size and there is one entry per member.
fn per_member<S>(param: &Tensor, others: &[&Tensor], scalars: &[S]) -> Result<usize> {
    let members = param.dims().first().copied().unwrap_or(1);
    if scalars.len() != members {
        return Err(Error::shape(format!(
            "update: {} sets of scalars for {members} members",
            scalars.len()
        )));
    }
    if let Some(bad) = others.iter().find(|t| t.dims() != param.dims()) {
        return Err(Error::shape(format!(
            "update: parameter {:?} does not fit gradient or state {:?}",
            param.dims(),
            bad.dims()
        )));
    }
    Ok((param.elem_count() / members.max(1)).max(1))
}

/// [`Sgd::update`] of each member. A `None` member is left as it is.
///
/// # Errors
/// If the shapes do not fit.
pub fn sgd(
    param: &Tensor,
    grad: &Tensor,
    velocity: Option<&Tensor>,
    scalars: &[Option<Sgd>],
) -> Result<()> {
    let others: Vec<&Tensor> = std::iter::once(grad).chain(velocity).collect();
    let size = per_member(param, &others, scalars)?;
    dispatch!(param, T => read(grad, |gs: &[T]| write(param, |ps: &mut [T]| match velocity {
        None => {
            for ((p, g), s) in ps.chunks_mut(size).zip(gs.chunks(size)).zip(scalars) {
                if let Some(s) = s {
                    s.update(p, g, None);
                }
            }
            Ok(())
        }
        Some(velocity) => write(velocity, |vs: &mut [T]| {
            let members = ps.chunks_mut(size).zip(vs.chunks_mut(size)).zip(gs.chunks(size));
            for (((p, v), g), s) in members.zip(scalars) {
                if let Some(s) = s {
                    s.update(p, g, Some(v));
                }
            }
            Ok(())
        }),
    })))
}

/// [`Adam::update`] of each member. A `None` member is left as it is.
///
/// # Errors
/// If the shapes do not fit.
pub fn adam(
    param: &Tensor,
    grad: &Tensor,
    first: &Tensor,
    second: &Tensor,
    scalars: &[Option<Adam>],
) -> Result<()> {
    let size = per_member(param, &[grad, first, second], scalars)?;
    dispatch!(param, T => read(grad, |gs: &[T]| write(param, |ps: &mut [T]| {
        write(first, |ms: &mut [T]| write(second, |vs: &mut [T]| {
            let members = ps
                .chunks_mut(size)
                .zip(ms.chunks_mut(size))
                .zip(vs.chunks_mut(size))
                .zip(gs.chunks(size));
            for ((((p, m), v), g), s) in members.zip(scalars) {
                if let Some(s) = s {
                    s.update(p, g, m, v);
                }
            }
            Ok(())
        }))
    })))
}

#[cfg(test)]
mod tests;
