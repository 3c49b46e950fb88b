//! Attention maps.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::super::model::ModelValue;
use super::super::super::tensor::TensorValue;
use super::super::super::{Registry, values};
use super::{inputs, pairs, pairs_or_unit};
use crate::error::{Error, Result};
use crate::metrics::representations::{self as core, AttentionDistance, AttentionLayer};
use crate::options;
use crate::script::options::Values;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(MapOptions::spec());
    registry.options(DistanceOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of attention maps.
    pub struct MapOptions for "metrics::attention_maps" {
        /// Whether the mean over heads is taken.
        head_average: bool = false;
    }
}

options! {
    /// Settings of distances of attention maps.
    pub struct DistanceOptions for "metrics::attention_distance", "metrics::attention_distance_within" {
        /// Whether each head is compared with the head of the other network that it matches best.
        match_heads: bool = true;
    }
}

fn layer(value: &Dynamic) -> Result<AttentionLayer> {
    if let Ok(path) = value.as_immutable_string_ref() {
        return Ok(AttentionLayer::Path(path.to_string()));
    }
    match value.as_int().ok().and_then(|i| usize::try_from(i).ok()) {
        Some(number) => Ok(AttentionLayer::Number(number)),
        None => Err(Error::setting(format!(
            "attention_maps: layer: expected a path or a number from 0 up, found {}",
            Values::describe(value)
        ))),
    }
}

