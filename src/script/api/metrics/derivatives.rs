//! Curvature and kernels: what first and second derivatives of a model say.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::data::BatchValue;
use super::super::model::ModelValue;
use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use crate::data::Labels;
use crate::error::{Error, Result};
use crate::metrics::{self, Loss, PowerIteration};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SharpnessOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of the sharpness.
    pub struct SharpnessOptions for "metrics::sharpness" {
        /// Most Hessian–vector products of the power iteration.
        products: usize = 200, where (1.0..);
        /// Largest residual `‖H v − θ v‖ / |θ|`, at which a member is done; with 0 all products are taken, and the
        /// last quotients given as they are.
        tolerance: f64 = 0.05, where (0.0..);
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
        /// Seed of the first direction, which all members share.
        seed: u64 = 0;
    }
}

/// The values, if all have converged.
fn converged(found: &[[f64; 2]], iteration: PowerIteration) -> Result<Vec<f64>> {
    let PowerIteration {
        products,
        tolerance,
        ..
    } = iteration;
    let open = |[value, residual]: &[f64; 2]| {
        tolerance > 0.0 && value.is_finite() && *residual > tolerance * value.abs()
    };
    if let Some(member) = found.iter().position(open) {
        let [value, residual] = found[member];
        return Err(Error::other(format!(
            "metrics::sharpness: member {member} has not converged: {value:.4} with a residual of {residual:.2}, more than \
             {tolerance} of it, after {products} products"
        ))
        .with_help(
            "give more `products` or a larger `tolerance`, or use metrics::hessian_eigenvalues, which needs fewer products",
        ));
    }
    Ok(found.iter().map(|[value, _]| *value).collect())
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
    /// `metrics::hessian_eigenvalues` has these in it, and needs fewer products, for which it keeps their vectors. The
    /// loss is that of evaluation: batch normalisation uses its running estimates, and dropout does nothing.
    ///
    /// An eigenvalue is within `tolerance` of each value, relative to it; the value itself is mostly much closer to the
    /// largest. Fails if a member's has not converged with `products`; a member that has diverged has NaN.
    ///
    /// ```rhai
    /// let s = data::synthetic_images();
    /// let m = init(mlp(#{ width: 16 }), mup(), #{ members: 2 });
    /// metrics::sharpness(m, s.batch(32)).len                       // → 2
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
        let iteration = PowerIteration {
            products: s.products,
            tolerance: s.tolerance,
            seed: s.seed,
        };
        let found = metrics::top_eigenvalue(&model.read(), &batch.0, loss, iteration);
        converged(&found.or_raise(&ctx)?, iteration)
            .map(values::array)
            .or_raise(&ctx)
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
