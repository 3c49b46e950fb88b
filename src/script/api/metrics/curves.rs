//! Loss curves of several widths: how far they are apart, and since when.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::{Registry, values};
use crate::metrics;
use crate::options;
use crate::script::options::{NON_NEGATIVE, POSITIVE};
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SmoothOptions::spec());
    registry.options(OnsetOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of smoothing in logarithmic time.
    pub struct SmoothOptions for "metrics::smooth_log_time" {
        /// Standard deviation of the Gaussian weights, in doublings of 1 + step.
        octaves: f64 = 0.1, where POSITIVE;
    }
}

options! {
    /// Settings of the onset of a deviation.
    pub struct OnsetOptions for "metrics::deviation_onset" {
        /// Deviation above which curves are no longer the same.
        threshold: f64 = 0.05, where NON_NEGATIVE;
        /// How many probes in a row must be above it.
        consecutive: usize = 3, where (1.0..);
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

    /// |L − L_ref| / L_ref at every probe, for two loss curves at the same steps; NaN where one of
    /// them is not finite.
    ///
    /// ```rhai
    /// metrics::loss_deviation([2.2, 1.0], [2.0, 1.0]).map(|d| (d * 100).round())     // → [10.0, 0.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn loss_deviation(
        ctx: NativeCallContext,
        losses: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Array> {
        let a = values::numbers("loss_deviation", "losses", &losses).or_raise(&ctx)?;
        let b = values::numbers("loss_deviation", "reference", &reference).or_raise(&ctx)?;
        let found = metrics::loss_deviation(&a, &b).or_raise(&ctx)?;
        Ok(values::array(found))
    }

    /// The first step from which a deviation stays above a threshold for several probes in a row;
    /// `()` if there is none. A deviation that is not finite is above every threshold.
    ///
    /// ```rhai
    /// let steps = [0, 10, 20, 30];
    /// metrics::deviation_onset(steps, [0.0, 0.2, 0.3, 0.4], #{ threshold: 0.1, consecutive: 2 })     // → 10
    /// ```
    #[rhai_fn(name = "deviation_onset", return_raw)]
    pub fn deviation_onset_with(
        ctx: NativeCallContext,
        steps: Dynamic,
        deviation: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Dynamic> {
        let o = OnsetOptions::from_map(&ctx, &settings)?;
        let steps = values::steps("deviation_onset", "steps", &steps).or_raise(&ctx)?;
        let deviation =
            values::numbers("deviation_onset", "deviation", &deviation).or_raise(&ctx)?;
        let onset = metrics::deviation_onset(&steps, &deviation, o.threshold, o.consecutive);
        let onset = onset.or_raise(&ctx)?;
        Ok(onset.map_or(Dynamic::UNIT, |step| Dynamic::from(step as i64)))
    }

    // every setting has a default
    #[rhai_fn(name = "deviation_onset", return_raw)]
    pub fn deviation_onset(
        ctx: NativeCallContext,
        steps: Dynamic,
        deviation: Dynamic,
    ) -> RhaiResultOf<Dynamic> {
        deviation_onset_with(ctx, steps, deviation, Map::new())
    }

    /// Smooths a curve in logarithmic time: each value becomes the mean of the curve around it,
    /// weighted by a Gaussian in log₂(1 + step). Steps ascend. From the first value that is not
    /// finite on, the result is NaN. Smooth every curve of a comparison alike.
    ///
    /// ```rhai
    /// metrics::smooth_log_time([1, 10, 100], [2.0, 2.0, 2.0], #{ octaves: 0.5 })     // → [2.0, 2.0, 2.0]
    /// ```
    #[rhai_fn(name = "smooth_log_time", return_raw)]
    pub fn smooth_log_time_with(
        ctx: NativeCallContext,
        steps: Dynamic,
        values: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let o = SmoothOptions::from_map(&ctx, &settings)?;
        let steps = values::steps("smooth_log_time", "steps", &steps).or_raise(&ctx)?;
        let curve = values::numbers("smooth_log_time", "values", &values).or_raise(&ctx)?;
        let found = metrics::smooth_log_time(&steps, &curve, o.octaves).or_raise(&ctx)?;
        Ok(values::array(found))
    }

    // every setting has a default
    #[rhai_fn(name = "smooth_log_time", return_raw)]
    pub fn smooth_log_time(
        ctx: NativeCallContext,
        steps: Dynamic,
        values: Dynamic,
    ) -> RhaiResultOf<Array> {
        smooth_log_time_with(ctx, steps, values, Map::new())
    }
}
