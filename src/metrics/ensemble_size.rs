//! How the loss of an ensemble depends on its number of members: L(E) = L(∞) + s/E.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::bootstrap::Resampling;
use super::ensemble::{Average, log_probabilities};
use super::outputs::{Outputs, squared_distance};
use super::stats::{self, linear_fit};
use crate::data::Labels;
use crate::error::Result;

/// Losses of ensembles of 1, 2, … members, and the line through them in 1/E.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnsembleSizes {
    /// `losses[k - 1]`: mean loss of ensembles of `k` members.
    pub losses: Vec<f64>,
    /// Lower ends of the bootstrap intervals of `losses` over members.
    pub low: Vec<f64>,
    /// Their upper ends.
    pub high: Vec<f64>,
    /// L(∞): the fit's loss of endlessly many members.
    pub infinite: f64,
    /// Its standard error over members, by the bootstrap.
    pub infinite_error: f64,
    /// s: what one over the number of members costs.
    pub slope: f64,
    /// Its standard error over members, by the bootstrap.
    pub slope_error: f64,
    /// Share of bootstrap samples between `low` and `high`.
    pub level: f64,
    /// Bootstrap samples drawn.
    pub samples: usize,
    /// Members in the largest ensemble.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

/// Cross-entropy of ensembles of every size, in nats.
///
/// The loss of ensembles of `k` is the mean over all of them where there are at most 12 members; of more, over the runs of
/// `k` members that follow each other in a circle, so that each member counts alike. Intervals come from drawing
/// members with replacement; since a member that is drawn twice makes an ensemble smaller, they are shifted by the
/// difference between the samples' mean and the loss itself. `logits` `[members, points, classes]`, class labels `[points]`.
/// Errors: labels that do not fit, fewer than two members left, impossible resampling.
pub fn cross_entropy_by_ensemble_size(
    logits: &Tensor,
    labels: &Labels,
    average: Average,
    resampling: Resampling,
) -> Result<EnsembleSizes> {
    let what = "cross_entropy_by_ensemble_size";
    let outputs = Outputs::read(what, logits)?;
    let classes = outputs.classes(what, labels)?;
    by_size(what, &outputs, resampling, |members| {
        let log_p = log_probabilities(&outputs, members, average);
        let rows = log_p.chunks(outputs.outputs).zip(&classes);
        rows.map(|(row, &class)| -row[class]).sum::<f64>() / outputs.points as f64
    })
}

/// Mean squared error of ensembles of every size, by mean outputs.
///
/// As [`cross_entropy_by_ensemble_size`]; labels are values `[points, outputs]`, or classes, whose
/// targets are then one-hot vectors.
pub fn mse_by_ensemble_size(
    outputs: &Tensor,
    labels: &Labels,
    resampling: Resampling,
) -> Result<EnsembleSizes> {
    let what = "mse_by_ensemble_size";
    let outputs = Outputs::read(what, outputs)?;
    let targets = outputs.targets(what, labels)?;
    by_size(what, &outputs, resampling, |members| {
        squared_distance(&outputs.mean_over(members), &targets) / targets.len() as f64
    })
}

/// Members of which every subset is an ensemble.
const ALL_SUBSETS: usize = 12;

/// The mean loss of all subsets of 1, 2, … members.
fn mean_losses_of_subsets(members: &[usize], loss: impl Fn(&[usize]) -> f64 + Sync) -> Vec<f64> {
    let subsets: Vec<Vec<usize>> = (1..1_usize << members.len())
        .map(|which| {
            let in_it = members
                .iter()
                .enumerate()
                .filter(|(i, _)| which >> i & 1 == 1);
            in_it.map(|(_, member)| *member).collect()
        })
        .collect();
    let losses: Vec<f64> = subsets.par_iter().map(|subset| loss(subset)).collect();
    let mut sums = vec![(0.0, 0.0); members.len()];
    for (subset, loss) in subsets.iter().zip(losses) {
        let (sum, count) = &mut sums[subset.len() - 1];
        *sum += loss;
        *count += 1.0;
    }
    sums.into_iter().map(|(sum, count)| sum / count).collect()
}

