//! Softmax cross-entropy of one member.

use crate::tensor::elem::Elem;
use crate::tensor::lanes::{largest, sums};
use crate::tensor::math::{exp, ln};
use crate::tensor::parallel::{CHUNK, row_blocks, sum_of_parts};
use crate::tensor::simd::simd;

/// Logits that are worked on at once, as long as rows are shorter.
const BLOCK: usize = 2048;

/// Rows shorter than this share vectors.
const NARROW: usize = 64;

/// Rows that are worked on at once.
const ROWS: usize = 128;

/// Mean over rows of −log of the softmax at the class, for `logits [rows, width]` and one class per
/// row; with `gradient` (shape of the logits) also the gradient of that mean. A class that is not
/// below `width` makes the loss NaN. Sums are taken in f64.
pub fn forward<T: Elem>(
    logits: &[T],
    width: usize,
    classes: &[u32],
    gradient: Option<&mut [T]>,
) -> f64 {
    debug_assert_eq!(logits.len(), width * classes.len());
    if width == 0 {
        return f64::NAN;
    }
    let per_row = 1.0 / classes.len() as f64;
    let size = (CHUNK / width).max(1) * width;
    let total = sum_of_parts(logits.len(), size, gradient, |range, gradient| {
        let classes = &classes[range.start / width..range.end / width];
        let logits = &logits[range];
        simd(
            #[inline(always)]
            || losses(logits, width, classes, T::of(per_row), gradient),
        )
    });
    total * per_row
}

/// The tangent of the gradient of [`forward`] from the tangent of the logits, both `[rows, width]`:
/// `(p ∘ dz − p (p · dz)) / rows` with the softmax `p`.
pub fn tangent<T: Elem>(logits: &[T], dlogits: &[T], width: usize, dgradient: &mut [T]) {
    debug_assert_eq!(
        (logits.len(), dlogits.len()),
        (dgradient.len(), dgradient.len())
    );
    let per_row = T::of(width as f64 / logits.len() as f64);
    row_blocks(dgradient, width, |start, dgradient| {
        let [z, dz] = [logits, dlogits].map(|all| &all[start..][..dgradient.len()]);
        simd(
            #[inline(always)]
            || bends(z, dz, width, per_row, dgradient),
        );
    });
}

/// The sum of the losses of these rows, and (softmax − 1 at the class) · `per_row`.
#[inline(always)]
fn losses<T: Elem>(
    logits: &[T],
    width: usize,
    classes: &[u32],
    per_row: T,
    mut gradient: Option<&mut [T]>,
) -> f64 {
    let mut sum = 0.0;
    softmax(
        logits,
        width,
        #[inline(always)]
        |start, exps, maxima, totals| {
            let rows = start / width..(start + exps.len()) / width;
            let (classes, logits) = (&classes[rows], &logits[start..][..exps.len()]);
            // a loop of its own, so that logarithms are vectorised
            let mut losses = [0.0; ROWS];
            let losses = &mut losses[..totals.len()];
            for (loss, total) in losses.iter_mut().zip(totals) {
                *loss = ln(*total);
            }
            for (row, (&class, loss)) in classes.iter().zip(losses.iter()).enumerate() {
                let z = logits[row * width..][..width].get(class as usize);
                sum += z.map_or(f64::NAN, |z| loss - (*z - maxima[row]).f64());
            }
            let Some(gradient) = gradient.as_deref_mut() else {
                return;
            };
            let gradient = &mut gradient[start..][..exps.len()];
            for (row, (&class, total)) in classes.iter().zip(totals).enumerate() {
                let factor = per_row / T::of(*total);
                let g = &mut gradient[row * width..][..width];
                for (g, e) in g.iter_mut().zip(&exps[row * width..][..width]) {
                    *g = *e * factor;
                }
                if let Some(g) = g.get_mut(class as usize) {
                    *g -= per_row;
                }
            }
        },
    );
    sum
}

/// `p (dz − p · dz) · per_row` of these rows.
#[inline(always)]
fn bends<T: Elem>(logits: &[T], dlogits: &[T], width: usize, per_row: T, to: &mut [T]) {
    softmax(
        logits,
        width,
        #[inline(always)]
        |start, exps, _, totals| {
            for (row, total) in totals.iter().enumerate() {
                let dz = &dlogits[start + row * width..][..width];
                let e = &exps[row * width..][..width];
                let [dot] = sums(
                    [e, dz],
                    #[inline(always)]
                    |[e, dz]: [T; 2]| [e.f64() * dz.f64()],
                );
                let (mean, factor) = (T::of(dot / total), per_row / T::of(*total));
                let to = &mut to[start + row * width..][..width];
                for (to, (e, dz)) in to.iter_mut().zip(e.iter().zip(dz)) {
                    *to = *e * factor * (*dz - mean);
                }
            }
        },
    );
}

/// Calls `each` with blocks of rows: where they start, exp(logit − largest logit), the largest
/// logits, and the sums of the former over each row.
#[inline(always)]
fn softmax<T: Elem>(logits: &[T], width: usize, mut each: impl FnMut(usize, &[T], &[T], &[f64])) {
    let (mut short, mut long) = ([T::zero(); BLOCK], Vec::new());
    let exps = if width <= BLOCK {
        &mut short[..]
    } else {
        long.resize(width, T::zero());
        &mut long[..]
    };
    let (mut maxima, mut totals) = ([T::zero(); ROWS], [1.0; ROWS]);
    let size = (BLOCK / width).clamp(1, ROWS) * width;
    for (i, z) in logits.chunks(size).enumerate() {
        let (exps, rows) = (&mut exps[..z.len()], z.len() / width);
        for (row, max) in maxima[..rows].iter_mut().enumerate() {
            let z = &z[row * width..][..width];
            let e = &mut exps[row * width..][..width];
            *max = largest(z);
            if width < NARROW {
                for (e, z) in e.iter_mut().zip(z) {
                    *e = *z - *max;
                }
            } else {
                for (e, z) in e.iter_mut().zip(z) {
                    *e = exp(*z - *max);
                }
            }
        }
        if width < NARROW {
            // rows too short to fill vectors: across their borders
            for e in exps.iter_mut() {
                *e = exp(*e);
            }
        }
        for (row, total) in totals[..rows].iter_mut().enumerate() {
            [*total] = sums(
                [&exps[row * width..][..width]],
                #[inline(always)]
                |[e]: [T; 1]| [e.f64()],
            );
        }
        each(i * size, exps, &maxima[..rows], &totals[..rows]);
    }
}
