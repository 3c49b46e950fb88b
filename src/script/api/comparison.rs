//! Comparisons. Rhai itself says `false` whenever two values are of different types, so that
//! `losses < 0.1` of an array would never hold, and holds numbers equal that differ in their last
//! digits, or by less than 2e-16, so that infinity is greater than nothing.

use std::ops::{Range, RangeInclusive};

use rhai::{
    Array, Blob, Dynamic, Engine, FnPtr, FuncRegistration, ImmutableString, Map, NativeCallContext,
};

use super::Registry;
use super::tensor::TensorValue;
use crate::error::Error;
use crate::script::options::Values;
use crate::script::{RhaiResultOf, raise};

/// An operator, what it says of two numbers, and its comment in the reference.
type Comparison = (&'static str, fn(f64, f64) -> bool, &'static str);

const ORDER: [Comparison; 4] = [
    (
        "<",
        |a, b| a < b,
        "/// Whether a number is below another; strings compare by their characters. Values that \
         have no order (arrays, tensors, different types) are an error.\n\
         ///\n/// ```rhai\n/// 1 < 1.5      // → true\n/// ```",
    ),
    (
        "<=",
        |a, b| a <= b,
        "/// Whether a number is below another or equal to it; as `<`.\n\
         ///\n/// ```rhai\n/// 2 <= 2.0      // → true\n/// ```",
    ),
    (
        ">",
        |a, b| a > b,
        "/// Whether a number is above another; as `<`.\n\
         ///\n/// ```rhai\n/// 1.0 / 0.0 > 100      // → true\n/// ```",
    ),
    (
        ">=",
        |a, b| a >= b,
        "/// Whether a number is above another or equal to it; as `<`.\n\
         ///\n/// ```rhai\n/// 2 >= 2.5      // → false\n/// ```",
    ),
];

const EQUALITY: [Comparison; 2] = [
    (
        "==",
        |a, b| a == b,
        "/// Whether two values are the same: numbers by their value, whatever their types, arrays \
         and maps by what is in them. Values of other types differ, but an array or a tensor and a \
         number are an error, because the numbers within may be meant.\n\
         ///\n/// ```rhai\n/// 2 == 2.0      // → true\n/// \"a\" == ()     // → false\n/// ```",
    ),
    (
        "!=",
        |a, b| a != b,
        "/// Whether two values differ; as `==`.\n\
         ///\n/// ```rhai\n/// 1 != 2      // → true\n/// ```",
    ),
];

/// Registers comparisons. For them to count, the engine must look for functions before it takes its
/// own operators, see [`Engine::set_fast_operators`].
pub fn register(registry: &mut Registry) {
    let engine = registry.engine();
    for comparison in ORDER.iter().chain(&EQUALITY) {
        numbers(engine, comparison);
    }
    unordered::<()>(engine);
    unordered::<Array>(engine);
    unordered::<Blob>(engine);
    unordered::<Map>(engine);
    unordered::<FnPtr>(engine);
    unordered::<Range<i64>>(engine);
    unordered::<RangeInclusive<i64>>(engine);
    for (sign, ..) in ORDER {
        of_literals::<()>(engine, sign);
        of_literals::<Array>(engine, sign);
        of_literals::<Map>(engine, sign);
        refuse::<bool, i64>(engine, sign);
        refuse::<bool, f64>(engine, sign);
        refuse::<bool, char>(engine, sign);
        refuse::<bool, ImmutableString>(engine, sign);
        refuse::<i64, char>(engine, sign);
        refuse::<i64, ImmutableString>(engine, sign);
        refuse::<f64, char>(engine, sign);
        refuse::<f64, ImmutableString>(engine, sign);
    }
    for (sign, ..) in EQUALITY {
        refuse::<Array, i64>(engine, sign);
        refuse::<Array, f64>(engine, sign);
        refuse::<TensorValue, i64>(engine, sign);
        refuse::<TensorValue, f64>(engine, sign);
        refuse::<TensorValue, Array>(engine, sign);
    }
}

/// Makes `<` and its like an error for values of a type that has no order.
pub(super) fn unordered<T: Clone + Send + Sync + 'static>(engine: &mut Engine) {
    for (sign, ..) in ORDER {
        refuse::<T, Dynamic>(engine, sign);
    }
}

/// Where both values are written out, Rhai decides before the script runs, unless a function has
/// exactly their types.
fn of_literals<T: Clone + Send + Sync + 'static>(engine: &mut Engine, sign: &'static str) {
    refuse::<T, ()>(engine, sign);
    refuse::<T, bool>(engine, sign);
    refuse::<T, i64>(engine, sign);
    refuse::<T, f64>(engine, sign);
    refuse::<T, char>(engine, sign);
    refuse::<T, ImmutableString>(engine, sign);
    refuse::<T, Array>(engine, sign);
    refuse::<T, Map>(engine, sign);
}

/// Numbers compare as their values do; integers as the nearest floats where they meet floats.
fn numbers(engine: &mut Engine, (sign, holds, comment): &Comparison) {
    let holds = *holds;
    let documented = |a: &str, b: &str| {
        FuncRegistration::new(*sign).with_params_info([
            format!("a: {a}"),
            format!("b: {b}"),
            "bool".into(),
        ])
    };
    documented("f64", "f64")
        .with_comments([*comment])
        .register_into_engine(engine, move |a: f64, b: f64| holds(a, b));
    documented("f64", "i64").register_into_engine(engine, move |a: f64, b: i64| holds(a, b as f64));
    documented("i64", "f64").register_into_engine(engine, move |a: i64, b: f64| holds(a as f64, b));
}

/// Makes a comparison of two types an error, whichever comes first.
fn refuse<A, B>(engine: &mut Engine, sign: &'static str)
where
    A: Clone + Send + Sync + 'static,
    B: Clone + Send + Sync + 'static,
{
    // the reference lists all of these as one
    let named = || FuncRegistration::new(sign).with_params_info(["a: ?", "b: ?", "bool"]);
    named().register_into_engine(engine, |ctx: NativeCallContext, a: A, b: B| {
        refused(&ctx, &Dynamic::from(a), &Dynamic::from(b))
    });
    named().register_into_engine(engine, |ctx: NativeCallContext, a: B, b: A| {
        refused(&ctx, &Dynamic::from(a), &Dynamic::from(b))
    });
}

fn refused(ctx: &NativeCallContext, a: &Dynamic, b: &Dynamic) -> RhaiResultOf<bool> {
    let error = Error::other(format!(
        "`{}` cannot compare {} with {}",
        ctx.fn_name(),
        Values::one(a),
        Values::one(b)
    ));
    let either = |is: fn(&Dynamic) -> bool| is(a) || is(b);
    let help = if either(Dynamic::is_unit) {
        "() stands for a missing value: ask first whether it is there, `value != ()`"
    } else if either(|v| v.is::<TensorValue>()) && either(Dynamic::is_array) {
        "make both arrays, `t.to_array()`, or both tensors, `tensor(array)`"
    } else if either(|v| v.is::<TensorValue>()) {
        "compare numbers of it: `t.min()`, `t.max()`, `t.mean()`, or `t.item()` where it holds one"
    } else if either(Dynamic::is_array) {
        "compare numbers of it: `min(a)`, `max(a)`, `mean(a)`, or one, as `a[0]`"
    } else {
        return Err(raise(ctx, error));
    };
    Err(raise(ctx, error.with_help(help)))
}
