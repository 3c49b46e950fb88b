//! Activations as layers.

use serde_json::{Value, json};

use crate::error::Result;
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::activation::{self, Activation};
use crate::tensor::elem::Elem;

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

    fn jacobian(&self) -> Jacobian {
        Jacobian::Diagonal
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }
}

impl<T: Elem> Passes<T> for Activation {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        activation::forward(*self, at.x, y);
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
            activation::backward(*self, at.x, gy, gx);
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
            Some(dx) => activation::tangent(*self, at.x, dx, dy),
            None => dy.fill(T::of(0.0)),
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        _dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        match (dgx, tangents.x) {
            (Some(dgx), Some(dx)) => {
                activation::backward_tangent(*self, (at.x, dx), (gy, dgy), dgx);
            }
            (Some(dgx), None) => activation::backward(*self, at.x, dgy, dgx),
            (None, _) => {}
        }
        Ok(())
    }
}
