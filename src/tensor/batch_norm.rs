//! Batch normalisation over one member, in the layout `[batch, channels, pixels]`.
//!
//! Ioffe, Szegedy 2015 (arXiv 1502.03167), with PyTorch's conventions: each channel is normalised over
//! examples and pixels by its mean and biased variance; running estimates take the unbiased variance.

use rayon::prelude::*;

use super::elem::Elem;
use super::group_norm::{Gradients, Sizes, sum, sums};
use super::linear::Scaled;
use super::matmul::Shared;
use super::parallel::CHUNK;
use super::simd::simd;

/// A batch normalisation; [`Sizes::groups`] is not used.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a, T> {
    /// Sizes of the work.
    pub sizes: Sizes,
    /// Gain, `[channels]`.
    pub gain: Scaled<'a, T>,
    /// Shift, `[channels]`.
    pub shift: Scaled<'a, T>,
    /// Added to the variance.
    pub eps: f64,
}

/// Running estimates of a channel's moments.
#[derive(Debug)]
pub struct Running<'a, T> {
    /// Means, `[channels]`; PyTorch starts them at 0.
    pub mean: &'a mut [T],
    /// Unbiased variances, `[channels]`; PyTorch starts them at 1.
    pub var: &'a mut [T],
}

impl<T: Elem> Running<'_, T> {
    /// Moves the estimates towards the moments in `saved` by the share `momentum`, as PyTorch does.
    /// `count` is the number of examples times pixels.
    pub fn update(&mut self, saved: &[T], eps: f64, momentum: f64, count: usize) {
        let unbiased = T::of(count as f64 / (count.max(2) - 1) as f64);
        let momentum = T::of(momentum);
        for ((mean, var), saved) in self
            .mean
            .iter_mut()
            .zip(self.var.iter_mut())
            .zip(saved.chunks_exact(2))
        {
            let scale = saved[1];
            let now = ((scale * scale).recip() - T::of(eps)) * unbiased;
            *mean += momentum * (saved[0] - *mean);
            *var += momentum * (now - *var);
        }
    }
}

impl<T: Elem> BatchNorm<'_, T> {
    /// Runs `f` for every channel, in parallel if there is much to do.
    fn channels(&self, f: impl Fn(usize) + Sync + Send) {
        let s = self.sizes;
        if s.batch * s.example() <= 4 * CHUNK {
            (0..s.channels).for_each(f);
        } else {
            (0..s.channels).into_par_iter().for_each(f);
        }
    }

    /// Ranges of a channel's numbers, example after example.
    #[inline(always)]
    fn planes(&self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<T> {
        let s = self.sizes;
        (0..s.batch).map(move |n| {
            let start = n * s.example() + channel * s.pixels;
            start..start + s.pixels
        })
    }

    /// Writes mean and reciprocal standard deviation of every channel, `saved [channels, 2]`.
    pub fn moments(&self, x: &[T], saved: &mut [T]) {
        let s = self.sizes;
        let count = T::of((s.batch * s.pixels).max(1) as f64);
        let to = Shared::new(saved);
        self.channels(|channel| {
            let [mean, scale] = simd(
                #[inline(always)]
                || {
                    let mut mean = T::zero();
                    self.planes(channel)
                        .for_each(|at| mean += sum::<T, 16>(&x[at], |x| x));
                    let mean = mean / count;
                    let mut var = T::zero();
                    self.planes(channel).for_each(|at| {
                        var += sum::<T, 16>(&x[at], |x| (x - mean) * (x - mean));
                    });
                    [mean, (var / count + T::of(self.eps)).sqrt().recip()]
                },
            );
            // SAFETY: each channel's moments are written by one task
            unsafe {
                to.ptr()
                    .add(2 * channel)
                    .cast::<[T; 2]>()
                    .write([mean, scale])
            };
        });
    }

    /// The moments that evaluation uses, from running estimates, as `saved`.
    pub fn running_moments(&self, mean: &[T], var: &[T], saved: &mut [T]) {
        for ((to, &mean), &var) in saved.chunks_exact_mut(2).zip(mean).zip(var) {
            to.copy_from_slice(&[mean, (var + T::of(self.eps)).sqrt().recip()]);
        }
    }

    /// `y = gain · (x − mean) / √(var + eps) + shift` with the moments in `saved`.
    pub fn forward(&self, x: &[T], saved: &[T], y: &mut [T]) {
        let to = Shared::new(y);
        self.channels(|channel| {
            let (mean, scale) = (saved[2 * channel], saved[2 * channel + 1]);
            let slope = T::of(self.gain.multiplier) * self.gain.value[channel] * scale;
            let offset = T::of(self.shift.multiplier) * self.shift.value[channel] - mean * slope;
            simd(
                #[inline(always)]
                || {
                    for at in self.planes(channel) {
                        // SAFETY: each channel's numbers are written by one task
                        let y = unsafe {
                            std::slice::from_raw_parts_mut(to.ptr().add(at.start), at.len())
                        };
                        for (y, &x) in y.iter_mut().zip(&x[at]) {
                            *y = x.mul_add(slope, offset);
                        }
                    }
                },
            );
        });
    }

    /// From `gy`, the gradient of the output in training, writes those of gain, shift and input. With
    /// `fixed`, the moments were running estimates, which do not move with the input.
    pub fn backward(&self, x: &[T], saved: &[T], gy: &[T], fixed: bool, to: Gradients<'_, T>) {
        let s = self.sizes;
        let count = T::of((s.batch * s.pixels).max(1) as f64);
        let (gain_to, shift_to) = (Shared::new(to.gain), Shared::new(to.shift));
        let gx = to.input.map(Shared::new);
        self.channels(|channel| {
            let (mean, scale) = (saved[2 * channel], saved[2 * channel + 1]);
            let slope = T::of(self.gain.multiplier) * self.gain.value[channel] * scale;
            simd(
                #[inline(always)]
                || {
                    let (mut sum, mut dot) = (T::zero(), T::zero());
                    for at in self.planes(channel) {
                        let (a, b) = sums(&gy[at.clone()], &x[at], |gy, _| gy);
                        sum += a;
                        dot += b;
                    }
                    let dot = (dot - mean * sum) * scale;
                    // SAFETY: each channel's numbers are written by one task
                    unsafe {
                        gain_to
                            .ptr()
                            .add(channel)
                            .write(T::of(self.gain.multiplier) * dot);
                        shift_to
                            .ptr()
                            .add(channel)
                            .write(T::of(self.shift.multiplier) * sum);
                    }
                    let Some(gx) = gx else { return };
                    let (in_x, constant) = if fixed {
                        (T::zero(), T::zero())
                    } else {
                        let in_x = -slope * scale * dot / count;
                        (in_x, -slope * sum / count - mean * in_x)
                    };
                    for at in self.planes(channel) {
                        // SAFETY: as above
                        let gx = unsafe {
                            std::slice::from_raw_parts_mut(gx.ptr().add(at.start), at.len())
                        };
                        for ((gx, &gy), &x) in gx.iter_mut().zip(&gy[at.clone()]).zip(&x[at]) {
                            *gx = gy.mul_add(slope, x.mul_add(in_x, constant));
                        }
                    }
                },
            );
        });
    }
}
