//! Tangents of batch normalisation and of its backward pass.
//!
//! In training the moments move with the input. With the normalised input x̂, reciprocal standard
//! deviation r and tangents marked by a dot: `dot(x̂) = r (ẋ − mean ẋ − x̂ mean(x̂ ẋ))` and `ṙ = −r² mean(x̂ ẋ)`; with
//! running estimates both means count as 0. Everything is then a line in what a number is made of, with
//! coefficients that its channel has in common.

use super::{BatchNorm, Channel, Moments, part};
use crate::tensor::elem::Elem;
use crate::tensor::group_norm::{Gradients, Tangents, passed};
use crate::tensor::lanes;
use crate::tensor::matmul::Shared;
use crate::tensor::scratch;
use crate::tensor::simd::simd;

/// Calls `f` with zeros in place of a plane of an input that does not move.
fn with_still<T: Elem, R>(pixels: usize, f: impl FnOnce(&[T]) -> R) -> R {
    scratch::with(pixels, |still: &mut [T]| {
        still.fill(T::zero());
        f(still)
    })
}

/// Coefficients of a line in gradient, its tangent, input and its tangent.
#[derive(Clone, Copy)]
struct Line<T> {
    in_gy: T,
    in_dgy: T,
    in_x: T,
    in_dx: T,
    constant: T,
}