fn to_map(found: &AttentionDistance) -> Result<Map> {
    let mut map = Map::new();
    map.insert("averaged".into(), pairs(&found.averaged)?.into());
    let matched = pairs_or_unit(found.matched.as_ref())?;
    map.insert("matched".into(), matched);
    let heads = |heads: &Vec<usize>| -> Dynamic {
        let heads: Array = heads.iter().map(|&h| Dynamic::from(h as i64)).collect();
        heads.into()
    };
    let rows = found.heads.iter().map(|row| -> Dynamic {
        let row: Array = row.iter().map(heads).collect();
        row.into()
    });
    map.insert("heads".into(), rows.collect::<Array>().into());
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

    /// Attention maps: the probabilities with which each query attends to each key, for inputs
    /// `[points, …]` or a batch, `[members, points, heads, queries, keys]` in f64. With `head_average`
    /// their mean over heads, `[members, points, queries, keys]`. `layer` is the number of the attention
    /// layer, from 0, or its path, such as `blocks.0.attention`. Maps are computed from what the layer
    /// itself reads: normalised queries and keys, rotary positions, its causal mask and scale.
    ///
    /// Maps that do not fit into memory are an error that says how many points would.
    ///
    /// ```rhai
    /// let m = init(transformer(#{ width: 16, heads: 2, depth: 1, context: 3, vocab: 5 }), mup());
    /// let maps = metrics::attention_maps(m, 0, tensor([[1, 2, 3], [4, 4, 4]]));
    /// maps.shape                              // → [1, 2, 2, 3, 3]
    /// maps[0][0][0][0].to_array()             // → [1.0, 0.0, 0.0]
    /// metrics::attention_maps(m, "blocks.0", tensor([[1, 2, 3]]), #{ head_average: true }).shape   // → [1, 1, 3, 3]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn attention_maps(
        ctx: NativeCallContext,
        model: ModelValue,
        layer: Dynamic,
        inputs: Dynamic,
    ) -> RhaiResultOf<TensorValue> {
        attention_maps_with(ctx, model, layer, inputs, Map::new())
    }
    #[rhai_fn(name = "attention_maps", return_raw)]
    pub fn attention_maps_with(
        ctx: NativeCallContext,
        model: ModelValue,
        layer: Dynamic,
        inputs: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let s = MapOptions::read("metrics::attention_maps", &settings).or_raise(&ctx)?;
        let layer = super::layer(&layer).or_raise(&ctx)?;
        let x = super::inputs("attention_maps", &inputs).or_raise(&ctx)?;
        let maps = core::attention_maps(&mut model.write(), &layer, &x, s.head_average);
        maps.map(TensorValue).or_raise(&ctx)
    }

    /// Entropy of attention maps, `−Σ_j a[i, j] ln a[i, j]` in nats, the mean over points and queries:
    /// `[member][head]`. 0 where each query attends to one key, ln n where it attends to n keys alike.
    ///
    /// `maps` `[members, points, heads, queries, keys]`, or without the axis of heads. Rows that are no
    /// probabilities are an error; a member that has diverged has NaN.
    ///
    /// ```rhai
    /// metrics::attention_entropy([[[[[1.0, 0.0], [1.0, 0.0]]]]])       // → [[0.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn attention_entropy(ctx: NativeCallContext, maps: Dynamic) -> RhaiResultOf<Array> {
        let maps = values::tensor("attention_entropy", "maps", &maps).or_raise(&ctx)?;
        let found = core::attention_entropy(&maps).or_raise(&ctx)?;
        Ok(values::table(&found))
    }

    /// Distance of the attention maps of every member of one set from those of every member of another,
    /// a reference, on the same inputs: the Jensen–Shannon distance of two rows of probabilities, the root
    /// of the divergence in nats, from 0 to √ln 2 (Endres and Schindelin 2003), the mean over points and
    /// queries. Maps `[members, points, heads, queries, keys]`, or without the axis of heads.
    ///
    /// Gives a map: `matched`, where each head is compared with one of the other network so that the mean
    /// distance is smallest (Hungarian method), for heads have no order; `averaged`, of the maps' means
    /// over heads. Both are maps with `matrix` `[member][reference member]`, `mean`, `std`, `min`, `max`
    /// over pairs, `count` and `excluded` pairs. `heads` has, for each pair, the number of the reference's
    /// head that each head was matched with. Networks with different numbers of heads need
    /// `match_heads: false`; `matched` is then `()`.
    ///
    /// ```rhai
    /// let a = tensor([[[[[1.0, 0.0]], [[0.0, 1.0]]]]]);
    /// let b = tensor([[[[[0.0, 1.0]], [[1.0, 0.0]]]]]);
    /// let d = metrics::attention_distance(a, b);
    /// [d.matched.mean, d.averaged.mean]       // → [0.0, 0.0]
    /// d.heads                                 // → [[[1, 0]]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn attention_distance(
        ctx: NativeCallContext,
        maps: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        attention_distance_with(ctx, maps, reference, Map::new())
    }
    #[rhai_fn(name = "attention_distance", return_raw)]
    pub fn attention_distance_with(
        ctx: NativeCallContext,
        maps: Dynamic,
        reference: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = DistanceOptions::read("metrics::attention_distance", &settings).or_raise(&ctx)?;
        let a = values::tensor("attention_distance", "maps", &maps).or_raise(&ctx)?;
        let b = values::tensor("attention_distance", "reference", &reference).or_raise(&ctx)?;
        core::attention_distance(&a, &b, s.match_heads)
            .and_then(|found| to_map(&found))
            .or_raise(&ctx)
    }

    /// Distance of every member's attention maps from every other's, as `metrics::attention_distance`
    /// gives it for two sets: what another seed of the same width has. Summaries are over pairs of
    /// different members, each once. Fewer than two members are an error.
    ///
    /// ```rhai
    /// let maps = tensor([[[[[1.0, 0.0]], [[0.0, 1.0]]]], [[[[0.0, 1.0]], [[1.0, 0.0]]]]]);
    /// metrics::attention_distance_within(maps).matched.mean       // → 0.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn attention_distance_within(ctx: NativeCallContext, maps: Dynamic) -> RhaiResultOf<Map> {
        attention_distance_within_with(ctx, maps, Map::new())
    }
    #[rhai_fn(name = "attention_distance_within", return_raw)]
    pub fn attention_distance_within_with(
        ctx: NativeCallContext,
        maps: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let name = "metrics::attention_distance_within";
        let s = DistanceOptions::read(name, &settings).or_raise(&ctx)?;
        let a = values::tensor("attention_distance_within", "maps", &maps).or_raise(&ctx)?;
        core::attention_distance_within(&a, s.match_heads)
            .and_then(|found| to_map(&found))
            .or_raise(&ctx)
    }
}
