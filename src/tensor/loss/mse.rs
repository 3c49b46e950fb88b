//! The squared error of one member.

use crate::tensor::elem::Elem;
use crate::tensor::elementwise::copy_scaled;
use crate::tensor::lanes::sums;
use crate::tensor::parallel::{CHUNK, sum_of_parts};
use crate::tensor::simd::simd;

/// Outputs that are worked on at once.
const BLOCK: usize = 512;

/// Mean of (output − target)² over all numbers, as PyTorch's `MSELoss`; with `gradient` also the
/// gradient of that mean. All slices have the same length. Sums are taken in f64.
pub fn forward<T: Elem>(outputs: &[T], targets: &[f64], gradient: Option<&mut [T]>) -> f64 {
    debug_assert_eq!(outputs.len(), targets.len());
    let n = outputs.len();
    let total = sum_of_parts(n, CHUNK, gradient, |range, gradient| {
        let (z, y) = (&outputs[range.clone()], &targets[range]);
        simd(
            #[inline(always)]
            || squares(z, y, 2.0 / n as f64, gradient),
        )
    });
    total / n as f64
}

/// The tangent of the gradient of [`forward`] from the tangent of the outputs.
pub fn tangent<T: Elem>(doutputs: &[T], dgradient: &mut [T]) {
    copy_scaled(dgradient, doutputs, 2.0 / doutputs.len().max(1) as f64);
}

#[inline(always)]
fn squares<T: Elem>(z: &[T], y: &[f64], scale: f64, mut gradient: Option<&mut [T]>) -> f64 {
    let mut differences = [0.0; BLOCK];
    let mut total = 0.0;
    for (i, (z, y)) in z.chunks(BLOCK).zip(y.chunks(BLOCK)).enumerate() {
        let differences = &mut differences[..z.len()];
        for (d, (z, y)) in differences.iter_mut().zip(z.iter().zip(y)) {
            *d = z.f64() - *y;
        }
        if let Some(gradient) = gradient.as_deref_mut() {
            for (g, d) in gradient[i * BLOCK..].iter_mut().zip(differences.iter()) {
                *g = T::of(scale * *d);
            }
        }
        let [sum] = sums(
            [&*differences],
            #[inline(always)]
            |[d]: [f64; 1]| [d * d],
        );
        total += sum;
    }
    total
}
