//! How the loss of an ensemble depends on its number of members: L(E) = L(∞) + s/E.

use candle_core::Tensor;
use serde::Serialize;

use super::ensemble::{Average, log_probabilities};
use super::outputs::{Outputs, squared_distance};
use super::stats::linear_fit;
use crate::data::Labels;
use crate::error::Result;

/// Losses of ensembles of 1, 2, … members, and the line through them in 1/E.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnsembleSizes {
    /// `losses[k - 1]`: mean loss of ensembles of `k` members.
    pub losses: Vec<f64>,
    /// L(∞): the fit's loss of endlessly many members.
    pub infinite: f64,
    /// s: what one over the number of members costs.
    pub slope: f64,
    /// Members in the largest ensemble.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

/// Cross-entropy of ensembles of every size, in nats.
///
/// An ensemble of `k` is averaged over every run of `k` members that follow each other in a circle,
/// so that each member counts alike. `logits` `[members, points, classes]`, class labels `[points]`.
/// Errors: labels that do not fit, fewer than two members left.
pub fn cross_entropy_by_ensemble_size(
    logits: &Tensor,
    labels: &Labels,
    average: Average,
) -> Result<EnsembleSizes> {
    let what = "cross_entropy_by_ensemble_size";
    let outputs = Outputs::read(what, logits)?;
    let classes = outputs.classes(what, labels)?;
    by_size(what, &outputs, |members| {
        let log_p = log_probabilities(&outputs, members, average);
        let rows = log_p.chunks(outputs.outputs).zip(&classes);
        rows.map(|(row, &class)| -row[class]).sum::<f64>() / outputs.points as f64
    })
}

/// Mean squared error of ensembles of every size, by mean outputs.
///
/// As [`cross_entropy_by_ensemble_size`]; labels are values `[points, outputs]`, or classes, whose
/// targets are then one-hot vectors.
pub fn mse_by_ensemble_size(outputs: &Tensor, labels: &Labels) -> Result<EnsembleSizes> {
    let what = "mse_by_ensemble_size";
    let outputs = Outputs::read(what, outputs)?;
    let targets = outputs.targets(what, labels)?;
    by_size(what, &outputs, |members| {
        squared_distance(&outputs.mean_over(members), &targets) / targets.len() as f64
    })
}

fn by_size(what: &str, outputs: &Outputs, loss: impl Fn(&[usize]) -> f64) -> Result<EnsembleSizes> {
    let members = outputs.finite_members(what, 2)?;
    let count = members.len();
    let circle: Vec<usize> = members.iter().chain(&members).copied().collect();
    let mean_loss = |size: usize| {
        // all runs of the whole circle are the same ensemble
        let starts = if size == count { 1 } else { count };
        let each = (0..starts).map(|start| loss(&circle[start..start + size]));
        each.sum::<f64>() / starts as f64
    };
    let losses: Vec<f64> = (1..=count).map(mean_loss).collect();
    let inverse: Vec<f64> = (1..=count).map(|size| 1.0 / size as f64).collect();
    let fit = linear_fit(&inverse, &losses).map_err(|e| e.at(what))?;
    Ok(EnsembleSizes {
        losses,
        infinite: fit.intercept,
        slope: fit.slope,
        count,
        excluded: outputs.members - count,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::super::{cross_entropy_decomposition, ensemble_cross_entropy, mse_decomposition};
    use super::*;
    use crate::reference::assert_close;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ends_are_the_single_networks_and_the_whole_ensemble(
            (members, points, outputs, seed) in testing::shapes(2, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let classes = testing::classes(seed, points, outputs);
            let parts = cross_entropy_decomposition(&logits, &classes).unwrap();
            for average in [Average::Logits, Average::Probabilities] {
                let found = cross_entropy_by_ensemble_size(&logits, &classes, average).unwrap();
                let whole = ensemble_cross_entropy(&logits, &classes, average).unwrap().value;
                prop_assert_eq!(found.losses.len(), members);
                let ends = [found.losses[0], found.losses[members - 1]];
                assert_close("ends", &ends, &[parts.single, whole], 1e-12);
                // every run is at most as bad as its members, and the whole as the runs it averages
                for loss in found.losses {
                    prop_assert!(whole - 1e-12 <= loss && loss <= parts.single + 1e-12);
                }
            }
        }

        // with up to three members every subset is a run, and the law in 1/E is exact
        #[test]
        fn the_fit_gives_the_decomposition_of_mse(
            members in 2..=3usize, (_, points, outputs, seed) in testing::shapes(1, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let values = testing::values(seed, points, outputs);
            let found = mse_by_ensemble_size(&logits, &values).unwrap();
            let parts = mse_decomposition(&logits, &values).unwrap();
            let expected = [parts.ensemble_infinite, parts.variance];
            assert_close("fit", &[found.infinite, found.slope], &expected, 1e-11);
        }
    }

    #[test]
    fn diverged_members_are_left_out() {
        let logits = testing::normal(6, &[4, 5, 3], 1.0);
        let classes = testing::classes(6, 5, 3);
        let spoilt = testing::spoil(&logits, 0, f64::NAN);
        let rest = logits.narrow(0, 1, 3).unwrap();
        let of = |x| cross_entropy_by_ensemble_size(x, &classes, Average::Logits).unwrap();
        let (found, expected) = (of(&spoilt), of(&rest));
        assert_eq!(found.losses, expected.losses);
        assert_eq!((found.count, found.excluded), (3, 1));
    }

    #[test]
    fn one_member_gives_no_law() {
        let logits = testing::normal(6, &[1, 5, 3], 1.0);
        let error = mse_by_ensemble_size(&logits, &testing::values(6, 5, 3)).unwrap_err();
        assert_eq!(
            error.message,
            "mse_by_ensemble_size: needs at least 2 members, found 1"
        );
    }
}