impl<T: Elem> BatchNorm<'_, T> {
    /// Writes the tangent `dy` of the output.
    pub fn tangent(&self, x: &[T], moments: Moments<'_, T>, d: Tangents<'_, T>, dy: &mut [T]) {
        let to = Shared::new(dy);
        with_still(self.sizes.pixels, |still: &[T]| {
            self.channels(|channel| {
                simd(
                    #[inline(always)]
                    || {
                        if self.relu {
                            self.channel_tangent::<true>(channel, x, moments, (d, still), to);
                        } else {
                            self.channel_tangent::<false>(channel, x, moments, (d, still), to);
                        }
                    },
                );
            });
        });
    }

    #[inline(always)]
    fn channel_tangent<const RELU: bool>(
        &self,
        channel: usize,
        x: &[T],
        moments: Moments<'_, T>,
        (d, still): (Tangents<'_, T>, &[T]),
        dy: Shared<T>,
    ) {
        let c = self.channel(channel, moments);
        let moved = |at: std::ops::Range<usize>| d.input.map_or(still, |dx| &dx[at]);
        let (mut mean, mut dot) = (T::zero(), T::zero());
        if moments.own {
            for at in self.planes(channel) {
                let [a, b] = lanes::sums(
                    [&x[at.clone()], moved(at)],
                    #[inline(always)]
                    |[x, dx]| [dx, (x - c.mean) * c.scale * dx],
                );
                mean += a;
                dot += b;
            }
            mean /= self.count();
            dot /= self.count();
        }
        let dgain = T::of(self.gain.multiplier) * d.gain[channel];
        let dshift = T::of(self.shift.multiplier) * d.shift[channel];
        let in_x = c.scale * (dgain - c.slope * dot);
        let constant = dshift - c.mean * in_x - c.slope * mean;
        for at in self.planes(channel) {
            // SAFETY: each channel's numbers are written by one task
            let dy = unsafe { part(dy, at.clone()) };
            for ((dy, &x), &dx) in dy.iter_mut().zip(&x[at.clone()]).zip(moved(at)) {
                let value = x.mul_add(in_x, dx.mul_add(c.slope, constant));
                *dy = passed::<T, RELU>(value, x, c.slope, c.offset);
            }
        }
    }

    /// The tangent of [`BatchNorm::backward`], from the gradient of the output and its tangent.
    pub fn backward_tangent(
        &self,
        x: &[T],
        moments: Moments<'_, T>,
        d: Tangents<'_, T>,
        gradient: (&[T], &[T]),
        to: Gradients<'_, T>,
    ) {
        let gains = (Shared::new(to.gain), Shared::new(to.shift));
        let dgx = to.input.map(Shared::new);
        with_still(self.sizes.pixels, |still: &[T]| {
            let d = (d, still);
            self.channels(|channel| {
                simd(
                    #[inline(always)]
                    || {
                        if self.relu {
                            self.channel_backward_tangent::<true>(
                                channel, x, moments, d, gradient, gains, dgx,
                            );
                        } else {
                            self.channel_backward_tangent::<false>(
                                channel, x, moments, d, gradient, gains, dgx,
                            );
                        }
                    },
                );
            });
        });
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "what the pass reads and where it writes to"
    )]
    #[inline(always)]
    fn channel_backward_tangent<const RELU: bool>(
        &self,
        channel: usize,
        x: &[T],
        moments: Moments<'_, T>,
        (d, still): (Tangents<'_, T>, &[T]),
        (gy, dgy): (&[T], &[T]),
        (dgain, dshift): (Shared<T>, Shared<T>),
        dgx: Option<Shared<T>>,
    ) {
        let c = self.channel(channel, moments);
        let moved = |at: std::ops::Range<usize>| d.input.map_or(still, |dx| &dx[at]);
        let mut totals = [T::zero(); 7];
        for at in self.planes(channel) {
            let rows = [&x[at.clone()], &gy[at.clone()], &dgy[at.clone()], moved(at)];
            let sums = lanes::sums(
                rows,
                #[inline(always)]
                |[x, gy, dgy, dx]| {
                    let normalised = (x - c.mean) * c.scale;
                    let gy = passed::<T, RELU>(gy, x, c.slope, c.offset);
                    let dgy = passed::<T, RELU>(dgy, x, c.slope, c.offset);
                    [
                        gy,
                        gy * normalised,
                        dgy,
                        dgy * normalised,
                        dx,
                        normalised * dx,
                        gy * dx,
                    ]
                },
            );
            for i in 0..totals.len() {
                totals[i] += sums[i];
            }
        }
        let (line, [gain, shift]) = self.line(channel, c, moments.own, d.gain[channel], totals);
        // SAFETY: each channel's numbers are written by one task
        unsafe {
            dgain.ptr().add(channel).write(gain);
            dshift.ptr().add(channel).write(shift);
        }
        let Some(dgx) = dgx else { return };
        for at in self.planes(channel) {
            // SAFETY: as above
            let dgx = unsafe { part(dgx, at.clone()) };
            let gradients = gy[at.clone()].iter().zip(&dgy[at.clone()]);
            let inputs = x[at.clone()].iter().zip(moved(at));
            for ((dgx, (&gy, &dgy)), (&x, &dx)) in dgx.iter_mut().zip(gradients).zip(inputs) {
                let through = gy.mul_add(line.in_gy, dgy * line.in_dgy);
                let rest = x.mul_add(line.in_x, dx.mul_add(line.in_dx, line.constant));
                *dgx = passed::<T, RELU>(through, x, c.slope, c.offset) + rest;
            }
        }
    }

    /// The tangent of the input's gradient as a line, and those of the gradients of gain and shift, from
    /// the channel's sums. The gradient is `slope (g − mean g − x̂ mean(g x̂))` for that of the output, g.
    #[inline(always)]
    fn line(
        &self,
        channel: usize,
        c: Channel<T>,
        own: bool,
        dgain: T,
        [g, g_xh, dg, dg_xh, dx, xh_dx, g_dx]: [T; 7],
    ) -> (Line<T>, [T; 2]) {
        let gain_by = T::of(self.gain.multiplier);
        // means over the channel; a running estimate does not move
        let mean = |sum: T| {
            if own { sum / self.count() } else { T::zero() }
        };
        let (mean_dx, mean_xh_dx) = (mean(dx), mean(xh_dx));
        // Σ g dot(x̂)
        let g_dxh = c.scale * (g_dx - mean_dx * g - mean_xh_dx * g_xh);
        let dgain_sum = dg_xh + g_dxh;
        let dshift_sum = dg;
        let dslope = gain_by * c.scale * (dgain - self.gain.value[channel] * c.scale * mean_xh_dx);
        let in_dxh = -c.slope * mean(g_xh);
        let in_xh =
            -dslope * mean(g_xh) - c.slope * mean(dgain_sum) - in_dxh * c.scale * mean_xh_dx;
        let in_x = in_xh * c.scale;
        let line = Line {
            in_gy: dslope,
            in_dgy: c.slope,
            in_x,
            in_dx: in_dxh * c.scale,
            constant: -dslope * mean(g)
                - c.slope * mean(dg)
                - in_dxh * c.scale * mean_dx
                - c.mean * in_x,
        };
        let shift_by = T::of(self.shift.multiplier);
        (line, [gain_by * dgain_sum, shift_by * dshift_sum])
    }
}
