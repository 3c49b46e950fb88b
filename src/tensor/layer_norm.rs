//! Layer normalisation and RMS normalisation over the last axis of one member.
//!
//! The two differ in the mean and the bias: with `CENTRED` the mean is taken off and a bias is added,
//! as layer normalisation does; without it the mean counts as 0 and the bias is empty.
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

/// How many numbers [`forward`] saves of every row: its mean, if that is taken off, and the reciprocal of
/// its standard deviation or root mean square.
pub const fn saved_per_row(centred: bool) -> usize {
    1 + centred as usize
}

/// Mean and factor of a row, from what was saved of it.
#[inline(always)]
fn saved_moments<T: Elem, const CENTRED: bool>(saved: &[T]) -> (T, T) {
    if CENTRED {
        (saved[0], saved[1])
    } else {
        (T::zero(), saved[0])
    }
}

/// What is saved of a row: mean and reciprocal standard deviation (biased variance, as in PyTorch).
#[inline(always)]
fn save_moments<T: Elem, const CENTRED: bool>(row: &[T], eps: T, saved: &mut [T]) {
    let n = T::of(row.len() as f64);
    let mean = if CENTRED {
        let [sum] = sums(
            [row],
            #[inline(always)]
            |[x]| [x],
        );
        sum / n
    } else {
        T::zero()
    };
    let [squares] = sums(
        [row],
        #[inline(always)]
        |[x]| [(x - mean) * (x - mean)],
    );
    let scale = (squares / n + eps).sqrt().recip();
    if CENTRED {
        saved.copy_from_slice(&[mean, scale]);
    } else {
        saved[0] = scale;
    }
}

/// `y = gain · (x − mean) / √(var + eps) + bias` over rows of as many features as the gain has (Ba,
/// Kiros, Hinton 2016); without `CENTRED` `y = gain · x / √(mean(x²) + eps)` (Zhang, Sennrich 2019, arXiv
/// 1910.07467). Both with PyTorch's conventions. `saved` receives [`saved_per_row`] numbers of every row.
pub fn forward<T: Elem, const CENTRED: bool>(
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
            || normalise::<T, CENTRED>(x, gain, bias, T::of(eps), y, saved),
        );
    };
    if y.len() < PARALLEL {
        return block(((y, saved), x));
    }
    let rows = (CHUNK / f).max(1);
    y.par_chunks_mut(rows * f)
        .zip(saved.par_chunks_mut(saved_per_row(CENTRED) * rows))
        .zip(x.par_chunks(rows * f))
        .for_each(block);
}

#[inline(always)]
fn normalise<T: Elem, const CENTRED: bool>(
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
    for ((y, x), saved) in rows.zip(saved.chunks_exact_mut(saved_per_row(CENTRED))) {
        save_moments::<T, CENTRED>(x, eps, saved);
        let (mean, scale) = saved_moments::<T, CENTRED>(saved);
        if CENTRED {
            for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(gain.value).zip(bias.value) {
                *y = gain_scale * g * ((x - mean) * scale) + bias_scale * b;
            }
        } else {
            for ((y, &x), &g) in y.iter_mut().zip(x).zip(gain.value) {
                *y = gain_scale * g * (x * scale);
            }
        }
    }
}

/// Where the backward pass of [`forward`] writes to.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// Gradient of the gain.
    pub gain: &'a mut [T],
    /// Gradient of the bias; empty where there is none.
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
            f + self.bias.len(),
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
pub fn backward<T: Elem, const CENTRED: bool>(
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
        let per_row = saved_per_row(CENTRED);
        let saved = &saved[per_row * rows.start..per_row * rows.end];
        let [x, gy] = [x, gy].map(|all| &all[rows.start * f..rows.end * f]);
        simd(
            #[inline(always)]
            || {
                parameter_gradients::<T, CENTRED>(x, saved, gy, gg, gb);
                if let Some(gx) = gx {
                    input_gradient::<T, CENTRED>(x, (gain.value, gain_scale), saved, gy, gx);
                }
            },
        );
    });
}

#[inline(always)]
fn parameter_gradients<T: Elem, const CENTRED: bool>(
    x: &[T],
    saved: &[T],
    gy: &[T],
    gg: &mut [T],
    gb: &mut [T],
) {
    let f = gg.len();
    let rows = x.chunks_exact(f).zip(gy.chunks_exact(f));
    for ((x, gy), saved) in rows.zip(saved.chunks_exact(saved_per_row(CENTRED))) {
        let (mean, scale) = saved_moments::<T, CENTRED>(saved);
        if CENTRED {
            for (((gg, gb), &gy), &x) in gg.iter_mut().zip(gb.iter_mut()).zip(gy).zip(x) {
                *gg += gy * ((x - mean) * scale);
                *gb += gy;
            }
        } else {
            for ((gg, &gy), &x) in gg.iter_mut().zip(gy).zip(x) {
                *gg += gy * (x * scale);
            }
        }
    }
}

#[inline(always)]
fn input_gradient<T: Elem, const CENTRED: bool>(
    x: &[T],
    (gain, gain_scale): (&[T], T),
    saved: &[T],
    gy: &[T],
    gx: &mut [T],
) {
    let f = gain.len();
    let n = T::of(f as f64);
    let rows = gx.chunks_exact_mut(f).zip(x.chunks_exact(f));
    let rows = rows.zip(gy.chunks_exact(f));
    for (((gx, x), gy), saved) in rows.zip(saved.chunks_exact(saved_per_row(CENTRED))) {
        let (mean, scale) = saved_moments::<T, CENTRED>(saved);
        let [sum, dot] = sums(
            [x, gy, gain],
            #[inline(always)]
            |[x, gy, g]| {
                let d = gy * g;
                [d, d * ((x - mean) * scale)]
            },
        );
        let m1 = if CENTRED { sum / n } else { T::zero() };
        let m2 = dot / n;
        let factor = gain_scale * scale;
        for (((gx, &gy), &g), &x) in gx.iter_mut().zip(gy).zip(gain).zip(x) {
            *gx = factor * (gy * g - m1 - (x - mean) * scale * m2);
        }
    }
}

#[cfg(test)]
mod tests;
