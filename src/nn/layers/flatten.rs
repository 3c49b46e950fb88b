//! All axes of an example into one.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;

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
}

fn never<T>() -> Result<T> {
    Err(Error::other("flatten is a reshape and computes nothing"))
}

impl<T: Elem> Passes<T> for Flatten {
    fn forward(&self, _at: Pass<'_, T>, _y: &mut [T], _saved: &mut [T]) -> Result<()> {
        never()
    }

    fn backward(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _gy: &[T],
        _grads: Parts<'_, T>,
        _gx: Option<&mut [T]>,
    ) -> Result<()> {
        never()
    }

    fn tangent(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        _dy: &mut [T],
    ) -> Result<()> {
        never()
    }

    fn backward_tangent(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        _gradients: (&[T], &[T]),
        _dgrads: Parts<'_, T>,
        _dgx: Option<&mut [T]>,
    ) -> Result<()> {
        never()
    }
}
