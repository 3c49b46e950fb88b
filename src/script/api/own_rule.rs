//! Parametrizations as functions of a script.

use std::sync::Arc;

use rhai::plugin::*;
use rhai::{FnPtr, Map};

use super::Registry;
use super::parametrization::Rule;
use crate::error::{Error, Result};
use crate::nn::{ParamInfo, ParamKind};
use crate::parametrization::{Custom, Init, OptimizerFamily, Parametrization, Scales, Sp};
use crate::script::callback::StoredFn;
use crate::script::{OrRaise, RhaiResultOf};

crate::options! {
    /// Settings of a parametrization of your own.
    pub struct OwnOptions for "parametrization" {
        /// The rule whose scales `p.scales` has and whose scales stay where the function gives none.
        like: Rule = Rule(Arc::new(Sp::default()));
        /// Width at which `p.base_fan_in`, `p.base_fan_out` and `p.base_width` are taken; absent means that of `like`.
        base_width: Option<usize> = None, where (1..);
        /// What the branches of residual blocks are multiplied by: a function of their number; absent means as
        /// `like` does.
        branch_multiplier: Option<FnPtr> = None;
    }
}

/// A kind of distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Normal.
    Normal,
    /// Uniform.
    Uniform,
}

crate::choice! { Distribution { "normal" => Distribution::Normal, "uniform" => Distribution::Uniform } }

crate::options! {
    /// What a function of a parametrization of your own returns.
    pub struct OwnScales for "scales" {
        /// Initial standard deviation.
        init_std: Option<f64> = None, where crate::script::options::NON_NEGATIVE;
        /// Kind of the initial distribution.
        init: Option<Distribution> = None;
        /// A constant to start at, in place of a distribution.
        init_value: Option<f64> = None;
        /// Factor of the parameter in the forward pass.
        multiplier: Option<f64> = None;
        /// Factor of the learning rate.
        lr: Option<f64> = None;
        /// Factor of the weight decay.
        weight_decay: Option<f64> = None;
        /// Factor of the optimizer's epsilon.
        eps: Option<f64> = None;
        /// What `explain` says that it follows.
        source: Option<String> = None;
    }
}

