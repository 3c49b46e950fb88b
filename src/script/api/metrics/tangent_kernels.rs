//! Neural tangent kernels of all outputs, of random combinations of them, and in the units of the
//! learning rates.

use candle_core::Tensor;
use rhai::Map;
use rhai::plugin::*;

use super::super::data::BatchValue;
use super::super::model::ModelValue;
use super::super::optim::OptimizerValue;
use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use crate::error::{Error, Result};
use crate::metrics::{self, NtkOutputs, NtkSettings};
use crate::options;
use crate::parametrization::OptimizerFamily;
use crate::script::{OrRaise, RhaiResultOf, output};

pub(super) fn register(registry: &mut Registry) {
    registry.options(NtkOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

/// What `outputs` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Traced.
    Trace,
    /// All pairs.
    Full,
    /// Random directions.
    Projected,
}

crate::choice! { Outputs {
    "trace" => Outputs::Trace, "full" => Outputs::Full, "projected" => Outputs::Projected,
} }

options! {
    /// Settings of neural tangent kernels.
    pub struct NtkOptions for "metrics::ntk", "metrics::ntk_memory" {
        /// What is measured of the outputs: their sum, every pair, or random directions among them.
        outputs: Outputs = Outputs::Trace;
        /// Number of random directions of `outputs: "projected"`.
        projections: usize = 8, where (1.0..);
        /// Seed of the random directions, which all members share.
        seed: u64 = 0;
        /// With `sgd(…)`, each parameter's part is multiplied with the factor that the parametrization
        /// gives the learning rate there.
        optimizer: Option<OptimizerValue> = None;
        /// Points of a block; left out, as many as fit into memory, a sixteenth of all at least.
        block: Option<usize> = None, where (1.0..);
    }
}

fn settings(what: &str, map: &Map) -> Result<NtkSettings> {
    let o = NtkOptions::read(what, map)?;
    if let Some(other) = o.optimizer.as_ref().map(|o| &o.0)
        && other.family() != OptimizerFamily::Sgd
    {
        return Err(Error::setting(format!(
            "{what}: optimizer must be sgd(…), found {}: its steps do not follow a tangent kernel of \
             learning rates alone",
            other.name()
        ))
        .with_help("optimizer: sgd() takes the parametrization's learning rates of SGD"));
    }
    Ok(NtkSettings {
        outputs: match o.outputs {
            Outputs::Trace => NtkOutputs::Trace,
            Outputs::Full => NtkOutputs::Full,
            Outputs::Projected => NtkOutputs::Projected {
                projections: o.projections,
                seed: o.seed,
            },
        },
        learning_rates: o.optimizer.is_some(),
        block: o.block,
    })
}

/// Kernels that need as many bytes are announced.
const ANNOUNCED: u64 = 100_000_000;

fn kernel(
    model: &ModelValue,
    inputs: &Tensor,
    others: Option<&Tensor>,
    map: &Map,
) -> Result<TensorValue> {
    let settings = settings("metrics::ntk", map)?;
    let model = &model.read();
    let points = |t: &Tensor| t.dims().first().copied().unwrap_or(0);
    let sizes = (points(inputs), others.map(points));
    // what is wrong with the sizes is said by the kernel itself
    if let Ok(memory) = metrics::tangent_kernel_memory(model, sizes.0, sizes.1, settings)
        && memory.bytes >= ANNOUNCED
        && memory.available.is_none_or(|a| memory.bytes <= a)
    {
        let about = ("metrics::ntk", sizes, memory.bytes, memory.block);
        output::message_once(about, &format!("metrics::ntk: {}", memory.text));
    }
    metrics::tangent_kernel(model, inputs, others, settings).map(TensorValue)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The empirical neural tangent kernel of each member on inputs `[points, …]` or a batch, traced
    /// over outputs: `[members, points, points]`, `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩` over the
    /// parameters as they are stored (Jacot, Gabriel, Hongler 2018).
    ///
    /// ```rhai
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 3 }), sp());
    /// metrics::ntk(m, tensor([[1.0, 0.0], [2.0, 1.0]]))[0].to_array()     // → [[6.0, 9.0], [9.0, 18.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ntk(
        ctx: NativeCallContext,
        model: ModelValue,
        inputs: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        kernel(&model, &inputs.0, None, &Map::new()).or_raise(&ctx)
    }

    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_batch(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<TensorValue> {
        ntk(ctx, model, TensorValue(batch.0.inputs.clone()))
    }

    /// The empirical neural tangent kernel between two sets of inputs, or of batches:
    /// `[members, points, others]`. It costs as much as the kernel of both sets together.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 3 }), sp());
    /// let train = tensor([[1.0, 0.0], [2.0, 1.0]]);
    /// metrics::ntk(m, tensor([[0.0, 1.0]]), train)[0].to_array()     // → [[3.0, 6.0]]
    /// ```
    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_between(
        ctx: NativeCallContext,
        model: ModelValue,
        inputs: TensorValue,
        others: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        kernel(&model, &inputs.0, Some(&others.0), &Map::new()).or_raise(&ctx)
    }

    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_between_batches(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        other: BatchValue,
    ) -> RhaiResultOf<TensorValue> {
        let [inputs, others] = [batch, other].map(|b| TensorValue(b.0.inputs.clone()));
        ntk_between(ctx, model, inputs, others)
    }

    /// The empirical neural tangent kernel of each member with settings, on inputs `[points, …]` or a
    /// batch, in the model's type.
    ///
    /// `outputs: "trace"`, the default, sums over the outputs: `[members, points, points]`.
    /// `outputs: "full"` has every pair of outputs: `[members, P·C, P·C]` for `P` points and `C` outputs,
    /// row `point · C + output`. `outputs: "projected"` is the mean over random directions `v` with
    /// entries ±1 of the kernel of `v·f`: an unbiased estimate of the trace (Hutchinson 1989), at
    /// `projections / C` of its cost, whose error falls with one over the root of `projections`.
    ///
    /// `optimizer: sgd(…)` gives the kernel in the units of the learning rates,
    /// `Σ_p (lr_p/lr) ⟨∂f/∂p, ∂f/∂p⟩` with the learning rate `lr_p` that the parametrization makes of `lr` for
    /// parameter `p`: gradient flow then changes outputs by `df/dt = −lr K ∂L/∂f`, and kernels can be
    /// compared between widths and parametrizations. Momentum and weight decay are not in it.
    ///
    /// The kernel is made of layers' inputs and back-propagated signals. Where one pass does not fit into
    /// memory, it is made of blocks of points; if the kernel and blocks of a sixteenth of the points do not fit
    /// either, it is an error that says what would (with `block` they can be smaller, which takes long). A kernel that needs 100 MB or more first says so on stderr, in one line, once for each
    /// size; `metrics::ntk_memory` gives the same numbers for any.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 2 }), sp());
    /// let x = tensor([[1.0, 0.0], [2.0, 1.0]]);
    /// metrics::ntk(m, x, #{ outputs: "full" })[0].to_array()
    /// // → [[2.0, 0.0, 3.0, 0.0], [0.0, 2.0, 0.0, 3.0], [3.0, 0.0, 6.0, 0.0], [0.0, 3.0, 0.0, 6.0]]
    /// metrics::ntk(m, x, #{ optimizer: sgd(#{ lr: 0.1 }), block: 1 })[0].to_array()      // → [[4.0, 6.0], [6.0, 12.0]]
    /// ```
    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_with(
        ctx: NativeCallContext,
        model: ModelValue,
        inputs: TensorValue,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        kernel(&model, &inputs.0, None, &settings).or_raise(&ctx)
    }

    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_with_batch(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        kernel(&model, &batch.0.inputs, None, &settings).or_raise(&ctx)
    }

    /// The kernel between two sets of inputs, or of batches, with the same settings:
    /// `[members, points, others]`, or `[members, P·C, Q·C]` with `outputs: "full"`. It costs as much as
    /// the kernel of both sets together.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 3 }), sp());
    /// let train = tensor([[1.0, 0.0], [2.0, 1.0]]);
    /// metrics::ntk(m, tensor([[0.0, 1.0]]), train, #{ outputs: "full" }).shape       // → [1, 3, 6]
    /// ```
    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_between_with(
        ctx: NativeCallContext,
        model: ModelValue,
        inputs: TensorValue,
        others: TensorValue,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        kernel(&model, &inputs.0, Some(&others.0), &settings).or_raise(&ctx)
    }

    #[rhai_fn(name = "ntk", return_raw)]
    pub fn ntk_between_batches_with(
        ctx: NativeCallContext,
        model: ModelValue,
        batch: BatchValue,
        other: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let (inputs, others) = (&batch.0.inputs, &other.0.inputs);
        kernel(&model, inputs, Some(others), &settings).or_raise(&ctx)
    }

    /// The memory that `metrics::ntk` with these settings needs on so many points, before it is made: a
    /// map with `bytes`; `kernel`, those of the kernel alone; `available`, what is there now, `()` where
    /// the system does not say; `block`, the points of a block; `text`, the same in words. That it does
    /// not fit is no error here.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64 }), mup());
    /// metrics::ntk_memory(m, 100, #{ outputs: "full", block: 10 }).kernel       // → 4000000
    /// print(metrics::ntk_memory(m, 100).text);
    /// ```
    #[rhai_fn(name = "ntk_memory", return_raw)]
    pub fn ntk_memory_with(
        ctx: NativeCallContext,
        model: ModelValue,
        points: i64,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let read = super::settings("metrics::ntk_memory", &settings).or_raise(&ctx)?;
        let points = usize::try_from(points).unwrap_or(0);
        metrics::tangent_kernel_memory(&model.read(), points, None, read)
            .and_then(|m| values::map(&m))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "ntk_memory", return_raw)]
    pub fn ntk_memory(ctx: NativeCallContext, model: ModelValue, points: i64) -> RhaiResultOf<Map> {
        ntk_memory_with(ctx, model, points, Map::new())
    }
}
