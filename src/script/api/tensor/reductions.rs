//! Sums, means and extremes of tensors.

use rhai::plugin::*;

use super::super::Registry;
use super::TensorValue;
use crate::script::{OrRaise, RhaiResultOf};
use crate::tensor::array::reduce::Reduction;

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

fn all(
    ctx: &NativeCallContext,
    reduction: Reduction,
    tensor: &TensorValue,
) -> RhaiResultOf<Dynamic> {
    let value = reduction.all(&tensor.0).or_raise(ctx)?;
    let position = matches!(reduction, Reduction::Argmax | Reduction::Argmin);
    let whole = position || (tensor.0.dtype().is_int() && reduction.keeps_integers());
    Ok(match whole {
        true => Dynamic::from(value as i64),
        false => Dynamic::from(value),
    })
}

fn along(
    ctx: &NativeCallContext,
    reduction: Reduction,
    tensor: &TensorValue,
    axis: i64,
) -> RhaiResultOf<Dynamic> {
    let found = reduction.along(&tensor.0, axis).or_raise(ctx)?;
    super::functions::number_or_tensor(found).or_raise(ctx)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The sum of all numbers, added in double precision.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).sum()      // → 10
    /// ```
    #[rhai_fn(name = "sum", pure, return_raw)]
    pub fn sum(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Sum, tensor)
    }

    /// With an axis, the sums along it: a tensor without that axis, or a number. Negative axes count
    /// from the last.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).sum(0).to_array()      // → [4, 6]
    /// ```
    #[rhai_fn(name = "sum", pure, return_raw)]
    pub fn sum_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Sum, tensor, axis)
    }

    /// The mean of all numbers, in double precision; NaN if one of them is.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).mean()     // → 2.5
    /// ```
    #[rhai_fn(name = "mean", pure, return_raw)]
    pub fn mean(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Mean, tensor)
    }

    /// With an axis, the means along it.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).mean(-1).to_array()        // → [1.5, 3.5]
    /// ```
    #[rhai_fn(name = "mean", pure, return_raw)]
    pub fn mean_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Mean, tensor, axis)
    }

    /// The standard deviation of all numbers, with n − 1 (PyTorch's default).
    ///
    /// ```rhai
    /// tensor([1.0, 3.0, 5.0]).std()       // → 2.0
    /// ```
    #[rhai_fn(name = "std", pure, return_raw)]
    pub fn std(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Std, tensor)
    }

    /// With an axis, the standard deviations along it.
    ///
    /// ```rhai
    /// tensor([[1.0, 1.0], [3.0, 5.0], [5.0, 9.0]]).std(0).to_array()      // → [2.0, 4.0]
    /// ```
    #[rhai_fn(name = "std", pure, return_raw)]
    pub fn std_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Std, tensor, axis)
    }

    /// The smallest number; NaN if one is NaN.
    ///
    /// ```rhai
    /// tensor([2.0, -1.5]).min()       // → -1.5
    /// ```
    #[rhai_fn(name = "min", pure, return_raw)]
    pub fn min(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Min, tensor)
    }

    /// With an axis, the smallest numbers along it.
    ///
    /// ```rhai
    /// tensor([[1, 5], [3, 4]]).min(0).to_array()      // → [1, 4]
    /// ```
    #[rhai_fn(name = "min", pure, return_raw)]
    pub fn min_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Min, tensor, axis)
    }

    /// The largest number; NaN if one is NaN.
    ///
    /// ```rhai
    /// tensor([2.0, -1.5]).max()       // → 2.0
    /// ```
    #[rhai_fn(name = "max", pure, return_raw)]
    pub fn max(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Max, tensor)
    }

    /// With an axis, the largest numbers along it.
    ///
    /// ```rhai
    /// tensor([[1, 5], [3, 4]]).max(0).to_array()      // → [3, 5]
    /// ```
    #[rhai_fn(name = "max", pure, return_raw)]
    pub fn max_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Max, tensor, axis)
    }

    /// The position of the first largest number among all, counted from 0.
    ///
    /// ```rhai
    /// tensor([0.1, 0.7, 0.2]).argmax()        // → 1
    /// ```
    #[rhai_fn(name = "argmax", pure, return_raw)]
    pub fn argmax(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Argmax, tensor)
    }

    /// With an axis, the positions along it; predicted classes are `logits.argmax(-1)`.
    ///
    /// ```rhai
    /// tensor([[0.1, 0.7], [0.9, 0.2]]).argmax(-1).to_array()      // → [1, 0]
    /// ```
    #[rhai_fn(name = "argmax", pure, return_raw)]
    pub fn argmax_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Argmax, tensor, axis)
    }

    /// The position of the first smallest number among all, counted from 0.
    ///
    /// ```rhai
    /// tensor([0.1, 0.7, 0.2]).argmin()        // → 0
    /// ```
    #[rhai_fn(name = "argmin", pure, return_raw)]
    pub fn argmin(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        all(&ctx, Reduction::Argmin, tensor)
    }

    /// With an axis, the positions along it.
    ///
    /// ```rhai
    /// tensor([[0.1, 0.7], [0.9, 0.2]]).argmin(-1).to_array()      // → [0, 1]
    /// ```
    #[rhai_fn(name = "argmin", pure, return_raw)]
    pub fn argmin_along(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<Dynamic> {
        along(&ctx, Reduction::Argmin, tensor, axis)
    }
}
