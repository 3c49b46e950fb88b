//! Arithmetic, comparison and element-wise functions of tensors.

use candle_core::Tensor;
use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::{CloseOptions, TensorValue};
use crate::error::Result;
use crate::memory;
use crate::script::{OrRaise, RhaiResultOf};
use crate::tensor::array::index::axis;
use crate::tensor::array::operations::{self, Arithmetic, real_dtype};

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
    let engine = registry.engine();
    for (sign, operation) in [
        ("+", Arithmetic::Add),
        ("-", Arithmetic::Sub),
        ("*", Arithmetic::Mul),
        ("/", Arithmetic::Div),
        ("**", Arithmetic::Pow),
    ] {
        type Answer = RhaiResultOf<TensorValue>;
        let wrap = |ctx: &NativeCallContext, r: Result<Tensor>| r.map(TensorValue).or_raise(ctx);
        engine.register_fn(
            sign,
            move |ctx: NativeCallContext, a: TensorValue, b: f64| -> Answer {
                wrap(&ctx, operation.apply_number(&a.0, b))
            },
        );
        engine.register_fn(
            sign,
            move |ctx: NativeCallContext, a: f64, b: TensorValue| -> Answer {
                wrap(&ctx, operation.apply_to_number(a, &b.0))
            },
        );
        // an integer leaves a tensor of integers one
        engine.register_fn(
            sign,
            move |ctx: NativeCallContext, a: TensorValue, b: i64| -> Answer {
                wrap(
                    &ctx,
                    integer(&a.0).and_then(|i| operation.apply(&a.0, &i(b)?)),
                )
            },
        );
        engine.register_fn(
            sign,
            move |ctx: NativeCallContext, a: i64, b: TensorValue| -> Answer {
                wrap(
                    &ctx,
                    integer(&b.0).and_then(|i| operation.apply(&i(a)?, &b.0)),
                )
            },
        );
    }
}

/// Makes an integer a tensor that leaves the type of `other` as it is.
fn integer(other: &Tensor) -> Result<impl Fn(i64) -> Result<Tensor>> {
    let (device, dtype) = (other.device().clone(), other.dtype());
    Ok(move |value: i64| -> Result<Tensor> {
        let number = Tensor::new(value, &device)?;
        Ok(match dtype.is_int() {
            true => number,
            false => number.to_dtype(dtype)?,
        })
    })
}

