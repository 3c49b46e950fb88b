//! Whether two sets of networks compute the same function.

use rhai::Map;
use rhai::plugin::*;

use super::super::{Registry, values};
use crate::error::{ErrorKind, Result};
use crate::metrics::{self, Agreement, Measure};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(LimitOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of the distance to the limit.
    pub struct LimitOptions for "metrics::limit_distance" {
        /// Whether each point's logits are first centred over classes; absent means where there are
        /// several outputs.
        centred: Option<bool> = None;
    }
}

/// One map per measure: the matrix over pairs, and its summary.
fn to_map(agreement: &Agreement) -> Result<Map> {
    let mut map = Map::new();
    for measure in Measure::ALL {
        let mut entry = match agreement.summary(measure) {
            Ok(summary) => values::map(&summary)?,
            // no pair for which the measure is defined
            Err(e) if e.kind == ErrorKind::Diverged => undefined(agreement),
            Err(e) => return Err(e),
        };
        let matrix = values::table(&agreement.matrix(measure));
        entry.insert("matrix".into(), matrix.into());
        map.insert(measure.name().into(), entry.into());
    }
    let members = Dynamic::from(agreement.members as i64);
    map.insert("members".into(), members);
    let members = Dynamic::from(agreement.reference_members as i64);
    map.insert("reference_members".into(), members);
    map.insert("within".into(), agreement.within.into());
    Ok(map)
}

