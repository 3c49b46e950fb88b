//! Batch normalisation of vectors `[batch, channels]`: where a channel has one number per example, blocks
//! of neighbouring channels are worked on side by side, row after row, instead of one channel's scattered
//! numbers after another's.

use std::ops::Range;

use rayon::prelude::*;

use super::{BatchNorm, Channel, Moments, part};
use crate::tensor::elem::Elem;
use crate::tensor::group_norm::{Gradients, passed};
use crate::tensor::matmul::Shared;
use crate::tensor::parallel::CHUNK;
use crate::tensor::simd::simd;

/// Channels of a block.
const WIDTH: usize = 128;

/// What a block's numbers are computed with, one of each per channel.
struct Block<T> {
    range: Range<usize>,
    mean: [T; WIDTH],
    scale: [T; WIDTH],
    slope: [T; WIDTH],
    offset: [T; WIDTH],
}

impl<T: Elem> BatchNorm<'_, T> {
    /// Runs `f` for every block of channels, in parallel if there is much to do.
    fn blocks(&self, f: impl Fn(Range<usize>) + Sync + Send) {
        let s = self.sizes;
        let block = |i: usize| f(i * WIDTH..((i + 1) * WIDTH).min(s.channels));
        let count = s.channels.div_ceil(WIDTH);
        if s.batch * s.channels <= 4 * CHUNK {
            (0..count).for_each(block);
        } else {
            (0..count).into_par_iter().for_each(block);
        }
    }

    fn block(&self, range: Range<usize>, moments: Moments<'_, T>) -> Block<T> {
        let zeros = [T::zero(); WIDTH];
        let [mut mean, mut scale, mut slope, mut offset] = [zeros; 4];
        for (i, channel) in range.clone().enumerate() {
            let c: Channel<T> = self.channel(channel, moments);
            (mean[i], scale[i], slope[i], offset[i]) = (c.mean, c.scale, c.slope, c.offset);
        }
        Block {
            range,
            mean,
            scale,
            slope,
            offset,
        }
    }

    /// [`BatchNorm::moments`] of vectors.
    pub(super) fn column_moments(&self, x: &[T], mean: &mut [T], var: &mut [T]) {
        let (means, vars) = (Shared::new(mean), Shared::new(var));
        self.blocks(|range| {
            // SAFETY: each channel's moments are written by one task
            let (mean, var) = unsafe { (part(means, range.clone()), part(vars, range.clone())) };
            simd(
                #[inline(always)]
                || moments(x, (self.sizes.channels, range.start), mean, var),
            );
        });
    }

    /// [`BatchNorm::forward`] of vectors.
    pub(super) fn column_forward(&self, x: &[T], moments: Moments<'_, T>, y: &mut [T]) {
        let to = Shared::new(y);
        self.blocks(|range| {
            let block = self.block(range, moments);
            for n in 0..self.sizes.batch {
                let at = block.row(n, self.sizes.channels);
                // SAFETY: each channel's numbers are written by one task
                let y = unsafe { part(to, at.clone()) };
                simd(
                    #[inline(always)]
                    || {
                        if self.relu {
                            block.forward::<true>(&x[at], y);
                        } else {
                            block.forward::<false>(&x[at], y);
                        }
                    },
                );
            }
        });
    }

    /// [`BatchNorm::backward`] of vectors.
    pub(super) fn column_backward(
        &self,
        x: &[T],
        moments: Moments<'_, T>,
        gy: &[T],
        to: Gradients<'_, T>,
    ) {
        let (gain, shift) = (Shared::new(to.gain), Shared::new(to.shift));
        let gx = to.input.map(Shared::new);
        self.blocks(|range| {
            // SAFETY: each channel's numbers are written by one task
            let gains = unsafe { (part(gain, range.clone()), part(shift, range.clone())) };
            let block = self.block(range, moments);
            simd(
                #[inline(always)]
                || {
                    if self.relu {
                        self.block_backward::<true>(&block, (x, gy), moments.own, gains, gx);
                    } else {
                        self.block_backward::<false>(&block, (x, gy), moments.own, gains, gx);
                    }
                },
            );
        });
    }

    #[inline(always)]
    fn block_backward<const RELU: bool>(
        &self,
        block: &Block<T>,
        (x, gy): (&[T], &[T]),
        own: bool,
        (gain, shift): (&mut [T], &mut [T]),
        gx: Option<Shared<T>>,
    ) {
        let s = self.sizes;
        gain.fill(T::zero());
        shift.fill(T::zero());
        for n in 0..s.batch {
            let at = block.row(n, s.channels);
            block.add_gradients::<RELU>(&x[at.clone()], &gy[at], gain, shift);
        }
        if let Some(gx) = gx {
            let [mut in_x, mut constant] = [[T::zero(); WIDTH]; 2];
            if own {
                for (i, (&dot, &sum)) in gain.iter().zip(&*shift).enumerate() {
                    in_x[i] = -block.slope[i] * block.scale[i] * dot / self.count();
                    constant[i] = -block.slope[i] * sum / self.count() - block.mean[i] * in_x[i];
                }
            }
            for n in 0..s.batch {
                let at = block.row(n, s.channels);
                // SAFETY: each channel's numbers are written by one task
                let gx = unsafe { part(gx, at.clone()) };
                block.input_gradient::<RELU>(&x[at.clone()], &gy[at], (&in_x, &constant), gx);
            }
        }
        let (gain_by, shift_by) = (T::of(self.gain.multiplier), T::of(self.shift.multiplier));
        gain.iter_mut().for_each(|g| *g *= gain_by);
        shift.iter_mut().for_each(|g| *g *= shift_by);
    }
}

