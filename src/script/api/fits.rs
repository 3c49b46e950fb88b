//! Fits in width, and the bootstrap.

use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};

use super::{Registry, values};
use crate::metrics::{self, Resampling};
use crate::script::callback::call;
use crate::script::options::{FromScript, IN_BETWEEN, POSITIVE};
use crate::script::{OrRaise, RhaiResultOf};

/// Registers fits and the bootstrap.
pub fn register(registry: &mut Registry) {
    registry.options(WidthFitOptions::spec());
    registry.options(BootstrapOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

crate::options! {
    /// Settings of fits in width.
    pub struct WidthFitOptions for "width_fit" {
        /// Standard errors of the values, one for each width; absent means not known.
        errors: Option<Vec<f64>> = None, where POSITIVE;
        /// The exponent p, if it is not to be fitted: 1 for a law in 1/width.
        exponent: Option<f64> = None, where POSITIVE;
        /// Bootstrap samples, for rows of values.
        samples: usize = 200, where (2..);
        /// Share of the samples in the interval of the exponent.
        level: f64 = 0.95, where IN_BETWEEN;
        /// Seed of the samples.
        seed: u64 = 0;
    }
}

crate::options! {
    /// Settings of the bootstrap.
    pub struct BootstrapOptions for "bootstrap" {
        /// How many samples are drawn.
        samples: usize = 200, where (2..);
        /// Share of the samples in the interval.
        level: f64 = 0.95, where IN_BETWEEN;
        /// Seed of the samples.
        seed: u64 = 0;
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

    /// How a quantity approaches its limit as networks get wider: the fit y(N) = y∞ + a N^−p by least
    /// squares, with standard errors as those of scipy's `curve_fit`.
    ///
    /// `values` has one number for each width, or one row of numbers, one per seed: rows are weighted
    /// by their means' standard errors (three finite numbers each are needed, others are left out), and
    /// the exponent gets a bootstrap interval over seeds. Gives a map: `limit` (y∞), `amplitude` (a),
    /// `exponent` (p), each with its standard error (`limit_error`, …; `()` where it is not known: as
    /// many widths as fitted numbers); `exponent_interval`; `residual`; `count`; and `converged`, false
    /// where the values determine no exponent between 0.02 and 8. Needs three widths, or two with
    /// a given exponent.
    ///
    /// ```rhai
    /// let fit = width_fit([64, 128, 256, 512], [1.25, 0.75, 0.5, 0.375]);
    /// [(fit.limit * 100).round(), (fit.exponent * 100).round()]       // → [25.0, 100.0]
    /// width_fit([64, 128], [3.0, 2.0], #{ exponent: 1.0 }).limit      // → 1.0
    /// ```
    #[rhai_fn(name = "width_fit", return_raw)]
    pub fn width_fit_with(
        ctx: NativeCallContext,
        widths: Dynamic,
        values: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = WidthFitOptions::from_map(&ctx, &settings)?;
        let widths = values::numbers("width_fit", "widths", &widths).or_raise(&ctx)?;
        let fit = if values::is_table(&values) {
            let rows = values::Table::from_script(&values).map_err(|e| e.at("width_fit: values"));
            let rows = rows.or_raise(&ctx)?.0;
            let resampling = Resampling {
                samples: o.samples,
                level: o.level,
                seed: o.seed,
            };
            metrics::width_fit_of_members(&widths, &rows, o.exponent, resampling)
        } else {
            let values = values::numbers("width_fit", "values", &values).or_raise(&ctx)?;
            metrics::width_fit(&widths, &values, o.errors.as_deref(), o.exponent)
        };
        fit.and_then(|f| values::map(&f)).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "width_fit", return_raw)]
    pub fn width_fit(
        ctx: NativeCallContext,
        widths: Dynamic,
        values: Dynamic,
    ) -> RhaiResultOf<Map> {
        width_fit_with(ctx, widths, values, Map::new())
    }

    /// How far a number would move if other values had been drawn (Efron 1979): `statistic` is called
    /// with arrays of as many entries, drawn from `values` with replacement. Values can be anything, for
    /// instance members.
    ///
    /// Gives a map: `value`, the statistic of `values` itself; `error`, its standard error; `low` and
    /// `high`, the percentile interval; `level`; `samples`. Needs two values; a statistic that is not
    /// finite is an error.
    ///
    /// ```rhai
    /// let b = bootstrap([1.0, 2.0, 4.0, 5.0], |sample| mean(sample));
    /// b.value                                     // → 3.0
    /// b.low < 3.0 && 3.0 < b.high                 // → true
    /// ```
    #[rhai_fn(name = "bootstrap", return_raw)]
    pub fn bootstrap_with(
        ctx: NativeCallContext,
        values: Array,
        statistic: FnPtr,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = BootstrapOptions::from_map(&ctx, &settings)?;
        let resampling = Resampling {
            samples: o.samples,
            level: o.level,
            seed: o.seed,
        };
        metrics::bootstrap(values.len(), resampling, |which| {
            let drawn: Array = which.iter().map(|&i| values[i].clone()).collect();
            call::<f64>(&ctx, &statistic, (drawn,))
        })
        .and_then(|b| values::map(&b))
        .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "bootstrap", return_raw)]
    pub fn bootstrap(ctx: NativeCallContext, values: Array, statistic: FnPtr) -> RhaiResultOf<Map> {
        bootstrap_with(ctx, values, statistic, Map::new())
    }
}
