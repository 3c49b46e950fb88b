//! Making and reading tensors.

use candle_core::{Device, Tensor};
use rhai::Array;
use rhai::plugin::*;

use super::super::{Registry, values};
use super::{TensorValue, TypeName, integers};
use crate::error::{Error, Result};
use crate::memory;
use crate::script::api::files::save;
use crate::script::{OrRaise, RhaiResultOf, raise};
use crate::tensor::array::{index, npy, operations, random, show};

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

/// The numbers of a tensor as nested arrays, the first axis outermost; of one without axes its number.
///
/// Errors: no memory for them; `what` wants it.
pub fn to_nested(what: &str, tensor: &Tensor) -> Result<Dynamic> {
    // the numbers, and as many values of the language
    let number = size_of::<f64>() + size_of::<Dynamic>();
    memory::room(what, tensor.dims(), number)?;
    let numbers = operations::numbers(tensor)?;
    Ok(nested(&numbers, tensor.dims(), tensor.dtype().is_int()))
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

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
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
            Some(tensor) => operations::cast("tensor", &tensor, dtype),
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

    /// A tensor of standard normal numbers of type `f32`. They are a function of the seed, 0 if none
    /// is given, and of their place in the tensor alone.
    ///
    /// ```rhai
    /// let x = randn([100, 20], 7);
    /// x.shape                         // → [100, 20]
    /// x == randn([100, 20], 7)        // → true
    /// ```
    #[rhai_fn(name = "randn", return_raw)]
    pub fn randn_seeded(
        ctx: NativeCallContext,
        shape: Array,
        seed: i64,
    ) -> RhaiResultOf<TensorValue> {
        let made = sizes("randn", &shape).and_then(|s| random::normal(&s, seed as u64));
        made.map(TensorValue).or_raise(&ctx)
    }

    #[rhai_fn(name = "randn", return_raw)]
    pub fn randn(ctx: NativeCallContext, shape: Array) -> RhaiResultOf<TensorValue> {
        randn_seeded(ctx, shape, 0)
    }

    /// Writes the tensor below the output folder as a file that `numpy.load` reads; the name ends in
    /// `.npy`.
    ///
    /// ```rhai
    /// tensor([[1.0, 2.0], [3.0, 4.0]]).save("outputs.npy");
    /// ```
    #[rhai_fn(name = "save", pure, return_raw, volatile)]
    pub fn save_tensor(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        name: &str,
    ) -> RhaiResultOf<()> {
        if !name.ends_with(".npy") {
            let error = Error::setting(format!("a tensor cannot be saved as `{name}`"));
            return Err(raise(&ctx, error.with_help("the name must end in .npy")));
        }
        save(&ctx, name, &npy::bytes(&tensor.0).or_raise(&ctx)?)
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

    /// The same numbers as another type: `"f32"`, `"f64"`, `"i64"` or `"u32"`. Integers cut off what
    /// stands behind the decimal point; a number that they cannot hold, such as NaN, is an error.
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
        operations::cast("to_dtype", &tensor.0, dtype)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// The numbers as nested arrays, the first axis outermost.
    ///
    /// ```rhai
    /// (tensor([[1, 2], [3, 4]]) * 2).to_array()       // → [[2, 4], [6, 8]]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn to_array(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<Dynamic> {
        to_nested("to_array", &tensor.0).or_raise(&ctx)
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

/// A shape of a tensor of real numbers that fits into memory.
fn sizes(what: &str, shape: &[Dynamic]) -> Result<Vec<usize>> {
    let shape = integers(what, shape)?;
    let count = shape.iter().try_fold(1_i64, |product, &n| match n >= 0 {
        true => product.checked_mul(n),
        false => None,
    });
    if count.is_none() {
        return Err(Error::shape(format!(
            "{what}: a tensor cannot have shape {shape:?}"
        )));
    }
    let shape: Vec<usize> = shape.into_iter().map(|n| n as usize).collect();
    memory::room(what, &shape, size_of::<f32>())?;
    Ok(shape)
}

fn filled(what: &str, shape: &[Dynamic], value: f32) -> Result<TensorValue> {
    let shape = sizes(what, shape)?;
    let mut values = memory::numbers::<f32>(what, &shape)?;
    if value != 0.0 {
        values.fill(value);
    }
    Ok(TensorValue(Tensor::from_vec(values, shape, &Device::Cpu)?))
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
