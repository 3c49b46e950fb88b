//! The members of a model taken together as one predictor.

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::loss::share_correct;
use super::outputs::{Outputs, log_softmax, log_sum_exp, squared_distance};
use crate::data::Labels;
use crate::error::{Error, Result};

/// What is averaged over members to make one prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Logits: the probabilities are the members' normalised geometric mean.
    Logits,
    /// Probabilities.
    Probabilities,
}

impl Average {
    /// The average called `name`: `logits` or `probabilities`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "logits" => Ok(Self::Logits),
            "probabilities" => Ok(Self::Probabilities),
            other => Err(Error::setting(format!(
                "unknown average `{other}`, expected `logits` or `probabilities`"
            ))),
        }
    }
}

/// A number about an ensemble, and how many members it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EnsembleValue {
    /// The loss or accuracy.
    pub value: f64,
    /// Members in the ensemble.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

/// The mean of the logits over the members that have not diverged: `[points, outputs]`, `f64`, on
/// the CPU, with the number of members in it and of those left out.
///
/// Errors: no member left.
pub fn ensemble_logits(logits: &Tensor) -> Result<(Tensor, usize, usize)> {
    let outputs = Outputs::read("ensemble", logits)?;
    let members = outputs.finite_members("ensemble", 1)?;
    let mean = outputs.mean_over(&members);
    let mean = Tensor::from_vec(mean, (outputs.points, outputs.outputs), &Device::Cpu)?;
    Ok((mean, members.len(), outputs.members - members.len()))
}

/// Cross-entropy of the ensemble, in nats, the mean over points.
///
/// `logits` `[members, points, classes]`, class labels `[points]`. Errors: labels that do not fit,
/// no member left.
pub fn ensemble_cross_entropy(
    logits: &Tensor,
    labels: &Labels,
    average: Average,
) -> Result<EnsembleValue> {
    let outputs = Outputs::read("ensemble", logits)?;
    let classes = outputs.classes("ensemble", labels)?;
    let members = outputs.finite_members("ensemble", 1)?;
    let log_p = log_probabilities(&outputs, &members, average);
    let rows = log_p.chunks(outputs.outputs).zip(&classes);
    let total: f64 = rows.map(|(row, &class)| -row[class]).sum();
    Ok(outputs.ensemble_value(&members, total / outputs.points as f64))
}

/// Accuracy of the ensemble, in 0..=1.
///
/// Shapes and errors as [`ensemble_cross_entropy`].
pub fn ensemble_accuracy(
    logits: &Tensor,
    labels: &Labels,
    average: Average,
) -> Result<EnsembleValue> {
    let outputs = Outputs::read("ensemble", logits)?;
    let classes = outputs.classes("ensemble", labels)?;
    let members = outputs.finite_members("ensemble", 1)?;
    // not the log-probabilities: rounding there could turn near ties of mean logits around
    let scores = match average {
        Average::Logits => outputs.mean_over(&members),
        Average::Probabilities => log_probabilities(&outputs, &members, average),
    };
    Ok(outputs.ensemble_value(&members, share_correct(&scores, &classes)))
}

/// Mean squared error of the mean output, the mean over points and outputs.
///
/// `outputs` `[members, points, outputs]`; labels are values `[points, outputs]`, or classes, whose
/// targets are then one-hot vectors. Errors: labels that do not fit, no member left.
pub fn ensemble_mse(outputs: &Tensor, labels: &Labels) -> Result<EnsembleValue> {
    let outputs = Outputs::read("ensemble", outputs)?;
    let targets = outputs.targets("ensemble", labels)?;
    let members = outputs.finite_members("ensemble", 1)?;
    let mean = outputs.mean_over(&members);
    let value = squared_distance(&mean, &targets) / mean.len() as f64;
    Ok(outputs.ensemble_value(&members, value))
}

impl Outputs {
    fn ensemble_value(&self, members: &[usize], value: f64) -> EnsembleValue {
        EnsembleValue {
            value,
            count: members.len(),
            excluded: self.members - members.len(),
        }
    }
}

