//! All axes of an example into one.

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Layer, Param, ParamSpec};

/// Makes every example a vector.
#[derive(Debug, Clone, Copy)]
pub struct Flatten;

impl Layer for Flatten {
    fn kind(&self) -> &'static str {
        "flatten"
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(vec![input.iter().product()])
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn is_reshape(&self) -> bool {
        true
    }

    fn forward(&self, _params: &[Param<'_>], _x: &Tensor, _y: &Tensor) -> Result<()> {
        Err(Error::other("flatten is a reshape and computes nothing"))
    }

    fn backward(
        &self,
        _params: &[Param<'_>],
        _x: &Tensor,
        _gy: &Tensor,
        _grads: &[Tensor],
        _gx: Option<&Tensor>,
    ) -> Result<()> {
        Err(Error::other("flatten is a reshape and computes nothing"))
    }
}
