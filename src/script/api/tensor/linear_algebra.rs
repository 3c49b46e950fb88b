//! Eigenvectors and systems of equations.

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::TensorValue;
use crate::script::{OrRaise, RhaiResultOf};
use crate::tensor::array::linear_algebra;

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Eigenvalues and eigenvectors of symmetric matrices `[…, n, n]`, by faer in f64: a map with `values`
    /// `[…, n]` in ascending order and `vectors` `[…, n, n]`, whose columns they are, so that
    /// `a = V diag(w) Vᵀ`. A matrix with a number that is not finite has NaN; one that is not symmetric within rounding is
    /// an error.
    ///
    /// ```rhai
    /// let found = tensor([[2.0, 1.0], [1.0, 2.0]]).eigh();
    /// found.values.to_array().map(|x| round_to(x, 6))         // → [1.0, 3.0]
    /// found.vectors.shape                                     // → [2, 2]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn eigh(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Map> {
        let [values, vectors] = linear_algebra::eigh(&tensor.0).or_raise(&ctx)?;
        let value = |t| Dynamic::from(TensorValue(t));
        Ok([
            ("values".into(), value(values)),
            ("vectors".into(), value(vectors)),
        ]
        .into())
    }

    /// The solution `x` of `a x = b` for square matrices `[…, n, n]`, by faer's LU decomposition with partial pivoting in f64;
    /// `b` is `[n]` or `[…, n, columns]`. Fails for a matrix that is singular within rounding.
    ///
    /// ```rhai
    /// tensor([[2.0, 0.0], [0.0, 4.0]]).solve(tensor([1.0, 1.0])).to_array()       // → [0.5, 0.25]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn solve(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        linear_algebra::solve(&tensor.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }
}
