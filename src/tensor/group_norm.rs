//! Group normalisation over one member, in the layout `[batch, channels, pixels]`.
//!
//! Wu, He 2018 (arXiv 1803.08494), with PyTorch's conventions: the channels of an example are divided
//! into groups, each normalised by its own mean and biased variance; gain and shift are per channel. A
//! relu may follow at once, which saves a pass over memory each way: the backward pass computes its
//! sign again instead of reading it.

use rayon::prelude::*;

use super::elem::Elem;
use super::linear::Scaled;
use super::matmul::Shared;
use super::parallel::CHUNK;
use super::scratch;
use super::simd::simd;

/// Sizes of the work.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Examples.
    pub batch: usize,
    /// Channels of an example.
    pub channels: usize,
    /// Numbers in a channel.
    pub pixels: usize,
    /// Groups that the channels are divided into.
    pub groups: usize,
}

/// A group normalisation.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm<'a, T> {
    /// Sizes of the work; groups divide the channels.
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

/// Where the backward pass writes to.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// Gradient of the gain, `[channels]`.
    pub gain: &'a mut [T],
    /// Gradient of the shift, `[channels]`.
    pub shift: &'a mut [T],
    /// Gradient of the input; `None` if nothing needs it.
    pub input: Option<&'a mut [T]>,
}

/// Tangents of gain and shift (without multipliers) and of the input.
#[derive(Debug, Clone, Copy)]
pub struct Tangents<'a, T> {
    /// Of the gain.
    pub gain: &'a [T],
    /// Of the shift.
    pub shift: &'a [T],
    /// Of the input; `None` where it does not move.
    pub input: Option<&'a [T]>,
}

impl Sizes {
    /// Numbers of an example.
    pub(super) fn example(&self) -> usize {
        self.channels * self.pixels
    }

    fn group(&self) -> usize {
        self.channels / self.groups.max(1)
    }

    /// Numbers that are normalised together.
    fn block(&self) -> usize {
        self.group() * self.pixels
    }

    /// Numbers that the forward pass saves: mean and reciprocal standard deviation of every block.
    pub fn saved(&self) -> usize {
        2 * self.batch * self.groups
    }

    /// Runs `f` for every example, in parallel if there is much to do.
    fn examples(&self, f: impl Fn(usize) + Sync + Send) {
        if self.batch * self.example() <= 4 * CHUNK {
            (0..self.batch).for_each(f);
        } else {
            (0..self.batch).into_par_iter().for_each(f);
        }
    }
}

/// A sum over a slice in a fixed order that vectors can follow: `N` partial sums, then those.
#[inline(always)]
pub(super) fn sum<T: Elem, const N: usize>(x: &[T], f: impl Fn(T) -> T) -> T {
    let (chunks, rest) = x.as_chunks::<N>();
    let mut sums = [T::zero(); N];
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f(x);
        }
    }
    let mut total = T::zero();
    sums.iter().for_each(|&s| total += s);
    rest.iter().for_each(|&x| total += f(x));
    total
}

/// The sums of `f(x)` and `f(x) · y`, in the order of [`sum`].
#[inline(always)]
pub(super) fn sums<T: Elem>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> (T, T) {
    const N: usize = 16;
    let ((xs, rest), (ys, rest_y)) = (x.as_chunks::<N>(), y.as_chunks::<N>());
    let (mut first, mut second) = ([T::zero(); N], [T::zero(); N]);
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..N {
            let value = f(x[i], y[i]);
            first[i] += value;
            second[i] = value.mul_add(y[i], second[i]);
        }
    }
    let (mut a, mut b) = (T::zero(), T::zero());
    first.iter().for_each(|&s| a += s);
    second.iter().for_each(|&s| b += s);
    for (&x, &y) in rest.iter().zip(rest_y) {
        let value = f(x, y);
        a += value;
        b = value.mul_add(y, b);
    }
    (a, b)
}

/// Mean and reciprocal standard deviation (biased variance) of a block.
#[inline(always)]
fn moments<T: Elem>(x: &[T], eps: f64) -> (T, T) {
    let n = T::of(x.len().max(1) as f64);
    let mean = sum::<T, 64>(x, |x| x) / n;
    let var = sum::<T, 64>(x, |x| (x - mean) * (x - mean)) / n;
    (mean, (var + T::of(eps)).sqrt().recip())
}

