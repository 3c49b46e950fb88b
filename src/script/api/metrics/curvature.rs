//! Eigenvalues of curvature in units of learning rates, and the thresholds that they are compared with.

use rhai::Map;
use rhai::plugin::*;

use super::super::data::BatchValue;
use super::super::model::ModelValue;
use super::super::optim::OptimizerValue;
use super::super::{Registry, values};
use crate::data::{Batch, Labels};
use crate::metrics::{self, CurvatureMatrix, EigenvalueSettings, Loss, Rates, TraceSettings};
use crate::optim::PerMember;
use crate::options;
use crate::script::options::POSITIVE;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(EigenvalueOptions::spec());
    registry.options(TraceOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { CurvatureMatrix {
    "hessian" => CurvatureMatrix::Hessian, "gauss_newton" => CurvatureMatrix::GaussNewton,
} }

options! {
    /// Settings of eigenvalues of the Hessian.
    pub struct EigenvalueOptions for "metrics::hessian_eigenvalues" {
        /// How many eigenvalues, from the algebraically largest down.
        count: usize = 1, where (1.0..);
        /// Most products of the matrix with a vector, each about as long as two training steps.
        products: usize = 60, where (1.0..);
        /// A value has converged when its residual is at most this share of it.
        tolerance: f64 = 1e-3, where POSITIVE;
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
        /// Seed of the first vector, which all members share.
        seed: u64 = 0;
        /// The Hessian of the loss, or its Gauss–Newton matrix `Jᵀ H_L J`.
        matrix: CurvatureMatrix = CurvatureMatrix::Hessian;
        /// Optimizer in whose learning rates curvature is measured; left out, that of the parameters as they
        /// are stored.
        optimizer: Option<OptimizerValue> = None;
    }
}

options! {
    /// Settings of the trace of the Hessian.
    pub struct TraceOptions for "metrics::hessian_trace" {
        /// Vectors of random signs, a product with each.
        samples: usize = 32, where (2.0..);
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
        /// Seed of the signs, which all members share.
        seed: u64 = 0;
        /// The Hessian of the loss, or its Gauss–Newton matrix `Jᵀ H_L J`.
        matrix: CurvatureMatrix = CurvatureMatrix::Hessian;
        /// Optimizer in whose learning rates curvature is measured; left out, that of the parameters as they
        /// are stored.
        optimizer: Option<OptimizerValue> = None;
    }
}

/// The usual loss for a batch's labels.
fn usual(batch: &Batch) -> Loss {
    match batch.labels {
        Labels::Classes(_) => Loss::CrossEntropy,
        Labels::Values(_) => Loss::Mse,
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

    /// The algebraically largest eigenvalues of each member's Hessian on a batch: a map with `values`
    /// `[member][count]`, the largest first; `residuals`, of the same shape, a bound on the distance from
    /// each value to an eigenvalue; `converged`, for each member; and `products`, how many were formed.
    ///
    /// With `optimizer` they are those of `D^(1/2) H D^(1/2)`, where `D` holds the learning rates that the
    /// parametrization gives every parameter under it, before any schedule. Only these can be compared
    /// between widths and parametrizations, since the Hessian itself depends on how a parametrization is
    /// written; gradient descent is stable below 2, `metrics::stability_threshold(optimizer)` for others.
    /// For Adam `D` has no preconditioner: use `t.sharpness(batch)` of its trainer.
    ///
    /// Lanczos' iteration with full reorthogonalisation; the products are exact, forward over reverse
    /// (Pearlmutter 1994). With `matrix: "gauss_newton"`, `Jᵀ H_L J` stands for the Hessian (Schraudolph
    /// 2002). Only trained parameters count; the loss is that of evaluation: batch normalisation uses its
    /// running estimates, and dropout does nothing. Equal eigenvalues are found once until nothing else is
    /// left. A value that has not converged says so in `converged`: give more `products`. A member that is
    /// not finite has NaN. Every product's vector is kept; an error says how many would fit into memory.
    ///
    /// ```rhai
    /// // one linear layer with squared error: the Hessian is 2/(n k) xᵀx, 2/(2·1) · 9 for the first input
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 1, bias: false }), sp());
    /// let s = data::from_tensors([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [1.0, 2.0, 0.0], #{ test_size: 1 });
    /// let found = metrics::hessian_eigenvalues(m, s.batch(2), #{ count: 2, tolerance: 1e-5 });
    /// found.values[0].map(|v| round_to(v, 3))      // → [9.0, 1.0]
    /// found.converged                              // → [true]
    /// let in_units = metrics::hessian_eigenvalues(m, s.batch(2), #{ optimizer: sgd(#{ lr: 0.1 }) });
    /// round_to(in_units.values[0][0], 3)           // → 0.9
    /// ```
    #[rhai_fn(name = "hessian_eigenvalues", return_raw)]
    pub fn hessian_eigenvalues_with(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s =
            EigenvalueOptions::read("metrics::hessian_eigenvalues", &settings).or_raise(&ctx)?;
        let loss = s.loss.unwrap_or(usual(&batch.0));
        let settings = EigenvalueSettings {
            count: s.count,
            products: s.products,
            tolerance: s.tolerance,
            seed: s.seed,
            matrix: s.matrix,
        };
        let model = model.read();
        let rates = s.optimizer.map(|o| Rates::of(&model, &*o.0)).transpose();
        let rates = rates.or_raise(&ctx)?;
        let found = metrics::hessian_eigenvalues(&model, &batch.0, loss, rates.as_ref(), settings);
        values::map(&found.or_raise(&ctx)?).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "hessian_eigenvalues", return_raw)]
    pub fn hessian_eigenvalues(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Map> {
        hessian_eigenvalues_with(ctx, model, batch, Map::new())
    }

    /// The trace of each member's Hessian on a batch: the sum of its eigenvalues, estimated by products with
    /// vectors of random signs (Hutchinson 1990). Gives a map with `trace`, its standard `error`, both for each
    /// member, and `samples`. `matrix` and `optimizer` are as in `metrics::hessian_eigenvalues`.
    ///
    /// ```rhai
    /// // one linear layer with squared error: the Hessian is 2/(n k) xᵀx, here with 9 and 1 on its diagonal
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 1, bias: false }), sp());
    /// let s = data::from_tensors([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [1.0, 2.0, 0.0], #{ test_size: 1 });
    /// let found = metrics::hessian_trace(m, s.batch(2), #{ samples: 4 });
    /// round_to(found.trace[0], 3)      // → 10.0
    /// found.samples                    // → 4
    /// ```
    #[rhai_fn(name = "hessian_trace", return_raw)]
    pub fn hessian_trace_with(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = TraceOptions::read("metrics::hessian_trace", &settings).or_raise(&ctx)?;
        let loss = s.loss.unwrap_or(usual(&batch.0));
        let settings = TraceSettings {
            samples: s.samples,
            seed: s.seed,
            matrix: s.matrix,
        };
        let model = model.read();
        let rates = s.optimizer.map(|o| Rates::of(&model, &*o.0)).transpose();
        let rates = rates.or_raise(&ctx)?;
        let found = metrics::hessian_trace(&model, &batch.0, loss, rates.as_ref(), settings);
        values::map(&found.or_raise(&ctx)?).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "hessian_trace", return_raw)]
    pub fn hessian_trace(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Map> {
        hessian_trace_with(ctx, model, batch, Map::new())
    }

    /// The largest curvature, in units of the learning rate, at which an optimizer's steps near a minimum do
    /// not grow; an array if its momentum has one value for each member. 2 for gradient descent; `2 (1 + β)`
    /// with momentum; `(2 + 2β) / (1 + 2β)` with Nesterov's (Cohen et al. 2021, arXiv 2103.00065, appendix
    /// B); `(2 + 2β₁) / (1 − β₁)` for Adam and AdamW, for curvature in their preconditioned units (Cohen et
    /// al. 2022, arXiv 2207.14484). Weight decay is left out. Other optimizers have none, which is an error.
    ///
    /// ```rhai
    /// metrics::stability_threshold(sgd(#{ lr: 0.1 }))                              // → 2.0
    /// metrics::stability_threshold(sgd(#{ lr: 0.1, momentum: [0.0, 0.5] }))        // → [2.0, 3.0]
    /// round_to(metrics::stability_threshold(adam()), 6)                            // → 38.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn stability_threshold(
        ctx: NativeCallContext,
        optimizer: OptimizerValue,
    ) -> RhaiResultOf<Dynamic> {
        Ok(match optimizer.0.stability_threshold().or_raise(&ctx)? {
            PerMember::Same(value) => Dynamic::from(value),
            PerMember::Each(each) => Dynamic::from_array(values::array(each)),
        })
    }
}