fn undefined(agreement: &Agreement) -> Map {
    let diagonal = if agreement.within {
        agreement.members
    } else {
        0
    };
    let pairs = agreement.members * agreement.reference_members - diagonal;
    let mut map = Map::new();
    for key in ["mean", "min", "max"] {
        map.insert(key.into(), Dynamic::from(f64::NAN));
    }
    map.insert("std".into(), Dynamic::UNIT);
    map.insert("count".into(), Dynamic::from(0_i64));
    map.insert("excluded".into(), Dynamic::from(pairs as i64));
    map
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Agreement of every member of one set with every member of another, a reference, on the same
    /// points: of two widths, for instance.
    ///
    /// Shapes `[members, points, outputs]`; the numbers of members may differ. Gives a map with an
    /// entry for each measure: `mean_squared_distance`, `relative_squared_distance` (to the squared
    /// size of the reference), `correlation`, the same three of logits centred over classes
    /// (`centred_…`), `top1_agreement` (share of points with the same largest logit),
    /// `total_variation` (½ Σ |p − p_ref|, in 0 to 1) and `kl` (KL(p_ref ‖ p) in nats). Each is a map: `matrix`, `[member][reference member]`; `mean`,
    /// `std`, `min`, `max` over pairs; `count` and `excluded`, pairs used and left out (diverged or
    /// undefined). Further `members`, `reference_members`, and `within` (false).
    ///
    /// ```rhai
    /// let narrow = tensor([[[1.0, 0.0], [0.0, 2.0]]]);
    /// let a = metrics::agreement(narrow, narrow * 2);
    /// a.top1_agreement.mean               // → 1.0
    /// a.mean_squared_distance.matrix      // → [[1.25]]
    /// a.relative_squared_distance.mean    // → 0.25
    /// ```
    #[rhai_fn(return_raw)]
    pub fn agreement(
        ctx: NativeCallContext,
        logits: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        let a = values::tensor("agreement", "logits", &logits).or_raise(&ctx)?;
        let b = values::tensor("agreement", "reference", &reference).or_raise(&ctx)?;
        metrics::agreement(&a, &b)
            .and_then(|found| to_map(&found))
            .or_raise(&ctx)
    }

    /// Agreement of every member of one set with every other, as `agreement` gives it; its
    /// summaries leave out the comparison of members with themselves.
    ///
    /// ```rhai
    /// let logits = tensor([[[1.0, 0.0]], [[0.0, 1.0]]]);
    /// metrics::agreement_within(logits).top1_agreement.mean       // → 0.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn agreement_within(ctx: NativeCallContext, logits: Dynamic) -> RhaiResultOf<Map> {
        let a = values::tensor("agreement_within", "logits", &logits).or_raise(&ctx)?;
        metrics::agreement_within(&a)
            .and_then(|found| to_map(&found))
            .or_raise(&ctx)
    }

    /// Agreement of the mean logits of two sets, each over its members that have not diverged: a map
    /// with one number for each measure of `agreement`.
    ///
    /// ```rhai
    /// let a = tensor([[[1.0, 0.0]], [[3.0, 0.0]]]);
    /// let b = tensor([[[2.0, 0.0]]]);
    /// metrics::ensemble_agreement(a, b).mean_squared_distance         // → 0.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensemble_agreement(
        ctx: NativeCallContext,
        logits: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        let a = values::tensor("ensemble_agreement", "logits", &logits).or_raise(&ctx)?;
        let b = values::tensor("ensemble_agreement", "reference", &reference).or_raise(&ctx)?;
        metrics::ensemble_agreement(&a, &b)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    /// Squared distance of two ensembles' limits, without the noise of their finite numbers of
    /// members: an unbiased estimate for independent members, two or more in each set.
    ///
    /// Gives a map: `value`, ‖f̄ − f̄_ref‖² − V/E − V_ref/E_ref, the mean over points and outputs
    /// (it can be negative); `distance`, the first term; `variance`, `count` and `excluded`, each
    /// `[of the logits, of the reference]`.
    ///
    /// ```rhai
    /// let a = tensor([[[1.0]], [[3.0]]]);
    /// let bias = metrics::squared_bias(a, a + 4);
    /// [bias.distance, bias.value]     // → [16.0, 14.0]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn squared_bias(
        ctx: NativeCallContext,
        logits: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        let a = values::tensor("squared_bias", "logits", &logits).or_raise(&ctx)?;
        let b = values::tensor("squared_bias", "reference", &reference).or_raise(&ctx)?;
        metrics::squared_bias(&a, &b)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    /// How far networks of one width are from the limit that an ensemble of the widest ones, the
    /// reference, stands for: the split of the distance of a single network into bias and variance.
    ///
    /// Shapes `[members, points, outputs]`, two members or more in each. Gives a map, in units of
    /// ‖f̄_ref‖² (`size`): `distance`, mean over members of ‖f − f̄_ref‖²; `bias`, of endlessly many
    /// members (it can be negative); `variance` over members. The noise of finite numbers of members is
    /// taken off, so that `distance` is `bias` + `variance`. Each has a standard error (`…_error`), by
    /// the jackknife over the members of both sets, `()` where a set has two. Further `count` and
    /// `excluded`, each `[of the outputs, of the reference]`.
    ///
    /// ```rhai
    /// let wide = tensor([[[2.0]], [[2.0]]]);
    /// let d = metrics::limit_distance(tensor([[[3.0]], [[5.0]]]), wide);
    /// [d.distance, d.bias, d.variance]        // → [1.25, 0.75, 0.5]
    /// ```
    #[rhai_fn(name = "limit_distance", return_raw)]
    pub fn limit_distance_with(
        ctx: NativeCallContext,
        outputs: Dynamic,
        reference: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = LimitOptions::read("metrics::limit_distance", &settings).or_raise(&ctx)?;
        let a = values::tensor("limit_distance", "outputs", &outputs).or_raise(&ctx)?;
        let b = values::tensor("limit_distance", "reference", &reference).or_raise(&ctx)?;
        let several = a.dims().last().is_some_and(|&outputs| outputs > 1);
        metrics::limit_distance(&a, &b, o.centred.unwrap_or(several))
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "limit_distance", return_raw)]
    pub fn limit_distance(
        ctx: NativeCallContext,
        outputs: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        limit_distance_with(ctx, outputs, reference, Map::new())
    }
}
