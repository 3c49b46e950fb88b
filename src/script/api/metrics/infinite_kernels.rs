//! Kernels of infinitely wide networks.

use candle_core::Tensor;
use rhai::Map;
use rhai::plugin::*;

use super::super::data::BatchValue;
use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::entries;
use crate::error::Result;
use crate::metrics::{self, InfiniteActivation, InfiniteSettings};
use crate::options;
use crate::script::options::NON_NEGATIVE;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(InfiniteOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { InfiniteActivation {
    "relu" => InfiniteActivation::Relu, "erf" => InfiniteActivation::Erf,
} }

options! {
    /// Settings of the infinitely wide perceptron, as of `mlp` and `ntp`.
    pub struct InfiniteOptions for "metrics::infinite_kernels" {
        /// Number of weight matrices.
        depth: usize = 3, where (1.0..);
        /// Nonlinearity after each hidden layer.
        activation: InfiniteActivation = InfiniteActivation::Relu;
        /// Spread of the weights.
        weight_std: f64 = 1.0, where NON_NEGATIVE;
        /// Spread of the biases.
        bias_std: f64 = 0.0, where NON_NEGATIVE;
        /// Whether layers have biases; with `bias_std: 0` they are in the tangent kernel alone.
        bias: bool = true;
    }
}

/// Inputs of a batch, a tensor or nested arrays.
fn inputs(what: &str, name: &str, value: &Dynamic) -> Result<Tensor> {
    match value.clone().try_cast::<BatchValue>() {
        Some(batch) => Ok(batch.0.inputs.clone()),
        None => values::tensor(what, name, value),
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

    /// Kernels of one output of an infinitely wide `mlp` under `ntp` in closed form, on inputs
    /// `[points, …]` or a batch, or between them and others: a map with tensors `[points, others]`, `f64`:
    /// `nngp`, the covariance of the outputs at initialisation (Lee et al. 2018), and `ntk`, the neural
    /// tangent kernel (Jacot, Gabriel, Hongler 2018). `metrics::ntk` of a finite network is traced over
    /// outputs: as many times as large.
    ///
    /// `K₁ = σ_w² x·x'/d + σ_b²`, `K_{l+1} = σ_w² E[φφ] + σ_b²`, `Θ₁ = K₁` and
    /// `Θ_{l+1} = K_{l+1} + σ_w² Θ_l E[φ'φ']`, with expectations over Gaussians of covariance `K_l`: biases are trained
    /// with the multiplier `bias_std`, as those of `ntp`. With `bias_std: 0` they start at 0 and have the multiplier 1, so
    /// that `Θ` has 1 in place of `σ_b²`; without them, 0.
    ///
    /// ```rhai
    /// let x = [[1.0, 0.0], [0.0, 2.0]];
    /// let found = metrics::infinite_kernels(x, (), #{ depth: 2, bias: false });
    /// found.nngp.to_array().map(|row| row.map(|k| round_to(k, 4)))        // → [[0.25, 0.1592], [0.1592, 1.0]]
    /// found.ntk.to_array().map(|row| row.map(|k| round_to(k, 4)))         // → [[0.5, 0.1592], [0.1592, 2.0]]
    /// ```
    #[rhai_fn(name = "infinite_kernels", return_raw)]
    pub fn infinite_kernels_with(
        ctx: NativeCallContext,
        inputs: Dynamic,
        others: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let what = "infinite_kernels";
        let o = InfiniteOptions::read("metrics::infinite_kernels", &settings).or_raise(&ctx)?;
        let inputs = super::inputs(what, "inputs", &inputs).or_raise(&ctx)?;
        let others = match others.is_unit() {
            true => None,
            false => Some(super::inputs(what, "others", &others).or_raise(&ctx)?),
        };
        let settings = InfiniteSettings {
            depth: o.depth,
            activation: o.activation,
            weight_std: o.weight_std,
            bias_std: o.bias_std,
            bias: o.bias,
        };
        let found = metrics::infinite_kernels(&inputs, others.as_ref(), settings);
        let found = found.or_raise(&ctx)?;
        Ok(entries([
            ("nngp", Dynamic::from(TensorValue(found.nngp))),
            ("ntk", Dynamic::from(TensorValue(found.ntk))),
        ]))
    }

    // every setting has a default
    #[rhai_fn(name = "infinite_kernels", return_raw)]
    pub fn infinite_kernels(ctx: NativeCallContext, inputs: Dynamic) -> RhaiResultOf<Map> {
        infinite_kernels_with(ctx, inputs, Dynamic::UNIT, Map::new())
    }
}
