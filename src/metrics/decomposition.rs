//! Bias and variance over members: how much of a single network's loss an ensemble removes.
//!
//! Both decompositions are exact identities on the given members. They need at least two members
//! that have not diverged, since one says nothing about variance.

use candle_core::Tensor;
use serde::Serialize;

use super::outputs::{Outputs, log_softmax, log_sum_exp, squared_distance};
use crate::data::Labels;
use crate::error::Result;

/// Mean squared error split into that of an endless ensemble and the variance over members:
/// `single = ensemble_infinite + variance`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MseDecomposition {
    /// Mean over members of their losses.
    pub single: f64,
    /// Loss of the mean output of these members.
    pub ensemble: f64,
    /// V: variance over members (with E − 1), the mean over points and outputs.
    pub variance: f64,
    /// ensemble − V/E: unbiased estimate of the loss of endlessly many members.
    pub ensemble_infinite: f64,
    /// E: members that have not diverged.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

impl MseDecomposition {
    /// Loss of an endless ensemble of this width minus a single network's loss at the widest one:
    /// positive if even ensembles of narrow networks lose to one wide network.
    pub fn narrow_width_bias(&self, single_of_widest: f64) -> f64 {
        self.ensemble_infinite - single_of_widest
    }
}

/// Decomposes the mean squared error over members.
///
/// `outputs` `[members, points, outputs]`; labels are values `[points, outputs]`, or classes, whose
/// targets are then one-hot vectors. Errors: labels that do not fit, fewer than two members left.
pub fn mse_decomposition(outputs: &Tensor, labels: &Labels) -> Result<MseDecomposition> {
    let what = "mse_decomposition";
    let outputs = Outputs::read(what, outputs)?;
    let targets = outputs.targets(what, labels)?;
    let members = outputs.finite_members(what, 2)?;
    let count = members.len() as f64;
    let loss = |f: &[f64]| squared_distance(f, &targets) / targets.len() as f64;

    let mean = outputs.mean_over(&members);
    let single = members
        .iter()
        .map(|&m| loss(outputs.member(m)))
        .sum::<f64>()
        / count;
    let ensemble = loss(&mean);
    let variance = outputs.variance_over(&members, &mean);
    Ok(MseDecomposition {
        single,
        ensemble,
        variance,
        ensemble_infinite: ensemble - variance / count,
        count: members.len(),
        excluded: outputs.members - members.len(),
    })
}

/// Cross-entropy split into that of the mean logits and the members' divergence from it:
/// `single = ensemble + variance`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossEntropyDecomposition {
    /// Mean over members of their losses.
    pub single: f64,
    /// Loss of the mean logits of these members.
    pub ensemble: f64,
    /// Mean over members and points of KL(p̄ ‖ p_e), where p̄ is the softmax of the mean logits;
    /// never negative, and independent of the labels.
    pub variance: f64,
    /// ½ tr[Cov(z) (diag(p̄) − p̄ p̄ᵀ)], the mean over points: what `variance` is to second order in
    /// the spread of logits (covariance over these members, divided by E).
    pub second_order: f64,
    /// KL(p̄ ‖ p_e) of each member, the mean over points; NaN for a member that diverged.
    pub kl: Vec<f64>,
    /// E: members that have not diverged.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