fn by_size(
    what: &str,
    outputs: &Outputs,
    resampling: Resampling,
    loss: impl Fn(&[usize]) -> f64 + Sync,
) -> Result<EnsembleSizes> {
    resampling.check(what)?;
    let members = outputs.finite_members(what, 2)?;
    let count = members.len();
    // of members drawn at random, runs in the order in which they were drawn are enough
    let mean_losses_of_runs = |members: &[usize]| -> Vec<f64> {
        let circle = [members, members].concat();
        let mean_loss = |size: usize| {
            // all runs of the whole circle are the same ensemble
            let starts = if size == count { 1 } else { count };
            let each = (0..starts).map(|start| loss(&circle[start..start + size]));
            each.sum::<f64>() / starts as f64
        };
        (1..=count).map(mean_loss).collect()
    };
    let inverse: Vec<f64> = (1..=count).map(|size| 1.0 / size as f64).collect();
    let line = |losses: &[f64]| linear_fit(&inverse, losses).map_err(|e| e.at(what));

    let losses = match count {
        ..=ALL_SUBSETS => mean_losses_of_subsets(&members, &loss),
        _ => mean_losses_of_runs(&members),
    };
    let fit = line(&losses)?;
    let drawn: Vec<Vec<f64>> = (0..resampling.samples)
        .into_par_iter()
        .map(|sample| {
            let which = resampling.draw(sample, count);
            mean_losses_of_runs(&which.iter().map(|&i| members[i]).collect::<Vec<_>>())
        })
        .collect();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for (size, value) in losses.iter().enumerate() {
        let values: Vec<f64> = drawn.iter().map(|losses| losses[size]).collect();
        let shift = value - stats::mean(&values)?;
        let [from, to] = resampling.interval(&values)?;
        low.push(from + shift);
        high.push(to + shift);
    }
    let fits = drawn.iter().map(|losses| line(losses));
    let fits = fits.collect::<Result<Vec<_>>>()?;
    let of =
        |part: fn(&stats::LinearFit) -> f64| stats::std(&fits.iter().map(part).collect::<Vec<_>>());
    Ok(EnsembleSizes {
        losses,
        low,
        high,
        infinite: fit.intercept,
        infinite_error: of(|f| f.intercept)?,
        slope: fit.slope,
        slope_error: of(|f| f.slope)?,
        level: resampling.level,
        samples: resampling.samples,
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

    const FEW: Resampling = Resampling {
        samples: 10,
        level: 0.9,
        seed: 0,
    };

    /// A linear loss of single networks: the interval of their mean is known.
    #[test]
    fn the_interval_of_single_networks_is_that_of_their_mean() {
        let members = 30;
        let outputs = testing::normal(8, &[members, 400, 3], 1.0);
        let classes = testing::classes(8, 400, 3);
        let singles = crate::metrics::cross_entropy(&outputs, &classes).unwrap();
        let error = stats::standard_error(&singles).unwrap();
        let many = Resampling {
            samples: 2000,
            level: 0.95,
            seed: 1,
        };
        let found = cross_entropy_by_ensemble_size(&outputs, &classes, Average::Logits, many);
        let found = found.unwrap();
        let half = (found.high[0] - found.low[0]) / 2.0;
        assert!((half / error / 1.96 - 1.0).abs() < 0.1, "{half} {error}");
        for ((low, loss), high) in found.low.iter().zip(&found.losses).zip(&found.high) {
            assert!(low < loss && loss < high);
        }
        assert!(found.infinite_error > 0.0 && found.slope_error > 0.0);
    }

    proptest! {
        #[test]
        fn ends_are_the_single_networks_and_the_whole_ensemble(
            (members, points, outputs, seed) in testing::shapes(2, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let classes = testing::classes(seed, points, outputs);
            let parts = cross_entropy_decomposition(&logits, &classes).unwrap();
            for average in [Average::Logits, Average::Probabilities] {
                let found = cross_entropy_by_ensemble_size(&logits, &classes, average, FEW).unwrap();
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

        // over all subsets the law in 1/E is exact
        #[test]
        fn the_fit_gives_the_decomposition_of_mse(
            members in 2..=6usize, (_, points, outputs, seed) in testing::shapes(1, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 2.0);
            let values = testing::values(seed, points, outputs);
            let found = mse_by_ensemble_size(&logits, &values, FEW).unwrap();
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
        let of = |x| cross_entropy_by_ensemble_size(x, &classes, Average::Logits, FEW).unwrap();
        let (found, expected) = (of(&spoilt), of(&rest));
        assert_eq!(found.losses, expected.losses);
        assert_eq!((found.count, found.excluded), (3, 1));
    }

    #[test]
    fn one_member_gives_no_law() {
        let logits = testing::normal(6, &[1, 5, 3], 1.0);
        let error = mse_by_ensemble_size(&logits, &testing::values(6, 5, 3), FEW).unwrap_err();
        assert_eq!(
            error.message,
            "mse_by_ensemble_size: needs at least 2 members, found 1"
        );
    }
}
