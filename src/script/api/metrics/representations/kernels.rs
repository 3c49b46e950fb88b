//! Kernels of features, and how well they are aligned.

use candle_core::Tensor;
use rhai::Map;
use rhai::plugin::*;

use super::super::super::model::ModelValue;
use super::super::super::tensor::TensorValue;
use super::super::super::{Registry, values};
use super::{inputs, pairs};
use crate::error::Result;
use crate::metrics::representations::{self as core, KernelSettings, MinibatchCka, Pairwise};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(KernelOptions::spec());
    registry.options(CkaOptions::spec());
    registry.options(MinibatchOptions::spec());
    registry.options(TargetOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of feature kernels.
    pub struct KernelOptions for "metrics::feature_kernel" {
        /// Whether the mean over points is subtracted from the features.
        centred: bool = false;
        /// Examples that the network is run on at a time; left out, as many as for predictions.
        minibatch: Option<usize> = None, where (1..);
    }
}

options! {
    /// Settings of centred kernel alignment.
    pub struct CkaOptions for "metrics::cka", "metrics::cka_within" {
        /// Whether HSIC is estimated without bias.
        debiased: bool = false;
    }
}

options! {
    /// Settings of centred kernel alignment over minibatches.
    pub struct MinibatchOptions for "metrics::minibatch_cka" {
        /// Points of each minibatch.
        minibatch: usize = 256, where (4..);
    }
}

options! {
    /// Settings of the alignment of kernels with targets.
    pub struct TargetOptions for "metrics::kernel_target_alignment" {
        /// Whether kernel and targets are centred first.
        centred: bool = false;
    }
}

/// A number for two kernels `[points, points]`, else a map over pairs of members.
fn number_or_map(found: Pairwise, kernels: [&Tensor; 2]) -> Result<Dynamic> {
    match kernels.iter().all(|k| k.rank() == 2) {
        true => Ok(found.matrix[0][0].into()),
        false => pairs(&found).map(Dynamic::from),
    }
}

