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
