//! Small statistics on arrays and tensors of numbers.

use rhai::Map;
use rhai::plugin::*;

use super::{Registry, values};
use crate::error::Result;
use crate::metrics::stats;
use crate::script::{OrRaise, RhaiResultOf};

/// Registers the statistics.
pub fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

/// A statistic of one row of numbers.
fn one<T>(
    ctx: &NativeCallContext,
    values: &Dynamic,
    f: impl Fn(&[f64]) -> Result<T>,
) -> RhaiResultOf<T> {
    let values = values::numbers(ctx.fn_name(), "values", values).or_raise(ctx)?;
    f(&values).or_raise(ctx)
}

/// A statistic that is an integer where all numbers are, if `whole` can say it, and else a float.
fn whole_or_real(
    ctx: &NativeCallContext,
    values: rhai::Array,
    whole: impl Fn(&[i64]) -> Option<i64>,
    real: fn(&[f64]) -> Result<f64>,
) -> RhaiResultOf<Dynamic> {
    let integers: Option<Vec<i64>> = values.iter().map(|v| v.as_int().ok()).collect();
    match integers.and_then(|integers| whole(&integers)) {
        Some(found) if !values.is_empty() => Ok(found.into()),
        _ => one(ctx, &values.into(), real).map(Dynamic::from),
    }
}

