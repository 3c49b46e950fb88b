//! Optimizer updates in place: one pass over each parameter, its gradient and its state.

use rayon::prelude::*;

use super::elem::Elem;
use super::parallel::CHUNK;

/// Numbers that are updated by the calling thread.
const ALONE: usize = 4 * CHUNK;

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

/// SGD as in PyTorch on one member's parameter: `g += weight_decay · p; v = momentum · v + g; p −= lr ·
/// (nesterov ? g + momentum · v : v)`. On the first update `v = g`, which is the same as starting from
/// `v = 0`.
pub fn sgd<T: Elem>(p: &mut [T], g: &[T], velocity: Option<&mut [T]>, s: Sgd) {
    let (lr, decay, momentum) = (T::of(s.lr), T::of(s.weight_decay), T::of(s.momentum));
    let plain = |p: &mut [T], g: &[T]| {
        for (p, g) in p.iter_mut().zip(g) {
            *p -= lr * (*g + decay * *p);
        }
    };
    let heavy = |p: &mut [T], g: &[T], v: &mut [T]| {
        for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
            let g = *g + decay * *p;
            *v = momentum * *v + g;
            *p -= lr * if s.nesterov { g + momentum * *v } else { *v };
        }
    };
    match velocity {
        None if p.len() <= ALONE => plain(p, g),
        None => p
            .par_chunks_mut(CHUNK)
            .zip(g.par_chunks(CHUNK))
            .for_each(|(p, g)| plain(p, g)),
        Some(v) if p.len() <= ALONE => heavy(p, g, v),
        Some(v) => p
            .par_chunks_mut(CHUNK)
            .zip(g.par_chunks(CHUNK))
            .zip(v.par_chunks_mut(CHUNK))
            .for_each(|((p, g), v)| heavy(p, g, v)),
    }
}

/// Adam or AdamW as in PyTorch on one member's parameter, with first and second moment.
pub fn adam<T: Elem>(p: &mut [T], g: &[T], first: &mut [T], second: &mut [T], s: Adam) {
    let steps = s.step.min(i32::MAX as u64) as i32;
    let correction1 = 1.0 - s.beta1.powi(steps);
    let correction2 = (1.0 - s.beta2.powi(steps)).sqrt();
    let (beta1, beta2, eps) = (T::of(s.beta1), T::of(s.beta2), T::of(s.eps));
    let (rest1, rest2) = (T::of(1.0 - s.beta1), T::of(1.0 - s.beta2));
    let (rate, root) = (T::of(s.lr / correction1), T::of(1.0 / correction2));
    let l2 = T::of(if s.decoupled { 0.0 } else { s.weight_decay });
    let keep = T::of(if s.decoupled {
        1.0 - s.lr * s.weight_decay
    } else {
        1.0
    });
    let part = |p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]| {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = *g + l2 * *p;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *p = keep * *p - rate * *m / (num_traits::Float::sqrt(*v) * root + eps);
        }
    };
    if p.len() <= ALONE {
        return part(p, g, first, second);
    }
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| part(p, g, m, v));
}
