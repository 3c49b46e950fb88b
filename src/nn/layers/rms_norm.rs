//! RMS normalisation over the last axis.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Layer, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents, Weights};
use crate::tensor::elem::Elem;
use crate::tensor::layer_norm;
use crate::tensor::linear::Scaled;

/// `gain · x / √(mean(x²) + eps)` over the last axis (Zhang, Sennrich 2019), as PyTorch's `RMSNorm`.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f64,
}

impl Default for RmsNorm {
    /// Llama's eps, which is also layer normalisation's. PyTorch's default is the machine epsilon of the
    /// element type (1.2e-7 in f32), so that f32 and f64 would be two different functions.
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

impl Layer for RmsNorm {
    fn kind(&self) -> &'static str {
        "rms_norm"
    }

    fn settings(&self) -> Value {
        json!({ "eps": self.eps })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        if input.is_empty() {
            return Err(Error::shape(
                "rms_norm needs an input with at least one axis",
            ));
        }
        Ok(input.to_vec())
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let features = input.last().copied().unwrap_or(1);
        vec![ParamSpec {
            path: "weight".into(),
            shape: vec![features],
            kind: ParamKind::Gain,
            fan_in: 1,
            fan_out: features,
        }]
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        let rows: usize = input[..input.len().saturating_sub(1)].iter().product();
        layer_norm::saved_per_row(false) * batch * rows
    }
}

fn gain<'a, T: Elem>(weights: &Weights<'a, T>) -> Scaled<'a, T> {
    Scaled {
        value: weights.value(0),
        multiplier: weights.multiplier(0),
    }
}

/// There is none.
const fn bias<'a, T>() -> Scaled<'a, T> {
    Scaled {
        value: &[],
        multiplier: 1.0,
    }
}

/// Where a gradient of the gain, and perhaps the input, goes.
fn gradients<'a, T: Elem>(
    grads: Parts<'a, T>,
    input: Option<&'a mut [T]>,
) -> Result<layer_norm::Gradients<'a, T>> {
    let [gain] = grads.take()?;
    Ok(layer_norm::Gradients {
        gain,
        bias: &mut [],
        input,
    })
}

impl<T: Elem> Passes<T> for RmsNorm {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        layer_norm::forward::<T, false>(at.x, gain(&at.params), bias(), self.eps, y, saved);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let to = gradients(grads, gx)?;
        layer_norm::backward::<T, false>(at.x, gain(&at.params), 1.0, was.saved, gy, to);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let gain = (gain(&at.params), tangents.params.value(0));
        layer_norm::tangent::<T, false>((at.x, tangents.x), gain, bias(), was.saved, dy);
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        gradient: (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let to = gradients(dgrads, dgx)?;
        let gain = (gain(&at.params), tangents.params.value(0));
        let x = (at.x, tangents.x);
        layer_norm::backward_tangent::<T, false>(x, gain, 1.0, was.saved, gradient, to);
        Ok(())
    }
}
