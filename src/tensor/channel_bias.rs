//! A bias per channel, in the layout `[batch, channels, pixels]`.

use rayon::prelude::*;

use super::elem::Elem;
use super::group_norm::sum;
use super::linear::Scaled;
use super::parallel::CHUNK;
use super::scratch;
use super::simd::simd;

/// Adds `bias [channels]`, with its multiplier, to every plane of `y [batch, channels, pixels]`.
pub fn add_bias<T: Elem>(pixels: usize, bias: Scaled<'_, T>, y: &mut [T]) {
    let example = pixels * bias.value.len();
    if example == 0 {
        return;
    }
    let multiplier = T::of(bias.multiplier);
    let add = |y: &mut [T]| {
        for (plane, &b) in y.chunks_exact_mut(pixels).zip(bias.value) {
            plane.iter_mut().for_each(|y| *y += multiplier * b);
        }
    };
    if y.len() <= 4 * CHUNK {
        y.chunks_exact_mut(example).for_each(add);
    } else {
        y.par_chunks_exact_mut(example).for_each(add);
    }
}

/// Gradient of the bias, `[channels]`: the multiplier times the sums of `gy` over examples and pixels.
pub fn bias_gradient<T: Elem>(pixels: usize, gy: &[T], multiplier: f64, gb: &mut [T]) {
    let channels = gb.len();
    gb.fill(T::zero());
    if channels * pixels == 0 {
        return;
    }
    let sums = |(parts, gy): (&mut [T], &[T])| {
        simd(
            #[inline(always)]
            || {
                for (part, plane) in parts.iter_mut().zip(gy.chunks_exact(pixels)) {
                    *part = sum::<T, 16>(plane, |x| x);
                }
            },
        );
    };
    let example = channels * pixels;
    scratch::with(gy.len() / pixels, |parts: &mut [T]| {
        if gy.len() <= 4 * CHUNK {
            let gy = gy.chunks_exact(example);
            parts.chunks_exact_mut(channels).zip(gy).for_each(sums);
        } else {
            let gy = gy.par_chunks_exact(example);
            parts.par_chunks_exact_mut(channels).zip(gy).for_each(sums);
        }
        for part in parts.chunks_exact(channels) {
            gb.iter_mut().zip(part).for_each(|(g, p)| *g += *p);
        }
    });
    let multiplier = T::of(multiplier);
    gb.iter_mut().for_each(|g| *g *= multiplier);
}
