//! Members taken together, and how much that gains.

use rhai::Map;
use rhai::plugin::*;

use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::arguments;
use crate::metrics::{self, Average, Resampling};
use crate::options;
use crate::script::options::IN_BETWEEN;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(EnsembleOptions::spec());
    registry.options(SizeOptions::spec());
    registry.options(VarianceOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { Average {
    "logits" => Average::Logits,
    "probabilities" => Average::Probabilities,
} }

options! {
    /// Settings of ensembles of classifiers.
    pub struct EnsembleOptions for
        "metrics::ensemble_cross_entropy",
        "metrics::ensemble_accuracy"
    {
        /// What is averaged over members to make one prediction.
        average: Average = Average::Logits;
    }
}

options! {
    /// Settings of losses by ensemble size.
    pub struct SizeOptions for
        "metrics::cross_entropy_by_ensemble_size",
        "metrics::mse_by_ensemble_size"
    {
        /// What is averaged over members to make one prediction; squared errors are those of mean
        /// outputs whatever it is.
        average: Average = Average::Logits;
        /// Bootstrap samples drawn of the members.
        samples: usize = 100, where (2..);
        /// Share of the samples in the intervals.
        level: f64 = 0.95, where IN_BETWEEN;
        /// Seed of the samples.
        seed: u64 = 0;
    }
}

impl SizeOptions {
    fn resampling(&self) -> Resampling {
        Resampling {
            samples: self.samples,
            level: self.level,
            seed: self.seed,
        }
    }
}

options! {
    /// Settings of the variance of outputs.
    pub struct VarianceOptions for "metrics::output_variance" {
        /// Whether each point's logits are first centred over classes: what the softmax sees of them.
        centred: bool = false;
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

    /// The mean of the logits over the members that have not diverged.
    ///
    /// Gives a map: `logits`, a tensor `[points, outputs]`, `f64`; `count`, members in it;
    /// `excluded`, members left out because they diverged.
    ///
    /// ```rhai
    /// let e = metrics::ensemble_logits([[[1.0, 0.0]], [[3.0, 0.0]]]);
    /// e.logits.to_array()         // → [[2.0, 0.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensemble_logits(ctx: NativeCallContext, logits: Dynamic) -> RhaiResultOf<Map> {
        let logits = values::tensor("ensemble_logits", "logits", &logits).or_raise(&ctx)?;
        let (mean, count, excluded) = metrics::ensemble_logits(&logits).or_raise(&ctx)?;
        let mut map = Map::new();
        map.insert("logits".into(), Dynamic::from(TensorValue(mean)));
        map.insert("count".into(), Dynamic::from(count as i64));
        map.insert("excluded".into(), Dynamic::from(excluded as i64));
        Ok(map)
    }

    /// Cross-entropy of the ensemble, in nats, the mean over points.
    ///
    /// `logits` `[members, points, classes]`; labels are a batch, or classes `[points]`. Gives a
    /// map: `value`; `count`, members in the ensemble; `excluded`, members left out because they
    /// diverged.
    ///
    /// ```rhai
    /// let logits = [[[2.0, 0.0]], [[-2.0, 0.0]]];         // two members that disagree
    /// let e = metrics::ensemble_cross_entropy(logits, [0]);
    /// e.count         // → 2
    /// (e.value - 2.0.ln()).abs() < 1e-12      // → true
    /// ```
    #[rhai_fn(name = "ensemble_cross_entropy", return_raw)]
    pub fn ensemble_cross_entropy_with(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = EnsembleOptions::from_map(&ctx, &settings)?;
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::ensemble_cross_entropy(&logits, &labels, o.average)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "ensemble_cross_entropy", return_raw)]
    pub fn ensemble_cross_entropy(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        ensemble_cross_entropy_with(ctx, logits, labels, Map::new())
    }

    /// Accuracy of the ensemble, in 0 to 1, as a map with `value`, `count` and `excluded`.
    ///
    /// ```rhai
    /// let logits = [[[5.0, 0.0]], [[-1.0, 0.0]]];
    /// metrics::ensemble_accuracy(logits, [0], #{ average: "logits" }).value       // → 1.0
    /// ```
    #[rhai_fn(name = "ensemble_accuracy", return_raw)]
    pub fn ensemble_accuracy_with(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = EnsembleOptions::from_map(&ctx, &settings)?;
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::ensemble_accuracy(&logits, &labels, o.average)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "ensemble_accuracy", return_raw)]
    pub fn ensemble_accuracy(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        ensemble_accuracy_with(ctx, logits, labels, Map::new())
    }

    /// Mean squared error of the mean output, the mean over points and outputs, as a map with
    /// `value`, `count` and `excluded`.
    ///
    /// ```rhai
    /// metrics::ensemble_mse([[[1.0]], [[3.0]]], [2.0]).value      // → 0.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensemble_mse(
        ctx: NativeCallContext,
        outputs: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        let (outputs, labels) = arguments(&ctx, &outputs, &labels)?;
        metrics::ensemble_mse(&outputs, &labels)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    /// Cross-entropy of ensembles of 1, 2, … members, in nats, and the line L(∞) + s/E through them.
    ///
    /// Gives a map: `losses`, the mean loss of ensembles of 1, 2, … members, of all there are among at most 12 members, and
    /// of those of members that follow each other in a circle among more; `low` and `high`, the
    /// ends of their bootstrap intervals over members (at `level`, from `samples`); `infinite`, L(∞),
    /// and `infinite_error`; `slope`, s, and `slope_error`; `count` and `excluded`, members used and
    /// left out. Needs two members.
    ///
    /// ```rhai
    /// let logits = [[[2.0, 0.0]], [[-2.0, 0.0]]];
    /// metrics::cross_entropy_by_ensemble_size(logits, [0]).losses.len()       // → 2
    /// ```
    #[rhai_fn(name = "cross_entropy_by_ensemble_size", return_raw)]
    pub fn cross_entropy_by_ensemble_size_with(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = SizeOptions::from_map(&ctx, &settings)?;
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::cross_entropy_by_ensemble_size(&logits, &labels, o.average, o.resampling())
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "cross_entropy_by_ensemble_size", return_raw)]
    pub fn cross_entropy_by_ensemble_size(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        cross_entropy_by_ensemble_size_with(ctx, logits, labels, Map::new())
    }

    /// Mean squared error of ensembles of 1, 2, … members, and the line L(∞) + s/E through them, as
    /// a map as that of `cross_entropy_by_ensemble_size`.
    ///
    /// ```rhai
    /// metrics::mse_by_ensemble_size([[[1.0]], [[3.0]]], [2.0]).losses     // → [1.0, 0.0]
    /// ```
    #[rhai_fn(name = "mse_by_ensemble_size", return_raw)]
    pub fn mse_by_ensemble_size_with(
        ctx: NativeCallContext,
        outputs: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = SizeOptions::read("metrics::mse_by_ensemble_size", &settings).or_raise(&ctx)?;
        let (outputs, labels) = arguments(&ctx, &outputs, &labels)?;
        metrics::mse_by_ensemble_size(&outputs, &labels, o.resampling())
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "mse_by_ensemble_size", return_raw)]
    pub fn mse_by_ensemble_size(
        ctx: NativeCallContext,
        outputs: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        mse_by_ensemble_size_with(ctx, outputs, labels, Map::new())
    }

    /// Variance of outputs over members: over initialisations, where members differ in their seeds.
    ///
    /// `outputs` `[members, points, outputs]`. Gives a map: `value`, the variance (with E − 1), the
    /// mean over points and outputs; `error`, its standard error over members by the jackknife, `()`
    /// for two; `count` and `excluded`. Needs two members.
    ///
    /// ```rhai
    /// metrics::output_variance([[[1.0, 0.0]], [[3.0, 0.0]]]).value                            // → 1.0
    /// metrics::output_variance([[[1.0, 0.0]], [[3.0, 2.0]]], #{ centred: true }).value        // → 0.0
    /// ```
    #[rhai_fn(name = "output_variance", return_raw)]
    pub fn output_variance_with(
        ctx: NativeCallContext,
        outputs: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = VarianceOptions::read("metrics::output_variance", &settings).or_raise(&ctx)?;
        let outputs = values::tensor("output_variance", "outputs", &outputs).or_raise(&ctx)?;
        metrics::output_variance(&outputs, o.centred)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "output_variance", return_raw)]
    pub fn output_variance(ctx: NativeCallContext, outputs: Dynamic) -> RhaiResultOf<Map> {
        output_variance_with(ctx, outputs, Map::new())
    }

    /// Mean squared error split over members: `single = ensemble_infinite + variance`, exactly on
    /// the given members. Needs two of them.
    ///
    /// Gives a map: `single`, mean of the members' losses; `ensemble`, loss of their mean output;
    /// `variance` over members (with E − 1); `ensemble_infinite`, the unbiased estimate for
    /// endlessly many members; `count` and `excluded`.
    ///
    /// ```rhai
    /// let d = metrics::mse_decomposition([[[1.0]], [[3.0]]], [2.0]);
    /// [d.single, d.ensemble, d.variance, d.ensemble_infinite]     // → [1.0, 0.0, 2.0, -1.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mse_decomposition(
        ctx: NativeCallContext,
        outputs: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        let (outputs, labels) = arguments(&ctx, &outputs, &labels)?;
        metrics::mse_decomposition(&outputs, &labels)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }

    /// Cross-entropy split over members, for ensembles by mean logits, in nats:
    /// `single = ensemble + variance`, exactly on the given members. Needs two of them.
    ///
    /// Gives a map: `single`, mean of the members' losses; `ensemble`, loss of the mean logits;
    /// `variance`, mean over members and points of KL(p̄ ‖ p_e); `second_order`, what it is to second
    /// order in the spread of logits; `kl`, one number per member; `count` and `excluded`.
    ///
    /// ```rhai
    /// let d = metrics::cross_entropy_decomposition([[[2.0, 0.0]], [[-2.0, 0.0]]], [0]);
    /// (d.single - d.ensemble - d.variance).abs() < 1e-12      // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cross_entropy_decomposition(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Map> {
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::cross_entropy_decomposition(&logits, &labels)
            .and_then(|v| values::map(&v))
            .or_raise(&ctx)
    }
}
