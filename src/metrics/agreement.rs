//! Do two sets of networks compute the same function? Point-wise agreement of logits on one test
//! set, between members of two widths, within one width, and between ensemble means.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::function::Function;
use super::outputs::{Outputs, squared_distance};
use super::pair::{Measure, Pair};
use super::stats::Summary;
use crate::error::{Error, Result};

/// The agreement of every member of one set with every member of another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Members of the set that is compared (rows).
    pub members: usize,
    /// Members of the set it is compared with (columns).
    pub reference_members: usize,
    /// `pairs[i][j]`: member `i` against member `j` of the reference.
    pub pairs: Vec<Vec<Pair>>,
    /// Whether both sets are the same one, so that the diagonal compares members with themselves.
    pub within: bool,
}

impl Agreement {
    /// One measure as a matrix, `[member][reference member]`.
    pub fn matrix(&self, measure: Measure) -> Vec<Vec<f64>> {
        let row = |row: &Vec<Pair>| row.iter().map(|p| p.get(measure)).collect();
        self.pairs.iter().map(row).collect()
    }

    /// One measure over all pairs, within one set over all pairs of different members.
    ///
    /// Undefined and diverged pairs are left out and counted. Errors: none is left.
    pub fn summary(&self, measure: Measure) -> Result<Summary> {
        let mut values = Vec::new();
        for (i, row) in self.pairs.iter().enumerate() {
            let others = row
                .iter()
                .enumerate()
                .filter(|(j, _)| !self.within || *j != i);
            values.extend(others.map(|(_, p)| p.get(measure)));
        }
        Summary::of(&values).map_err(|e| e.at(measure.name()))
    }
}

/// Agreement of every member of `logits` with every member of `reference`, on the same points.
///
/// Shapes `[members, points, outputs]`; the numbers of members may differ. Errors: another number of
/// points or outputs.
pub fn agreement(logits: &Tensor, reference: &Tensor) -> Result<Agreement> {
    let (a, b) = same_points(logits, reference)?;
    let (rows, columns) = (Function::members(&a), Function::members(&b));
    Ok(all_pairs(&rows, &columns, false))
}

/// Agreement of every member of one set with every other.
///
/// Shape `[members, points, outputs]`. Errors: fewer than two members.
pub fn agreement_within(logits: &Tensor) -> Result<Agreement> {
    let a = Outputs::read("agreement", logits)?;
    if a.members < 2 {
        a.finite_members("agreement within a set", 2)?;
    }
    let members = Function::members(&a);
    Ok(all_pairs(&members, &members, true))
}

/// Agreement of the mean logits of two sets, each over its members that have not diverged.
///
/// Shapes as [`agreement`]. Errors: another number of points or outputs, no member left.
pub fn ensemble_agreement(logits: &Tensor, reference: &Tensor) -> Result<Pair> {
    let (a, b) = same_points(logits, reference)?;
    let mean = |o: &Outputs| -> Result<Function> {
        let members = o.finite_members("agreement", 1)?;
        Ok(Function::new(&o.mean_over(&members), o.outputs))
    };
    Ok(mean(&a)?.against(&mean(&b)?))
}

/// The distance of two ensembles' limits, without the noise of their finite numbers of members.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SquaredBias {
    /// ‖f̄ − f̄_ref‖² − V/E − V_ref/E_ref, the mean over points and outputs; it can be negative.
    pub value: f64,
    /// ‖f̄ − f̄_ref‖², the mean over points and outputs.
    pub distance: f64,
    /// V and V_ref: variance over members (with E − 1), the mean over points and outputs.
    pub variance: [f64; 2],
    /// E and E_ref: members that have not diverged.
    pub count: [usize; 2],
    /// Members left out because they diverged.
    pub excluded: [usize; 2],
}

/// Squared bias between two widths, an unbiased estimate for independent members.
///
/// Shapes as [`agreement`]. Errors: another number of points or outputs, fewer than two members left
/// in either set.
pub fn squared_bias(logits: &Tensor, reference: &Tensor) -> Result<SquaredBias> {
    let (a, b) = same_points(logits, reference)?;
    let (of_a, of_b) = (
        a.finite_members("squared_bias", 2)?,
        b.finite_members("squared_bias, reference", 2)?,
    );
    let (mean_a, mean_b) = (a.mean_over(&of_a), b.mean_over(&of_b));
    let variance = [
        a.variance_over(&of_a, &mean_a),
        b.variance_over(&of_b, &mean_b),
    ];
    let distance = squared_distance(&mean_a, &mean_b) / mean_a.len() as f64;
    let count = [of_a.len(), of_b.len()];
    Ok(SquaredBias {
        value: distance - variance[0] / count[0] as f64 - variance[1] / count[1] as f64,
        distance,
        variance,
        count,
        excluded: [a.members - count[0], b.members - count[1]],
    })
}