#[inline(always)]
fn moments<T: Elem>(x: &[T], (channels, start): (usize, usize), mean: &mut [T], var: &mut [T]) {
    let width = mean.len();
    let rows = x.chunks_exact(channels);
    let count = T::of(rows.len().max(1) as f64);
    let rows = rows.map(|row| &row[start..start + width]);
    mean.fill(T::zero());
    for row in rows.clone() {
        for (mean, &x) in mean.iter_mut().zip(row) {
            *mean += x;
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    var.fill(T::zero());
    for row in rows {
        for ((var, &mean), &x) in var.iter_mut().zip(&*mean).zip(row) {
            *var += (x - mean) * (x - mean);
        }
    }
    var.iter_mut().for_each(|var| *var /= count);
}

impl<T: Elem> Block<T> {
    /// The block's part of an example.
    #[inline(always)]
    fn row(&self, n: usize, channels: usize) -> Range<usize> {
        n * channels + self.range.start..n * channels + self.range.end
    }

    #[inline(always)]
    fn forward<const RELU: bool>(&self, x: &[T], y: &mut [T]) {
        let lines = self.slope.iter().zip(&self.offset);
        for ((y, &x), (&slope, &offset)) in y.iter_mut().zip(x).zip(lines) {
            let value = x.mul_add(slope, offset);
            *y = if RELU && value < T::zero() {
                T::zero()
            } else {
                value
            };
        }
    }

    /// Adds an example's gradients of gain and shift, without their multipliers.
    #[inline(always)]
    fn add_gradients<const RELU: bool>(&self, x: &[T], gy: &[T], gain: &mut [T], shift: &mut [T]) {
        let lines = self.slope.iter().zip(&self.offset);
        let moments = self.mean.iter().zip(&self.scale);
        let to = gain.iter_mut().zip(shift.iter_mut());
        let numbers = gy.iter().zip(x).zip(lines.zip(moments));
        for ((gain, shift), ((&gy, &x), ((&slope, &offset), (&mean, &scale)))) in to.zip(numbers) {
            let gy = passed::<T, RELU>(gy, x, slope, offset);
            *gain += gy * ((x - mean) * scale);
            *shift += gy;
        }
    }

    #[inline(always)]
    fn input_gradient<const RELU: bool>(
        &self,
        x: &[T],
        gy: &[T],
        (in_x, constant): (&[T; WIDTH], &[T; WIDTH]),
        gx: &mut [T],
    ) {
        let lines = self.slope.iter().zip(&self.offset);
        let rest = in_x.iter().zip(constant);
        let numbers = gy.iter().zip(x).zip(lines.zip(rest));
        for (gx, ((&gy, &x), ((&slope, &offset), (&in_x, &constant)))) in gx.iter_mut().zip(numbers)
        {
            let gy = passed::<T, RELU>(gy, x, slope, offset);
            *gx = gy.mul_add(slope, x.mul_add(in_x, constant));
        }
    }
}