/// `y = slope · x + offset`, then the relu; NaN passes through.
#[inline(always)]
pub(super) fn affine<T: Elem, const RELU: bool>(x: &[T], y: &mut [T], slope: T, offset: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        let value = x.mul_add(slope, offset);
        *y = if RELU && value < T::zero() {
            T::zero()
        } else {
            value
        };
    }
}

impl<T: Elem> GroupNorm<'_, T> {
    /// Slope and offset of a channel in a block with these moments.
    #[inline(always)]
    fn line(&self, channel: usize, mean: T, scale: T) -> (T, T) {
        let slope = T::of(self.gain.multiplier) * self.gain.value[channel] * scale;
        (
            slope,
            T::of(self.shift.multiplier) * self.shift.value[channel] - mean * slope,
        )
    }

    /// Writes `y [batch, channels, pixels]` and `saved`, [`Sizes::saved`] numbers.
    pub fn forward(&self, x: &[T], y: &mut [T], saved: &mut [T]) {
        let s = self.sizes;
        if s.example() == 0 {
            return;
        }
        let (to, stats) = (Shared::new(y), Shared::new(saved));
        s.examples(|n| {
            let x = &x[n * s.example()..][..s.example()];
            // SAFETY: each example's numbers are written by one task
            let (y, stats) = unsafe {
                (
                    std::slice::from_raw_parts_mut(to.ptr().add(n * s.example()), s.example()),
                    std::slice::from_raw_parts_mut(stats.ptr().add(2 * n * s.groups), 2 * s.groups),
                )
            };
            simd(
                #[inline(always)]
                || {
                    if self.relu {
                        self.example_forward::<true>(x, y, stats);
                    } else {
                        self.example_forward::<false>(x, y, stats);
                    }
                },
            );
        });
    }

    #[inline(always)]
    fn example_forward<const RELU: bool>(&self, x: &[T], y: &mut [T], stats: &mut [T]) {
        let s = self.sizes;
        for g in 0..s.groups {
            let (mean, scale) = moments(&x[g * s.block()..][..s.block()], self.eps);
            stats[2 * g..][..2].copy_from_slice(&[mean, scale]);
            for channel in g * s.group()..(g + 1) * s.group() {
                let (slope, offset) = self.line(channel, mean, scale);
                let at = channel * s.pixels..(channel + 1) * s.pixels;
                affine::<T, RELU>(&x[at.clone()], &mut y[at], slope, offset);
            }
        }
    }

    /// From `gy`, the gradient of the output, writes those of gain, shift and input.
    pub fn backward(&self, x: &[T], saved: &[T], gy: &[T], to: Gradients<'_, T>) {
        let s = self.sizes;
        to.gain.fill(T::zero());
        to.shift.fill(T::zero());
        if s.batch * s.example() == 0 {
            return;
        }
        let gx = to.input.map(Shared::new);
        // each example's sums per channel, of gy · normalised x and of gy
        scratch::with(2 * s.batch * s.channels, |parts: &mut [T]| {
            let shared = Shared::new(parts);
            s.examples(|n| {
                let at = n * s.example()..(n + 1) * s.example();
                let (x, gy) = (&x[at.clone()], &gy[at]);
                // SAFETY: each example's numbers are written by one task
                let (part, gx) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(
                            shared.ptr().add(2 * n * s.channels),
                            2 * s.channels,
                        ),
                        gx.map(|gx| {
                            std::slice::from_raw_parts_mut(
                                gx.ptr().add(n * s.example()),
                                s.example(),
                            )
                        }),
                    )
                };
                let stats = &saved[2 * n * s.groups..][..2 * s.groups];
                simd(
                    #[inline(always)]
                    || {
                        if self.relu {
                            self.example_backward::<true>(x, stats, gy, part, gx);
                        } else {
                            self.example_backward::<false>(x, stats, gy, part, gx);
                        }
                    },
                );
            });
            for part in parts.chunks_exact(2 * s.channels) {
                for ((gain, shift), part) in to
                    .gain
                    .iter_mut()
                    .zip(to.shift.iter_mut())
                    .zip(part.chunks_exact(2))
                {
                    *gain += part[0];
                    *shift += part[1];
                }
            }
        });
        let (gain, shift) = (T::of(self.gain.multiplier), T::of(self.shift.multiplier));
        to.gain.iter_mut().for_each(|g| *g *= gain);
        to.shift.iter_mut().for_each(|g| *g *= shift);
    }

    #[inline(always)]
    fn example_backward<const RELU: bool>(
        &self,
        x: &[T],
        stats: &[T],
        gy: &[T],
        part: &mut [T],
        mut gx: Option<&mut [T]>,
    ) {
        let s = self.sizes;
        let count = T::of(s.block() as f64);
        for g in 0..s.groups {
            let (mean, scale) = (stats[2 * g], stats[2 * g + 1]);
            let (mut all, mut dots) = (T::zero(), T::zero());
            for channel in g * s.group()..(g + 1) * s.group() {
                let (slope, offset) = self.line(channel, mean, scale);
                let at = channel * s.pixels..(channel + 1) * s.pixels;
                let (sum, dot) = sums(&gy[at.clone()], &x[at], |gy, x| {
                    passed::<T, RELU>(gy, x, slope, offset)
                });
                let dot = (dot - mean * sum) * scale;
                part[2 * channel..][..2].copy_from_slice(&[dot, sum]);
                let gain = T::of(self.gain.multiplier) * self.gain.value[channel];
                all += gain * sum;
                dots += gain * dot;
            }
            let Some(gx) = gx.as_deref_mut() else {
                continue;
            };
            // gx = scale · (gain · gy − all / n − normalised · dots / n), as a line in gy and x
            let in_x = -scale * scale * dots / count;
            let constant = -scale * all / count - mean * in_x;
            for channel in g * s.group()..(g + 1) * s.group() {
                let (slope, offset) = self.line(channel, mean, scale);
                let at = channel * s.pixels..(channel + 1) * s.pixels;
                lines::<T, RELU>(
                    &mut gx[at.clone()],
                    &gy[at.clone()],
                    &x[at],
                    (slope, offset),
                    (in_x, constant),
                );
            }
        }
    }

    /// Writes the tangent `dy` of the output.
    pub fn tangent(&self, x: &[T], saved: &[T], d: Tangents<'_, T>, dy: &mut [T]) {
        let s = self.sizes;
        let (gain_by, shift_by) = (T::of(self.gain.multiplier), T::of(self.shift.multiplier));
        self.blocks(saved, |at, first, mean, scale| {
            let moved = d
                .input
                .map(|dx| Moved::new(&x[at.clone()], &dx[at.clone()], mean, scale));
            for (i, to) in at.clone().zip(&mut dy[at]) {
                let channel = first + i % s.block() / s.pixels;
                let (slope, offset) = self.line(channel, mean, scale);
                let normalised = (x[i] - mean) * scale;
                let mut value =
                    gain_by * d.gain[channel] * normalised + shift_by * d.shift[channel];
                if let (Some(moved), Some(dx)) = (&moved, d.input) {
                    value += gain_by
                        * self.gain.value[channel]
                        * moved.normalised(dx[i], normalised, scale);
                }
                *to = self.mask(value, x[i], slope, offset);
            }
        });
    }

    /// The tangent of [`GroupNorm::backward`], from the gradient of the output and its tangent.
    pub fn backward_tangent(
        &self,
        x: &[T],
        saved: &[T],
        d: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        mut to: Gradients<'_, T>,
    ) {
        let s = self.sizes;
        let (gain_by, shift_by) = (T::of(self.gain.multiplier), T::of(self.shift.multiplier));
        to.gain.fill(T::zero());
        to.shift.fill(T::zero());
        self.blocks(saved, |at, first, mean, scale| {
            let n = T::of(s.block() as f64);
            let moved = d
                .input
                .map(|dx| Moved::new(&x[at.clone()], &dx[at.clone()], mean, scale));
            // normalised input, its tangent, the gradient before the gain, its tangent
            let parts = |i: usize| {
                let channel = first + i % s.block() / s.pixels;
                let (slope, offset) = self.line(channel, mean, scale);
                let normalised = (x[i] - mean) * scale;
                let tangent = match (&moved, d.input) {
                    (Some(moved), Some(dx)) => moved.normalised(dx[i], normalised, scale),
                    _ => T::zero(),
                };
                let (gy, dgy) = (
                    self.mask(gy[i], x[i], slope, offset),
                    self.mask(dgy[i], x[i], slope, offset),
                );
                (channel, normalised, tangent, gy, dgy)
            };
            let weighted = |channel: usize, gy: T, dgy: T| {
                let (gain, tangent) = (self.gain.value[channel], d.gain[channel]);
                (gain_by * gain * gy, gain_by * (tangent * gy + gain * dgy))
            };
            let [mut mean_d, mut dot, mut mean_dd, mut ddot] = [T::zero(); 4];
            for i in at.clone() {
                let (channel, normalised, tangent, gy, dgy) = parts(i);
                to.gain[channel] += gain_by * (dgy * normalised + gy * tangent);
                to.shift[channel] += shift_by * dgy;
                let (w, dw) = weighted(channel, gy, dgy);
                mean_d += w / n;
                mean_dd += dw / n;
                dot += w * normalised / n;
                ddot += (dw * normalised + w * tangent) / n;
            }
            let Some(dgx) = to.input.as_deref_mut() else {
                return;
            };
            let dscale = moved.as_ref().map_or(T::zero(), |m| m.scale(scale));
            for i in at {
                let (channel, normalised, tangent, gy, dgy) = parts(i);
                let (w, dw) = weighted(channel, gy, dgy);
                let inner = w - mean_d - normalised * dot;
                let dinner = dw - mean_dd - tangent * dot - normalised * ddot;
                dgx[i] = dscale * inner + scale * dinner;
            }
        });
    }

    /// Calls `f(range of numbers, first channel, mean, scale)` for every block in order.
    fn blocks(&self, saved: &[T], mut f: impl FnMut(std::ops::Range<usize>, usize, T, T)) {
        let s = self.sizes;
        if s.example() == 0 {
            return;
        }
        for (i, stats) in saved.chunks_exact(2).take(s.batch * s.groups).enumerate() {
            let at = i * s.block()..(i + 1) * s.block();
            f(at, i % s.groups * s.group(), stats[0], stats[1]);
        }
    }

    /// `value` where the relu lets it pass.
    fn mask(&self, value: T, x: T, slope: T, offset: T) -> T {
        if self.relu {
            passed::<T, true>(value, x, slope, offset)
        } else {
            value
        }
    }
}

