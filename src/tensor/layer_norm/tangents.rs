//! Tangents of layer and RMS normalisation and of their backward passes.

use super::{Gradients, saved_moments, saved_per_row};
use crate::tensor::elem::Elem;
use crate::tensor::lanes::sums;
use crate::tensor::linear::Scaled;
use crate::tensor::parallel::row_blocks;
use crate::tensor::scratch;
use crate::tensor::simd::simd;

/// The tangent of the normalised row, `x̂' = r (ẋ − mean ẋ − x̂ mean(x̂ ẋ))` with the reciprocal standard
/// deviation r, and `−ṙ / r = r mean(x̂ ẋ)`. Both are 0 without `dx`. Where the mean is not taken off, that of ẋ
/// is not either.
#[inline(always)]
fn normalised_tangent<T: Elem, const CENTRED: bool>(
    x: &[T],
    dx: Option<&[T]>,
    saved: &[T],
    to: &mut [T],
) -> T {
    let Some(dx) = dx else {
        to.fill(T::zero());
        return T::zero();
    };
    let (mean, scale) = saved_moments::<T, CENTRED>(saved);
    let n = T::of(x.len() as f64);
    let [sum, dot] = sums(
        [x, dx],
        #[inline(always)]
        |[x, dx]| [dx, (x - mean) * scale * dx],
    );
    let m1 = if CENTRED { sum / n } else { T::zero() };
    let m2 = dot / n;
    for ((to, &x), &dx) in to.iter_mut().zip(x).zip(dx) {
        *to = scale * (dx - m1 - (x - mean) * scale * m2);
    }
    scale * m2
}

