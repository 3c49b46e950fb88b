//! Kernels of infinitely wide multilayer perceptrons, in closed form: what a network in the lazy regime
//! follows.

use std::f64::consts::PI;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::{self, Need, numbers};
use crate::tensor::elem::to_f64;
use crate::tensor::matmul::{Matrix, matmul};

/// Activations whose Gaussian expectations have a closed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InfiniteActivation {
    /// `max(x, 0)`: arc-cosine kernels (Cho, Saul 2009).
    #[default]
    Relu,
    /// The error function (Williams 1997).
    Erf,
}

/// The perceptron, in the words of [`Mlp`](crate::nn::Mlp) and [`Ntp`](crate::parametrization::Ntp).
#[derive(Debug, Clone, Copy)]
pub struct InfiniteSettings {
    /// Number of weight matrices.
    pub depth: usize,
    /// Nonlinearity after each hidden layer.
    pub activation: InfiniteActivation,
    /// Spread σ_w of the weights.
    pub weight_std: f64,
    /// Spread σ_b of the biases.
    pub bias_std: f64,
    /// Whether layers have biases. With `bias_std` 0 they start at 0 and are trained with multiplier 1,
    /// so that they are in the tangent kernel alone.
    pub bias: bool,
}

impl Default for InfiniteSettings {
    fn default() -> Self {
        Self {
            depth: 3,
            activation: InfiniteActivation::Relu,
            weight_std: 1.0,
            bias_std: 0.0,
            bias: true,
        }
    }
}

/// Kernels of one output of an infinitely wide network, `[points, others]` in `f64`.
#[derive(Debug, Clone)]
pub struct InfiniteKernels {
    /// Covariance of the outputs at initialisation (Lee et al. 2018).
    pub nngp: Tensor,
    /// The neural tangent kernel (Jacot, Gabriel, Hongler 2018). That of `c` outputs traced over
    /// them is `c` times it.
    pub ntk: Tensor,
}

/// Inner products of preactivations: of two points, of the first and of the second with itself.
#[derive(Clone, Copy)]
struct Covariance {
    ab: f64,
    aa: f64,
    bb: f64,
}

impl InfiniteActivation {
    /// `E[φ(u) φ(v)]` and `E[φ'(u) φ'(v)]` for Gaussian `u`, `v`.
    fn moments(self, k: Covariance) -> (f64, f64) {
        match self {
            Self::Relu => {
                let size = k.aa.sqrt() * k.bb.sqrt();
                if size <= 0.0 {
                    // a preactivation that is always 0; φ'(0) is 0 as in training
                    return (0.0, 0.0);
                }
                let cosine = (k.ab / size).clamp(-1.0, 1.0);
                let angle = cosine.acos();
                let rest = PI - angle;
                let product = size * (angle.sin() + rest * cosine) / (2.0 * PI);
                (product, rest / (2.0 * PI))
            }
            Self::Erf => {
                let (a, b) = (1.0 + 2.0 * k.aa, 1.0 + 2.0 * k.bb);
                let sine = (2.0 * k.ab / (a.sqrt() * b.sqrt())).clamp(-1.0, 1.0);
                // (1 + 2 aa)(1 + 2 bb) - 4 ab², without the difference of large numbers
                let rest = 1.0 + 2.0 * (k.aa + k.bb) + 4.0 * (k.aa * k.bb - k.ab * k.ab).max(0.0);
                (2.0 / PI * sine.asin(), 4.0 / (PI * rest.sqrt()))
            }
        }
    }
}

/// The recursion over layers, for one pair of points.
fn kernels(mut k: Covariance, s: &InfiniteSettings) -> (f64, f64) {
    let (weight, bias) = (s.weight_std * s.weight_std, s.bias_std * s.bias_std);
    let bias = if s.bias { bias } else { 0.0 };
    let trained_bias = match (s.bias, s.bias_std > 0.0) {
        (false, _) => 0.0,
        (true, true) => bias,
        (true, false) => 1.0,
    };
    let mut ntk = weight * k.ab + trained_bias;
    let layer = |x: f64| weight * x + bias;
    k = Covariance {
        ab: layer(k.ab),
        aa: layer(k.aa),
        bb: layer(k.bb),
    };
    for _ in 1..s.depth {
        let own = |k: f64| {
            let same = Covariance {
                ab: k,
                aa: k,
                bb: k,
            };
            layer(s.activation.moments(same).0)
        };
        let (product, slope) = s.activation.moments(k);
        ntk = weight * product + trained_bias + weight * ntk * slope;
        k = Covariance {
            ab: layer(product),
            aa: own(k.aa),
            bb: own(k.bb),
        };
    }
    (k.ab, ntk)
}