/// The gradient behind the relu; as in [`affine`], and 0 at 0.
#[inline(always)]
pub(super) fn passed<T: Elem, const RELU: bool>(gy: T, x: T, slope: T, offset: T) -> T {
    if !RELU || x.mul_add(slope, offset) > T::zero() {
        gy
    } else {
        T::zero()
    }
}

/// `gx = slope · gy + in_x · x + constant`.
#[inline(always)]
pub(super) fn lines<T: Elem, const RELU: bool>(
    gx: &mut [T],
    gy: &[T],
    x: &[T],
    (slope, offset): (T, T),
    (in_x, constant): (T, T),
) {
    for ((gx, &gy), &x) in gx.iter_mut().zip(gy).zip(x) {
        let gy = passed::<T, RELU>(gy, x, slope, offset);
        *gx = gy.mul_add(slope, x.mul_add(in_x, constant));
    }
}

/// How a block's moments move with its input.
struct Moved<T> {
    /// Tangent of the mean.
    mean: T,
    /// Mean of normalised input times tangent.
    dot: T,
}

impl<T: Elem> Moved<T> {
    fn new(x: &[T], dx: &[T], mean: T, scale: T) -> Self {
        let n = T::of(x.len() as f64);
        let dot: T = x
            .iter()
            .zip(dx)
            .map(|(&x, &dx)| (x - mean) * scale * dx)
            .sum();
        Self {
            mean: dx.iter().copied().sum::<T>() / n,
            dot: dot / n,
        }
    }

    /// Tangent of a normalised number.
    fn normalised(&self, dx: T, normalised: T, scale: T) -> T {
        scale * (dx - self.mean - normalised * self.dot)
    }

    /// Tangent of the reciprocal standard deviation.
    fn scale(&self, scale: T) -> T {
        -scale * scale * self.dot
    }
}