/// The tangent of [`forward`](super::forward) from the tangents of `x` (0 if `None`), gain and bias.
pub fn tangent<T: Elem, const CENTRED: bool>(
    (x, dx): (&[T], Option<&[T]>),
    (gain, dgain): (Scaled<'_, T>, &[T]),
    dbias: Scaled<'_, T>,
    saved: &[T],
    dy: &mut [T],
) {
    let f = gain.value.len();
    row_blocks(dy, f, |start, dy| {
        let here = start..start + dy.len();
        let (x, dx) = (&x[here.clone()], dx.map(|dx| &dx[here]));
        let saved = &saved[saved_per_row(CENTRED) * (start / f)..];
        simd(
            #[inline(always)]
            || rows_tangent::<T, CENTRED>((x, dx), (gain, dgain), dbias, saved, dy),
        );
    });
}

#[inline(always)]
fn rows_tangent<T: Elem, const CENTRED: bool>(
    (x, dx): (&[T], Option<&[T]>),
    (gain, dgain): (Scaled<'_, T>, &[T]),
    dbias: Scaled<'_, T>,
    saved: &[T],
    dy: &mut [T],
) {
    let f = gain.value.len();
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(dbias.multiplier));
    for (row, dy) in dy.chunks_exact_mut(f).enumerate() {
        let here = row * f..(row + 1) * f;
        let (x, dx) = (&x[here.clone()], dx.map(|dx| &dx[here]));
        let saved = &saved[saved_per_row(CENTRED) * row..][..saved_per_row(CENTRED)];
        normalised_tangent::<T, CENTRED>(x, dx, saved, dy);
        let (mean, scale) = saved_moments::<T, CENTRED>(saved);
        let numbers = dy.iter_mut().zip(x).zip(gain.value.iter().zip(dgain));
        if CENTRED {
            for (((dy, &x), (&g, &dg)), &db) in numbers.zip(dbias.value) {
                *dy = gain_scale * (g * *dy + dg * ((x - mean) * scale)) + bias_scale * db;
            }
        } else {
            for ((dy, &x), (&g, &dg)) in numbers {
                *dy = gain_scale * (g * *dy + dg * (x * scale));
            }
        }
    }
}

/// The tangent of [`backward`](super::backward): what it writes to is those of the gradients.
pub fn backward_tangent<T: Elem, const CENTRED: bool>(
    (x, dx): (&[T], Option<&[T]>),
    (gain, dgain): (Scaled<'_, T>, &[T]),
    bias_scale: f64,
    saved: &[T],
    (gy, dgy): (&[T], &[T]),
    to: Gradients<'_, T>,
) {
    let f = gain.value.len();
    if f == 0 {
        return;
    }
    let gain_scale = T::of(gain.multiplier);
    let scales = [gain_scale, T::of(bias_scale)];
    to.fill(x.len() / f, scales, |rows, mut gx, gg, gb| {
        scratch::with(3 * f, |work: &mut [T]| {
            let (normalised, work) = work.split_at_mut(f);
            let (dnormalised, flat) = work.split_at_mut(f);
            for row in rows.clone() {
                let here = row * f..(row + 1) * f;
                let at = Row::<T, CENTRED> {
                    x: &x[here.clone()],
                    dx: dx.map(|dx| &dx[here.clone()]),
                    saved: &saved[saved_per_row(CENTRED) * row..][..saved_per_row(CENTRED)],
                    gy: &gy[here.clone()],
                    dgy: &dgy[here],
                };
                let gx = gx
                    .as_deref_mut()
                    .map(|gx| &mut gx[(row - rows.start) * f..][..f]);
                simd(
                    #[inline(always)]
                    || {
                        let shrink = at.normalise(normalised, dnormalised);
                        at.parameters(normalised, dnormalised, gg, gb);
                        if let Some(gx) = gx {
                            let gains = (gain.value, dgain);
                            at.input(gains, (normalised, dnormalised), shrink, flat, gx);
                            gx.iter_mut().for_each(|gx| *gx *= gain_scale);
                        }
                    },
                );
            }
        });
    });
}

/// What the backward pass of one row reads, with tangents.
#[derive(Clone, Copy)]
struct Row<'a, T, const CENTRED: bool> {
    x: &'a [T],
    dx: Option<&'a [T]>,
    saved: &'a [T],
    gy: &'a [T],
    dgy: &'a [T],
}

impl<T: Elem, const CENTRED: bool> Row<'_, T, CENTRED> {
    /// Fills in x̂ and its tangent; gives `−ṙ / r`.
    #[inline(always)]
    fn normalise(self, normalised: &mut [T], dnormalised: &mut [T]) -> T {
        let (mean, scale) = saved_moments::<T, CENTRED>(self.saved);
        for (to, &x) in normalised.iter_mut().zip(self.x) {
            *to = (x - mean) * scale;
        }
        normalised_tangent::<T, CENTRED>(self.x, self.dx, self.saved, dnormalised)
    }

    /// Adds the tangents of the gradients of gain and bias, without their multipliers.
    #[inline(always)]
    fn parameters(self, xh: &[T], dxh: &[T], gg: &mut [T], gb: &mut [T]) {
        let gradients = self.gy.iter().zip(self.dgy);
        for ((gg, (&gy, &dgy)), (&xh, &dxh)) in gg.iter_mut().zip(gradients).zip(xh.iter().zip(dxh))
        {
            *gg += dgy * xh + gy * dxh;
        }
        for (gb, &dgy) in gb.iter_mut().zip(self.dgy) {
            *gb += dgy;
        }
    }

    /// The tangent of the gradient of the input, without the gain's multiplier: that of
    /// `r (d − mean d − x̂ mean(d x̂))` with `d = gy · gain`, where `mean d` comes with the mean of x.
    #[inline(always)]
    fn input(
        self,
        (gain, dgain): (&[T], &[T]),
        (xh, dxh): (&[T], &[T]),
        shrink: T,
        flat: &mut [T],
        gx: &mut [T],
    ) {
        let n = T::of(gx.len() as f64);
        let [m1, m2] = sums(
            [self.gy, gain, xh],
            #[inline(always)]
            |[gy, g, xh]| [gy * g, gy * g * xh],
        );
        let m1 = if CENTRED { m1 / n } else { T::zero() };
        let m2 = m2 / n;
        for ((gx, (&gy, &dgy)), (&g, &dg)) in gx
            .iter_mut()
            .zip(self.gy.iter().zip(self.dgy))
            .zip(gain.iter().zip(dgain))
        {
            *gx = dgy * g + gy * dg;
        }
        for (((flat, &gy), &g), &xh) in flat.iter_mut().zip(self.gy).zip(gain).zip(xh) {
            *flat = gy * g - m1 - xh * m2;
        }
        let [dm1, dm2] = sums(
            [&*gx, self.gy, gain, xh, dxh],
            #[inline(always)]
            |[dd, gy, g, xh, dxh]| [dd, dd * xh + gy * g * dxh],
        );
        let dm1 = if CENTRED { dm1 / n } else { T::zero() };
        let dm2 = dm2 / n;
        let (_, scale) = saved_moments::<T, CENTRED>(self.saved);
        for (((gx, &flat), &xh), &dxh) in gx.iter_mut().zip(&*flat).zip(xh).zip(dxh) {
            let bent = *gx - dm1 - dxh * m2 - xh * dm2;
            *gx = scale * (bent - shrink * flat);
        }
    }
}