/// NNGP and tangent kernel of an infinitely wide perceptron under NTP on `inputs [points, …]`, or between
/// `inputs` and `others`, by the recursions of Lee et al. (2018) and Jacot, Gabriel, Hongler (2018):
/// `K₁ = σ_w² x·x'/d + σ_b²`, `K_{l+1} = σ_w² E[φφ] + σ_b²`,
/// `Θ_{l+1} = K_{l+1} + σ_w² Θ_l E[φ'φ']` with expectations under `K_l`.
///
/// # Errors
/// If there is no input, inputs have another number of features, one is not finite, the depth is 0, a
/// spread is negative or not finite, or there is a `bias_std` without biases.
pub fn infinite_kernels(
    inputs: &Tensor,
    others: Option<&Tensor>,
    settings: InfiniteSettings,
) -> Result<InfiniteKernels> {
    let what = "infinite_kernels";
    if settings.depth == 0 {
        return Err(Error::setting(format!("{what}: depth must be at least 1")));
    }
    for (name, value) in [
        ("weight_std", settings.weight_std),
        ("bias_std", settings.bias_std),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::setting(format!(
                "{what}: {name} must be a number from 0 up, found {value}"
            )));
        }
    }
    if !settings.bias && settings.bias_std > 0.0 {
        return Err(
            Error::setting(format!("{what}: a network without biases has no bias_std"))
                .with_help("leave out bias: false, or bias_std"),
        );
    }
    let (points, features, x) = rows(what, "inputs", inputs)?;
    let other = others.map(|o| rows(what, "others", o)).transpose()?;
    let (count, other_features, y) = match &other {
        Some((count, features, y)) => (*count, *features, y),
        None => (points, features, &x),
    };
    if features != other_features {
        return Err(Error::shape(format!(
            "{what}: inputs have {features} features, others {other_features}"
        )));
    }
    let need = |name: &str| Need {
        name: name.into(),
        shape: vec![points, count],
        number: 8,
    };
    let needs = ["nngp", "ntk"].map(need);
    memory::check(what, &needs, |available| {
        let bytes = |n: usize| Some(16 * n as u128 * n.min(count) as u128);
        let fits = memory::largest(points, available, bytes);
        format!("kernels on {fits} of {points} points would fit")
    })?;
    let size = 1.0 / features as f64;
    let mut nngp = numbers("nngp", &[points, count])?;
    let mut ntk = numbers("ntk", &[points, count])?;
    let (a, b) = (
        Matrix::row_major(&x, features),
        Matrix::row_major(y, features),
    );
    matmul(
        &mut nngp,
        (points, count, features),
        size,
        a,
        b.transposed(),
    );
    let squares = |x: &[f64]| -> Vec<f64> {
        let rows = x.chunks_exact(features);
        rows.map(|r| size * r.iter().map(|x| x * x).sum::<f64>())
            .collect()
    };
    let (aa, bb) = (squares(&x), squares(y));
    nngp.par_chunks_mut(count)
        .zip(ntk.par_chunks_mut(count))
        .enumerate()
        .for_each(|(i, (nngp, ntk))| {
            for (j, (k, t)) in nngp.iter_mut().zip(ntk).enumerate() {
                // sums in another order would part a point from itself
                let same = other.is_none() && i == j;
                let covariance = Covariance {
                    ab: if same { aa[i] } else { *k },
                    aa: aa[i],
                    bb: bb[j],
                };
                (*k, *t) = kernels(covariance, &settings);
            }
        });
    let shape = (points, count);
    Ok(InfiniteKernels {
        nngp: Tensor::from_vec(nngp, shape, &Device::Cpu)?,
        ntk: Tensor::from_vec(ntk, shape, &Device::Cpu)?,
    })
}

fn rows(what: &str, name: &str, inputs: &Tensor) -> Result<(usize, usize, Vec<f64>)> {
    let points = inputs.dims().first().copied().unwrap_or(0);
    if inputs.rank() < 2 || inputs.elem_count() == 0 {
        return Err(Error::shape(format!(
            "{what}: {name} must have shape [points, …] with at least one number, found {:?}",
            inputs.dims()
        )));
    }
    let values = to_f64(inputs)?;
    let features = values.len() / points;
    if let Some(i) = values.iter().position(|x| !x.is_finite()) {
        let message = format!("{what}: {name}: point {} has {}", i / features, values[i]);
        return Err(Error::new(ErrorKind::Diverged, message));
    }
    Ok((points, features, values))
}