fn minibatch_map(found: &MinibatchCka) -> Result<Map> {
    let mut map = pairs(&found.pairs)?;
    let numbers = [
        ("minibatches", found.minibatches),
        ("left_out", found.left_out),
    ];
    for (key, n) in numbers {
        map.insert(key.into(), Dynamic::from(n as i64));
    }
    Ok(map)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The feature kernel of each member, `[members, points, points]` in f64: `K = Φ Φᵀ / N` for the N
    /// features of each point, channels at positions all counted. Features are a tensor
    /// `[members, points, …]`, or those that a model has at a path for inputs `[points, …]` or a batch,
    /// and are then made in minibatches, of which a part is held at a time: the kernel of 10,000 points
    /// needs less than 2 GB at any width. Where the kernel does not fit into memory, the error says how
    /// many points would. The kernel of a member that has diverged is NaN.
    ///
    /// ```rhai
    /// let features = tensor([[[1.0, 0.0], [1.0, 1.0]]]);
    /// metrics::feature_kernel(features).to_array()        // → [[[0.5, 0.5], [0.5, 1.0]]]
    /// let m = init(mlp(#{ width: 16, inputs: 3 }), mup(), #{ members: 2 });
    /// let k = metrics::feature_kernel(m, "layers.1.relu", randn([5, 3]), #{ centred: true });
    /// k.shape                                             // → [2, 5, 5]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn feature_kernel(ctx: NativeCallContext, features: Dynamic) -> RhaiResultOf<TensorValue> {
        feature_kernel_with(ctx, features, Map::new())
    }
    #[rhai_fn(name = "feature_kernel", return_raw)]
    pub fn feature_kernel_with(
        ctx: NativeCallContext,
        features: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let s = KernelOptions::read("metrics::feature_kernel", &settings).or_raise(&ctx)?;
        let x = values::tensor("feature_kernel", "features", &features).or_raise(&ctx)?;
        let kernel = core::feature_kernel_of(&x, s.centred);
        kernel.map(TensorValue).or_raise(&ctx)
    }
    #[rhai_fn(name = "feature_kernel", return_raw)]
    pub fn feature_kernel_model(
        ctx: NativeCallContext,
        model: ModelValue,
        path: &str,
        inputs: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        feature_kernel_model_with(ctx, model, path, inputs, Map::new())
    }
    #[rhai_fn(name = "feature_kernel", return_raw)]
    pub fn feature_kernel_model_with(
        ctx: NativeCallContext,
        model: ModelValue,
        path: &str,
        inputs: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let s = KernelOptions::read("metrics::feature_kernel", &settings).or_raise(&ctx)?;
        let x = super::inputs("feature_kernel", &inputs).or_raise(&ctx)?;
        let settings = KernelSettings {
            centred: s.centred,
            minibatch: s.minibatch,
        };
        let kernel = core::feature_kernel(&mut model.write(), path, &x, settings);
        kernel.map(TensorValue).or_raise(&ctx)
    }

    /// The cosine `⟨K, K'⟩ / (‖K‖ ‖K'‖)` of kernels on the same points (Cristianini et al. 2001), without
    /// centring, so that the mean activation dominates; `metrics::cka` centres.
    ///
    /// A number for two kernels `[points, points]`. With kernels `[members, points, points]` a map:
    /// `matrix`, `[member][reference member]`; `mean`, `std`, `min`, `max` over pairs; `count` and
    /// `excluded`, pairs used and left out (diverged, or a kernel of zeros: NaN in the matrix). A matrix
    /// that is not symmetric, or not positive semi-definite within rounding (of its first 16,384 points,
    /// the next, and so on), is an error with the smallest eigenvalue.
    ///
    /// ```rhai
    /// metrics::kernel_alignment([[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]])     // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn kernel_alignment(
        ctx: NativeCallContext,
        kernels: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Dynamic> {
        let a = values::tensor("kernel_alignment", "kernels", &kernels).or_raise(&ctx)?;
        let b = values::tensor("kernel_alignment", "reference", &reference).or_raise(&ctx)?;
        core::kernel_alignment(&a, &b)
            .and_then(|found| number_or_map(found, [&a, &b]))
            .or_raise(&ctx)
    }

    /// Alignment of every member's kernel with every other's, as `metrics::kernel_alignment` gives it for
    /// two sets: what another seed of the same width has. The summary is over pairs of different members,
    /// each once. Fewer than two members are an error.
    ///
    /// ```rhai
    /// let k = tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]);
    /// metrics::kernel_alignment_within(k).mean        // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn kernel_alignment_within(ctx: NativeCallContext, kernels: Dynamic) -> RhaiResultOf<Map> {
        let a = values::tensor("kernel_alignment_within", "kernels", &kernels).or_raise(&ctx)?;
        core::kernel_alignment_within(&a)
            .and_then(|found| pairs(&found))
            .or_raise(&ctx)
    }

    /// Centred kernel alignment, `HSIC(K, K') / √(HSIC(K, K) HSIC(K', K'))` with
    /// `HSIC(K, L) = tr(K H L H) / (P − 1)²` (Kornblith et al. 2019), of kernels on the same points that
    /// were not centred before. With `debiased`, HSIC is the estimate without bias of Song et al. 2012
    /// (Nguyen, Raghu, Kornblith 2021): without it, many features on few points look alike even if they
    /// have nothing in common. It needs four points and can be negative.
    ///
    /// Shapes, results and errors are those of `metrics::kernel_alignment`; a kernel that is constant
    /// over points has NaN.
    ///
    /// ```rhai
    /// metrics::cka([[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]])      // → 1.0
    /// let m = init(mlp(#{ width: 16, inputs: 3 }), mup(), #{ members: 2 });
    /// let k = metrics::feature_kernel(m, "layers.1.relu", randn([9, 3]));
    /// metrics::cka(k, k, #{ debiased: true }).count                         // → 4
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cka(
        ctx: NativeCallContext,
        kernels: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Dynamic> {
        cka_with(ctx, kernels, reference, Map::new())
    }
    #[rhai_fn(name = "cka", return_raw)]
    pub fn cka_with(
        ctx: NativeCallContext,
        kernels: Dynamic,
        reference: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Dynamic> {
        let s = CkaOptions::read("metrics::cka", &settings).or_raise(&ctx)?;
        let a = values::tensor("cka", "kernels", &kernels).or_raise(&ctx)?;
        let b = values::tensor("cka", "reference", &reference).or_raise(&ctx)?;
        core::cka(&a, &b, s.debiased)
            .and_then(|found| number_or_map(found, [&a, &b]))
            .or_raise(&ctx)
    }

    /// Centred kernel alignment of every member's kernel with every other's, as `metrics::cka` gives it
    /// for two sets: what another seed of the same width has. Fewer than two members are an error.
    ///
    /// ```rhai
    /// let k = tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]]]);
    /// metrics::cka_within(k).mean         // → 1.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cka_within(ctx: NativeCallContext, kernels: Dynamic) -> RhaiResultOf<Map> {
        cka_within_with(ctx, kernels, Map::new())
    }
    #[rhai_fn(name = "cka_within", return_raw)]
    pub fn cka_within_with(
        ctx: NativeCallContext,
        kernels: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = CkaOptions::read("metrics::cka_within", &settings).or_raise(&ctx)?;
        let a = values::tensor("cka_within", "kernels", &kernels).or_raise(&ctx)?;
        core::cka_within(&a, s.debiased)
            .and_then(|found| pairs(&found))
            .or_raise(&ctx)
    }

    /// How well kernels are aligned with targets: the cosine of `K` and `Y Yᵀ`, for one output
    /// `yᵀ K y / (‖K‖ |y|²)` (Cristianini et al. 2001); with `centred`, of `H K H` and `H Y Yᵀ H` (Cortes,
    /// Mohri, Rostamizadeh 2012). Targets are a batch, classes `[points]` (rows of `Y` are then one-hot)
    /// or values `[points, outputs]`.
    ///
    /// A number for a kernel `[points, points]`, an array with one per member for
    /// `[members, points, points]`; NaN for a kernel of zeros, or of a member that has diverged.
    ///
    /// ```rhai
    /// metrics::kernel_target_alignment([[1.0, 0.0], [0.0, 0.0]], [1.0, 1.0])      // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn kernel_target_alignment(
        ctx: NativeCallContext,
        kernels: Dynamic,
        targets: Dynamic,
    ) -> RhaiResultOf<Dynamic> {
        kernel_target_alignment_with(ctx, kernels, targets, Map::new())
    }
    #[rhai_fn(name = "kernel_target_alignment", return_raw)]
    pub fn kernel_target_alignment_with(
        ctx: NativeCallContext,
        kernels: Dynamic,
        targets: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Dynamic> {
        let what = "kernel_target_alignment";
        let s =
            TargetOptions::read("metrics::kernel_target_alignment", &settings).or_raise(&ctx)?;
        let kernels = values::tensor(what, "kernels", &kernels).or_raise(&ctx)?;
        let targets = values::labels(what, &targets).or_raise(&ctx)?;
        let found = core::kernel_target_alignment(&kernels, &targets, s.centred).or_raise(&ctx)?;
        Ok(match kernels.rank() {
            2 => found[0].into(),
            _ => values::array(found).into(),
        })
    }

    /// Centred kernel alignment without the kernel of all points, from sums of unbiased HSIC over
    /// minibatches (Nguyen, Raghu, Kornblith 2021): of features `[members, points, …]` on the same
    /// points, or of two models, each at a path, on inputs `[points, …]` or a batch. Memory is that of
    /// one minibatch.
    ///
    /// Gives a map as `metrics::cka` does, further `minibatches` and `left_out`, points behind the last
    /// whole minibatch, which are not used. Fewer points than a minibatch are one minibatch; fewer than
    /// four are an error.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 16, inputs: 3 }), mup());
    /// let x = randn([50, 3]);
    /// let a = metrics::minibatch_cka(m, "layers.0.relu", m, "layers.1.relu", x, #{ minibatch: 16 });
    /// [a.minibatches, a.left_out, a.matrix.len]       // → [3, 2, 1]
    /// let f = m.activation("layers.0", x);
    /// metrics::minibatch_cka(f, f * 2.0).mean > 0.999 // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn minibatch_cka(
        ctx: NativeCallContext,
        features: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        minibatch_cka_with(ctx, features, reference, Map::new())
    }
    #[rhai_fn(name = "minibatch_cka", return_raw)]
    pub fn minibatch_cka_with(
        ctx: NativeCallContext,
        features: Dynamic,
        reference: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = MinibatchOptions::read("metrics::minibatch_cka", &settings).or_raise(&ctx)?;
        let a = values::tensor("minibatch_cka", "features", &features).or_raise(&ctx)?;
        let b = values::tensor("minibatch_cka", "reference", &reference).or_raise(&ctx)?;
        core::minibatch_cka_of(&a, &b, s.minibatch)
            .and_then(|found| minibatch_map(&found))
            .or_raise(&ctx)
    }
    #[rhai_fn(name = "minibatch_cka", return_raw)]
    pub fn minibatch_cka_models(
        ctx: NativeCallContext,
        model: ModelValue,
        path: &str,
        reference: ModelValue,
        reference_path: &str,
        inputs: Dynamic,
    ) -> RhaiResultOf<Map> {
        minibatch_cka_models_with(
            ctx,
            model,
            path,
            reference,
            reference_path,
            inputs,
            Map::new(),
        )
    }
    #[rhai_fn(name = "minibatch_cka", return_raw)]
    pub fn minibatch_cka_models_with(
        ctx: NativeCallContext,
        model: ModelValue,
        path: &str,
        reference: ModelValue,
        reference_path: &str,
        inputs: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = MinibatchOptions::read("metrics::minibatch_cka", &settings).or_raise(&ctx)?;
        let x = super::inputs("minibatch_cka", &inputs).or_raise(&ctx)?;
        // one after the other: both may be the same model
        let mut a = |x: &Tensor| model.write().activation(path, x);
        let mut b = |x: &Tensor| reference.write().activation(reference_path, x);
        core::minibatch_cka(&mut a, &mut b, &x, s.minibatch)
            .and_then(|found| minibatch_map(&found))
            .or_raise(&ctx)
    }
}
