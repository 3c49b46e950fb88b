//! Activations as layers.

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::error::Result;
use crate::nn::{Layer, Param, ParamSpec};
use crate::tensor::activation::{self, Activation};

impl Layer for Activation {
    fn kind(&self) -> &'static str {
        self.name()
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(input.to_vec())
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn forward(&self, _params: &[Param<'_>], x: &Tensor, y: &Tensor) -> Result<()> {
        activation::forward(y, x, *self)
    }

    fn backward(
        &self,
        _params: &[Param<'_>],
        x: &Tensor,
        gy: &Tensor,
        _grads: &[Tensor],
        gx: Option<&Tensor>,
    ) -> Result<()> {
        match gx {
            Some(gx) => activation::backward(gx, gy, x, *self),
            None => Ok(()),
        }
    }
}