/// A function of real numbers that makes `made` tensors of the same shape.
fn real(
    ctx: &NativeCallContext,
    tensor: &TensorValue,
    made: usize,
    f: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> RhaiResultOf<TensorValue> {
    let (from, to) = (tensor.0.dtype(), real_dtype(tensor.0.dtype()));
    let copies = if from == to { made } else { made + 1 };
    memory::room(ctx.fn_name(), tensor.0.dims(), copies * to.size_in_bytes()).or_raise(ctx)?;
    let t = tensor.0.to_dtype(to);
    t.and_then(|t| f(&t)).map(TensorValue).or_raise(ctx)
}

fn soft(
    ctx: &NativeCallContext,
    what: &str,
    tensor: &TensorValue,
    along: i64,
    f: impl Fn(&Tensor, usize) -> candle_core::Result<Tensor>,
) -> RhaiResultOf<TensorValue> {
    let along = axis(what, &tensor.0, along).or_raise(ctx)?;
    // candle has no largest number of none
    if tensor.0.elem_count() == 0 {
        return real(ctx, tensor, 1, |t| Ok(t.clone()));
    }
    // differences, their exponentials, the result
    real(ctx, tensor, 3, |t| f(t, along))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// `a + b`, element by element; shapes broadcast as in numpy, and either may be a number.
    ///
    /// ```rhai
    /// (tensor([[1, 2], [3, 4]]) + tensor([10, 20])).to_array()        // → [[11, 22], [13, 24]]
    /// ```
    #[rhai_fn(name = "+", return_raw)]
    pub fn add(
        ctx: NativeCallContext,
        a: TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        Arithmetic::Add
            .apply(&a.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// `a - b`, element by element; shapes broadcast, and either may be a number.
    ///
    /// ```rhai
    /// (1 - tensor([0.5, 0.25])).to_array()        // → [0.5, 0.75]
    /// ```
    #[rhai_fn(name = "-", return_raw)]
    pub fn sub(
        ctx: NativeCallContext,
        a: TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        Arithmetic::Sub
            .apply(&a.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// `a * b`, element by element; shapes broadcast, and either may be a number.
    ///
    /// ```rhai
    /// (tensor([1, 2]) * 0.5).to_array()       // → [0.5, 1.0]
    /// ```
    #[rhai_fn(name = "*", return_raw)]
    pub fn mul(
        ctx: NativeCallContext,
        a: TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        Arithmetic::Mul
            .apply(&a.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// `a / b`, element by element; whole numbers too give real ones. Shapes broadcast, and either
    /// may be a number.
    ///
    /// ```rhai
    /// (tensor([1, 2]) / 4).to_array()     // → [0.25, 0.5]
    /// ```
    #[rhai_fn(name = "/", return_raw)]
    pub fn div(
        ctx: NativeCallContext,
        a: TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        Arithmetic::Div
            .apply(&a.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// `a ** b`, element by element, as real numbers.
    ///
    /// ```rhai
    /// (tensor([1.0, -3.0]) ** 2).to_array()       // → [1.0, 9.0]
    /// ```
    #[rhai_fn(name = "**", return_raw)]
    pub fn pow(
        ctx: NativeCallContext,
        a: TensorValue,
        b: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        Arithmetic::Pow
            .apply(&a.0, &b.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// The negative of every number.
    ///
    /// ```rhai
    /// (-tensor([1.0, -2.0])).to_array()       // → [-1.0, 2.0]
    /// ```
    #[rhai_fn(name = "-", return_raw)]
    pub fn negative(ctx: NativeCallContext, tensor: TensorValue) -> RhaiResultOf<TensorValue> {
        Arithmetic::Mul
            .apply(
                &tensor.0,
                &integer(&tensor.0).or_raise(&ctx)?(-1).or_raise(&ctx)?,
            )
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// Whether two tensors have the same shape and the same numbers, whatever their types.
    ///
    /// ```rhai
    /// tensor([1, 2]) == tensor([1.0, 2.0])        // → true
    /// ```
    #[rhai_fn(name = "==", return_raw)]
    pub fn equal(ctx: NativeCallContext, a: TensorValue, b: TensorValue) -> RhaiResultOf<bool> {
        operations::equal(&a.0, &b.0).or_raise(&ctx)
    }

    /// Whether two tensors differ in shape or in a number.
    ///
    /// ```rhai
    /// tensor([1, 2]) != tensor([1, 3])        // → true
    /// ```
    #[rhai_fn(name = "!=", return_raw)]
    pub fn differ(ctx: NativeCallContext, a: TensorValue, b: TensorValue) -> RhaiResultOf<bool> {
        operations::equal(&a.0, &b.0)
            .map(|same| !same)
            .or_raise(&ctx)
    }

    /// Whether |a − b| ≤ atol + rtol · |b| everywhere (numpy's `allclose`); shapes must be equal.
    ///
    /// ```rhai
    /// let t = tensor([1.0, 2.0]);
    /// t.close_to(t + 0.001, #{ atol: 0.01 })      // → true
    /// ```
    #[rhai_fn(name = "close_to", pure, return_raw)]
    pub fn close_with(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        other: TensorValue,
        settings: Map,
    ) -> RhaiResultOf<bool> {
        let o = CloseOptions::from_map(&ctx, &settings)?;
        operations::close(&tensor.0, &other.0, o.rtol, o.atol).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "close_to", pure, return_raw)]
    pub fn close_to(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        other: TensorValue,
    ) -> RhaiResultOf<bool> {
        close_with(ctx, tensor, other, Map::new())
    }

    /// The matrix product over the last two axes; leading axes broadcast.
    ///
    /// ```rhai
    /// tensor([[1.0, 2.0]]).matmul(tensor([[3.0], [4.0]])).item()      // → 11.0
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn matmul(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        other: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        operations::matmul(&tensor.0, &other.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    /// The absolute value of every number.
    ///
    /// ```rhai
    /// tensor([1.0, -2.0]).abs().to_array()        // → [1.0, 2.0]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn abs(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        let signed = match tensor.0.dtype() {
            candle_core::DType::U32 | candle_core::DType::U8 => Ok(tensor.0.clone()),
            _ => memory::room("abs", tensor.0.dims(), tensor.0.dtype().size_in_bytes())
                .and_then(|()| Ok(tensor.0.abs()?)),
        };
        signed.map(TensorValue).or_raise(&ctx)
    }

    /// The square root of every number; NaN of negative ones.
    ///
    /// ```rhai
    /// tensor([4, 9]).sqrt().to_array()        // → [2.0, 3.0]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn sqrt(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        real(&ctx, tensor, 1, Tensor::sqrt)
    }

    /// e to the power of every number.
    ///
    /// ```rhai
    /// tensor([0.0]).exp().item()      // → 1.0
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn exp(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        real(&ctx, tensor, 1, Tensor::exp)
    }

    /// The natural logarithm of every number, as in PyTorch. (Of a single number, Rhai's `log` is
    /// the decimal logarithm, and `ln` the natural one.)
    ///
    /// ```rhai
    /// tensor([1.0]).log().item()      // → 0.0
    /// ```
    #[rhai_fn(name = "log", name = "ln", pure, return_raw)]
    pub fn log(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        real(&ctx, tensor, 1, Tensor::log)
    }

    /// The hyperbolic tangent of every number.
    ///
    /// ```rhai
    /// tensor([0.0]).tanh().item()     // → 0.0
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn tanh(ctx: NativeCallContext, tensor: &mut TensorValue) -> RhaiResultOf<TensorValue> {
        real(&ctx, tensor, 1, Tensor::tanh)
    }

    /// The numbers along an axis as probabilities: exp(z) / Σ exp(z).
    ///
    /// ```rhai
    /// tensor([[0.0, 0.0], [50.0, 50.0]]).softmax(-1).to_array()       // → [[0.5, 0.5], [0.5, 0.5]]
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn softmax(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<TensorValue> {
        soft(&ctx, "softmax", tensor, axis, candle_nn::ops::softmax)
    }

    /// The logarithms of the softmax along an axis.
    ///
    /// ```rhai
    /// tensor([3.0]).log_softmax(0).item()     // → 0.0
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn log_softmax(
        ctx: NativeCallContext,
        tensor: &mut TensorValue,
        axis: i64,
    ) -> RhaiResultOf<TensorValue> {
        soft(
            &ctx,
            "log_softmax",
            tensor,
            axis,
            candle_nn::ops::log_softmax,
        )
    }
}
