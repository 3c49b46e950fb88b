//! Layer normalisation over the last axis of one member.
//!
//! Rows are worked on in blocks with fixed borders. Gradients of gain and bias are summed over rows
//! in order within blocks and over blocks.

mod tangents;

use rayon::prelude::*;

use super::elem::Elem;
use super::lanes::sums;
use super::linear::Scaled;
use super::parallel::{CHUNK, PARALLEL, sum_of_blocks};
use super::simd::simd;

pub use tangents::{backward_tangent, tangent};

/// Mean and reciprocal standard deviation (biased variance, as in PyTorch) of one row.
#[inline(always)]
fn moments<T: Elem>(row: &[T], eps: T) -> [T; 2] {
    let n = T::of(row.len() as f64);
    let [sum] = sums(
        [row],
        #[inline(always)]
        |[x]| [x],
    );
    let mean = sum / n;
    let [squares] = sums(
        [row],
        #[inline(always)]
        |[x]| [(x - mean) * (x - mean)],
    );
    [mean, (squares / n + eps).sqrt().recip()]
}

/// `y = gain · (x − mean) / √(var + eps) + bias` over rows of as many features as the gain has.
/// Ba, Kiros, Hinton 2016, with PyTorch's conventions. `saved` receives mean and reciprocal standard
/// deviation of every row.
pub fn forward<T: Elem>(
    x: &[T],
    gain: Scaled<'_, T>,
    bias: Scaled<'_, T>,
    eps: f64,
    y: &mut [T],
    saved: &mut [T],
) {
    let f = gain.value.len().max(1);
    let block = |((y, saved), x): ((&mut [T], &mut [T]), &[T])| {
        simd(
            #[inline(always)]
            || normalise(x, gain, bias, T::of(eps), y, saved),
        );
    };
    if y.len() < PARALLEL {
        return block(((y, saved), x));
    }
    let rows = (CHUNK / f).max(1);
    y.par_chunks_mut(rows * f)
        .zip(saved.par_chunks_mut(2 * rows))
        .zip(x.par_chunks(rows * f))
        .for_each(block);
}

#[inline(always)]
fn normalise<T: Elem>(
    x: &[T],
    gain: Scaled<'_, T>,
    bias: Scaled<'_, T>,
    eps: T,
    y: &mut [T],
    saved: &mut [T],
) {
    let f = gain.value.len().max(1);
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(bias.multiplier));
    let rows = y.chunks_exact_mut(f).zip(x.chunks_exact(f));
    for ((y, x), saved) in rows.zip(saved.chunks_exact_mut(2)) {
        let [mean, scale] = moments(x, eps);
        saved.copy_from_slice(&[mean, scale]);
        for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(gain.value).zip(bias.value) {
            *y = gain_scale * g * ((x - mean) * scale) + bias_scale * b;
        }
    }
}

/// Where the backward pass of [`forward`] writes to.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// Gradient of the gain.
    pub gain: &'a mut [T],
    /// Gradient of the bias.
    pub bias: &'a mut [T],
    /// Gradient of the input; `None` if nothing needs it.
    pub input: Option<&'a mut [T]>,
}

impl<T: Elem> Gradients<'_, T> {
    /// Fills all gradients by blocks of rows: `block(rows, gradient of the input, of gain, of bias)`
    /// adds to the latter two, which are then multiplied by `scales`.
    fn fill(
        self,
        rows: usize,
        [gain_scale, bias_scale]: [T; 2],
        block: impl Fn(std::ops::Range<usize>, Option<&mut [T]>, &mut [T], &mut [T]) + Sync,
    ) {
        let f = self.gain.len();
        self.gain.fill(T::zero());
        self.bias.fill(T::zero());
        sum_of_blocks(
            (rows, f),
            self.input,
            2 * f,
            |rows, input, sums| {
                let (gain, bias) = sums.split_at_mut(f);
                block(rows, input, gain, bias);
            },
            |sums| {
                let (gain, bias) = sums.split_at(f);
                for (to, sum) in self.gain.iter_mut().zip(gain) {
                    *to += gain_scale * *sum;
                }
                for (to, sum) in self.bias.iter_mut().zip(bias) {
                    *to += bias_scale * *sum;
                }
            },
        );
    }
}

/// The backward pass of [`forward`] from `gy`, the gradient of `y`.
pub fn backward<T: Elem>(
    x: &[T],
    gain: Scaled<'_, T>,
    bias_scale: f64,
    saved: &[T],
    gy: &[T],
    to: Gradients<'_, T>,
) {
    let f = gain.value.len();
    if f == 0 {
        return;
    }
    let gain_scale = T::of(gain.multiplier);
    let scales = [gain_scale, T::of(bias_scale)];
    to.fill(x.len() / f, scales, |rows, gx, gg, gb| {
        let saved = &saved[2 * rows.start..2 * rows.end];
        let [x, gy] = [x, gy].map(|all| &all[rows.start * f..rows.end * f]);
        simd(
            #[inline(always)]
            || {
                parameter_gradients(x, saved, gy, gg, gb);
                if let Some(gx) = gx {
                    input_gradient(x, (gain.value, gain_scale), saved, gy, gx);
                }
            },
        );
    });
}

#[inline(always)]
fn parameter_gradients<T: Elem>(x: &[T], saved: &[T], gy: &[T], gg: &mut [T], gb: &mut [T]) {
    let f = gg.len();
    let rows = x.chunks_exact(f).zip(gy.chunks_exact(f));
    for ((x, gy), saved) in rows.zip(saved.chunks_exact(2)) {
        let (mean, scale) = (saved[0], saved[1]);
        for (((gg, gb), &gy), &x) in gg.iter_mut().zip(gb.iter_mut()).zip(gy).zip(x) {
            *gg += gy * ((x - mean) * scale);
            *gb += gy;
        }
    }
}

#[inline(always)]
fn input_gradient<T: Elem>(
    x: &[T],
    (gain, gain_scale): (&[T], T),
    saved: &[T],
    gy: &[T],
    gx: &mut [T],
) {
    let f = gain.len();
    let n = T::of(f as f64);
    let rows = gx.chunks_exact_mut(f).zip(x.chunks_exact(f));
    for (((gx, x), gy), saved) in rows.zip(gy.chunks_exact(f)).zip(saved.chunks_exact(2)) {
        let (mean, scale) = (saved[0], saved[1]);
        let [sum, dot] = sums(
            [x, gy, gain],
            #[inline(always)]
            |[x, gy, g]| {
                let d = gy * g;
                [d, d * ((x - mean) * scale)]
            },
        );
        let (m1, m2) = (sum / n, dot / n);
        let factor = gain_scale * scale;
        for (((gx, &gy), &g), &x) in gx.iter_mut().zip(gy).zip(gain).zip(x) {
            *gx = factor * (gy * g - m1 - (x - mean) * scale * m2);
        }
    }
}

#[cfg(test)]
mod tests;
