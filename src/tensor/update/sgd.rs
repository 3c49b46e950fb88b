//! Stochastic gradient descent.

use rayon::prelude::*;

use crate::tensor::elem::Elem;
use crate::tensor::parallel::{CHUNK, PARALLEL, before_line, chunks};
use crate::tensor::simd::simd;

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

impl Sgd {
    /// Updates one member's numbers as PyTorch does: `g += weight_decay · p; v = momentum · v + g;
    /// p −= lr · (nesterov ? g + momentum · v : v)`, or `p −= lr · g` without a velocity. All slices
    /// have the same length. On the first update PyTorch takes `v = g`, which is the same as
    /// starting from `v = 0`.
    pub fn update<T: Elem>(&self, param: &mut [T], grad: &[T], velocity: Option<&mut [T]>) {
        debug_assert_eq!(param.len(), grad.len());
        let Some(velocity) = velocity else {
            return chunks(param, |start, p| {
                let g = &grad[start..][..p.len()];
                simd(
                    #[inline(always)]
                    || self.plain(p, g),
                );
            });
        };
        debug_assert_eq!(param.len(), velocity.len());
        let part = |(p, (v, g)): (&mut [T], (&mut [T], &[T]))| {
            simd(
                #[inline(always)]
                || self.with_momentum(p, g, v),
            );
        };
        if param.len() < PARALLEL {
            return part((param, (velocity, grad)));
        }
        let head = before_line(param);
        let (param0, param) = param.split_at_mut(head);
        let (velocity0, velocity) = velocity.split_at_mut(head);
        let (grad0, grad) = grad.split_at(head);
        part((param0, (velocity0, grad0)));
        let states = velocity.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        param.par_chunks_mut(CHUNK).zip(states).for_each(part);
    }

    #[inline(always)]
    fn plain<T: Elem>(&self, param: &mut [T], grad: &[T]) {
        let (lr, decay) = (T::of(-self.lr), T::of(self.weight_decay));
        for (p, g) in param.iter_mut().zip(grad) {
            *p = decay.mul_add(*p, *g).mul_add(lr, *p);
        }
    }

    #[inline(always)]
    fn with_momentum<T: Elem>(&self, param: &mut [T], grad: &[T], velocity: &mut [T]) {
        let (lr, decay) = (T::of(-self.lr), T::of(self.weight_decay));
        let momentum = T::of(self.momentum);
        if self.nesterov {
            for ((p, v), g) in param.iter_mut().zip(velocity).zip(grad) {
                let g = decay.mul_add(*p, *g);
                *v = momentum.mul_add(*v, g);
                *p = momentum.mul_add(*v, g).mul_add(lr, *p);
            }
        } else {
            for ((p, v), g) in param.iter_mut().zip(velocity).zip(grad) {
                *v = momentum.mul_add(*v, decay.mul_add(*p, *g));
                *p = v.mul_add(lr, *p);
            }
        }
    }
}
