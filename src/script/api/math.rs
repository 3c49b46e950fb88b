//! Numbers and arrays that Rhai itself lacks.

use rhai::plugin::*;
use rhai::{Array, Engine, FuncRegistration};

use super::Registry;
use crate::error::Error;
use crate::script::{RhaiResultOf, raise};

/// Registers the functions.
pub fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
    take_integers(registry.engine());
}

/// A function of Rhai's for floats, what it gives, an example and its value.
type OfFloat<R> = (&'static str, fn(f64) -> R, &'static str, &'static str);

const OF_FLOATS: [OfFloat<f64>; 22] = [
    (
        "sqrt",
        f64::sqrt,
        "The square root",
        "sqrt(16)      // → 4.0",
    ),
    ("exp", f64::exp, "e to the power", "exp(0)      // → 1.0"),
    (
        "ln",
        f64::ln,
        "The natural logarithm",
        "ln(1)      // → 0.0",
    ),
    (
        "log",
        f64::log10,
        "The decimal logarithm, or with a second number as base the one to that base,",
        "log(100)      // → 2.0",
    ),
    ("sin", f64::sin, "The sine", "sin(0)      // → 0.0"),
    ("cos", f64::cos, "The cosine", "cos(0)      // → 1.0"),
    ("tan", f64::tan, "The tangent", "tan(0)      // → 0.0"),
    ("asin", f64::asin, "The arc sine", "asin(0)      // → 0.0"),
    ("acos", f64::acos, "The arc cosine", "acos(1)      // → 0.0"),
    (
        "atan",
        f64::atan,
        "The arc tangent",
        "atan(0)      // → 0.0",
    ),
    (
        "sinh",
        f64::sinh,
        "The hyperbolic sine",
        "sinh(0)      // → 0.0",
    ),
    (
        "cosh",
        f64::cosh,
        "The hyperbolic cosine",
        "cosh(0)      // → 1.0",
    ),
    (
        "tanh",
        f64::tanh,
        "The hyperbolic tangent",
        "tanh(0)      // → 0.0",
    ),
    (
        "asinh",
        f64::asinh,
        "The inverse of `sinh`",
        "asinh(0)      // → 0.0",
    ),
    (
        "acosh",
        f64::acosh,
        "The inverse of `cosh`",
        "acosh(1)      // → 0.0",
    ),
    (
        "atanh",
        f64::atanh,
        "The inverse of `tanh`",
        "atanh(0)      // → 0.0",
    ),
    (
        "to_radians",
        f64::to_radians,
        "Degrees as radians",
        "to_radians(0)      // → 0.0",
    ),
    (
        "to_degrees",
        f64::to_degrees,
        "Radians as degrees",
        "to_degrees(0)      // → 0.0",
    ),
    (
        "floor",
        f64::floor,
        "The largest whole number not above it",
        "floor(3)      // → 3.0",
    ),
    (
        "ceiling",
        f64::ceil,
        "The smallest whole number not below it",
        "ceiling(3)      // → 3.0",
    ),
    (
        "round",
        f64::round,
        "The nearest whole number",
        "round(3)      // → 3.0",
    ),
    (
        "fraction",
        f64::fract,
        "What stands behind the decimal point",
        "fraction(3)      // → 0.0",
    ),
];

const ABOUT_FLOATS: [OfFloat<bool>; 3] = [
    (
        "is_nan",
        f64::is_nan,
        "Whether it is not a number",
        "is_nan(3)      // → false",
    ),
    (
        "is_finite",
        f64::is_finite,
        "Whether it is neither infinite nor NaN",
        "is_finite(3)      // → true",
    ),
    (
        "is_infinite",
        f64::is_infinite,
        "Whether it is infinite",
        "is_infinite(3)      // → false",
    ),
];

/// Lets Rhai's functions of floats take integers.
fn take_integers(engine: &mut Engine) {
    fn register<R: Clone + Send + Sync + 'static>(
        engine: &mut Engine,
        functions: &[OfFloat<R>],
        returns: &str,
    ) {
        for (name, f, words, example) in functions {
            let f = *f;
            FuncRegistration::new(*name)
                .with_params_info(["x: number", returns])
                .with_comments([format!("/// {words} of a number, float or integer.\n///\n/// ```rhai\n/// {example}\n/// ```")])
                .register_into_engine(engine, move |x: i64| f(x as f64));
        }
    }
    register(engine, &OF_FLOATS, "f64");
    register(engine, &ABOUT_FLOATS, "bool");
    engine.register_fn("log", |x: i64, base: i64| (x as f64).log(base as f64));
    engine.register_fn("log", |x: f64, base: i64| x.log(base as f64));
    engine.register_fn("log", |x: i64, base: f64| (x as f64).log(base));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "for scripts; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The logarithm to base 2, for widths.
    ///
    /// ```rhai
    /// log2(1024)      // → 10.0
    /// ```
    pub fn log2(x: f64) -> f64 {
        x.log2()
    }
    #[rhai_fn(name = "log2")]
    pub fn log2_int(x: i64) -> f64 {
        (x as f64).log2()
    }

    /// `count` numbers at equal distances, from `start` to `stop`, both included (numpy's
    /// `linspace`). Needs at least two numbers.
    ///
    /// ```rhai
    /// linspace(0, 1, 5)      // → [0.0, 0.25, 0.5, 0.75, 1.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn linspace(
        ctx: NativeCallContext,
        start: Dynamic,
        stop: Dynamic,
        count: i64,
    ) -> RhaiResultOf<Array> {
        let (a, b) = ends(&ctx, "linspace", &start, &stop)?;
        let steps = steps(&ctx, "linspace", count)?;
        let at = |i| {
            if i == steps {
                b
            } else {
                a + (b - a) * (i as f64 / steps as f64)
            }
        };
        Ok((0..=steps).map(|i| Dynamic::from(at(i))).collect())
    }

    /// `count` numbers at equal ratios, from `start` to `stop`, both included and positive (numpy's
    /// `geomspace`): a grid of learning rates.
    ///
    /// ```rhai
    /// logspace(0.01, 1, 3)      // → [0.01, 0.1, 1.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn logspace(
        ctx: NativeCallContext,
        start: Dynamic,
        stop: Dynamic,
        count: i64,
    ) -> RhaiResultOf<Array> {
        let (a, b) = ends(&ctx, "logspace", &start, &stop)?;
        if a <= 0.0 || b <= 0.0 {
            let error = format!("logspace: both ends must be positive, found {a} and {b}");
            return Err(raise(&ctx, Error::setting(error)));
        }
        let steps = steps(&ctx, "logspace", count)?;
        let at = |i| match i {
            0 => a,
            i if i == steps => b,
            i => a * (b / a).powf(i as f64 / steps as f64),
        };
        Ok((0..=steps).map(|i| Dynamic::from(at(i))).collect())
    }

    /// A number rounded to `digits` digits behind the decimal point; with negative `digits` before
    /// it, to hundreds for -2.
    ///
    /// ```rhai
    /// round_to(3.14159, 2)      // → 3.14
    /// round_to(1234.5, -2)      // → 1200.0
    /// ```
    pub fn round_to(x: f64, digits: i64) -> f64 {
        if digits < 0 {
            let unit = 10_f64.powf(-(digits as f64));
            return if unit.is_finite() {
                (x / unit).round() * unit
            } else {
                0.0
            };
        }
        let digits = usize::try_from(digits.clamp(0, 300)).unwrap_or_default();
        // through text, because powers of ten are not exact
        format!("{x:.digits$}").parse().unwrap_or(x)
    }
    #[rhai_fn(name = "round_to")]
    pub fn round_to_int(x: i64, digits: i64) -> f64 {
        round_to(x as f64, digits)
    }
}

fn number(value: &Dynamic) -> Option<f64> {
    value
        .as_float()
        .ok()
        .or_else(|| value.as_int().ok().map(|i| i as f64))
}

fn ends(
    ctx: &NativeCallContext,
    name: &str,
    start: &Dynamic,
    stop: &Dynamic,
) -> RhaiResultOf<(f64, f64)> {
    match (number(start), number(stop)) {
        (Some(a), Some(b)) => Ok((a, b)),
        _ => Err(raise(
            ctx,
            Error::setting(format!("{name}: both ends must be numbers")),
        )),
    }
}

fn steps(ctx: &NativeCallContext, name: &str, count: i64) -> RhaiResultOf<i64> {
    if (2..=10_000_000).contains(&count) {
        return Ok(count - 1);
    }
    let error = format!("{name}: the count must be from 2 to 10000000, found {count}");
    Err(raise(ctx, Error::setting(error)))
}
