//! Curvature and kernels: what first and second derivatives of a model say.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::data::BatchValue;
use super::super::model::ModelValue;
use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use crate::data::Labels;
use crate::metrics::{self, Loss};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SharpnessOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of the sharpness.
    pub struct SharpnessOptions for "metrics::sharpness" {
        /// Hessian–vector products of the power iteration.
        products: usize = 20, where (1.0..);
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
        /// Seed of the first direction, which all members share.
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

    /// Sharpness of each member: the Hessian eigenvalue of largest magnitude of its loss on a batch,
    /// an array with one number per member. Power iteration with exact Hessian–vector products
    /// (forward over reverse, Pearlmutter 1994) over the parameters as they are stored, so that it is
    /// comparable between parametrizations only together with their learning rates:
    /// `metrics::hessian_eigenvalues` has these in it, and says whether it has converged. The loss is that of
    /// evaluation: batch normalisation uses its running estimates, and dropout does nothing.
    ///
    /// ```rhai
    /// let s = data::synthetic_images();
    /// let m = init(mlp(#{ width: 16 }), mup(), #{ members: 2 });
    /// metrics::sharpness(m, s.batch(32), #{ products: 5 }).len     // → 2
    /// ```
    #[rhai_fn(return_raw)]
    pub fn sharpness(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let s = SharpnessOptions::read("metrics::sharpness", &settings).or_raise(&ctx)?;
        let usual = match batch.0.labels {
            Labels::Classes(_) => Loss::CrossEntropy,
            Labels::Values(_) => Loss::Mse,
        };
        let loss = s.loss.unwrap_or(usual);
        let found = metrics::top_eigenvalue(&model.read(), &batch.0, loss, s.products, s.seed);
        Ok(values::array(found.or_raise(&ctx)?))
    }

    #[rhai_fn(name = "sharpness", return_raw)]
    pub fn sharpness_plain(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Array> {
        sharpness(ctx, model, batch, Map::new())
    }

    /// The parts of the neural tangent kernel that each parameter has: an array of maps with `path`
    /// and `kernel` `[members, points, points]`, in the order of the parameters. Their sum is
    /// `metrics::ntk(m, inputs)`; weighted with the learning rates of the parameters (`lr` in the rows
    /// of `m.explain(…)`) it is the kernel that gradient descent follows under the parametrization,
    /// `Σ_p lr_p K_p`.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 3 }), sp());
    /// let blocks = metrics::ntk_blocks(m, tensor([[1.0, 0.0], [2.0, 1.0]]));
    /// blocks[0].path                      // → "readout.weight"
    /// blocks[0].kernel[0].to_array()      // → [[3.0, 6.0], [6.0, 15.0]]
    /// blocks[1].kernel[0].to_array()      // → [[3.0, 3.0], [3.0, 3.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ntk_blocks(
        ctx: NativeCallContext,
        model: ModelValue,
        inputs: TensorValue,
    ) -> RhaiResultOf<Array> {
        let blocks = metrics::ntk_blocks(&model.read(), &inputs.0).or_raise(&ctx)?;
        let blocks = blocks.into_iter().map(|block| {
            let kernel = Dynamic::from(TensorValue(block.kernel));
            let path = Dynamic::from(block.path);
            Dynamic::from_map([("path".into(), path), ("kernel".into(), kernel)].into())
        });
        Ok(blocks.collect())
    }

    #[rhai_fn(name = "ntk_blocks", return_raw)]
    pub fn ntk_blocks_batch(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Array> {
        ntk_blocks(ctx, model, TensorValue(batch.0.inputs.clone()))
    }
}
