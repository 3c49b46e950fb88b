//! Densities of activations.

use rhai::Map;
use rhai::plugin::*;

use super::super::super::{Registry, values};
use super::{pairs, pairs_or_unit};
use crate::error::Result;
use crate::metrics::representations::{self as core, Distances, Pairwise, Units};
use crate::options;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(DensityOptions::spec());
    registry.options(MomentsOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { Units {
    "all" => Units::All,
    "first" => Units::First,
    "last" => Units::Last,
} }

options! {
    /// Settings of distances of densities.
    pub struct DensityOptions for "metrics::density_distance" {
        /// Whether members of each set are compared among themselves too.
        floor: bool = true;
    }
}

options! {
    /// Settings of moments.
    pub struct MomentsOptions for "metrics::moments" {
        /// What counts as a unit behind the axis of points: each entry (`"all"`), the first axis, as of
        /// images `[channels, height, width]` (`"first"`), or the last, as of `[positions, channels]`
        /// (`"last"`).
        units: Units = Units::All;
    }
}

/// One distance as a map.
fn distance(
    of: impl Fn(&Distances) -> &Pairwise,
    found: &core::DensityDistance,
    pooled: f64,
) -> Result<Map> {
    let mut map = pairs(of(&found.between))?;
    map.insert("pooled".into(), pooled.into());
    let floor = pairs_or_unit(found.floor.as_ref().map(&of))?;
    map.insert("floor".into(), floor);
    let floor = pairs_or_unit(found.reference_floor.as_ref().map(&of))?;
    map.insert("reference_floor".into(), floor);
    Ok(map)
}

fn to_map(found: &core::DensityDistance) -> Result<Map> {
    let mut map = Map::new();
    let w1 = distance(|d| &d.wasserstein, found, found.pooled_wasserstein)?;
    let ks = distance(
        |d| &d.kolmogorov_smirnov,
        found,
        found.pooled_kolmogorov_smirnov,
    )?;
    map.insert("wasserstein".into(), w1.into());
    map.insert("kolmogorov_smirnov".into(), ks.into());
    for (key, counts) in [("count", found.count), ("excluded", found.excluded)] {
        let counts = counts.map(|n| Dynamic::from(n as i64)).to_vec();
        map.insert(key.into(), counts.into());
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

    /// The Wasserstein distance W₁ of two samples, `∫ |F_a⁻¹(q) − F_b⁻¹(q)| dq`, in the units of the
    /// samples; for equal sizes it is the mean distance of the numbers in order (Villani 2003).
    ///
    /// `a` and `b` are arrays of numbers, or tensors of any shape; sizes may differ. An empty sample or a
    /// number that is not finite is an error.
    ///
    /// ```rhai
    /// metrics::wasserstein([0.0, 1.0], [3.0, 4.0])         // → 3.0
    /// metrics::wasserstein([0.0, 1.0, 2.0, 3.0], [1, 2])   // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wasserstein(ctx: NativeCallContext, a: Dynamic, b: Dynamic) -> RhaiResultOf<f64> {
        let a = values::numbers("wasserstein", "a", &a).or_raise(&ctx)?;
        let b = values::numbers("wasserstein", "b", &b).or_raise(&ctx)?;
        core::wasserstein(&a, &b).or_raise(&ctx)
    }

    /// The two-sided Kolmogorov–Smirnov test of two samples: a map with `statistic`, the largest
    /// difference of their distribution functions, in 0..=1, and `p_value`, the probability of such a
    /// difference where both come from one continuous distribution and all numbers are independent
    /// (units and points of one network are not: compare with another seed instead, see
    /// `metrics::density_distance`).
    ///
    /// `a` and `b` are arrays of numbers, or tensors of any shape. The p-value is exact where the product
    /// of the sizes is at most a million (Hodges 1958), above it is Kolmogorov's limit. An empty sample or
    /// a number that is not finite is an error.
    ///
    /// ```rhai
    /// let test = metrics::kolmogorov_smirnov([1, 2, 3], [4, 5, 6]);
    /// test.statistic                            // → 1.0
    /// (test.p_value - 0.1).abs() < 1e-12        // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn kolmogorov_smirnov(ctx: NativeCallContext, a: Dynamic, b: Dynamic) -> RhaiResultOf<Map> {
        let a = values::numbers("kolmogorov_smirnov", "a", &a).or_raise(&ctx)?;
        let b = values::numbers("kolmogorov_smirnov", "b", &b).or_raise(&ctx)?;
        core::kolmogorov_smirnov(&a, &b)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }

    /// How far the densities of one set of networks are from those of another, a reference: of
    /// preactivations of two widths, for instance. Shapes `[members, …]`; a member's numbers are taken
    /// together, over units and points. Numbers of members and units may differ. Nothing is
    /// standardised, since the scale is part of what is compared.
    ///
    /// Gives a map with `wasserstein` and `kolmogorov_smirnov` (the statistic), each a map: `matrix`,
    /// `[member][reference member]`; `mean`, `std`, `min`, `max` over pairs, `count` and `excluded` pairs;
    /// `pooled`, the distance of all members' numbers together; `floor` and `reference_floor`, the same
    /// among members of each set: the distance that another seed of the same width has (`()` for one
    /// member, or with `floor: false`). Further `count` and `excluded`, members of both sets that were
    /// used, and left out because they diverged. All members of a set diverged: an error.
    ///
    /// ```rhai
    /// let d = metrics::density_distance(tensor([[0.0, 1.0], [2.0, 3.0]]), tensor([[1.0, 2.0]]));
    /// d.wasserstein.matrix            // → [[1.0], [1.0]]
    /// d.wasserstein.pooled            // → 0.5
    /// d.wasserstein.floor.mean        // → 2.0
    /// d.kolmogorov_smirnov.mean       // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn density_distance(
        ctx: NativeCallContext,
        a: Dynamic,
        reference: Dynamic,
    ) -> RhaiResultOf<Map> {
        density_distance_with(ctx, a, reference, Map::new())
    }
    #[rhai_fn(name = "density_distance", return_raw)]
    pub fn density_distance_with(
        ctx: NativeCallContext,
        a: Dynamic,
        reference: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let s = DensityOptions::read("metrics::density_distance", &settings).or_raise(&ctx)?;
        let a = values::tensor("density_distance", "a", &a).or_raise(&ctx)?;
        let b = values::tensor("density_distance", "reference", &reference).or_raise(&ctx)?;
        core::density_distance(&a, &b, s.floor)
            .and_then(|found| to_map(&found))
            .or_raise(&ctx)
    }

    /// Moments of each member's numbers in `x` `[members, points, …]`: a map of arrays with one number
    /// per member. `mean`; `variance`, with n; `skewness`; `kurtosis`, 3 for a normal density; `dead`, the
    /// share of units that are positive at no point: behind a relu they are 0 and get no gradient. A
    /// member that has diverged has NaN; without variance `skewness` and `kurtosis` are NaN.
    ///
    /// ```rhai
    /// let m = metrics::moments([[[1.0, -1.0], [3.0, -3.0]]]);
    /// [m.mean, m.variance, m.kurtosis]        // → [[0.0], [5.0], [1.64]]
    /// m.dead                                  // → [0.5]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn moments(ctx: NativeCallContext, x: Dynamic) -> RhaiResultOf<Map> {
        moments_with(ctx, x, Map::new())
    }
    #[rhai_fn(name = "moments", return_raw)]
    pub fn moments_with(ctx: NativeCallContext, x: Dynamic, settings: Map) -> RhaiResultOf<Map> {
        let s = MomentsOptions::read("metrics::moments", &settings).or_raise(&ctx)?;
        let x = values::tensor("moments", "x", &x).or_raise(&ctx)?;
        core::moments(&x, s.units)
            .and_then(|found| values::map(&found))
            .or_raise(&ctx)
    }
}
