//! The squared error of one member.

use crate::tensor::elem::Elem;
use crate::tensor::number::{Number as _, sums};
use crate::tensor::parallel::{CHUNK, sum_of_parts};
use crate::tensor::simd::simd;

/// Mean of (output − target)² over all numbers, as PyTorch's `MSELoss`; with `gradient` also the
/// gradient of that mean. All slices have the same length. Sums are taken in f64.
pub fn forward<T: Elem>(outputs: &[T], targets: &[T], gradient: Option<&mut [T]>) -> f64 {
    debug_assert_eq!(outputs.len(), targets.len());
    let n = outputs.len();
    let total = sum_of_parts(n, CHUNK, gradient, |range, gradient| {
        let [z, y] = [outputs, targets].map(|s| &s[range.clone()]);
        simd(
            #[inline(always)]
            || squares(z, y, T::of(2.0 / n as f64), gradient),
        )
    });
    total / n as f64
}

/// The derivative of [`forward`] along `doutputs`; with `dgradient` also that of the gradient.
pub fn tangent<T: Elem>(
    outputs: &[T],
    doutputs: &[T],
    targets: &[T],
    dgradient: Option<&mut [T]>,
) -> f64 {
    debug_assert_eq!(
        (outputs.len(), doutputs.len()),
        (targets.len(), targets.len())
    );
    let n = outputs.len();
    let total = sum_of_parts(n, CHUNK, dgradient, |range, dgradient| {
        let [z, dz, y] = [outputs, doutputs, targets].map(|s| &s[range.clone()]);
        simd(
            #[inline(always)]
            || products(z, dz, y, T::of(2.0 / n as f64), dgradient),
        )
    });
    total * 2.0 / n as f64
}

#[inline(always)]
fn squares<T: Elem>(z: &[T], y: &[T], scale: T, gradient: Option<&mut [T]>) -> f64 {
    if let Some(gradient) = gradient {
        for (g, (z, y)) in gradient.iter_mut().zip(z.iter().zip(y)) {
            *g = scale * (*z - *y);
        }
    }
    let [sum] = sums(
        [z, y],
        #[inline(always)]
        |[z, y]: [T; 2]| {
            let difference = (z - y).wide();
            [difference * difference]
        },
    );
    sum
}

#[inline(always)]
fn products<T: Elem>(z: &[T], dz: &[T], y: &[T], scale: T, dgradient: Option<&mut [T]>) -> f64 {
    if let Some(dgradient) = dgradient {
        for (dg, dz) in dgradient.iter_mut().zip(dz) {
            *dg = scale * *dz;
        }
    }
    let [sum] = sums(
        [z, dz, y],
        #[inline(always)]
        |[z, dz, y]: [T; 3]| [(z - y).wide() * dz.wide()],
    );
    sum
}
