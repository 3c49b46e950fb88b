//! Models.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use candle_core::{DType, Device};
use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};

use super::Registry;
use super::data::BatchValue;
use super::nn::network_of;
use super::parametrization::Rule;
use super::tensor::TensorValue;
use crate::error::Error;
use crate::model::{Model, ModelSettings, SharedModel};
use crate::nn::Network;
use crate::script::session::session;
use crate::script::{OrRaise, RhaiResultOf, StoredFn, raise};

/// A model as scripts hold it: copies look at the same parameters.
#[derive(Debug, Clone)]
pub struct ModelValue(pub SharedModel);

impl ModelValue {
    /// The model, to be looked at.
    pub fn read(&self) -> RwLockReadGuard<'_, Model> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model, to be changed or run.
    pub fn write(&self) -> RwLockWriteGuard<'_, Model> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

crate::script_type!(ModelValue, "model", "init(mlp(), mup())");
crate::choice! { DType { "f32" => DType::F32, "f64" => DType::F64, "bf16" => DType::BF16 } }

crate::options! {
    /// Settings of a model.
    pub struct InitOptions for "init" {
        /// Number of members; their seeds are `seed`, `seed + 1`, …
        members: Option<usize> = None, where (1..);
        /// Seed of the first member.
        seed: u64 = 0;
        /// Seeds of the members, in place of `members` and `seed`.
        seeds: Option<Vec<u64>> = None;
        /// Width, where the network is given as a function of width.
        width: Option<usize> = None, where (1..);
        /// Element type of the parameters and of all computing; with `"bf16"`, on a GPU alone, that of
        /// activations, while parameters, sums and the optimizer's state are `f32`.
        dtype: DType = DType::F32;
    }
}

/// Registers models.
pub fn register(registry: &mut Registry) {
    registry.name_type::<ModelValue>("Model");
    registry.options(InitOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

/// Members whose seeds are listed before it is known whether their parameters fit into memory.
const LISTED_AT_ONCE: usize = 1 << 20;

fn build(
    ctx: &NativeCallContext,
    network: Network,
    rule: &Rule,
    o: InitOptions,
) -> crate::error::Result<ModelValue> {
    let mut settings = ModelSettings {
        seeds: Vec::new(),
        dtype: o.dtype,
        place: session(ctx)?.device()?,
    };
    // a list of seeds may itself be too large
    if let Some(members) = o.members
        && members > LISTED_AT_ONCE
    {
        Model::check_members(&network, &*rule.0, &settings, members)
            .map_err(|e| e.at("init: setting `members`"))?;
    }
    settings.seeds = match (o.seeds, o.members) {
        (Some(seeds), Some(members)) if seeds.len() != members => {
            return Err(Error::setting(format!(
                "init: {} seeds were given for {members} members",
                seeds.len()
            )));
        }
        (Some(seeds), _) if seeds.is_empty() => {
            return Err(Error::setting("init: seeds must have at least one seed"));
        }
        (Some(seeds), _) => seeds,
        (None, members) => (o.seed..).take(members.unwrap_or(1)).collect(),
    };
    let model = Model::new(network, rule.0.clone(), settings)?;
    Ok(ModelValue(Arc::new(RwLock::new(model))))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A model: a network with fresh parameters under a parametrization. It is always an ensemble
    /// of one or more members, which share the architecture and differ in seed; every parameter has
    /// shape `[members, …]`. Initial values depend on (member's seed, parameter's path) alone.
    ///
    /// The network may be given as a function of width, with the width among the settings; then something
    /// must grow with width, for networks that are the same at every width agree and mean nothing. Input
    /// shape and number of outputs that the network leaves open are taken from the stream when a
    /// trainer is made; until then 3×32×32 (128 tokens for a transformer) and 10 are assumed.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64 }), mup(), #{ members: 4 });
    /// m.members            // → 4
    /// let f = init(|w| sequential([flatten(), linear(w), relu(), linear(10)]), mup(), #{ width: 32 });
    /// f.width              // → 32
    /// ```
    #[rhai_fn(name = "init", return_raw)]
    pub fn init_with(
        ctx: NativeCallContext,
        network: Network,
        rule: Rule,
        settings: Map,
    ) -> RhaiResultOf<ModelValue> {
        let o = InitOptions::from_map(&ctx, &settings)?;
        let network = match (o.width, network.width) {
            (Some(width), Some(_)) => network.at(width).growing(),
            (Some(width), None) => {
                let error = Error::setting(format!(
                    "init: the setting `width` is {width}, but the network is of one size"
                ));
                return Err(raise(
                    &ctx,
                    error.with_help("write it as a function of width, such as |w| sequential([flatten(), linear(w), relu(), linear(10)]), or leave `width` out"),
                ));
            }
            (None, _) => network,
        };
        build(&ctx, network, &rule, o).or_raise(&ctx)
    }
    #[rhai_fn(name = "init", return_raw)]
    pub fn init(ctx: NativeCallContext, network: Network, rule: Rule) -> RhaiResultOf<ModelValue> {
        init_with(ctx, network, rule, Map::new())
    }
    #[rhai_fn(name = "init", return_raw)]
    pub fn init_function(
        ctx: NativeCallContext,
        describe: FnPtr,
        rule: Rule,
        settings: Map,
    ) -> RhaiResultOf<ModelValue> {
        let o = InitOptions::from_map(&ctx, &settings)?;
        let Some(width) = o.width else {
            let error =
                Error::setting("init: a network given as a function needs the setting `width`");
            return Err(raise(
                &ctx,
                error.with_help("init(|w| …, rule, #{ width: 256 })"),
            ));
        };
        let network = StoredFn::new(&ctx, describe).and_then(|f| network_of(f, width));
        network
            .and_then(|n| build(&ctx, n, &rule, o))
            .or_raise(&ctx)
    }

    /// Number of members.
    ///
    /// ```rhai
    /// init(mlp(), sp(), #{ members: 3 }).members      // → 3
    /// ```
    #[rhai_fn(get = "members", pure)]
    pub fn members(model: &mut ModelValue) -> i64 {
        model.read().members() as i64
    }

    /// Seeds of the members.
    ///
    /// ```rhai
    /// init(mlp(), sp(), #{ members: 3, seed: 5 }).seeds      // → [5, 6, 7]
    /// ```
    #[rhai_fn(get = "seeds", pure)]
    pub fn seeds(model: &mut ModelValue) -> Array {
        model
            .read()
            .seeds()
            .iter()
            .map(|&s| Dynamic::from(s as i64))
            .collect()
    }

    /// Width of the model's network, `()` if it is not a function of width.
    ///
    /// ```rhai
    /// init(mlp(#{ width: 64 }), mup()).width      // → 64
    /// ```
    #[rhai_fn(get = "width", pure)]
    pub fn model_width(model: &mut ModelValue) -> Dynamic {
        model
            .read()
            .network()
            .width
            .map_or(Dynamic::UNIT, |w| (w as i64).into())
    }

    /// Number of trained parameters of one member.
    ///
    /// ```rhai
    /// init(mlp(#{ width: 8, depth: 2, inputs: 4, outputs: 2 }), sp()).param_count      // → 58
    /// ```
    #[rhai_fn(get = "param_count", pure)]
    pub fn param_count(model: &mut ModelValue) -> i64 {
        model.read().param_count() as i64
    }

    /// Paths of the parameters, in the order of the forward pass; with running estimates of
    /// [`batch_norm`], which are not trained.
    ///
    /// ```rhai
    /// init(mlp(#{ depth: 2, bias: false }), sp()).params      // → ["layers.0.weight", "readout.weight"]
    /// ```
    #[rhai_fn(get = "params", pure)]
    pub fn params(model: &mut ModelValue) -> Array {
        let model = model.read();
        model
            .params()
            .iter()
            .map(|p| p.info.path.clone().into())
            .collect()
    }

    /// A copy of one parameter, `[members, …]`, by its path; weights are `[members, fan_in, fan_out]`.
    ///
    /// ```rhai
    /// init(mlp(#{ width: 64 }), sp(), #{ members: 2 }).param("readout.weight").shape   // → [2, 64, 10]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn param(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        path: &str,
    ) -> RhaiResultOf<TensorValue> {
        let model = model.read();
        match model.params().iter().find(|p| p.info.path == path) {
            Some(p) => {
                let value = p.value.to_device(&Device::Cpu).and_then(|v| v.copy());
                value.map(TensorValue).or_raise(&ctx)
            }
            None => {
                let paths: Vec<_> = model
                    .params()
                    .iter()
                    .map(|p| p.info.path.as_str())
                    .collect();
                let error = Error::setting(format!(
                    "there is no parameter `{path}`; there are {}",
                    paths.join(", ")
                ));
                let help = crate::script::names::did_you_mean(path, paths);
                Err(raise(
                    &ctx,
                    match help {
                        Some(help) => error.with_help(help),
                        None => error,
                    },
                ))
            }
        }
    }

    /// Replaces the values of one parameter by a tensor of the same shape, `[members, …]`.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 4, depth: 2, inputs: 3, outputs: 2 }), sp());
    /// m.set_param("readout.bias", tensor([[0.5, -0.5]]));
    /// m.param("readout.bias").to_array()      // → [[0.5, -0.5]]
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn set_param(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        path: &str,
        value: TensorValue,
    ) -> RhaiResultOf<()> {
        model.write().set_param(path, &value.0).or_raise(&ctx)
    }

    /// Outputs (logits) for inputs `[points, …]` or a batch: `[members, points, outputs]`.
    ///
    /// ```rhai
    /// let s = data::synthetic_images();
    /// let m = init(mlp(#{ width: 16 }), mup(), #{ members: 2 });
    /// m.predict(s.batch(5).inputs).shape      // → [2, 5, 10]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn predict(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        inputs: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        model
            .write()
            .predict(&inputs.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    #[rhai_fn(name = "predict", return_raw, pure)]
    pub fn predict_batch(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<TensorValue> {
        predict(ctx, model, TensorValue(batch.0.inputs.clone()))
    }

    /// The activation that the network has at a layer for inputs `[points, …]` or a batch: `[members, points,
    /// …]`. In an `mlp`, `layers.0` gives the first preactivations and `layers.0.relu` the first
    /// features; in a transformer or `vit`, `blocks.0.mlp.up` and `blocks.0.mlp.gelu_tanh`, and
    /// `blocks.0.mlp` the residual stream behind the branch; in a `resnet`, `stages.0.0` is the sum of
    /// the branches and `stages.0.0.relu` what comes behind it. Where a normalisation and a relu are one
    /// layer, as in convolutional networks, its path gives the features, and with `.preactivation` behind it
    /// what the relu is given. A path that there is not is an error with the nearest ones.
    ///
    /// ```rhai
    /// let s = data::synthetic_images();
    /// let m = init(mlp(#{ width: 16 }), mup());
    /// m.activation("layers.1.relu", s.batch(5).inputs).shape      // → [1, 5, 16]
    /// let c = init(cnn(#{ width: 4, norm: "layer" }), mup());
    /// c.activation("layers.0.norm.preactivation", s.batch(5)).min() < 0.0     // → true
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn activation(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        path: &str,
        inputs: TensorValue,
    ) -> RhaiResultOf<TensorValue> {
        model
            .write()
            .activation(path, &inputs.0)
            .map(TensorValue)
            .or_raise(&ctx)
    }

    #[rhai_fn(name = "activation", return_raw, pure)]
    pub fn activation_batch(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        path: &str,
        batch: BatchValue,
    ) -> RhaiResultOf<TensorValue> {
        activation(ctx, model, path, TensorValue(batch.0.inputs.clone()))
    }

    /// The activations that the network has at every layer for inputs `[points, …]` or a batch, from
    /// one forward pass: an array of maps with `path` and `value`, `[members, points, …]`, in the
    /// order of the forward pass.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 8 });
    /// let m = init(mlp(#{ width: 16, inputs: 8 }), mup());
    /// m.activations(s.batch(5)).map(|a| a.path)
    /// // → ["flatten", "layers.0", "layers.0.relu", "layers.1", "layers.1.relu", "readout"]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn activations(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        inputs: TensorValue,
    ) -> RhaiResultOf<Array> {
        let all = model.write().activations(&inputs.0).or_raise(&ctx)?;
        let row = |(path, value): (String, _)| {
            Dynamic::from(Map::from_iter([
                ("path".into(), path.into()),
                ("value".into(), Dynamic::from(TensorValue(value))),
            ]))
        };
        Ok(all.into_iter().map(row).collect())
    }

    #[rhai_fn(name = "activations", return_raw, pure)]
    pub fn activations_batch(
        ctx: NativeCallContext,
        model: &mut ModelValue,
        batch: BatchValue,
    ) -> RhaiResultOf<Array> {
        activations(ctx, model, TensorValue(batch.0.inputs.clone()))
    }

    /// A model in one line.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 64, inputs: 20 }), mup(), #{ members: 4 });
    /// m.to_string()      // → "mlp(width 64) under mup, 4 members of 6154 parameters, f32"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn model_to_string(model: &mut ModelValue) -> String {
        let model = model.read();
        let network = model.network();
        let width = network
            .width
            .map_or(String::new(), |w| format!("(width {w})"));
        let members = model.members();
        format!(
            "{}{width} under {}, {members} member{} of {} parameters, {}{}",
            network.name,
            model.parametrization().name(),
            if members == 1 { "" } else { "s" },
            model.param_count(),
            model.stored().as_str(),
            model
                .place()
                .gpu()
                .map_or(String::new(), |gpu| format!(" on {}", gpu.name()))
        )
    }
}
