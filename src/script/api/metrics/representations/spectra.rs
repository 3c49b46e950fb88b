//! Spectra of weights, features and gradients.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::super::data::BatchValue;
use super::super::super::model::ModelValue;
use super::super::super::tensor::TensorValue;
use super::super::super::{Registry, values};
use crate::data::Labels;
use crate::error::Result;
use crate::metrics::Loss;
use crate::metrics::representations::{self as core, Flatten, Preparation, Spectrum};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SpectrumOptions::spec());
    registry.options(GradientOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { Flatten {
    "columns" => Flatten::Columns,
    "rows" => Flatten::Rows,
} }

options! {
    /// How a tensor `[members, …]` becomes a matrix for each member.
    pub struct SpectrumOptions for
        "metrics::singular_values",
        "metrics::spectrum",
        "metrics::effective_rank",
        "metrics::stable_rank",
        "metrics::participation_ratio",
        "metrics::spectral_outliers"
    {
        /// Which axes become one: `"columns"`, all behind the first, as of features `[points, …]`;
        /// `"rows"`, all before the last, as of filters `[height, width, in, out]`.
        flatten: Flatten = Flatten::Columns;
        /// Whether each column's mean over rows is subtracted, as for the covariance of features.
        centred: bool = false;
    }
}

options! {
    /// Settings of gradients.
    pub struct GradientOptions for "metrics::gradients" {
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
    }
}

fn preparation(what: &str, settings: &Map) -> Result<Preparation> {
    let s = SpectrumOptions::read(&format!("metrics::{what}"), settings)?;
    Ok(Preparation {
        flatten: s.flatten,
        centred: s.centred,
    })
}

fn spectrum_of(what: &str, x: &Dynamic, settings: &Map) -> Result<Spectrum> {
    let prepare = preparation(what, settings)?;
    let x = values::tensor(what, "x", x)?;
    core::spectrum(&x, prepare)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Singular values of each member's matrix in `x` `[members, rows, columns, …]`, in descending order:
    /// `[member][…]`. Of weights `m.param(path)`, features `m.activation(path, inputs)`, gradients. NaN
    /// where a member has diverged; an iteration that does not converge is an error.
    ///
    /// ```rhai
    /// metrics::singular_values([[[3.0, 0.0], [0.0, 4.0]]])        // → [[4.0, 3.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn singular_values(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Array> {
        singular_values_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "singular_values", return_raw)]
    pub fn singular_values_with(
        ctx: NativeCallContext,
        x: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let found = spectrum_of("singular_values", &x, &settings).or_raise(&ctx)?;
        Ok(values::table(&found.singular_values))
    }

    /// Singular values of each member's matrix and the ranks that follow from them, from one
    /// decomposition: a map with `singular_values` `[member][…]`, and for each member `effective_rank`,
    /// `stable_rank` and `participation_ratio`, see the functions with these names.
    ///
    /// ```rhai
    /// let s = metrics::spectrum([[[2.0, 0.0], [0.0, 1.0]]]);
    /// [s.stable_rank, s.participation_ratio]      // → [[1.25], [1.4705882352941178]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn spectrum(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Map> {
        spectrum_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "spectrum", return_raw)]
    pub fn spectrum_with(ctx: NativeCallContext, x: Dynamic, settings: Map) -> RhaiResultOf<Map> {
        spectrum_of("spectrum", &x, &settings)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    /// Effective rank of each member's matrix: the exponential of the entropy of `σ_i / Σ σ` (Roy and
    /// Vetterli 2007), from 1 to the smaller of rows and columns. NaN for a matrix of zeros, or where a
    /// member has diverged.
    ///
    /// ```rhai
    /// metrics::effective_rank([[[1.0, 0.0], [0.0, 1.0]]])[0]      // → 2.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn effective_rank(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Array> {
        effective_rank_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "effective_rank", return_raw)]
    pub fn effective_rank_with(
        ctx: NativeCallContext,
        x: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let found = spectrum_of("effective_rank", &x, &settings).or_raise(&ctx)?;
        Ok(values::array(found.effective_rank))
    }

    /// Stable rank of each member's matrix: `‖A‖_F² / ‖A‖₂²` (Rudelson and Vershynin 2007). NaN for a
    /// matrix of zeros, or where a member has diverged.
    ///
    /// ```rhai
    /// metrics::stable_rank([[[2.0, 0.0], [0.0, 1.0]]])        // → [1.25]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn stable_rank(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Array> {
        stable_rank_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "stable_rank", return_raw)]
    pub fn stable_rank_with(
        ctx: NativeCallContext,
        x: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let found = spectrum_of("stable_rank", &x, &settings).or_raise(&ctx)?;
        Ok(values::array(found.stable_rank))
    }

    /// Participation ratio of each member's matrix: `(Σ λ)² / Σ λ²` of the eigenvalues `λ = σ²` (Gao et al.
    /// 2017); of features with `centred: true` it is the dimension of their covariance. NaN for a matrix
    /// of zeros, or where a member has diverged.
    ///
    /// ```rhai
    /// metrics::participation_ratio([[[1.0, 0.0], [0.0, 1.0]]])        // → [2.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn participation_ratio(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Array> {
        participation_ratio_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "participation_ratio", return_raw)]
    pub fn participation_ratio_with(
        ctx: NativeCallContext,
        x: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let found = spectrum_of("participation_ratio", &x, &settings).or_raise(&ctx)?;
        Ok(values::array(found.participation_ratio))
    }

    /// Eigenvalues that stand out of the bulk that a random matrix with independent entries would have
    /// (Marchenko and Pastur 1967), for each member's matrix in `x` `[members, rows, columns, …]`.
    /// Eigenvalues are `σ² / n`, n the larger of rows and columns and p the smaller, of the rows one less where they are
    /// centred. The rule: the bulk has the variance `s²` for which the law's median is the median eigenvalue (Gavish and
    /// Donoho 2014); an eigenvalue lies above it where it exceeds what the largest of a large matrix of this variance
    /// reaches once in a hundred times (noise of 200 by 200 numbers, whose variance is not known, about twice, of 8 by 8
    /// eight times), `s² (μ + 2.0234 τ) / n` with `μ = (√(n − 1) + √p)²` and
    /// `τ = √μ (1/√(n − 1) + 1/√p)^⅓` (Johnstone 2001), and below it correspondingly (Ma 2012).
    ///
    /// Gives a map of arrays with one entry per member: `above` and `below`, numbers of outliers;
    /// `variance`; `low` and `high`, where the bulk ends; `eigenvalues`, in descending order. Where the
    /// median eigenvalue is 0, or a member has diverged, there is no bulk: numbers of outliers are `()`,
    /// the rest NaN. Fewer than 8 rows or columns are an error.
    ///
    /// ```rhai
    /// let noise = randn([1, 60, 40]);
    /// let spike = randn([1, 60, 1], 1).matmul(randn([1, 1, 40], 2));
    /// metrics::spectral_outliers(noise + spike * 3.0).above[0] >= 1     // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn spectral_outliers(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Map> {
        spectral_outliers_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "spectral_outliers", return_raw)]
    pub fn spectral_outliers_with(
        ctx: NativeCallContext,
        x: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let prepare = preparation("spectral_outliers", &settings).or_raise(&ctx)?;
        let x = values::tensor("spectral_outliers", "x", &x).or_raise(&ctx)?;
        core::spectral_outliers(&x, prepare)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    /// Gradients of each member's loss on a batch with respect to its parameters as they are stored: a map
    /// from the paths of trained parameters to tensors `[members, …]` of their shapes. The loss is that of
    /// evaluation: batch normalisation uses its running estimates, and dropout does nothing.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 8 });
    /// let m = init(mlp(#{ width: 16, depth: 2, inputs: 8, outputs: 1 }), mup(), #{ members: 2 });
    /// let g = metrics::gradients(m, s.batch(32));
    /// g.keys()                                // → ["layers.0.bias", "layers.0.weight", "readout.bias", "readout.weight"]
    /// g["layers.0.weight"].shape              // → [2, 8, 16]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn gradients(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Map> {
        gradients_with(ctx, model, batch, Map::new())
    }
    #[rhai_fn(name = "gradients", return_raw)]
    pub fn gradients_with(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = GradientOptions::read("metrics::gradients", &settings).or_raise(&ctx)?;
        let usual = match batch.0.labels {
            Labels::Classes(_) => Loss::CrossEntropy,
            Labels::Values(_) => Loss::Mse,
        };
        let loss = s.loss.unwrap_or(usual);
        let found = core::gradients(&model.read(), &batch.0, loss).or_raise(&ctx)?;
        let entry =
            |(path, gradient): (String, _)| (path.into(), Dynamic::from(TensorValue(gradient)));
        Ok(found.into_iter().map(entry).collect())
    }
}
