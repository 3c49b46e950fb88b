//! The sharpness that a trainer's steps meet.

use rhai::Map;
use rhai::plugin::*;

use super::TrainerValue;
use crate::metrics::{CurvatureMatrix, EigenvalueSettings};
use crate::script::api::data::BatchValue;
use crate::script::api::values;
use crate::script::options::POSITIVE;
use crate::script::{OrRaise, RhaiResultOf};

crate::options! {
    /// Settings of a trainer's sharpness.
    pub struct SharpnessOptions for "sharpness", "sharpness_probe" {
        /// How many eigenvalues, from the algebraically largest down.
        count: usize = 1, where (1.0..);
        /// Most products of the matrix with a vector, each about as long as two steps.
        products: usize = 60, where (1.0..);
        /// A value has converged when its residual is at most this share of it.
        tolerance: f64 = 1e-3, where POSITIVE;
        /// Seed of the first vector, which all members share.
        seed: u64 = 0;
        /// The Hessian of the loss, or its Gauss–Newton matrix `Jᵀ H_L J`.
        matrix: CurvatureMatrix = CurvatureMatrix::Hessian;
    }
}

impl From<SharpnessOptions> for EigenvalueSettings {
    fn from(s: SharpnessOptions) -> Self {
        Self {
            count: s.count,
            products: s.products,
            tolerance: s.tolerance,
            seed: s.seed,
            matrix: s.matrix,
        }
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// The sharpness on a batch in units of the trainer's own next step: the largest eigenvalues of
    /// `D^(1/2) H D^(1/2)`, where `D` holds the learning rates of all parameters as optimizer,
    /// parametrization and schedule make them, and for Adam its preconditioner as it is now,
    /// `D = lr / ((1 − β₁ᵗ) (√v̂ + ε))` (Cohen et al. 2022, arXiv 2207.14484). The loss is the trainer's, as in
    /// evaluation; weight decay and clipping are left out.
    ///
    /// Gives the map of `metrics::hessian_eigenvalues` with a further entry `threshold`, for each member: steps
    /// near a minimum grow where the largest value is above it (`metrics::stability_threshold`). An error for
    /// optimizers without a threshold, and for Adam before its first step. A probe cannot ask its trainer: give the
    /// trainer a `sharpness_probe`.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 4 });
    /// let t = trainer(init(mlp(#{ width: 8 }), mup(), #{ members: 2 }), adam(), s, #{ batch: 16 });
    /// t.step(3);
    /// let found = t.sharpness(s.batch(32), #{ count: 2 });
    /// found.values[0].len                                     // → 2
    /// found.threshold.map(|x| round_to(x, 6))                 // → [38.0, 38.0]
    /// ```
    #[rhai_fn(name = "sharpness", return_raw)]
    pub fn sharpness_with(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let settings: EigenvalueSettings = SharpnessOptions::read("sharpness", &settings)
            .or_raise(&ctx)?
            .into();
        let found = trainer.silently(&ctx, |trainer, hooks| {
            trainer.sharpness(&batch.0, settings, hooks)
        })?;
        values::map(&found).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "sharpness", return_raw)]
    pub fn sharpness(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Map> {
        sharpness_with(ctx, trainer, batch, Map::new())
    }
}
