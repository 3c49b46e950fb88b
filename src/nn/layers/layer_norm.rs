//! Layer normalisation over the last axis.

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Layer, Param, ParamKind, ParamSpec};
use crate::tensor::layer_norm;

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

    fn forward(&self, params: &[Param<'_>], x: &Tensor, y: &Tensor) -> Result<()> {
        let [gain, bias] = [0, 1].map(|i| (params[i].value, params[i].multiplier));
        layer_norm::forward(y, x, gain, bias, self.eps)
    }

    fn backward(
        &self,
        params: &[Param<'_>],
        x: &Tensor,
        gy: &Tensor,
        grads: &[Tensor],
        gx: Option<&Tensor>,
    ) -> Result<()> {
        let gradients = layer_norm::Gradients {
            gain: &grads[0],
            bias: &grads[1],
            input: gx,
        };
        let gain = (params[0].value, params[0].multiplier);
        layer_norm::backward(gy, x, gain, params[1].multiplier, self.eps, gradients)
    }
}
