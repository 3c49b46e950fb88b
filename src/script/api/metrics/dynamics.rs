//! What a run's curves say about its learning rate: catapults, progressive sharpening, gradient noise.

use rhai::Map;
use rhai::plugin::*;

use super::super::data::StreamValue;
use super::super::model::ModelValue;
use super::super::optim::OptimizerValue;
use super::super::values::Numbers;
use super::super::{Registry, values};
use crate::metrics::{
    self, CatapultSettings, Loss, NoiseSettings, Rates, SharpeningSettings, SharpnessSeries,
};
use crate::options;
use crate::script::options::NON_NEGATIVE;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(CatapultOptions::spec());
    registry.options(SharpeningOptions::spec());
    registry.options(NoiseOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of the detector of catapults.
    pub struct CatapultOptions for "metrics::catapult" {
        /// The loss must rise above 1 + kappa times its first value.
        kappa: f64 = 0.05, where NON_NEGATIVE;
        /// Number of steps, from the first on, in which a catapult is looked for; 0 for all.
        window: u64 = 0;
        /// Sharpness over the run, which must be less at the end of the window than at its beginning.
        sharpness: Option<Numbers> = None;
        /// Steps at which the sharpness was measured; left out, those of the losses.
        sharpness_steps: Option<Vec<u64>> = None;
    }
}

options! {
    /// Settings of progressive sharpening.
    pub struct SharpeningOptions for "metrics::progressive_sharpening" {
        /// Share of the threshold from which on the edge is reached.
        share: f64 = 0.9, where (0.0..=1.0);
        /// How far, as a share of the threshold, the plateau's mean may be from it.
        within: f64 = 0.15, where NON_NEGATIVE;
    }
}

