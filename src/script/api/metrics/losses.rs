//! Losses and accuracy of every member.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::{arguments, per_point};
use crate::metrics;
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(TrueClassLogitOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of the true class's logit.
    pub struct TrueClassLogitOptions for "metrics::true_class_logit" {
        /// Whether each point's mean over classes is subtracted first, which makes logits
        /// comparable between networks (cross-entropy does not see that mean).
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

    /// Cross-entropy of each member, in nats, the mean over points: an array with one number per
    /// member, NaN for a member that diverged.
    ///
    /// `logits` `[members, points, classes]`; labels are a batch, or classes `[points]`.
    ///
    /// ```rhai
    /// let logits = tensor([[[0.0, 0.0], [3.0, 3.0]]]);        // one member, two points
    /// let loss = metrics::cross_entropy(logits, [0, 1])[0];
    /// (loss - 2.0.ln()).abs() < 1e-12     // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cross_entropy(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Array> {
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        let found = metrics::cross_entropy(&logits, &labels).or_raise(&ctx)?;
        Ok(values::array(found))
    }

    /// Cross-entropy of each member on each point, in nats: a tensor `[members, points]`, `f64`.
    ///
    /// ```rhai
    /// metrics::cross_entropy_per_point([[[0.0, 0.0], [0.0, 50.0]]], [0, 1]).shape     // → [1, 2]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cross_entropy_per_point(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::cross_entropy_per_point(&logits, &labels)
            .and_then(|rows| per_point(&rows))
            .or_raise(&ctx)
    }

    /// Mean squared error of each member, the mean over points and outputs (PyTorch's `mse_loss`).
    ///
    /// `outputs` `[members, points, outputs]`; labels are a batch, values `[points, outputs]`, or
    /// classes, whose targets are then one-hot vectors.
    ///
    /// ```rhai
    /// metrics::mse([[[1.0], [2.0]]], [0.0, 2.0])      // → [0.5]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mse(ctx: NativeCallContext, outputs: Dynamic, labels: Dynamic) -> RhaiResultOf<Array> {
        let (outputs, labels) = arguments(&ctx, &outputs, &labels)?;
        let found = metrics::mse(&outputs, &labels).or_raise(&ctx)?;
        Ok(values::array(found))
    }

    /// Mean squared error of each member on each point: a tensor `[members, points]`, `f64`.
    ///
    /// ```rhai
    /// metrics::mse_per_point([[[1.0], [2.0]]], [0.0, 2.0]).to_array()     // → [[1.0, 0.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mse_per_point(
        ctx: NativeCallContext,
        outputs: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        let (outputs, labels) = arguments(&ctx, &outputs, &labels)?;
        metrics::mse_per_point(&outputs, &labels)
            .and_then(|rows| per_point(&rows))
            .or_raise(&ctx)
    }

    /// Share of points whose largest logit is that of their class, for each member, in 0 to 1. Among
    /// equal logits the first counts.
    ///
    /// ```rhai
    /// metrics::accuracy([[[0.1, 0.9], [0.8, 0.2]]], [1, 1])       // → [0.5]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn accuracy(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<Array> {
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        let found = metrics::accuracy(&logits, &labels).or_raise(&ctx)?;
        Ok(values::array(found))
    }

    /// The logit of each point's true class, for each member: a tensor `[members, points]`, `f64`.
    ///
    /// ```rhai
    /// metrics::true_class_logit([[[1.0, 3.0]]], [1], #{ centred: true }).item()       // → 1.0
    /// ```
    #[rhai_fn(name = "true_class_logit", return_raw)]
    pub fn true_class_logit_with(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let o = TrueClassLogitOptions::from_map(&ctx, &settings)?;
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::true_class_logit(&logits, &labels, o.centred)
            .and_then(|rows| per_point(&rows))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "true_class_logit", return_raw)]
    pub fn true_class_logit(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        true_class_logit_with(ctx, logits, labels, Map::new())
    }

    /// The logit of each point's true class minus the largest other one, positive where the
    /// prediction is right: a tensor `[members, points]`, `f64`.
    ///
    /// ```rhai
    /// metrics::margin([[[1.0, 3.0, 2.0]]], [1]).item()        // → 1.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn margin(
        ctx: NativeCallContext,
        logits: Dynamic,
        labels: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        let (logits, labels) = arguments(&ctx, &logits, &labels)?;
        metrics::margin(&logits, &labels)
            .and_then(|rows| per_point(&rows))
            .or_raise(&ctx)
    }
}
