//! The mean over all pixels of an image.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;
use crate::tensor::pool;

/// The mean of every channel: `[channels, …]` to `[channels]`.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAvgPool;

impl Layer for GlobalAvgPool {
    fn kind(&self) -> &'static str {
        "global_avg_pool"
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_first() {
            Some((&channels, rest)) if rest.iter().product::<usize>() > 0 => Ok(vec![channels]),
            _ => Err(Error::shape(format!(
                "global_avg_pool cannot take an input of shape {input:?}"
            ))),
        }
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }
}

fn pixels<T>(at: &Pass<'_, T>) -> usize {
    at.input[1..].iter().product()
}

impl<T: Elem> Passes<T> for GlobalAvgPool {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        pool::mean(pixels(&at), at.x, y);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        _grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        if let Some(gx) = gx {
            pool::mean_gradient(pixels(&at), gy, gx);
        }
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        match tangents.x {
            Some(dx) => pool::mean(pixels(&at), dx, dy),
            None => dy.fill(T::of(0.0)),
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        (_gy, dgy): (&[T], &[T]),
        _dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        if let Some(dgx) = dgx {
            pool::mean_gradient(pixels(&at), dgy, dgx);
        }
        Ok(())
    }
}
