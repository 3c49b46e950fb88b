//! Embeddings of tokens and of positions.

use serde_json::{Value, json};

use super::linear::scaled;
use crate::error::{Error, Result};
use crate::nn::{
    Forward, Jacobian, Kernels, Layer, ParamAxis, ParamKind, ParamSpec, Parts, Pass, Passes,
    Signals, Tangents,
};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::{accumulate, copy_scaled};
use crate::tensor::embedding;
use crate::tensor::gram::add_gram;

/// A table, as a matrix applied to one-hot inputs: each output sums over one entry.
pub(super) fn table(rows: usize, width: usize) -> Vec<ParamSpec> {
    vec![ParamSpec {
        path: "weight".into(),
        shape: vec![rows, width],
        kind: ParamKind::Weight,
        fan_in: 1,
        fan_out: width,
    }]
}

/// The row of a table `[vocab, width]` for each token: inputs of any shape, whole numbers below
/// `vocab`, to one more axis of `width`.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// Number of tokens.
    pub vocab: usize,
    /// Numbers of each token's row.
    pub width: usize,
}

impl Layer for Embedding {
    fn kind(&self) -> &'static str {
        "embedding"
    }

    fn settings(&self) -> Value {
        json!({ "vocab": self.vocab, "width": self.width })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        Ok([input, &[self.width]].concat())
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::Last)
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        table(self.vocab, self.width)
    }

    fn multiply_adds(&self, _input: &[usize]) -> u64 {
        0
    }
}

impl<T: Elem> Passes<T> for Embedding {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        let positions = at.input.iter().product();
        embedding::forward(at.x, positions, scaled(&at.params, 0), self.width, y)
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let [gw] = grads.take()?;
        embedding::gradient(at.x, gy, self.width, at.params.multiplier(0), gw);
        // whole numbers do not move
        if let Some(gx) = gx {
            gx.fill(T::of(0.0));
        }
        Ok(())
    }

    /// Examples meet where they have the same token.
    fn gram(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        signals: Signals<'_, T>,
        mut kernels: Kernels<'_, T>,
    ) -> Result<()> {
        let sizes = embedding::Sizes {
            examples: at.batch,
            outputs: signals.outputs,
            width: self.width,
        };
        let scale = at.params.multiplier(0) * at.params.multiplier(0);
        embedding::add_gram(sizes, at.x, signals.data, scale, kernels.of(0));
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let positions = at.input.iter().product();
        embedding::forward(at.x, positions, scaled(&tangents.params, 0), self.width, dy)
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

/// Adds the row of its position to each position of `[positions, width]`: learned positions, a table
/// `[context, width]`.
#[derive(Debug, Clone, Copy)]
pub struct PositionalEmbedding {
    /// Most positions; `None` for as many as the input has.
    pub context: Option<usize>,
}

impl Layer for PositionalEmbedding {
    fn kind(&self) -> &'static str {
        "positional_embedding"
    }

    fn settings(&self) -> Value {
        json!({ "context": self.context })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input {
            [positions, _] if self.context.is_none_or(|most| *positions <= most) => {
                Ok(input.to_vec())
            }
            _ => {
                let most = match self.context {
                    Some(most) => format!(" with at most {most} positions"),
                    None => String::new(),
                };
                Err(Error::shape(format!(
                    "positional_embedding takes inputs of shape [positions, width]{most}, got {input:?}"
                )))
            }
        }
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::All)
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let [positions, width] = [0, 1].map(|i| input.get(i).copied().unwrap_or(1));
        table(self.context.unwrap_or(positions), width)
    }

    fn multiply_adds(&self, _input: &[usize]) -> u64 {
        0
    }
}

impl<T: Elem> Passes<T> for PositionalEmbedding {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        embedding::add_positions(at.x, scaled(&at.params, 0), at.input.iter().product(), y);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let [gw] = grads.take()?;
        let example = at.input.iter().product();
        embedding::positions_gradient(gy, at.params.multiplier(0), example, gw);
        if let Some(gx) = gx {
            copy_scaled(gx, gy, 1.0);
        }
        Ok(())
    }

    fn input_gradient(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        copy_scaled(gx, gy, 1.0);
        Ok(())
    }

    /// The gradients are the signals.
    fn gram(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        signals: Signals<'_, T>,
        mut kernels: Kernels<'_, T>,
    ) -> Result<()> {
        let scale = at.params.multiplier(0) * at.params.multiplier(0);
        add_gram(kernels.of(0), at.batch, signals.data, scale);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        dy.fill(T::of(0.0));
        let example: usize = at.input.iter().product();
        let positions = scaled(&tangents.params, 0);
        for dy in dy.chunks_exact_mut(example.max(1)) {
            accumulate(dy, &positions.value[..example], positions.multiplier);
        }
        if let Some(dx) = tangents.x {
            accumulate(dy, dx, 1.0);
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
