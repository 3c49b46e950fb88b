//! Layer normalisation over the last axis, with gain and bias per member.

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{Elem, dispatch, read, write};
use crate::error::{Error, Result};

struct Sizes {
    shared_input: bool,
    rows: usize,
    features: usize,
}

fn sizes(x: &Tensor, gain: &Tensor) -> Result<Sizes> {
    let (members, features) = gain.dims2()?;
    let lead = x.dims()[0];
    if x.dims().last() != Some(&features) || (lead != 1 && lead != members) {
        return Err(Error::shape(format!(
            "layer_norm: input {:?} does not fit gain {:?}",
            x.dims(),
            gain.dims()
        )));
    }
    Ok(Sizes {
        shared_input: lead == 1,
        rows: x.elem_count() / (lead * features).max(1),
        features,
    })
}

/// Mean and reciprocal standard deviation (biased variance, as in PyTorch) of one row.
fn moments<T: Elem>(row: &[T], eps: T) -> (T, T) {
    let n = T::of(row.len() as f64);
    let mean = row.iter().copied().sum::<T>() / n;
    let var = row.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
    (mean, (var + eps).sqrt().recip())
}

/// `y = gain · (x − mean) / √(var + eps) + bias` over the last axis: `x [members or 1, rows…,
/// features]`, `gain` and `bias` `[members, features]` with their scales, `y [members, rows…,
/// features]`. Ba, Kiros, Hinton 2016, with PyTorch's conventions.
///
/// # Errors
/// If the shapes do not fit.
pub fn forward(
    y: &Tensor,
    x: &Tensor,
    (gain, gain_scale): (&Tensor, f64),
    (bias, bias_scale): (&Tensor, f64),
    eps: f64,
) -> Result<()> {
    let s = sizes(x, gain)?;
    let per_member = (s.rows * s.features).max(1);
    dispatch!(x, T => read(x, |xs: &[T]| read(gain, |gs: &[T]| read(bias, |bs: &[T]| {
        write(y, |ys: &mut [T]| {
            let (gain_scale, bias_scale) = (<T as Elem>::of(gain_scale), <T as Elem>::of(bias_scale));
            ys.par_chunks_mut(s.features.max(1)).enumerate().for_each(|(index, out)| {
                let member = index / s.rows;
                let start = index * s.features - if s.shared_input { member * per_member } else { 0 };
                let row = &xs[start..start + s.features];
                let (mean, scale) = moments(row, <T as Elem>::of(eps));
                let param = member * s.features..(member + 1) * s.features;
                for (((y, &x), &g), &b) in out.iter_mut().zip(row).zip(&gs[param.clone()]).zip(&bs[param]) {
                    *y = gain_scale * g * ((x - mean) * scale) + bias_scale * b;
                }
            });
            Ok(())
        })
    }))))
}

/// Where the backward pass of [`forward`] writes to.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// Gradient of the gain, `[members, features]`.
    pub gain: &'a Tensor,
    /// Gradient of the bias, `[members, features]`.
    pub bias: &'a Tensor,
    /// Gradient of the input, `[members, rows…, features]`; `None` if nothing needs it.
    pub input: Option<&'a Tensor>,
}

/// The backward pass of [`forward`] from `gy`, the gradient of `y`.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(
    gy: &Tensor,
    x: &Tensor,
    (gain, gain_scale): (&Tensor, f64),
    bias_scale: f64,
    eps: f64,
    gradients: Gradients<'_>,
) -> Result<()> {
    let s = sizes(x, gain)?;
    let f = s.features;
    let per_member = s.rows * f;
    dispatch!(x, T => read(x, |xs: &[T]| read(gy, |gys: &[T]| read(gain, |gs: &[T]| {
        let eps = <T as Elem>::of(eps);
        let (gain_scale, bias_scale) = (<T as Elem>::of(gain_scale), <T as Elem>::of(bias_scale));
        let input_of = |member: usize, row: usize| {
            let start = if s.shared_input { 0 } else { member * per_member } + row * f;
            &xs[start..start + f]
        };
        write(gradients.gain, |gg: &mut [T]| write(gradients.bias, |gb: &mut [T]| {
            gg.par_chunks_mut(f.max(1)).zip(gb.par_chunks_mut(f.max(1))).enumerate().for_each(
                |(member, (gg, gb))| {
                    gg.fill(<T as Elem>::of(0.0));
                    gb.fill(<T as Elem>::of(0.0));
                    for row in 0..s.rows {
                        let x = input_of(member, row);
                        let gy = &gys[member * per_member + row * f..][..f];
                        let (mean, scale) = moments(x, eps);
                        for (((gg, gb), &gy), &x) in gg.iter_mut().zip(gb.iter_mut()).zip(gy).zip(x) {
                            *gg += gain_scale * gy * ((x - mean) * scale);
                            *gb += bias_scale * gy;
                        }
                    }
                },
            );
            Ok(())
        }))?;
        let Some(gx) = gradients.input else { return Ok(()) };
        write(gx, |gxs: &mut [T]| {
            let n = <T as Elem>::of(f as f64);
            gxs.par_chunks_mut(f.max(1)).enumerate().for_each(|(index, out)| {
                let (member, row) = (index / s.rows, index % s.rows);
                let x = input_of(member, row);
                let gy = &gys[index * f..][..f];
                let g = &gs[member * f..][..f];
                let (mean, scale) = moments(x, eps);
                let mut sum = <T as Elem>::of(0.0);
                let mut dot = <T as Elem>::of(0.0);
                for ((&gy, &g), &x) in gy.iter().zip(g).zip(x) {
                    let d = gy * g * gain_scale;
                    sum += d;
                    dot += d * ((x - mean) * scale);
                }
                for (((out, &gy), &g), &x) in out.iter_mut().zip(gy).zip(g).zip(x) {
                    let d = gy * g * gain_scale;
                    *out = scale * (d - sum / n - (x - mean) * scale * (dot / n));
                }
            });
            Ok(())
        })
    }))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_are_normalised_and_shared_input_is_read_once_per_member() -> Result<()> {
        let cpu = Device::Cpu;
        let x = Tensor::new(&[[[1f64, 2., 3., 6.], [0., 0., 0., 4.]]], &cpu)?;
        let gain = Tensor::new(&[[1f64, 1., 1., 1.], [2., 2., 2., 2.]], &cpu)?;
        let bias = Tensor::new(&[[0f64, 0., 0., 0.], [1., 1., 1., 1.]], &cpu)?;
        let y = Tensor::zeros((2, 2, 4), candle_core::DType::F64, &cpu)?;
        forward(&y, &x, (&gain, 1.0), (&bias, 1.0), 0.0)?;
        let y = y.to_vec3::<f64>()?;
        for (first, second) in y[0].iter().zip(&y[1]) {
            assert!(first.iter().sum::<f64>().abs() < 1e-12);
            for (one, two) in first.iter().zip(second) {
                assert!((2.0 * one + 1.0 - two).abs() < 1e-12);
            }
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let cpu = Device::Cpu;
        let x = Tensor::zeros((1, 2, 5), candle_core::DType::F64, &cpu)?;
        let gain = Tensor::zeros((2, 4), candle_core::DType::F64, &cpu)?;
        let error = forward(&x, &x, (&gain, 1.0), (&gain, 1.0), 1e-5).unwrap_err();
        assert!(
            error.message.contains("[1, 2, 5]") && error.message.contains("[2, 4]"),
            "{error}"
        );
        Ok(())
    }
}
