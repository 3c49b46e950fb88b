//! Numbers and arrays that Rhai itself lacks.

use rhai::Array;
use rhai::plugin::*;

use super::Registry;
use crate::error::Error;
use crate::script::{RhaiResultOf, raise};

/// Registers the functions.
pub fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
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

    /// A number rounded to `digits` digits behind the decimal point.
    ///
    /// ```rhai
    /// round_to(3.14159, 2)      // → 3.14
    /// ```
    pub fn round_to(x: f64, digits: i64) -> f64 {
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
