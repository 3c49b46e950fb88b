//! Gated linear units.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::activation::{Activation, gated};
use crate::tensor::elem::Elem;

/// `φ(a) · b` for the halves `a` (the gate) and `b` of the last axis (Shazeer, arXiv 2002.05202): from
/// `[…, 2 · width]` to `[…, width]`. With silu behind a linear layer this is SwiGLU.
#[derive(Debug, Clone, Copy)]
pub struct Glu {
    /// φ.
    pub activation: Activation,
}

impl Layer for Glu {
    fn kind(&self) -> &'static str {
        "glu"
    }

    fn settings(&self) -> Value {
        json!({ "activation": self.activation })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_last() {
            Some((&last, rest)) if last > 0 && last % 2 == 0 => {
                Ok([rest, &[last / 2]].concat())
            }
            _ => Err(Error::shape(format!(
                "glu takes inputs whose last axis is even, gate and value side by side, got {input:?}"
            ))
            .with_help("a linear layer before it makes both: linear(2 * width)")),
        }
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn multiply_adds(&self, _input: &[usize]) -> u64 {
        0
    }
}

fn width<T>(at: &Pass<'_, T>) -> usize {
    at.output.last().copied().unwrap_or(1)
}

impl<T: Elem> Passes<T> for Glu {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        gated::forward(self.activation, width(&at), at.x, y);
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
            gated::backward(self.activation, width(&at), at.x, gy, gx);
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
            Some(dx) => gated::tangent(self.activation, width(&at), at.x, dx, dy),
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
        let width = width(&at);
        match (dgx, tangents.x) {
            (Some(dgx), Some(dx)) => {
                gated::backward_tangent(self.activation, width, (at.x, dx), (gy, dgy), dgx);
            }
            (Some(dgx), None) => gated::backward(self.activation, width, at.x, dgy, dgx),
            (None, _) => {}
        }
        Ok(())
    }
}
