//! Layer normalisation over the last axis.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{
    Forward, Layer, ParamAxis, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents, Weights,
};
use crate::tensor::elem::Elem;
use crate::tensor::layer_norm;
use crate::tensor::linear::Scaled;

/// `gain · (x − mean) / √(var + eps) + bias` over the last axis, as PyTorch's `LayerNorm`.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

impl Layer for LayerNorm {
    fn kind(&self) -> &'static str {
        "layer_norm"
    }

    fn settings(&self) -> Value {
        json!({ "eps": self.eps })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        if input.is_empty() {
            return Err(Error::shape(
                "layer_norm needs an input with at least one axis",
            ));
        }
        Ok(input.to_vec())
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::Last)
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let features = input.last().copied().unwrap_or(1);
        [("weight", ParamKind::Gain), ("bias", ParamKind::Shift)]
            .map(|(path, kind)| ParamSpec {
                path: path.into(),
                shape: vec![features],
                kind,
                fan_in: 1,
                fan_out: features,
            })
            .to_vec()
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        let rows: usize = input[..input.len().saturating_sub(1)].iter().product();
        2 * batch * rows
    }
}

fn scaled<'a, T: Elem>(weights: &Weights<'a, T>, i: usize) -> Scaled<'a, T> {
    Scaled {
        value: weights.value(i),
        multiplier: weights.multiplier(i),
    }
}

impl<T: Elem> Passes<T> for LayerNorm {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        let [gain, bias] = [0, 1].map(|i| scaled(&at.params, i));
        layer_norm::forward(at.x, gain, bias, self.eps, y, saved);
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
        let [gain, bias] = grads.take()?;
        let to = layer_norm::Gradients {
            gain,
            bias,
            input: gx,
        };
        let bias_scale = at.params.multiplier(1);
        layer_norm::backward(at.x, scaled(&at.params, 0), bias_scale, was.saved, gy, to);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let gain = (scaled(&at.params, 0), tangents.params.value(0));
        let dbias = scaled(&tangents.params, 1);
        layer_norm::tangent((at.x, tangents.x), gain, dbias, was.saved, dy);
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
        let [dgain, dbias] = dgrads.take()?;
        let to = layer_norm::Gradients {
            gain: dgain,
            bias: dbias,
            input: dgx,
        };
        let gain = (scaled(&at.params, 0), tangents.params.value(0));
        let x = (at.x, tangents.x);
        layer_norm::backward_tangent(x, gain, at.params.multiplier(1), was.saved, gradient, to);
        Ok(())
    }
}