/// Decomposes the cross-entropy over members, for ensembles by mean logits.
///
/// `logits` `[members, points, classes]`, class labels `[points]`; in nats. Errors: labels that do
/// not fit, fewer than two members left.
pub fn cross_entropy_decomposition(
    logits: &Tensor,
    labels: &Labels,
) -> Result<CrossEntropyDecomposition> {
    let what = "cross_entropy_decomposition";
    let outputs = Outputs::read(what, logits)?;
    let classes = outputs.classes(what, labels)?;
    let members = outputs.finite_members(what, 2)?;
    let count = members.len() as f64;
    let points = outputs.points as f64;
    let size = outputs.outputs;
    let loss = |logits: &[f64]| {
        let rows = logits.chunks(size).zip(&classes);
        rows.map(|(row, &class)| log_sum_exp(row) - row[class])
            .sum::<f64>()
            / points
    };

    let mean = outputs.mean_over(&members);
    let log_pbar = log_softmax(&mean, size);
    let single = members
        .iter()
        .map(|&m| loss(outputs.member(m)))
        .sum::<f64>()
        / count;
    let kl = outputs.per_member(|logits| {
        let log_p = log_softmax(logits, size);
        let terms = log_pbar.iter().zip(&log_p);
        terms.map(|(bar, p)| bar.exp() * (bar - p)).sum::<f64>() / points
    });
    let variance = members.iter().map(|&m| kl[m]).sum::<f64>() / count;

    // tr[Cov(z) (diag(p) − p pᵀ)] is the variance of z_c − z̄_c over classes c drawn from p,
    // averaged over members
    let mut second_order = 0.0;
    for &m in &members {
        let offsets = outputs.member(m).chunks(size).zip(mean.chunks(size));
        for ((row, centre), log_p) in offsets.zip(log_pbar.chunks(size)) {
            let (mut first, mut second) = (0.0, 0.0);
            for ((z, c), l) in row.iter().zip(centre).zip(log_p) {
                first += l.exp() * (z - c);
                second += l.exp() * (z - c) * (z - c);
            }
            second_order += 0.5 * (second - first * first);
        }
    }
    Ok(CrossEntropyDecomposition {
        single,
        ensemble: loss(&mean),
        variance,
        second_order: second_order / (count * points),
        kl,
        count: members.len(),
        excluded: outputs.members - members.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::error::ErrorKind;
    use crate::reference::assert_close;
    use candle_core::{Device, Tensor};
    use proptest::prelude::*;

    #[test]
    fn decompositions_are_those_of_numpy() {
        for set in ["narrow", "wide"] {
            let (fixture, logits, classes, values) = testing::fixture(set);
            let at = |name: &str| fixture.number(&format!("/sets/{set}/{name}"));
            let found = mse_decomposition(&logits, &values).unwrap();
            for (name, value) in [
                ("single", found.single),
                ("ensemble", found.ensemble),
                ("variance", found.variance),
                ("ensemble_infinite", found.ensemble_infinite),
            ] {
                let expected = at(&format!("mse_decomposition/{name}"));
                assert_close(name, &[value], &[expected], 1e-13);
            }
            let found = cross_entropy_decomposition(&logits, &classes).unwrap();
            for (name, value) in [
                ("single", found.single),
                ("ensemble", found.ensemble),
                ("variance", found.variance),
                ("second_order", found.second_order),
            ] {
                let expected = at(&format!("cross_entropy_decomposition/{name}"));
                assert_close(name, &[value], &[expected], 1e-13);
            }
            let place = format!("/sets/{set}/cross_entropy_decomposition/per_member_kl");
            assert_close("kl", &found.kl, &fixture.numbers(&place), 1e-13);
        }
    }

    proptest! {
        #[test]
        fn parts_add_up((members, points, outputs, seed) in testing::shapes(2, 1)) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let found = mse_decomposition(&logits, &testing::values(seed, points, outputs)).unwrap();
            let sum = found.ensemble_infinite + found.variance;
            assert_close("mse", &[sum], &[found.single], 1e-12);

            let classes = testing::classes(seed, points, outputs);
            let found = cross_entropy_decomposition(&logits, &classes).unwrap();
            let sum = found.ensemble + found.variance;
            assert_close("cross-entropy", &[sum], &[found.single], 1e-12);
            prop_assert!(found.variance >= -1e-12, "{}", found.variance);
        }

        #[test]
        fn variance_of_cross_entropy_does_not_see_labels(
            (members, points, outputs, seed) in testing::shapes(2, 2)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let of = |labels| cross_entropy_decomposition(&logits, &labels).unwrap().variance;
            let (a, b) = (testing::classes(seed, points, outputs), testing::classes(!seed, points, outputs));
            prop_assert_eq!(of(a), of(b));
        }

        #[test]
        fn second_order_is_the_limit_of_small_spread(
            (members, points, outputs, seed) in testing::shapes(2, 2)
        ) {
            let mean = testing::normal(seed, &[1, points, outputs], 1.0);
            let spread = testing::normal(!seed, &[members, points, outputs], 1e-3);
            let logits = mean.broadcast_add(&spread).unwrap();
            let classes = testing::classes(seed, points, outputs);
            let found = cross_entropy_decomposition(&logits, &classes).unwrap();
            // third order in 1e-3
            let error = (found.variance - found.second_order).abs();
            prop_assert!(error < 1e-8 && found.second_order > 0.0, "{error}");
            prop_assert!(error < 0.05 * found.second_order + 1e-13, "{error}");
        }
    }

    #[test]
    fn fewer_than_two_members_say_what_is_needed() {
        let one = testing::normal(0, &[1, 3, 2], 1.0);
        let error = mse_decomposition(&one, &testing::values(0, 3, 2)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Setting);
        assert_eq!(
            error.message,
            "mse_decomposition: needs at least 2 members, found 1"
        );
        assert!(error.help.unwrap().contains("members: 2"));
        let two = testing::spoil(&testing::normal(0, &[2, 3, 2], 1.0), 1, f64::NAN);
        let error = cross_entropy_decomposition(&two, &testing::classes(0, 3, 2)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Diverged);
        assert!(error.message.contains("but 1 of 2 diverged"), "{error}");
    }

    #[test]
    fn a_diverged_member_is_left_out_of_both() {
        let logits = testing::normal(4, &[4, 6, 3], 1.0);
        let spoilt = testing::spoil(&logits, 1, f64::INFINITY);
        let index = Tensor::new(&[0u32, 2, 3], &Device::Cpu).unwrap();
        let others = logits.index_select(&index, 0).unwrap();
        let values = testing::values(4, 6, 3);
        let found = mse_decomposition(&spoilt, &values).unwrap();
        let expected = mse_decomposition(&others, &values).unwrap();
        assert_eq!((found.count, found.excluded), (3, 1));
        assert_eq!(
            MseDecomposition {
                excluded: 0,
                ..found
            },
            expected
        );
        let classes = testing::classes(4, 6, 3);
        let found = cross_entropy_decomposition(&spoilt, &classes).unwrap();
        let expected = cross_entropy_decomposition(&others, &classes).unwrap();
        assert_eq!(
            (found.single, found.variance),
            (expected.single, expected.variance)
        );
        assert!(found.kl[1].is_nan() && found.kl[3] == expected.kl[2]);
    }

    #[test]
    fn narrow_width_bias_is_positive_where_narrow_ensembles_lose() {
        let (fixture, narrow, _, values) = testing::fixture("narrow");
        let wide = fixture.tensor("wide").to_tensor();
        let wide = mse_decomposition(&wide, &values).unwrap();
        let narrow = mse_decomposition(&narrow, &values).unwrap();
        let bias = narrow.narrow_width_bias(wide.single);
        assert!(bias > 0.1 && bias == narrow.ensemble_infinite - wide.single);
    }
}
