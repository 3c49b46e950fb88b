//! Lion.

use crate::tensor::elem::Elem;
use crate::tensor::parallel::chunks;
use crate::tensor::simd::simd;

/// Scalars of one member's Lion update of one parameter.
#[derive(Debug, Clone, Copy)]
pub struct Lion {
    /// Learning rate.
    pub lr: f64,
    /// Weight of the momentum in the interpolation whose sign is taken.
    pub beta1: f64,
    /// Decay of the momentum.
    pub beta2: f64,
    /// Weight decay, decoupled.
    pub weight_decay: f64,
}

impl Lion {
    /// Updates one member's numbers (Chen et al. 2023): `p *= 1 − lr · weight_decay;
    /// p −= lr · sign(beta1 · m + (1 − beta1) · g); m = beta2 · m + (1 − beta2) · g`. All slices have
    /// the same length.
    pub fn update<T: Elem>(&self, param: &mut [T], grad: &[T], momentum: &mut [T]) {
        debug_assert_eq!((grad.len(), momentum.len()), (param.len(), param.len()));
        let m = &*momentum;
        chunks(param, |start, p| {
            let (m, g) = (&m[start..][..p.len()], &grad[start..][..p.len()]);
            simd(
                #[inline(always)]
                || self.step(p, g, m),
            );
        });
        average(self.beta2, momentum, grad);
    }

    #[inline(always)]
    fn step<T: Elem>(&self, param: &mut [T], grad: &[T], momentum: &[T]) {
        let (beta, rest) = (T::of(self.beta1), T::of(1.0 - self.beta1));
        let (lr, keep) = (T::of(-self.lr), T::of(1.0 - self.lr * self.weight_decay));
        let (zero, one) = (T::of(0.0), T::of(1.0));
        for ((p, g), m) in param.iter_mut().zip(grad).zip(momentum) {
            let direction = beta.mul_add(*m, rest * *g);
            let sign = if direction > zero {
                one
            } else if direction < zero {
                -one
            } else {
                direction // 0, or not a number
            };
            *p = keep.mul_add(*p, lr * sign);
        }
    }
}

/// `m = beta · m + (1 − beta) · g`.
#[inline(always)]
pub(super) fn average_part<T: Elem>(beta: f64, momentum: &mut [T], grad: &[T]) {
    let (beta, rest) = (T::of(beta), T::of(1.0 - beta));
    for (m, g) in momentum.iter_mut().zip(grad) {
        *m = beta.mul_add(*m, rest * *g);
    }
}

/// `m = beta · m + (1 − beta) · g`, of slices of the same length.
pub fn average<T: Elem>(beta: f64, momentum: &mut [T], grad: &[T]) {
    chunks(momentum, |start, m| {
        let g = &grad[start..][..m.len()];
        simd(
            #[inline(always)]
            || average_part(beta, m, g),
        );
    });
}
