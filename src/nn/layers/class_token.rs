//! A learned row in front of the positions.

use serde_json::{Value, json};

use super::embedding::table;
use super::linear::scaled;
use crate::error::{Error, Result};
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::{accumulate, copy_scaled};

/// Puts a learned row before the rows `[positions, width]` of every example: `[positions + 1, width]`
/// (the class token of Devlin et al. 2019 and Dosovitskiy et al., arXiv 2010.11929).
#[derive(Debug, Clone, Copy)]
pub struct ClassToken;

impl Layer for ClassToken {
    fn kind(&self) -> &'static str {
        "class_token"
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match *input {
            [positions, width] if width > 0 => Ok(vec![positions + 1, width]),
            _ => Err(Error::shape(format!(
                "class_token takes inputs of shape [positions, width], got {input:?}"
            ))),
        }
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        table(1, input.last().copied().unwrap_or(1))
    }

    fn multiply_adds(&self, _input: &[usize]) -> u64 {
        0
    }
}

/// Width, and numbers of an example with the token.
fn sizes<T>(at: &Pass<'_, T>) -> (usize, usize) {
    let width = at.output.last().copied().unwrap_or(1);
    (width, at.output.iter().product::<usize>().max(1))
}

/// `[token, x]` for every example; zeros for an `x` that does not move.
fn join<T: Elem>((width, size): (usize, usize), token: (&[T], f64), x: Option<&[T]>, y: &mut [T]) {
    for (i, y) in y.chunks_exact_mut(size).enumerate() {
        let (first, rest) = y.split_at_mut(width);
        copy_scaled(first, token.0, token.1);
        match x {
            Some(x) => rest.copy_from_slice(&x[i * (size - width)..][..size - width]),
            None => rest.fill(T::of(0.0)),
        }
    }
}

impl<T: Elem> Passes<T> for ClassToken {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        let token = scaled(&at.params, 0);
        join(sizes(&at), (token.value, token.multiplier), Some(at.x), y);
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
        let (width, size) = sizes(&at);
        let [token] = grads.take()?;
        token.fill(T::of(0.0));
        let multiplier = at.params.multiplier(0);
        for gy in gy.chunks_exact(size) {
            accumulate(token, &gy[..width], multiplier);
        }
        match gx {
            Some(gx) => self.input_gradient(at, was, gy, gx),
            None => Ok(()),
        }
    }

    fn input_gradient(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        let (width, size) = sizes(&at);
        let rows = gx.chunks_exact_mut((size - width).max(1));
        rows.zip(gy.chunks_exact(size))
            .for_each(|(gx, gy)| gx.copy_from_slice(&gy[width..]));
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let token = scaled(&tangents.params, 0);
        join(sizes(&at), (token.value, token.multiplier), tangents.x, dy);
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        (_gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        self.backward(at, was, dgy, dgrads, dgx)
    }
}
