//! Batch normalisation over one member, in the layout `[batch, channels, pixels]`.
//!
//! Ioffe, Szegedy 2015 (arXiv 1502.03167), with PyTorch's conventions: each channel is normalised over
//! examples and pixels by its mean and biased variance; running estimates take the unbiased variance. A
//! relu may follow at once, as in [`super::group_norm`].

mod columns;
mod tangents;

use rayon::prelude::*;

use super::elem::Elem;
use super::group_norm::{Gradients, Sizes, affine, lines, passed, sum, sums};
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
    /// Whether a relu follows.
    pub relu: bool,
}

/// What channels are normalised by.
#[derive(Debug, Clone, Copy)]
pub struct Moments<'a, T> {
    /// Means, `[channels]`.
    pub mean: &'a [T],
    /// Variances, `[channels]`.
    pub var: &'a [T],
    /// Whether they are the input's own and move with it (training), or running estimates.
    pub own: bool,
}

/// Running estimates of the channels' moments.
#[derive(Debug)]
pub struct Running<'a, T> {
    /// Means, `[channels]`; PyTorch starts them at 0.
    pub mean: &'a mut [T],
    /// Unbiased variances, `[channels]`; PyTorch starts them at 1.
    pub var: &'a mut [T],
}

impl<T: Elem> Running<'_, T> {
    /// Moves the estimates towards the moments of a batch by the share `momentum`, as PyTorch does.
    /// `count` is the number of examples times pixels.
    pub fn update(&mut self, batch: Moments<'_, T>, momentum: f64, count: usize) {
        let unbiased = T::of(count as f64 / (count.max(2) - 1) as f64);
        let momentum = T::of(momentum);
        for (running, &now) in self.mean.iter_mut().zip(batch.mean) {
            *running += momentum * (now - *running);
        }
        for (running, &now) in self.var.iter_mut().zip(batch.var) {
            *running += momentum * (unbiased * now - *running);
        }
    }
}

/// What a channel's numbers are computed with.
#[derive(Debug, Clone, Copy)]
struct Channel<T> {
    mean: T,
    /// Reciprocal standard deviation.
    scale: T,
    /// The output is `slope · x + offset`, before the relu.
    slope: T,
    offset: T,
}

/// A channel's part of a tensor that other tasks write other channels of.
///
/// # Safety
/// `range` is inside, and no other task uses these numbers.
unsafe fn part<'a, T>(all: Shared<T>, range: std::ops::Range<usize>) -> &'a mut [T] {
    // SAFETY: as the caller promises
    unsafe { std::slice::from_raw_parts_mut(all.ptr().add(range.start), range.len()) }
}

impl<T: Elem> BatchNorm<'_, T> {
    /// Numbers that a channel's moments are taken over.
    fn count(&self) -> T {
        T::of((self.sizes.batch * self.sizes.pixels).max(1) as f64)
    }

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

    #[inline(always)]
    fn channel(&self, channel: usize, moments: Moments<'_, T>) -> Channel<T> {
        let mean = moments.mean[channel];
        let scale = (moments.var[channel] + T::of(self.eps)).sqrt().recip();
        let slope = T::of(self.gain.multiplier) * self.gain.value[channel] * scale;
        Channel {
            mean,
            scale,
            slope,
            offset: T::of(self.shift.multiplier) * self.shift.value[channel] - mean * slope,
        }
    }

    /// Writes mean and biased variance of every channel, `[channels]` each.
    pub fn moments(&self, x: &[T], mean: &mut [T], var: &mut [T]) {
        if self.sizes.pixels == 1 {
            return self.column_moments(x, mean, var);
        }
        let count = self.count();
        let (means, vars) = (Shared::new(mean), Shared::new(var));
        self.channels(|channel| {
            let (mean, var) = simd(
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
                    (mean, var / count)
                },
            );
            // SAFETY: each channel's moments are written by one task
            unsafe {
                means.ptr().add(channel).write(mean);
                vars.ptr().add(channel).write(var);
            }
        });
    }

    /// `y = gain · (x − mean) / √(var + eps) + shift`, then the relu.
    pub fn forward(&self, x: &[T], moments: Moments<'_, T>, y: &mut [T]) {
        if self.sizes.pixels == 1 {
            return self.column_forward(x, moments, y);
        }
        let to = Shared::new(y);
        self.channels(|channel| {
            let c = self.channel(channel, moments);
            simd(
                #[inline(always)]
                || {
                    for at in self.planes(channel) {
                        // SAFETY: each channel's numbers are written by one task
                        let y = unsafe { part(to, at.clone()) };
                        if self.relu {
                            affine::<T, true>(&x[at], y, c.slope, c.offset);
                        } else {
                            affine::<T, false>(&x[at], y, c.slope, c.offset);
                        }
                    }
                },
            );
        });
    }

    /// From `gy`, the gradient of the output, writes those of gain, shift and input.
    pub fn backward(&self, x: &[T], moments: Moments<'_, T>, gy: &[T], to: Gradients<'_, T>) {
        if self.sizes.pixels == 1 {
            return self.column_backward(x, moments, gy, to);
        }
        let gains = (Shared::new(to.gain), Shared::new(to.shift));
        let gx = to.input.map(Shared::new);
        self.channels(|channel| {
            simd(
                #[inline(always)]
                || {
                    if self.relu {
                        self.channel_backward::<true>(channel, x, moments, gy, gains, gx);
                    } else {
                        self.channel_backward::<false>(channel, x, moments, gy, gains, gx);
                    }
                },
            );
        });
    }

    #[inline(always)]
    fn channel_backward<const RELU: bool>(
        &self,
        channel: usize,
        x: &[T],
        moments: Moments<'_, T>,
        gy: &[T],
        (gain, shift): (Shared<T>, Shared<T>),
        gx: Option<Shared<T>>,
    ) {
        let c = self.channel(channel, moments);
        let (mut sum, mut dot) = (T::zero(), T::zero());
        for at in self.planes(channel) {
            let (a, b) = sums(&gy[at.clone()], &x[at], |gy, x| {
                passed::<T, RELU>(gy, x, c.slope, c.offset)
            });
            sum += a;
            dot += b;
        }
        let dot = (dot - c.mean * sum) * c.scale;
        // SAFETY: each channel's numbers are written by one task
        unsafe {
            gain.ptr()
                .add(channel)
                .write(T::of(self.gain.multiplier) * dot);
            shift
                .ptr()
                .add(channel)
                .write(T::of(self.shift.multiplier) * sum);
        }
        let Some(gx) = gx else { return };
        // gx = slope · (gy − mean of gy − normalised · mean of gy · normalised), as a line in gy and x
        let (mut in_x, mut constant) = (T::zero(), T::zero());
        if moments.own {
            in_x = -c.slope * c.scale * dot / self.count();
            constant = -c.slope * sum / self.count() - c.mean * in_x;
        }
        for at in self.planes(channel) {
            // SAFETY: as above
            let gx = unsafe { part(gx, at.clone()) };
            let line = (c.slope, c.offset);
            lines::<T, RELU>(gx, &gy[at.clone()], &x[at], line, (in_x, constant));
        }
    }
}