/// A statistic of two rows of numbers.
fn two<T>(
    ctx: &NativeCallContext,
    x: &Dynamic,
    y: &Dynamic,
    f: impl Fn(&[f64], &[f64]) -> Result<T>,
) -> RhaiResultOf<T> {
    let x = values::numbers(ctx.fn_name(), "x", x).or_raise(ctx)?;
    let y = values::numbers(ctx.fn_name(), "y", y).or_raise(ctx)?;
    f(&x, &y).or_raise(ctx)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The mean of an array of numbers. A number that is not finite is an error (`summary` leaves
    /// such numbers out and counts them).
    ///
    /// ```rhai
    /// mean([1, 2, 6])         // → 3.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mean(ctx: NativeCallContext, values: rhai::Array) -> RhaiResultOf<f64> {
        one(&ctx, &values.into(), stats::mean)
    }

    /// The sum of an array of numbers: an integer if all of them are. No number, or one that is not
    /// finite, is an error, as for `mean`.
    ///
    /// ```rhai
    /// sum([1, 2, 6])          // → 9
    /// [1.5, 2].sum()          // → 3.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sum(ctx: NativeCallContext, values: rhai::Array) -> RhaiResultOf<Dynamic> {
        let whole = |v: &[i64]| v.iter().try_fold(0, |sum: i64, x| sum.checked_add(*x));
        whole_or_real(&ctx, values, whole, stats::sum)
    }

    /// The smallest number of an array: an integer if all of them are. No number, or one that is not
    /// finite, is an error, as for `mean`.
    ///
    /// ```rhai
    /// min([2, 1, 6])          // → 1
    /// [2.5, 3].min()          // → 2.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn min(ctx: NativeCallContext, values: rhai::Array) -> RhaiResultOf<Dynamic> {
        whole_or_real(&ctx, values, |v| v.iter().min().copied(), stats::min)
    }

    /// The largest number of an array: an integer if all of them are. No number, or one that is not
    /// finite, is an error, as for `mean`.
    ///
    /// ```rhai
    /// max([2, 1, 6])          // → 6
    /// [2.5, 3].max()          // → 3.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn max(ctx: NativeCallContext, values: rhai::Array) -> RhaiResultOf<Dynamic> {
        whole_or_real(&ctx, values, |v| v.iter().max().copied(), stats::max)
    }

    /// The standard deviation of an array of two or more numbers, with n − 1.
    ///
    /// ```rhai
    /// std([1, 3, 5])          // → 2.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn std(ctx: NativeCallContext, values: rhai::Array) -> RhaiResultOf<f64> {
        one(&ctx, &values.into(), stats::std)
    }

    /// The standard error of the mean, std / √n, of an array or tensor of two or more numbers.
    ///
    /// ```rhai
    /// standard_error([1, 3, 3, 5]) < std([1, 3, 3, 5])        // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn standard_error(ctx: NativeCallContext, values: Dynamic) -> RhaiResultOf<f64> {
        one(&ctx, &values, stats::standard_error)
    }

    /// The middle of an array or tensor of numbers in order.
    ///
    /// ```rhai
    /// median([5, 1, 2, 4])        // → 3.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn median(ctx: NativeCallContext, values: Dynamic) -> RhaiResultOf<f64> {
        one(&ctx, &values, stats::median)
    }

    /// The value below which a share `level` (0 to 1) of the numbers lies, linear between
    /// neighbours in order (numpy's default). An array of levels gives an array.
    ///
    /// ```rhai
    /// quantile([1, 2, 3, 4, 5], 0.25)             // → 2.0
    /// quantile([1, 2, 3, 4, 5], [0, 0.5, 1])      // → [1.0, 3.0, 5.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn quantile(
        ctx: NativeCallContext,
        values: Dynamic,
        level: Dynamic,
    ) -> RhaiResultOf<Dynamic> {
        use crate::script::options::FromScript;
        let many = level.is_array();
        let levels = match many {
            true => Vec::<f64>::from_script(&level),
            false => f64::from_script(&level).map(|l| vec![l]),
        };
        let levels = levels.map_err(|e| e.at("quantile: level")).or_raise(&ctx)?;
        let found = one(&ctx, &values, |v| stats::quantiles(v, &levels))?;
        Ok(match found.as_slice() {
            [one] if !many => Dynamic::from(*one),
            _ => values::array(found).into(),
        })
    }

    /// Mean, standard deviation, extremes and counts of the finite numbers of an array or tensor.
    ///
    /// Gives a map: `mean`; `std` (with n − 1, `()` for one number); `standard_error` (as `std`);
    /// `min`; `max`; `count`, how many are finite; `excluded`, how many are not: diverged members or
    /// undefined numbers.
    ///
    /// ```rhai
    /// let s = summary([1.0, 3.0, 0.0 / 0.0]);
    /// [s.mean, s.count, s.excluded]       // → [2.0, 2, 1]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn summary(ctx: NativeCallContext, values: Dynamic) -> RhaiResultOf<Map> {
        let summary = one(&ctx, &values, stats::Summary::of)?;
        let mut map = values::map(&summary).or_raise(&ctx)?;
        let error = summary.standard_error();
        map.insert(
            "standard_error".into(),
            error.map_or(Dynamic::UNIT, Dynamic::from),
        );
        Ok(map)
    }

    /// Pearson's correlation of two arrays or tensors with the same number of numbers, in −1 to 1.
    ///
    /// ```rhai
    /// correlation([1, 2, 3], [2, 4, 6]) > 0.9999      // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn correlation(ctx: NativeCallContext, x: Dynamic, y: Dynamic) -> RhaiResultOf<f64> {
        two(&ctx, &x, &y, stats::correlation)
    }

    /// The straight line through points, by least squares: y = intercept + slope · x.
    ///
    /// Gives a map: `slope`, `intercept`, their standard errors `slope_error` and `intercept_error`
    /// (`()` for two points), `r_squared` and `count`.
    ///
    /// ```rhai
    /// let f = linear_fit([0, 1, 2], [1, 3, 5]);
    /// [f.slope, f.intercept]      // → [2.0, 1.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn linear_fit(ctx: NativeCallContext, x: Dynamic, y: Dynamic) -> RhaiResultOf<Map> {
        let fit = two(&ctx, &x, &y, stats::linear_fit)?;
        values::map(&fit).or_raise(&ctx)
    }

    /// The power law y = exp(intercept) · x^slope through points, by least squares on logarithms:
    /// how a distance falls with width, for instance. All numbers must be positive; the map is that
    /// of `linear_fit`.
    ///
    /// ```rhai
    /// let f = log_log_fit([64, 128, 256], [1.0, 0.5, 0.25]);
    /// (f.slope + 1.0).abs() < 1e-12       // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_log_fit(ctx: NativeCallContext, x: Dynamic, y: Dynamic) -> RhaiResultOf<Map> {
        let fit = two(&ctx, &x, &y, stats::log_log_fit)?;
        values::map(&fit).or_raise(&ctx)
    }
}
