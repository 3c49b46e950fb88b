//! The fully connected layer.

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Layer, Param, ParamKind, ParamSpec};
use crate::tensor::linear;

/// `y = x W + b` on the last axis, with `W` of shape `[fan_in, fan_out]`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Number of outputs.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Layer for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn settings(&self) -> Value {
        json!({ "outputs": self.outputs, "bias": self.bias })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_last() {
            Some((_, rest)) if self.outputs > 0 => Ok([rest, &[self.outputs]].concat()),
            _ => Err(Error::shape(format!(
                "linear with {} outputs cannot take an input of shape {input:?}",
                self.outputs
            ))),
        }
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let (fan_in, fan_out) = (input.last().copied().unwrap_or(1), self.outputs);
        let spec = |path: &str, shape: Vec<usize>, kind| ParamSpec {
            path: path.into(),
            shape,
            kind,
            fan_in,
            fan_out,
        };
        let mut params = vec![spec("weight", vec![fan_in, fan_out], ParamKind::Weight)];
        if self.bias {
            params.push(spec("bias", vec![fan_out], ParamKind::Bias));
        }
        params
    }

    fn forward(&self, params: &[Param<'_>], x: &Tensor, y: &Tensor) -> Result<()> {
        let bias = params.get(1).map(|b| (b.value, b.multiplier));
        linear::forward(y, x, params[0].value, params[0].multiplier, bias)
    }

    fn backward(
        &self,
        params: &[Param<'_>],
        x: &Tensor,
        gy: &Tensor,
        grads: &[Tensor],
        gx: Option<&Tensor>,
    ) -> Result<()> {
        let gradients = linear::Gradients {
            weight: &grads[0],
            bias: params.get(1).map(|b| (&grads[1], b.multiplier)),
            input: gx,
        };
        linear::backward(gy, x, params[0].value, params[0].multiplier, gradients)
    }
}
