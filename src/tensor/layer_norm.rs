//! Layer normalisation over the last axis of one member.

use rayon::prelude::*;

use super::elem::Elem;
use super::linear::Scaled;

/// Mean and reciprocal standard deviation (biased variance, as in PyTorch) of one row.
fn moments<T: Elem>(row: &[T], eps: T) -> (T, T) {
    let n = T::of(row.len() as f64);
    let mean = row.iter().copied().sum::<T>() / n;
    let var = row.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
    (mean, (var + eps).sqrt().recip())
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
    let features = gain.value.len().max(1);
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(bias.multiplier));
    y.par_chunks_mut(features)
        .zip(x.par_chunks(features))
        .zip(saved.par_chunks_mut(2))
        .for_each(|((y, x), saved)| {
            let (mean, scale) = moments(x, T::of(eps));
            saved.copy_from_slice(&[mean, scale]);
            for (((y, &x), &g), &b) in y.iter_mut().zip(x).zip(gain.value).zip(bias.value) {
                *y = gain_scale * g * ((x - mean) * scale) + bias_scale * b;
            }
        });
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

/// The backward pass of [`forward`] from `gy`, the gradient of `y`.
pub fn backward<T: Elem>(
    x: &[T],
    gain: Scaled<'_, T>,
    bias_scale: f64,
    saved: &[T],
    gy: &[T],
    to: Gradients<'_, T>,
) {
    let f = gain.value.len().max(1);
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(bias_scale));
    to.gain.fill(T::of(0.0));
    to.bias.fill(T::of(0.0));
    let rows = x
        .chunks_exact(f)
        .zip(gy.chunks_exact(f))
        .zip(saved.chunks_exact(2));
    for ((x, gy), saved) in rows {
        let (mean, scale) = (saved[0], saved[1]);
        for (((gg, gb), &gy), &x) in to.gain.iter_mut().zip(to.bias.iter_mut()).zip(gy).zip(x) {
            *gg += gain_scale * gy * ((x - mean) * scale);
            *gb += bias_scale * gy;
        }
    }
    let Some(gx) = to.input else { return };
    let n = T::of(f as f64);
    gx.par_chunks_mut(f)
        .zip(x.par_chunks(f))
        .zip(gy.par_chunks(f))
        .zip(saved.par_chunks(2))
        .for_each(|(((out, x), gy), saved)| {
            let (mean, scale) = (saved[0], saved[1]);
            let mut sum = T::of(0.0);
            let mut dot = T::of(0.0);
            for ((&gy, &g), &x) in gy.iter().zip(gain.value).zip(x) {
                let d = gy * g * gain_scale;
                sum += d;
                dot += d * ((x - mean) * scale);
            }
            for (((out, &gy), &g), &x) in out.iter_mut().zip(gy).zip(gain.value).zip(x) {
                let d = gy * g * gain_scale;
                *out = scale * (d - sum / n - (x - mean) * scale * (dot / n));
            }
        });
}

/// Sums over one row that the tangents need: of `ẋ` and of `x̂ ẋ`, divided by their number.
fn means<T: Elem>(x: &[T], dx: &[T], (mean, scale): (T, T)) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mut sums = (T::of(0.0), T::of(0.0));
    for (&x, &dx) in x.iter().zip(dx) {
        sums.0 += dx;
        sums.1 += (x - mean) * scale * dx;
    }
    (sums.0 / n, sums.1 / n)
}

/// The tangent of the normalised row: `x̂' = r (ẋ − mean ẋ − x̂ mean(x̂ ẋ))`.
fn normalised_tangent<T: Elem>(x: &[T], dx: &[T], saved: (T, T), to: &mut [T]) {
    let (mean, scale) = saved;
    let (m1, m2) = means(x, dx, saved);
    for ((to, &x), &dx) in to.iter_mut().zip(x).zip(dx) {
        *to = scale * (dx - m1 - (x - mean) * scale * m2);
    }
}

