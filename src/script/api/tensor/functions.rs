//! Making, reading, indexing and reshaping tensors.

use std::ops::{Range, RangeInclusive};

use candle_core::{DType, Device, Tensor};
use rhai::Array;
use rhai::plugin::*;

use super::super::{Registry, values};
use super::{TensorValue, TypeName, integers};
use crate::error::{Error, Result};
use crate::script::{OrRaise, RhaiResultOf, raise};
use crate::tensor::array::{index, operations, show};

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

/// A tensor without axes as a number, any other as a tensor.
pub(super) fn number_or_tensor(tensor: Tensor) -> Result<Dynamic> {
    if tensor.rank() > 0 {
        return Ok(Dynamic::from(TensorValue(tensor)));
    }
    number(&tensor)
}

/// The only number of a tensor; whole numbers as an integer.
fn number(tensor: &Tensor) -> Result<Dynamic> {
    let values = operations::numbers(tensor)?;
    let &[value] = values.as_slice() else {
        return Err(Error::shape(format!(
            "item: a tensor of shape {:?} holds {} numbers, expected one",
            tensor.dims(),
            values.len()
        )));
    };
    Ok(match tensor.dtype().is_int() {
        true => Dynamic::from(value as i64),
        false => Dynamic::from(value),
    })
}

/// Nested arrays, the first axis outermost.
fn nested(values: &[f64], dims: &[usize], whole: bool) -> Dynamic {
    let one = |x: f64| match whole {
        true => Dynamic::from(x as i64),
        false => Dynamic::from(x),
    };
    match dims {
        [] => values.first().map_or(Dynamic::UNIT, |x| one(*x)),
        [_] => values.iter().map(|x| one(*x)).collect::<Array>().into(),
        [length, rest @ ..] => {
            let size: usize = rest.iter().product();
            (0..*length)
                .map(|i| nested(&values[i * size..(i + 1) * size], rest, whole))
                .collect::<Array>()
                .into()
        }
    }
}

#[allow(missing_docs, reason = "the comments are the script reference")]
#[export_module]
mod functions {
    use super::*;

    /// A tensor from a number or nested arrays of numbers: of type `i64` if all of them are
    /// integers, else `f32`. A tensor stays as it is.
    ///
    /// ```rhai
    /// let t = tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// t.shape                     // → [2, 2]
    /// ```
    #[rhai_fn(name = "tensor", return_raw)]
    pub fn tensor(ctx: NativeCallContext, numbers: Dynamic) -> RhaiResultOf<TensorValue> {
        let made = values::tensor("tensor", "numbers", &numbers).or_raise(&ctx)?;
        Ok(TensorValue(made))
    }

    /// The same of type `dtype`: `"f32"`, `"f64"`, `"i64"` or `"u32"`.
    ///
    /// ```rhai
    /// tensor([0, 2, 1], "u32").dtype      // → "u32"
    /// ```
    #[rhai_fn(name = "tensor", return_raw)]
    pub fn tensor_of(
        ctx: NativeCallContext,
        numbers: Dynamic,
        dtype: &str,
    ) -> RhaiResultOf<TensorValue> {
        let dtype = TypeName::named(dtype).map_err(|e| raise(&ctx, e.at("tensor: dtype")))?;
        let made = match values::tensor_in(&numbers) {
            Some(tensor) => tensor.to_dtype(dtype).map_err(Error::from),
            None => values::from_nested(&numbers, Some(dtype)).map_err(|e| e.at("tensor: numbers")),
        };
        made.map(TensorValue).or_raise(&ctx)
    }