/// Registers parametrizations as functions.
pub fn register(registry: &mut Registry) {
    registry.options(OwnOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

/// What the function sees of a parameter.
fn description(info: &ParamInfo, family: OptimizerFamily, like: &Scales) -> Map {
    let kind = match info.kind {
        ParamKind::Weight => "weight",
        ParamKind::Bias => "bias",
        ParamKind::Gain => "gain",
        ParamKind::Shift => "shift",
        ParamKind::RunningMean => "running_mean",
        ParamKind::RunningVar => "running_var",
    };
    let shape: rhai::Array = info.shape.iter().map(|&n| (n as i64).into()).collect();
    let mut map = Map::new();
    for (name, value) in [
        ("path", Dynamic::from(info.path.clone())),
        ("shape", shape.into()),
        ("kind", kind.into()),
        ("role", info.role.name().into()),
        ("readout", info.readout.into()),
        ("in_branch", info.in_branch.into()),
        ("optimizer", family.name().into()),
    ] {
        map.insert(name.into(), value);
    }
    for (name, number) in [
        ("fan_in", info.fan_in),
        ("fan_out", info.fan_out),
        ("base_fan_in", info.base_fan_in),
        ("base_fan_out", info.base_fan_out),
        ("width", info.width),
        ("base_width", info.base_width),
        ("depth", info.depth),
        ("blocks", info.blocks),
    ] {
        map.insert(name.into(), Dynamic::from(number as i64));
    }
    let mut scales = Map::new();
    for (name, number) in [
        ("init_std", like.init.std()),
        ("multiplier", like.multiplier),
        ("lr", like.lr),
        ("weight_decay", like.weight_decay),
        ("eps", like.eps),
    ] {
        scales.insert(name.into(), number.into());
    }
    map.insert("scales".into(), scales.into());
    map
}

/// Where a parameter starts.
fn init(own: &OwnScales, like: Init, rule: &str) -> Result<Init> {
    let (std, kind) = (own.init_std, own.init);
    if let Some(value) = own.init_value {
        return match (std, kind) {
            (None, None) => Ok(Init::Constant(value)),
            _ => Err(Error::setting(format!(
                "{rule}: give either init_value or a distribution"
            ))),
        };
    }
    let std_or = |std: Option<f64>| std.unwrap_or(like.std());
    Ok(match (kind, like) {
        (Some(Distribution::Normal), _) => Init::Normal(std_or(std)),
        (Some(Distribution::Uniform), _) => Init::Uniform(std_or(std)),
        (None, Init::Uniform(_)) => Init::Uniform(std_or(std)),
        (None, Init::Normal(_)) => Init::Normal(std_or(std)),
        (None, Init::Constant(_)) => std.map_or(like, Init::Normal),
    })
}

/// The scales that a function returns for a parameter.
fn scales(
    name: &str,
    function: &StoredFn,
    like: &dyn Parametrization,
    (info, family): (&ParamInfo, OptimizerFamily),
    own_base: bool,
) -> Result<Option<Scales>> {
    let like = like.trained_scales(info, family)?;
    let found: Dynamic = function
        .call((description(info, family, &like),))
        .map_err(|e| e.at(&info.path))?;
    if found.is_unit() {
        return Ok(None);
    }
    let map = found.as_map_ref().map_err(|kind| {
        Error::setting(format!(
            "the function of the parametrization {name} must return a map of scales, but returned {kind}"
        ))
        .at(&info.path)
    })?;
    let own = OwnScales::read(name, &map).map_err(|e| e.at(&info.path))?;
    Ok(Some(Scales {
        init: init(&own, like.init, name).map_err(|e| e.at(&info.path))?,
        multiplier: own.multiplier.unwrap_or(like.multiplier),
        lr: own.lr.unwrap_or(like.lr),
        weight_decay: own.weight_decay.unwrap_or(like.weight_decay),
        eps: own.eps.unwrap_or(like.eps),
        fans: match own_base {
            true => [info.base_fan_in, info.base_fan_out],
            false => like.fans,
        },
        source: match own.source {
            Some(source) => source.into(),
            None => name.to_string().into(),
        },
    }))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A parametrization of your own: a function from a parameter's description to its scales, with the same table,
    /// checks and checkpoints as the others. It returns a map with any of `init_std`, `init` (`"normal"`,
    /// `"uniform"`), `init_value` (a constant to start at), `multiplier`, `lr`, `weight_decay`, `eps`, `source`; what is
    /// missing is as in the rule `like` (`sp()` if none is given), whose numbers are in `p.scales`. `()` means
    /// that the rule does not cover the parameter, which is an error.
    ///
    /// The description `p` has `path`, `shape`, `kind` (`"weight"`, `"bias"`, `"gain"`, `"shift"`), `role`
    /// (`"input-like"`, `"hidden"`, `"output-like"`, `"vector-like"`, `"fixed"`), `fan_in`, `fan_out`,
    /// `base_fan_in`, `base_fan_out`, `width`, `base_width`, `depth` (number of weight matrices), `readout`,
    /// `in_branch`, `blocks` (number of residual blocks), `optimizer` (the family: `"sgd"`, `"adam"`,
    /// `"adafactor"`, `"muon"`, `"shampoo"`, `"soap"`) and `scales`. Init and multiplier must not depend on the
    /// optimizer, since models are made before one is known; it is an error if they do.
    ///
    /// ```rhai
    /// // muP for Adam, with embeddings that learn more slowly as width grows
    /// let mine = parametrization("mine", |p| {
    ///     if p.role == "input-like" { #{ lr: 1.0 / sqrt(p.fan_out / 64.0) } } else { #{} }
    /// }, #{ like: mup(#{ base_width: 64 }) });
    /// let m = init(mlp(#{ width: 256, inputs: 20 }), mine);
    /// m.explain("adam").rows[0].lr      // → 0.5
    /// m.explain("adam").rows[2].lr      // → 0.25
    /// ```
    #[rhai_fn(name = "parametrization", return_raw)]
    pub fn parametrization_with(
        ctx: NativeCallContext,
        name: &str,
        scales_of: FnPtr,
        settings: Map,
    ) -> RhaiResultOf<Rule> {
        let o = OwnOptions::from_map(&ctx, &settings)?;
        let function = StoredFn::new(&ctx, scales_of).or_raise(&ctx)?;
        let (like, title) = (o.like.0.clone(), name.to_string());
        let own_base = o.base_width.is_some();
        let base_width = o.base_width.or(like.base_width());
        let own = Custom::new(name, base_width, move |info, family| {
            scales(&title, &function, &*like, (info, family), own_base)
        });
        let own = match o.branch_multiplier {
            Some(branches) => {
                let branches = StoredFn::new(&ctx, branches).or_raise(&ctx)?;
                own.with_branches(move |blocks| branches.call::<f64>((blocks as i64,)))
            }
            None => {
                let like = o.like.0;
                own.with_branches(move |blocks| like.branch_multiplier(blocks))
            }
        };
        Ok(Rule(Arc::new(own)))
    }
    #[rhai_fn(name = "parametrization", return_raw)]
    pub fn parametrization(
        ctx: NativeCallContext,
        name: &str,
        scales_of: FnPtr,
    ) -> RhaiResultOf<Rule> {
        parametrization_with(ctx, name, scales_of, Map::new())
    }
}