/// The tangent of [`forward`] from the tangents of `x` (0 if `None`), gain and bias.
pub fn tangent<T: Elem>(
    (x, dx): (&[T], Option<&[T]>),
    (gain, dgain): (Scaled<'_, T>, &[T]),
    dbias: Scaled<'_, T>,
    saved: &[T],
    dy: &mut [T],
) {
    let f = gain.value.len().max(1);
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(dbias.multiplier));
    for (row, dy) in dy.chunks_exact_mut(f).enumerate() {
        let (mean, scale) = (saved[2 * row], saved[2 * row + 1]);
        let x = &x[row * f..][..f];
        match dx {
            Some(dx) => normalised_tangent(x, &dx[row * f..][..f], (mean, scale), dy),
            None => dy.fill(T::of(0.0)),
        }
        for (i, dy) in dy.iter_mut().enumerate() {
            let normalised = (x[i] - mean) * scale;
            *dy = gain_scale * (gain.value[i] * *dy + dgain[i] * normalised)
                + bias_scale * dbias.value[i];
        }
    }
}

/// The tangent of [`backward`]: what it writes to is those of the gradients.
pub fn backward_tangent<T: Elem>(
    (x, dx): (&[T], Option<&[T]>),
    (gain, dgain): (Scaled<'_, T>, &[T]),
    bias_scale: f64,
    saved: &[T],
    (gy, dgy): (&[T], &[T]),
    mut to: Gradients<'_, T>,
) {
    let f = gain.value.len().max(1);
    let (gain_scale, bias_scale) = (T::of(gain.multiplier), T::of(bias_scale));
    to.gain.fill(T::of(0.0));
    to.bias.fill(T::of(0.0));
    super::scratch::with(4 * f, |rows: &mut [T]| {
        let (dnormalised, rows) = rows.split_at_mut(f);
        let (normalised, rows) = rows.split_at_mut(f);
        let (d, dd) = rows.split_at_mut(f);
        let n = T::of(f as f64);
        for row in 0..x.len() / f {
            let here = row * f..(row + 1) * f;
            let (mean, scale) = (saved[2 * row], saved[2 * row + 1]);
            let (x, gy, dgy) = (&x[here.clone()], &gy[here.clone()], &dgy[here.clone()]);
            // −ṙ / r = r mean(x̂ ẋ), with r the reciprocal standard deviation
            let mut shrink = T::of(0.0);
            match dx {
                Some(dx) => {
                    let dx = &dx[here.clone()];
                    normalised_tangent(x, dx, (mean, scale), dnormalised);
                    shrink = scale * means(x, dx, (mean, scale)).1;
                }
                None => dnormalised.fill(T::of(0.0)),
            }
            let (mut m1, mut m2, mut dm1, mut dm2): (T, T, T, T) = Default::default();
            for i in 0..f {
                normalised[i] = (x[i] - mean) * scale;
                d[i] = gain_scale * gy[i] * gain.value[i];
                dd[i] = gain_scale * (dgy[i] * gain.value[i] + gy[i] * dgain[i]);
                m1 += d[i];
                m2 += d[i] * normalised[i];
                dm1 += dd[i];
                dm2 += dd[i] * normalised[i] + d[i] * dnormalised[i];
                to.gain[i] += gain_scale * (dgy[i] * normalised[i] + gy[i] * dnormalised[i]);
                to.bias[i] += bias_scale * dgy[i];
            }
            let (m1, m2, dm1, dm2): (T, T, T, T) = (m1 / n, m2 / n, dm1 / n, dm2 / n);
            let Some(gx) = &mut to.input else { continue };
            for (i, gx) in gx[here].iter_mut().enumerate() {
                let flat = d[i] - m1 - normalised[i] * m2;
                let bent = dd[i] - dm1 - dnormalised[i] * m2 - normalised[i] * dm2;
                *gx = scale * (bent - shrink * flat);
            }
        }
    });
}