    /// A tensor of zeros of type `f32`.
    ///
    /// ```rhai
    /// zeros([2, 2]).to_array()        // → [[0.0, 0.0], [0.0, 0.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn zeros(ctx: NativeCallContext, shape: Array) -> RhaiResultOf<TensorValue> {
        filled("zeros", &shape, 0.0).or_raise(&ctx)
    }

    /// A tensor of ones of type `f32`.
    ///
    /// ```rhai
    /// ones([3]).sum()         // → 3.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ones(ctx: NativeCallContext, shape: Array) -> RhaiResultOf<TensorValue> {
        filled("ones", &shape, 1.0).or_raise(&ctx)
    }

    /// Tensors of one shape along a new first axis.
    ///
    /// ```rhai
    /// stack([ones([2]), zeros([2])]).shape        // → [2, 2]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn stack(ctx: NativeCallContext, tensors: Array) -> RhaiResultOf<TensorValue> {
        joined("stack", &tensors, 0, true).or_raise(&ctx)
    }

    /// Tensors one after the other along an axis; their other lengths must be equal. Joins the
    /// members of several models: `concat([a, b], 0)`.
    ///
    /// ```rhai
    /// concat([ones([2, 3]), zeros([1, 3])], 0).shape      // → [3, 3]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn concat(ctx: NativeCallContext, tensors: Array, axis: i64) -> RhaiResultOf<TensorValue> {
        joined("concat", &tensors, axis, false).or_raise(&ctx)
    }

    /// Length of every axis.
    ///
    /// ```rhai
    /// tensor([[1, 2, 3]]).shape       // → [1, 3]
    /// ```
    #[rhai_fn(get = "shape", pure)]
    pub fn shape(tensor: &mut TensorValue) -> Array {
        let dims = tensor.0.dims().iter();
        dims.map(|&n| Dynamic::from(n as i64)).collect()
    }

    /// Type of the numbers: `"f32"`, `"f64"`, `"i64"`, `"u32"` or another of candle's.
    ///
    /// ```rhai
    /// tensor([0.5]).dtype         // → "f32"
    /// ```
    #[rhai_fn(get = "dtype", pure)]
    pub fn dtype(tensor: &mut TensorValue) -> String {
        tensor.0.dtype().as_str().into()
    }

    /// Number of axes.
    ///
    /// ```rhai
    /// tensor([[1, 2, 3]]).rank        // → 2
    /// ```
    #[rhai_fn(get = "rank", pure)]
    pub fn rank(tensor: &mut TensorValue) -> i64 {
        tensor.0.rank() as i64
    }

    /// Length of the first axis, as of an array; 1 for a single number.
    ///
    /// ```rhai
    /// tensor([[1, 2, 3]]).len         // → 1
    /// ```
    #[rhai_fn(get = "len", name = "len", pure)]
    pub fn len(tensor: &mut TensorValue) -> i64 {
        tensor.0.dims().first().map_or(1, |&n| n as i64)
    }

    /// How many numbers there are in all.
    ///
    /// ```rhai
    /// tensor([[1, 2, 3]]).count       // → 3
    /// ```
    #[rhai_fn(get = "count", pure)]
    pub fn count(tensor: &mut TensorValue) -> i64 {
        tensor.0.elem_count() as i64
    }

    /// The same numbers as another type: `"f32"`, `"f64"`, `"i64"` or `"u32"`.
    ///
    /// ```rhai
    /// tensor([1, 2]).to_dtype("f64").dtype        // → "f64"
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn to_dtype(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        dtype: &str,
    ) -> RhaiResultOf<TensorValue> {
        let dtype = TypeName::named(dtype).map_err(|e| raise(&ctx, e.at("to_dtype")))?;
        tensor.0.to_dtype(dtype).map(TensorValue).or_raise(&ctx)
    }

    /// The numbers as nested arrays, the first axis outermost.
    ///
    /// ```rhai
    /// (tensor([[1, 2], [3, 4]]) * 2).to_array()       // → [[2, 4], [6, 8]]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn to_array(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        let numbers = operations::numbers(&tensor.0).or_raise(&ctx)?;
        let whole = tensor.0.dtype().is_int();
        Ok(nested(&numbers, tensor.0.dims(), whole))
    }

    /// The number of a tensor that holds exactly one.
    ///
    /// ```rhai
    /// tensor([[2.5]]).item()      // → 2.5
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn item(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        number(&tensor.0).or_raise(&ctx)
    }

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
    /// tensor([0, 10, 20, 30])[1..=3].to_array()       // → [10, 20, 30]
    /// ```
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn get_inclusive(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        range: RangeInclusive<i64>,
    ) -> RhaiResultOf<TensorValue> {
        let range = *range.start()..range.end().saturating_add(1);
        index::narrow("index", &tensor.0, 0, range)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    // a clear refusal instead of a missing function
    #[rhai_fn(index_set, return_raw)]
    pub fn set(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        position: i64,
        value: Dynamic,
    ) -> RhaiResultOf<()> {
        let _ = (tensor, position, value);
        Err(raise(
            &ctx,
            Error::other("tensors are read-only").with_help(
                "change an array, `let a = t.to_array()`, and make a tensor of it, `tensor(array)`",
            ),
        ))
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

    /// The tensor as the prompt shows it: shape, type and a corner of the numbers.
    ///
    /// ```rhai
    /// display(tensor([1, 2]))         // → "Tensor [2] i64\n[1, 2]"
    /// ```
    #[rhai_fn(name = "display", pure, return_raw)]
    pub fn display(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<String> {
        show::display(&tensor.0, 80).or_raise(&ctx)
    }

    /// With a number, lines are at most this many characters wide.
    ///
    /// ```rhai
    /// display(zeros([2]), 40)         // → "Tensor [2] f32\n[0.0, 0.0]"
    /// ```
    #[rhai_fn(name = "display", pure, return_raw)]
    pub fn display_within(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        columns: i64,
    ) -> RhaiResultOf<String> {
        show::display(&tensor.0, columns.max(1) as usize).or_raise(&ctx)
    }

    /// The tensor in one line, as `print` shows it.
    ///
    /// ```rhai
    /// `${zeros([2, 3])}`          // → "Tensor [2, 3] f32"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(tensor: &mut TensorValue) -> String {
        show::line(&tensor.0).unwrap_or_else(|e| e.message)
    }
}

fn filled(what: &str, shape: &[Dynamic], value: f32) -> Result<TensorValue> {
    let shape = integers(what, shape)?;
    let count = shape.iter().try_fold(1_i64, |product, &n| match n >= 0 {
        true => product.checked_mul(n),
        false => None,
    });
    if count.is_none_or(|n| n > 1 << 32) {
        return Err(Error::shape(format!(
            "{what}: a tensor cannot have shape {shape:?}"
        )));
    }
    let shape: Vec<usize> = shape.into_iter().map(|n| n as usize).collect();
    let zeros = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
    Ok(TensorValue(zeros.affine(1.0, f64::from(value))?))
}

fn joined(what: &str, tensors: &[Dynamic], axis: i64, new_axis: bool) -> Result<TensorValue> {
    let read = |(i, v): (usize, &Dynamic)| values::tensor(what, &format!("element {i}"), v);
    let tensors: Vec<Tensor> = tensors
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_>>()?;
    index::join(what, &tensors, axis, new_axis).map(TensorValue)
}
