//! Optimizer updates in place: one pass over each parameter, its gradient and its state.

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{Elem, dispatch, read, write};
use super::elementwise::CHUNK;
use crate::error::{Error, Result};

/// Scalars of one member's SGD update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
}

/// Scalars of one member's Adam or AdamW update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Decay the weight by `lr · weight_decay` (AdamW) instead of adding to the gradient (Adam).
    pub decoupled: bool,
    /// Number of this update, from 1.
    pub step: u64,
}

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

/// SGD as in PyTorch: `g += weight_decay · p; v = momentum · v + g; p −= lr · (nesterov ? g +
/// momentum · v : v)`. A `None` member is left as it is. On the first update `v = g`, which is the
/// same as starting from `v = 0`.
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
            for ((ps, gs), s) in ps.chunks_mut(size).zip(gs.chunks(size)).zip(scalars) {
                let Some(s) = s else { continue };
                let (lr, decay) = (<T as Elem>::of(s.lr), <T as Elem>::of(s.weight_decay));
                ps.par_chunks_mut(CHUNK).zip(gs.par_chunks(CHUNK)).for_each(|(ps, gs)| {
                    for (p, g) in ps.iter_mut().zip(gs) {
                        *p -= lr * (*g + decay * *p);
                    }
                });
            }
            Ok(())
        }
        Some(velocity) => write(velocity, |vs: &mut [T]| {
            let members = ps.chunks_mut(size).zip(vs.chunks_mut(size)).zip(gs.chunks(size));
            for (((ps, vs), gs), s) in members.zip(scalars) {
                let Some(s) = s else { continue };
                let (lr, decay) = (<T as Elem>::of(s.lr), <T as Elem>::of(s.weight_decay));
                let momentum = <T as Elem>::of(s.momentum);
                ps.par_chunks_mut(CHUNK)
                    .zip(vs.par_chunks_mut(CHUNK))
                    .zip(gs.par_chunks(CHUNK))
                    .for_each(|((ps, vs), gs)| {
                        if s.nesterov {
                            for ((p, v), g) in ps.iter_mut().zip(vs).zip(gs) {
                                let g = *g + decay * *p;
                                *v = momentum * *v + g;
                                *p -= lr * (g + momentum * *v);
                            }
                        } else {
                            for ((p, v), g) in ps.iter_mut().zip(vs).zip(gs) {
                                *v = momentum * *v + (*g + decay * *p);
                                *p -= lr * *v;
                            }
                        }
                    });
            }
            Ok(())
        }),
    })))
}

/// Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) with PyTorch's conventions: bias
/// corrected moments `m`, `v`, and `eps` outside the root. A `None` member is left as it is.
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
            for ((((ps, ms), vs), gs), s) in members.zip(scalars) {
                let Some(s) = s else { continue };
                let steps = s.step.min(i32::MAX as u64) as i32;
                let correction1 = 1.0 - s.beta1.powi(steps);
                let correction2 = (1.0 - s.beta2.powi(steps)).sqrt();
                let of = |x: f64| <T as Elem>::of(x);
                let (beta1, beta2, eps) = (of(s.beta1), of(s.beta2), of(s.eps));
                let (rest1, rest2) = (of(1.0 - s.beta1), of(1.0 - s.beta2));
                let (rate, root) = (of(s.lr / correction1), of(1.0 / correction2));
                let l2 = of(if s.decoupled { 0.0 } else { s.weight_decay });
                let keep = of(if s.decoupled { 1.0 - s.lr * s.weight_decay } else { 1.0 });
                ps.par_chunks_mut(CHUNK)
                    .zip(ms.par_chunks_mut(CHUNK))
                    .zip(vs.par_chunks_mut(CHUNK))
                    .zip(gs.par_chunks(CHUNK))
                    .for_each(|(((ps, ms), vs), gs)| {
                        for (((p, m), v), g) in ps.iter_mut().zip(ms).zip(vs).zip(gs) {
                            let g = *g + l2 * *p;
                            *m = beta1 * *m + rest1 * g;
                            *v = beta2 * *v + rest2 * g * g;
                            *p = keep * *p - rate * *m / (num_traits::Float::sqrt(*v) * root + eps);
                        }
                    });
            }
            Ok(())
        }))
    })))
}