/// Log-probabilities of the ensemble, `[points, outputs]`.
pub(super) fn log_probabilities(
    outputs: &Outputs,
    members: &[usize],
    average: Average,
) -> Vec<f64> {
    match average {
        Average::Logits => log_softmax(&outputs.mean_over(members), outputs.outputs),
        Average::Probabilities => {
            let each: Vec<Vec<f64>> = members
                .iter()
                .map(|&m| log_softmax(outputs.member(m), outputs.outputs))
                .collect();
            let count = (members.len() as f64).ln();
            (0..outputs.points * outputs.outputs)
                .map(|i| {
                    let logs: Vec<f64> = each.iter().map(|member| member[i]).collect();
                    log_sum_exp(&logs) - count
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::super::{accuracy, cross_entropy, mse};
    use super::*;
    use crate::error::ErrorKind;
    use crate::reference::assert_close;
    use proptest::prelude::*;

    #[test]
    fn ensembles_are_those_of_scipy() {
        for set in ["narrow", "wide"] {
            let (fixture, logits, classes, values) = testing::fixture(set);
            let close = |place: &str, found: EnsembleValue| {
                let expected = fixture.number(&format!("/sets/{set}/ensemble/{place}"));
                assert_close(place, &[found.value], &[expected], 1e-13);
                assert_eq!((found.count, found.excluded), (logits.dims()[0], 0));
            };
            for name in ["logits", "probabilities"] {
                let average = Average::parse(name).unwrap();
                let ce = ensemble_cross_entropy(&logits, &classes, average).unwrap();
                close(&format!("{name}/cross_entropy"), ce);
                let share = ensemble_accuracy(&logits, &classes, average).unwrap();
                close(&format!("{name}/accuracy"), share);
            }
            close("logits/mse", ensemble_mse(&logits, &values).unwrap());
        }
    }

    proptest! {
        #[test]
        fn one_member_is_its_own_ensemble((_, points, outputs, seed) in testing::shapes(1, 1)) {
            let logits = testing::normal(seed, &[1, points, outputs], 3.0);
            let classes = testing::classes(seed, points, outputs);
            let values = testing::values(seed, points, outputs);
            for average in [Average::Logits, Average::Probabilities] {
                let ce = ensemble_cross_entropy(&logits, &classes, average).unwrap().value;
                assert_close("ce", &[ce], &cross_entropy(&logits, &classes).unwrap(), 1e-12);
                let share = ensemble_accuracy(&logits, &classes, average).unwrap().value;
                assert_eq!([share], accuracy(&logits, &classes).unwrap()[..]);
            }
            let loss = ensemble_mse(&logits, &values).unwrap().value;
            assert_close("mse", &[loss], &mse(&logits, &values).unwrap(), 1e-12);
        }

        #[test]
        fn an_ensemble_is_not_worse_than_its_members_on_average(
            (members, points, outputs, seed) in testing::shapes(1, 1)
        ) {
            let logits = testing::normal(seed, &[members, points, outputs], 3.0);
            let classes = testing::classes(seed, points, outputs);
            let each = cross_entropy(&logits, &classes).unwrap();
            let single = each.iter().sum::<f64>() / members as f64;
            for average in [Average::Logits, Average::Probabilities] {
                let ce = ensemble_cross_entropy(&logits, &classes, average).unwrap().value;
                prop_assert!(ce <= single + 1e-12, "{ce} {single}");
            }
        }
    }

    #[test]
    fn diverged_members_are_left_out_and_counted() {
        let logits = testing::normal(1, &[3, 4, 5], 1.0);
        let classes = testing::classes(1, 4, 5);
        let spoilt = testing::spoil(&logits, 1, f64::NAN);
        let index = Tensor::new(&[0u32, 2], &Device::Cpu).unwrap();
        let others = logits.index_select(&index, 0).unwrap();
        let found = ensemble_cross_entropy(&spoilt, &classes, Average::Logits).unwrap();
        let expected = ensemble_cross_entropy(&others, &classes, Average::Logits).unwrap();
        assert_eq!(found.value, expected.value);
        assert_eq!((found.count, found.excluded), (2, 1));
        let (mean, count, excluded) = ensemble_logits(&spoilt).unwrap();
        assert_eq!((mean.dims(), count, excluded), (&[4, 5][..], 2, 1));
        let by_hand = others.mean(0).unwrap();
        let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_close("mean", &numbers(&mean), &numbers(&by_hand), 1e-14);
    }

    #[test]
    fn without_a_member_left_there_is_no_ensemble() {
        let logits = testing::normal(1, &[1, 4, 5], f64::INFINITY);
        let classes = testing::classes(1, 4, 5);
        for error in [
            ensemble_cross_entropy(&logits, &classes, Average::Logits).unwrap_err(),
            ensemble_accuracy(&logits, &classes, Average::Probabilities).unwrap_err(),
            ensemble_mse(&logits, &classes).unwrap_err(),
            ensemble_logits(&logits).unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Diverged);
            assert!(error.message.contains("1 of 1 diverged"), "{error}");
        }
    }

    #[test]
    fn an_unknown_average_is_refused() {
        let error = Average::parse("logit").unwrap_err();
        assert!(
            error.message.contains("`logits` or `probabilities`"),
            "{error}"
        );
    }
}
