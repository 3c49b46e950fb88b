//! Dropout as a layer.

use serde_json::{Value, json};

use crate::error::Result;
use crate::nn::{Forward, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::dropout;
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::copy_scaled;

/// During training sets each number to 0 with probability `p` and divides the others by 1 − p; does
/// nothing outside training. What is dropped depends on (member's seed, path, step, place) alone.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability of 0, at least 0 and below 1.
    pub p: f64,
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn settings(&self) -> Value {
        json!({ "p": self.p })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok(input.to_vec())
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn is_random(&self) -> bool {
        self.p > 0.0
    }
}

impl Dropout {
    /// The layer is linear, with the same matrix in every pass.
    fn apply<T: Elem>(&self, at: &Pass<'_, T>, x: &[T], y: &mut [T]) {
        match at.noise {
            Some(key) => dropout::apply(x, self.p, key, y),
            None => copy_scaled(y, x, 1.0),
        }
    }
}

impl<T: Elem> Passes<T> for Dropout {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        self.apply(&at, at.x, y);
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
            self.apply(&at, gy, gx);
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
            Some(dx) => self.apply(&at, dx, dy),
            None => dy.fill(T::of(0.0)),
        }
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