pub(super) fn same_points(logits: &Tensor, reference: &Tensor) -> Result<(Outputs, Outputs)> {
    let a = Outputs::read("agreement", logits)?;
    let b = Outputs::read("agreement, reference", reference)?;
    for (what, found, wanted) in [
        ("points", a.points, b.points),
        ("outputs", a.outputs, b.outputs),
    ] {
        if found != wanted {
            return Err(Error::shape(format!(
                "agreement: the logits have {found} {what}, the reference's {wanted} (shapes {:?} and {:?})",
                logits.dims(),
                reference.dims()
            ))
            .with_help("take both sets of logits on the same test set"));
        }
    }
    Ok((a, b))
}

fn all_pairs(rows: &[Option<Function>], columns: &[Option<Function>], within: bool) -> Agreement {
    let pair = |f: &Option<Function>, r: &Option<Function>| match (f, r) {
        (Some(f), Some(r)) => f.against(r),
        _ => Pair::undefined(),
    };
    Agreement {
        members: rows.len(),
        reference_members: columns.len(),
        pairs: rows
            .par_iter()
            .map(|f| columns.iter().map(|r| pair(f, r)).collect())
            .collect(),
        within,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::error::ErrorKind;
    use crate::reference::{Fixture, assert_close};
    use candle_core::{Device, Tensor};
    use proptest::prelude::*;

    #[test]
    fn all_pairs_are_those_of_scipy() {
        let (fixture, narrow, _, _) = testing::fixture("narrow");
        let wide = fixture.tensor("wide").to_tensor();
        let pairs = agreement(&narrow, &wide).unwrap();
        let within = agreement_within(&narrow).unwrap();
        let means = ensemble_agreement(&narrow, &wide).unwrap();
        assert_eq!((pairs.members, pairs.reference_members), (5, 4));
        for measure in Measure::ALL {
            let name = measure.name();
            let expected = fixture.tensor(&format!("pairs.{name}")).values;
            assert_close(name, &pairs.matrix(measure).concat(), &expected, 1e-12);
            let expected = fixture.tensor(&format!("within.{name}")).values;
            assert_close(name, &within.matrix(measure).concat(), &expected, 1e-12);
            let expected = fixture.number(&format!("/ensemble_means/{name}"));
            assert_close(name, &[means.get(measure)], &[expected], 1e-12);
        }
    }

    #[test]
    fn squared_bias_is_that_of_numpy() {
        let fixture = Fixture::load("metrics");
        let set = |name: &str| fixture.tensor(name).to_tensor();
        let found = squared_bias(&set("narrow"), &set("wide")).unwrap();
        let at = |name: &str| fixture.number(&format!("/squared_bias/{name}"));
        assert_close("bias", &[found.value], &[at("value")], 1e-13);
        assert_close("distance", &[found.distance], &[at("distance")], 1e-13);
        let variance = fixture.numbers("/squared_bias/variance");
        assert_close("variance", &found.variance, &variance, 1e-13);
        assert_eq!((found.count, found.excluded), ([5, 4], [0, 0]));
    }

    proptest! {
        #[test]
        fn a_network_agrees_with_itself((members, points, outputs, seed) in testing::shapes(2, 2)) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let found = agreement(&logits, &logits).unwrap();
            for (i, row) in found.pairs.iter().enumerate() {
                let p = row[i];
                let distances = [p.mean_squared_distance, p.relative_squared_distance, p.kl];
                prop_assert_eq!(distances, [0.0; 3]);
                prop_assert_eq!(p.top1_agreement, 1.0);
                prop_assert!((p.correlation - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn distance_of_two_members_is_twice_the_variance(
            (members, points, outputs, seed) in testing::shapes(2, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 1.0);
            let distance = agreement_within(&logits).unwrap();
            let distance = distance.summary(Measure::MeanSquaredDistance).unwrap();
            prop_assert_eq!(distance.count, members * (members - 1));
            let variance = squared_bias(&logits, &logits).unwrap().variance[0];
            prop_assert!((distance.mean - 2.0 * variance).abs() < 1e-12 * (1.0 + variance));
        }

        #[test]
        fn centred_measures_do_not_see_a_shift_of_a_points_logits(
            (members, points, outputs, seed) in testing::shapes(1, 2)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 1.0);
            let reference = testing::normal(seed ^ 5, &[2, points, outputs], 1.0);
            let shift = testing::normal(seed ^ 9, &[members, points, 1], 4.0);
            let shifted = logits.broadcast_add(&shift).unwrap();
            let before = agreement(&logits, &reference).unwrap();
            let after = agreement(&shifted, &reference).unwrap();
            for measure in [
                Measure::CentredMeanSquaredDistance,
                Measure::CentredRelativeSquaredDistance,
                Measure::CentredCorrelation,
                Measure::Kl,
            ] {
                let (b, a) = (before.matrix(measure).concat(), after.matrix(measure).concat());
                assert_close(measure.name(), &a, &b, 1e-9);
            }
            let moved = after.matrix(Measure::MeanSquaredDistance);
            prop_assert_ne!(moved, before.matrix(Measure::MeanSquaredDistance));
        }

        #[test]
        fn kl_is_not_negative((members, points, outputs, seed) in testing::shapes(1, 2)) {
            let logits = testing::normal(seed, &[members, points, outputs], 5.0);
            let reference = testing::normal(seed ^ 5, &[members, points, outputs], 5.0);
            let found = agreement(&logits, &reference).unwrap().matrix(Measure::Kl);
            prop_assert!(found.concat().iter().all(|kl| *kl >= -1e-12));
        }
    }

    #[test]
    fn sets_on_different_points_or_classes_are_refused() {
        let logits = testing::normal(0, &[2, 5, 3], 1.0);
        let fewer = testing::normal(0, &[2, 4, 3], 1.0);
        let error = agreement(&logits, &fewer).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Shape);
        assert_eq!(
            error.message,
            "agreement: the logits have 5 points, the reference's 4 (shapes [2, 5, 3] and [2, 4, 3])"
        );
        assert!(error.help.unwrap().contains("same test set"));
        let other = testing::normal(0, &[2, 5, 4], 1.0);
        for error in [
            ensemble_agreement(&logits, &other).unwrap_err(),
            squared_bias(&logits, &other).unwrap_err(),
        ] {
            assert!(error.message.contains("have 3 outputs, the reference's 4"));
        }
    }

    #[test]
    fn one_member_has_nobody_to_agree_with() {
        let one = testing::normal(0, &[1, 5, 3], 1.0);
        let error = agreement_within(&one).unwrap_err();
        assert_eq!(
            error.message,
            "agreement within a set: needs at least 2 members, found 1"
        );
        let two = testing::normal(0, &[2, 5, 3], 1.0);
        let error = squared_bias(&two, &one).unwrap_err();
        assert!(
            error
                .message
                .starts_with("squared_bias, reference: needs at least 2")
        );
    }

    #[test]
    fn diverged_members_are_undefined_and_not_averaged() {
        let logits = testing::normal(2, &[3, 5, 3], 1.0);
        let spoilt = testing::spoil(&logits, 0, f64::NAN);
        let found = agreement_within(&spoilt).unwrap();
        let clean = agreement_within(&logits).unwrap();
        for measure in Measure::ALL {
            let (matrix, expected) = (found.matrix(measure), clean.matrix(measure));
            assert!(matrix[0].iter().all(|x| x.is_nan()) && matrix[2][0].is_nan());
            assert_eq!(matrix[1][2], expected[1][2]);
            let summary = found.summary(measure).unwrap();
            assert_eq!((summary.count, summary.excluded), (2, 4));
        }
        let both = squared_bias(&logits, &spoilt).unwrap();
        assert_eq!((both.count, both.excluded), ([3, 2], [0, 1]));
        let none = testing::normal(2, &[2, 5, 3], f64::NAN);
        let error = agreement(&none, &logits)
            .unwrap()
            .summary(Measure::Kl)
            .unwrap_err();
        assert!(error.message.starts_with("kl: none of 6 values"), "{error}");
    }

    #[test]
    fn what_is_not_defined_is_nan() {
        let zero = Tensor::zeros((1, 5, 3), candle_core::DType::F64, &Device::Cpu).unwrap();
        let logits = testing::normal(3, &[1, 5, 3], 1.0);
        let pair = agreement(&logits, &zero).unwrap().pairs[0][0];
        assert!(pair.correlation.is_nan() && pair.relative_squared_distance.is_nan());
        assert!(pair.mean_squared_distance > 0.0 && pair.kl > 0.0);
        let one_output = testing::normal(3, &[2, 5, 1], 1.0);
        let pair = agreement(&one_output, &one_output).unwrap().pairs[0][1];
        assert!(pair.kl.is_nan() && pair.top1_agreement.is_nan());
        assert!(pair.centred_correlation.is_nan() && pair.correlation.is_finite());
    }
}
