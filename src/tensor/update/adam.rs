//! Adam and AdamW.

use rayon::prelude::*;

use crate::tensor::elem::Elem;
use crate::tensor::parallel::{CHUNK, PARALLEL, before_line};
use crate::tensor::simd::simd;

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

/// What one number's update multiplies by.
#[derive(Clone, Copy)]
struct Factors<T> {
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    eps: T,
    /// Minus the learning rate over the correction of the first moment.
    rate: T,
    /// Reciprocal root of the correction of the second moment.
    root: T,
    l2: T,
    keep: T,
}

impl Adam {
    /// Updates one member's numbers (Kingma & Ba 2015; AdamW: Loshchilov & Hutter 2019) with
    /// PyTorch's conventions: bias-corrected moments, and `eps` outside the root. All slices have
    /// the same length.
    pub fn update<T: Elem>(&self, param: &mut [T], grad: &[T], first: &mut [T], second: &mut [T]) {
        debug_assert_eq!((grad.len(), first.len()), (param.len(), param.len()));
        debug_assert_eq!(second.len(), param.len());
        let factors = self.factors();
        type Part<'a, T> = ((&'a mut [T], &'a [T]), (&'a mut [T], &'a mut [T]));
        let part = |((p, g), (m, v)): Part<'_, T>| {
            simd(
                #[inline(always)]
                || factors.update(p, g, m, v),
            );
        };
        if param.len() < PARALLEL {
            return part(((param, grad), (first, second)));
        }
        let head = before_line(param);
        let (param0, param) = param.split_at_mut(head);
        let (grad0, grad) = grad.split_at(head);
        let (first0, first) = first.split_at_mut(head);
        let (second0, second) = second.split_at_mut(head);
        part(((param0, grad0), (first0, second0)));
        let moments = first
            .par_chunks_mut(CHUNK)
            .zip(second.par_chunks_mut(CHUNK));
        let params = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        params.zip(moments).for_each(part);
    }

    /// What a number's update multiplies by: beta1, 1 − beta1, beta2, 1 − beta2, eps, minus the learning rate over
    /// the first moment's correction, the reciprocal root of the second's, the decay of the gradient, what is kept
    /// of the weight.
    pub fn numbers(&self) -> [f64; 9] {
        let f = self.factors::<f64>();
        [
            f.beta1, f.rest1, f.beta2, f.rest2, f.eps, f.rate, f.root, f.l2, f.keep,
        ]
    }

    fn factors<T: Elem>(&self) -> Factors<T> {
        let steps = self.step.min(i32::MAX as u64) as i32;
        let correction1 = 1.0 - self.beta1.powi(steps);
        let correction2 = (1.0 - self.beta2.powi(steps)).sqrt();
        let (l2, keep) = if self.decoupled {
            (0.0, 1.0 - self.lr * self.weight_decay)
        } else {
            (self.weight_decay, 1.0)
        };
        Factors {
            beta1: T::of(self.beta1),
            rest1: T::of(1.0 - self.beta1),
            beta2: T::of(self.beta2),
            rest2: T::of(1.0 - self.beta2),
            eps: T::of(self.eps),
            rate: T::of(-self.lr / correction1),
            root: T::of(1.0 / correction2),
            l2: T::of(l2),
            keep: T::of(keep),
        }
    }
}

impl<T: Elem> Factors<T> {
    #[inline(always)]
    fn update(self, param: &mut [T], grad: &[T], first: &mut [T], second: &mut [T]) {
        let numbers = param.iter_mut().zip(grad).zip(first.iter_mut().zip(second));
        for ((p, g), (m, v)) in numbers {
            let g = self.l2.mul_add(*p, *g);
            *m = self.beta1.mul_add(*m, self.rest1 * g);
            *v = self.beta2.mul_add(*v, self.rest2 * g * g);
            let size = num_traits::Float::sqrt(*v).mul_add(self.root, self.eps);
            *p = self.keep.mul_add(*p, self.rate * *m / size);
        }
    }
}