options! {
    /// Settings of the gradient noise scale.
    pub struct NoiseOptions for "metrics::gradient_noise_scale" {
        /// Examples of a small batch.
        small: usize = 32, where (1.0..);
        /// Small batches that make up a big one.
        parts: usize = 8, where (2.0..);
        /// Big batches.
        batches: usize = 16, where (2.0..);
        /// Position in the stream where they begin.
        start: u64 = 0;
        /// Loss; left out, the usual one for the stream.
        loss: Option<Loss> = None;
        /// Optimizer whose learning rates weigh the parameters; left out, all count alike.
        optimizer: Option<OptimizerValue> = None;
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

    /// Whether a loss curve begins with a catapult (Lewkowycz et al. 2020, arXiv 2003.02218): within the
    /// window the loss rises above `1 + kappa` times its first value, then falls below its first value,
    /// stays finite, and, where `sharpness` is given, the last sharpness in the window is less than the
    /// first. `steps` and `losses` are of one curve, steps ascend.
    ///
    /// Gives a map with `found`; `spike_step` and `spike_height`, step and size of the greatest loss, over
    /// the first one; `recovered_step`, the first after it below the first loss; `diverged_step`, the first that
    /// is not finite, from which on nothing is looked at; `sharpness_start`, `sharpness_end` and
    /// `sharpness_ratio`, end over start. What there is not is `()`. An error if the first loss is not
    /// positive and finite.
    ///
    /// ```rhai
    /// let found = metrics::catapult([0, 1, 2, 3], [2.0, 6.0, 3.0, 1.0], #{ sharpness: [8.0, 9.0, 4.0, 2.0] });
    /// found.found              // → true
    /// found.spike_step         // → 1
    /// found.spike_height       // → 3.0
    /// found.recovered_step     // → 3
    /// found.sharpness_ratio    // → 0.25
    /// ```
    #[rhai_fn(name = "catapult", return_raw)]
    pub fn catapult_with(
        ctx: NativeCallContext,
        steps: Dynamic,
        losses: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = CatapultOptions::from_map(&ctx, &settings)?;
        let steps = values::steps("catapult", "steps", &steps).or_raise(&ctx)?;
        let losses = values::numbers("catapult", "losses", &losses).or_raise(&ctx)?;
        let sharpness = o.sharpness.as_ref().map(|values| SharpnessSeries {
            steps: o.sharpness_steps.as_deref().unwrap_or(&steps),
            values: &values.0,
        });
        let settings = CatapultSettings {
            kappa: o.kappa,
            window: o.window,
        };
        let found = metrics::catapult(&steps, &losses, sharpness, settings);
        values::map(&found.or_raise(&ctx)?).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "catapult", return_raw)]
    pub fn catapult(ctx: NativeCallContext, steps: Dynamic, losses: Dynamic) -> RhaiResultOf<Map> {
        catapult_with(ctx, steps, losses, Map::new())
    }

    /// How sharpness moves towards the edge of stability (Cohen et al. 2021, arXiv 2103.00065): `steps`
    /// and `sharpness` of one run, and the `threshold` in the same units, such as
    /// `metrics::stability_threshold(optimizer)` for sharpness in units of learning rates.
    ///
    /// The edge is reached at the first value of at least `share` of the threshold. The plateau is what follows,
    /// where these are four values or more the later half of them, since sharpness first overshoots; the run
    /// is at the edge if the plateau has at least two values and their mean is no further
    /// than `within` thresholds from the threshold. Gives a map with `initial`, `last` and `greatest`;
    /// `reached_step`; `plateau`, `plateau_std` and `plateau_share` (mean, standard deviation, and mean over
    /// threshold); `at_edge`; `diverged_step`, the first value that is not finite, from which on all are left
    /// out. What there is not is `()`.
    ///
    /// ```rhai
    /// let found = metrics::progressive_sharpening([0, 10, 20, 30], [0.5, 1.2, 1.9, 2.1], 2.0);
    /// found.reached_step      // → 20
    /// found.plateau           // → 2.0
    /// found.at_edge           // → true
    /// ```
    #[rhai_fn(name = "progressive_sharpening", return_raw)]
    pub fn progressive_sharpening_with(
        ctx: NativeCallContext,
        steps: Dynamic,
        sharpness: Dynamic,
        threshold: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let what = "progressive_sharpening";
        let o = SharpeningOptions::from_map(&ctx, &settings)?;
        let steps = values::steps(what, "steps", &steps).or_raise(&ctx)?;
        let sharpness = values::numbers(what, "sharpness", &sharpness).or_raise(&ctx)?;
        let threshold = values::number(what, "threshold", &threshold).or_raise(&ctx)?;
        let settings = SharpeningSettings {
            share: o.share,
            within: o.within,
        };
        let found = metrics::progressive_sharpening(&steps, &sharpness, threshold, settings);
        values::map(&found.or_raise(&ctx)?).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "progressive_sharpening", return_raw)]
    pub fn progressive_sharpening(
        ctx: NativeCallContext,
        steps: Dynamic,
        sharpness: Dynamic,
        threshold: Dynamic,
    ) -> RhaiResultOf<Map> {
        progressive_sharpening_with(ctx, steps, sharpness, threshold, Map::new())
    }

    /// The simple noise scale of each member's gradient on a stream, `tr Σ / |G|²` (McCandlish et al. 2018, arXiv
    /// 1812.06162): the batch size at which the noise of the gradient is as large as the gradient. Estimated
    /// from squared gradients of batches of two sizes, so that numerator and denominator have no bias
    /// (appendix A.1); big batches are `parts` small ones in a row. Costs `small · parts · batches` examples'
    /// passes, and takes them from the stream at `start`. The loss is that of evaluation.
    ///
    /// With `optimizer`, parameters count with their learning rates, `tr(D Σ) / GᵀDG`, which does not depend on how
    /// a parametrization is written.
    ///
    /// Gives a map of arrays over members: `noise_scale`, `trace`, `squared_gradient`, and their standard errors
    /// `noise_scale_error`, `trace_error`, `squared_gradient_error`; with `small`, `big` and `batches`. The
    /// noise scale is NaN where the estimate of `|G|²` is not positive: take more batches, or bigger ones.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 4 });
    /// let m = init(mlp(#{ width: 8, inputs: 4, outputs: 1 }), mup(), #{ members: 2 });
    /// let found = metrics::gradient_noise_scale(m, s, #{ small: 4, parts: 4, batches: 3, optimizer: sgd() });
    /// found.noise_scale.len      // → 2
    /// found.big                  // → 16
    /// ```
    #[rhai_fn(name = "gradient_noise_scale", return_raw)]
    pub fn gradient_noise_scale_with(
        ctx: NativeCallContext,
        model: ModelValue,
        stream: StreamValue,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let what = "metrics::gradient_noise_scale";
        let o = NoiseOptions::read(what, &settings).or_raise(&ctx)?;
        let loss = o.loss.unwrap_or(Loss::usual(stream.0.targets()));
        let settings = NoiseSettings {
            small: o.small,
            parts: o.parts,
            batches: o.batches,
            start: o.start,
        };
        let model = model.read();
        let rates = o.optimizer.map(|o| Rates::of(&model, &*o.0)).transpose();
        let rates = rates.or_raise(&ctx)?;
        let found =
            metrics::gradient_noise_scale(&model, &*stream.0, loss, rates.as_ref(), settings);
        values::map(&found.or_raise(&ctx)?).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "gradient_noise_scale", return_raw)]
    pub fn gradient_noise_scale(
        ctx: NativeCallContext,
        model: ModelValue,
        stream: StreamValue,
    ) -> RhaiResultOf<Map> {
        gradient_noise_scale_with(ctx, model, stream, Map::new())
    }
}
