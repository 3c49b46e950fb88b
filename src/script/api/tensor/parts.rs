//! Parts and shapes of tensors.

use std::ops::{Range, RangeInclusive};

use rhai::Array;
use rhai::plugin::*;

use super::super::Registry;
use super::functions::number_or_tensor;
use super::{TensorValue, integers};
use crate::error::Error;
use crate::script::{OrRaise, RhaiResultOf, raise};
use crate::tensor::array::index;

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

    /// `t[i]`: position `i` along the first axis, which goes away: a tensor, or a number if there is
    /// one axis only. Negative positions count from the end.
    ///
    /// ```rhai
    /// let t = tensor([[1, 2], [3, 4]]);
    /// t[-1][0]        // → 3
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        position: i64,
    ) -> RhaiResultOf<Dynamic> {
        index::select("index", &tensor.0, 0, position)
            .and_then(number_or_tensor)
            .or_raise(&ctx)
    }

    /// `t[1..3]`: positions 1 and 2 along the first axis; negative ends count from the end.
    ///
    /// ```rhai
    /// tensor([0, 10, 20, 30])[1..3].to_array()        // → [10, 20]
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get_range(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        range: Range<i64>,
    ) -> RhaiResultOf<TensorValue> {
        index::narrow("index", &tensor.0, 0, range)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// `t[1..=3]`: positions 1 to 3 along the first axis.
    ///
    /// ```rhai
    /// let t = tensor([0, 10, 20, 30]);
    /// t[1..=2].to_array()         // → [10, 20]
    /// t[-2..=-1].to_array()       // → [20, 30]
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get_inclusive(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        range: RangeInclusive<i64>,
    ) -> RhaiResultOf<TensorValue> {
        let end = match *range.end() {
            // the position after the last one has no negative number
            -1 => tensor.0.dims().first().map_or(1, |&n| n as i64),
            end => end.saturating_add(1),
        };
        let range = *range.start()..end;
        index::narrow("index", &tensor.0, 0, range)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// One position along any axis, which goes away; negative ones count from the end.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).select(1, 0).to_array()        // → [1, 3]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn select(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
        position: i64,
    ) -> RhaiResultOf<Dynamic> {
        index::select("select", &tensor.0, axis, position)
            .and_then(number_or_tensor)
            .or_raise(&ctx)
    }

    /// `len` positions from `start` on along any axis.
    ///
    /// ```rhai
    /// tensor([[1, 2, 3], [4, 5, 6]]).narrow(1, 1, 2).to_array()       // → [[2, 3], [5, 6]]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn narrow(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
        start: i64,
        len: i64,
    ) -> RhaiResultOf<TensorValue> {
        if start < 0 {
            let message = format!("narrow: start must be from 0 up, found {start}");
            return Err(raise(&ctx, Error::setting(message)));
        }
        index::narrow("narrow", &tensor.0, axis, start..start.saturating_add(len))
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// The same numbers in another shape; one length may be -1 and is then worked out.
    ///
    /// ```rhai
    /// tensor([1, 2, 3, 4]).reshape([2, -1]).to_array()        // → [[1, 2], [3, 4]]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn reshape(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        shape: Array,
    ) -> RhaiResultOf<TensorValue> {
        integers("reshape", &shape)
            .and_then(|shape| index::reshape(&tensor.0, &shape))
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// All numbers along one axis.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).flatten().to_array()       // → [1, 2, 3, 4]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn flatten(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        tensor.0.flatten_all().map(TensorValue).or_raise(&ctx)
    }

    /// The same numbers with the last two axes exchanged.
    ///
    /// ```rhai
    /// tensor([[1, 2], [3, 4]]).transpose().to_array()     // → [[1, 3], [2, 4]]
    /// ```
    #[rhai_fn(name = "transpose", pure, return_raw)]
    pub fn transpose(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        transpose_axes(ctx, tensor, -2, -1)
    }

    /// With two numbers, these axes are exchanged.
    ///
    /// ```rhai
    /// zeros([2, 3, 4]).transpose(0, 2).shape      // → [4, 3, 2]
    /// ```
    #[rhai_fn(name = "transpose", pure, return_raw)]
    pub fn transpose_axes(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        first: i64,
        second: i64,
    ) -> RhaiResultOf<TensorValue> {
        let t = &tensor.0;
        let first = index::axis("transpose", t, first).or_raise(&ctx)?;
        let second = index::axis("transpose", t, second).or_raise(&ctx)?;
        let exchanged = t.transpose(first, second).and_then(|t| t.contiguous());
        exchanged.map(TensorValue).or_raise(&ctx)
    }

    /// The tensor with a new axis of length 1.
    ///
    /// ```rhai
    /// tensor([1, 2]).unsqueeze(0).shape       // → [1, 2]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn unsqueeze(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<TensorValue> {
        let rank = tensor.0.rank() as i64;
        let place = if axis < 0 { axis + rank + 1 } else { axis };
        if !(0..=rank).contains(&place) {
            let message = format!(
                "unsqueeze: a tensor of shape {:?} can have no new axis {axis}",
                tensor.0.dims()
            );
            return Err(raise(&ctx, Error::shape(message)));
        }
        tensor
            .0
            .unsqueeze(place as usize)
            .map(TensorValue)
            .or_raise(&ctx)
    }
}
