//! Losses and accuracy of every member, and what single points contribute.

use candle_core::Tensor;

use super::outputs::{Outputs, argmax, centred, log_sum_exp, squared_distance};
use crate::data::Labels;
use crate::error::Result;

/// Cross-entropy of each member, in nats, the mean over points.
///
/// `logits` `[members, points, classes]`, class labels `[points]`. NaN for a member that diverged.
/// Errors: labels that are not classes, of another number of points, or out of range.
pub fn cross_entropy(logits: &Tensor, labels: &Labels) -> Result<Vec<f64>> {
    let per_point = cross_entropy_per_point(logits, labels)?;
    Ok(per_point.iter().map(|row| mean(row)).collect())
}

/// Cross-entropy of each member on each point, in nats: `[member][point]`.
///
/// As [`cross_entropy`], without the mean.
pub fn cross_entropy_per_point(logits: &Tensor, labels: &Labels) -> Result<Vec<Vec<f64>>> {
    let outputs = Outputs::read("cross_entropy", logits)?;
    let classes = outputs.classes("cross_entropy", labels)?;
    Ok(per_point(&outputs, |point, row| {
        log_sum_exp(row) - row[classes[point]]
    }))
}

/// Mean squared error of each member, the mean over points and outputs (PyTorch's `mse_loss`).
///
/// `outputs` `[members, points, outputs]`; labels are values `[points, outputs]`, or classes, whose
/// targets are then one-hot vectors. NaN for a member that diverged. Errors: shapes that do not fit.
pub fn mse(outputs: &Tensor, labels: &Labels) -> Result<Vec<f64>> {
    let per_point = mse_per_point(outputs, labels)?;
    Ok(per_point.iter().map(|row| mean(row)).collect())
}

/// Mean squared error of each member on each point, the mean over outputs: `[member][point]`.
///
/// As [`mse`], without the mean over points.
pub fn mse_per_point(outputs: &Tensor, labels: &Labels) -> Result<Vec<Vec<f64>>> {
    let outputs = Outputs::read("mse", outputs)?;
    let targets = outputs.targets("mse", labels)?;
    let size = outputs.outputs;
    Ok(per_point(&outputs, |point, row| {
        squared_distance(row, &targets[point * size..(point + 1) * size]) / size as f64
    }))
}

/// Share of points whose largest logit is that of their class, for each member, in 0..=1.
///
/// Among equal logits the first counts. NaN for a member that diverged. Errors: as
/// [`cross_entropy`].
pub fn accuracy(logits: &Tensor, labels: &Labels) -> Result<Vec<f64>> {
    let outputs = Outputs::read("accuracy", logits)?;
    let classes = outputs.classes("accuracy", labels)?;
    Ok(outputs.per_member(|logits| share_correct(logits, &classes)))
}

/// The logit of each point's true class, for each member: `[member][point]`.
///
/// With `centred`, the mean over classes of the point's logits is subtracted first, which makes
/// logits comparable between networks (cross-entropy does not see that mean). NaN for a member that
/// diverged. Errors: as [`cross_entropy`].
pub fn true_class_logit(logits: &Tensor, labels: &Labels, centre: bool) -> Result<Vec<Vec<f64>>> {
    let outputs = Outputs::read("true_class_logit", logits)?;
    let classes = outputs.classes("true_class_logit", labels)?;
    Ok(per_point(&outputs, |point, row| match centre {
        true => centred(row, row.len())[classes[point]],
        false => row[classes[point]],
    }))
}

/// The logit of each point's true class minus the largest other one: `[member][point]`.
///
/// Positive where the prediction is right. NaN for a member that diverged, and everywhere if there
/// is one class. Errors: as [`cross_entropy`].
pub fn margin(logits: &Tensor, labels: &Labels) -> Result<Vec<Vec<f64>>> {
    let outputs = Outputs::read("margin", logits)?;
    let classes = outputs.classes("margin", labels)?;
    Ok(per_point(&outputs, |point, row| {
        let others = row.iter().enumerate().filter(|(c, _)| *c != classes[point]);
        match others.map(|(_, x)| *x).reduce(f64::max) {
            Some(largest) => row[classes[point]] - largest,
            None => f64::NAN,
        }
    }))
}

/// `f(point, logits of the point)` for each member that has not diverged, NaN for the others.
fn per_point(outputs: &Outputs, f: impl Fn(usize, &[f64]) -> f64) -> Vec<Vec<f64>> {
    let member = |m| match outputs.is_finite(m) {
        true => {
            let rows = outputs.member(m).chunks(outputs.outputs).enumerate();
            rows.map(|(point, row)| f(point, row)).collect()
        }
        false => vec![f64::NAN; outputs.points],
    };
    (0..outputs.members).map(member).collect()
}

/// Share of points whose first largest entry is their class; `scores` has one row per point.
pub(super) fn share_correct(scores: &[f64], classes: &[usize]) -> f64 {
    let rows = scores.chunks(scores.len() / classes.len());
    let correct = rows
        .zip(classes)
        .filter(|(row, class)| argmax(row) == **class);
    correct.count() as f64 / classes.len() as f64
}

/// Not `stats::mean`: here NaN marks a diverged member and is kept.
fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::error::ErrorKind;
    use crate::reference::assert_close;
    use candle_core::{Device, Tensor};

    #[test]
    fn losses_are_those_of_scipy() {
        for set in ["narrow", "wide"] {
            let (fixture, logits, classes, values) = testing::fixture(set);
            let at = |name: &str| fixture.numbers(&format!("/sets/{set}/{name}"));
            let tensor = |name: &str| fixture.tensor(&format!("{set}.{name}")).values;
            let close = |name: &str, found: Vec<f64>, expected: Vec<f64>| {
                assert_close(name, &found, &expected, 1e-13);
            };
            let ce = cross_entropy(&logits, &classes).unwrap();
            close("cross_entropy", ce, at("cross_entropy"));
            close("mse", mse(&logits, &values).unwrap(), at("mse"));
            close(
                "accuracy",
                accuracy(&logits, &classes).unwrap(),
                at("accuracy"),
            );
            for (name, centre) in [
                ("true_class_logit", false),
                ("true_class_logit_centred", true),
            ] {
                let found = true_class_logit(&logits, &classes, centre).unwrap();
                close(name, found.concat(), tensor(name));
            }
            let found = margin(&logits, &classes).unwrap();
            close("margin", found.concat(), tensor("margin"));
        }
    }

    #[test]
    fn logits_in_f32_give_nearly_the_same() {
        let (_, logits, classes, values) = testing::fixture("narrow");
        let single = testing::single(&logits);
        for loss in [
            |x: &Tensor, c: &Labels, _: &Labels| cross_entropy(x, c).unwrap(),
            |x: &Tensor, _: &Labels, v: &Labels| mse(x, v).unwrap(),
        ] {
            let (a, b) = (
                loss(&single, &classes, &values),
                loss(&logits, &classes, &values),
            );
            assert_close("loss", &a, &b, 1e-6);
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let logits = Tensor::new(&[[[1000.0, 0.0], [-1000.0, 1000.0]]], &Device::Cpu).unwrap();
        let classes = Labels::Classes(Tensor::new(&[0u32, 0], &Device::Cpu).unwrap());
        assert_eq!(cross_entropy(&logits, &classes).unwrap(), [1000.0]);
    }

    #[test]
    fn classes_as_targets_of_mse_are_one_hot() {
        let logits = Tensor::new(&[[[0.5, 0.25], [0.0, 2.0]]], &Device::Cpu).unwrap();
        let classes = Labels::Classes(Tensor::new(&[0u32, 1], &Device::Cpu).unwrap());
        let expected = [(0.25 + 0.0625) / 2.0, 0.5];
        assert_eq!(mse_per_point(&logits, &classes).unwrap(), [expected]);
        assert_eq!(mse(&logits, &classes).unwrap(), [(expected[0] + 0.5) / 2.0]);
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        let logits = Tensor::new(&[[[1.0, 1.0], [1.0, 1.0]]], &Device::Cpu).unwrap();
        let classes = Labels::Classes(Tensor::new(&[0u32, 1], &Device::Cpu).unwrap());
        assert_eq!(accuracy(&logits, &classes).unwrap(), [0.5]);
    }

    #[test]
    fn a_diverged_member_is_nan_and_the_others_are_not_touched() {
        let (_, logits, classes, values) = testing::fixture("narrow");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let spoilt = testing::spoil(&logits, 2, bad);
            let pairs = [
                (accuracy(&spoilt, &classes), accuracy(&logits, &classes)),
                (
                    cross_entropy(&spoilt, &classes),
                    cross_entropy(&logits, &classes),
                ),
                (mse(&spoilt, &values), mse(&logits, &values)),
            ];
            for (found, expected) in pairs {
                let (found, expected) = (found.unwrap(), expected.unwrap());
                for member in 0..5 {
                    match member {
                        2 => assert!(found[member].is_nan(), "{bad}"),
                        _ => assert_eq!(found[member], expected[member], "{bad}"),
                    }
                }
            }
            let margins = margin(&spoilt, &classes).unwrap();
            assert!(margins[2].iter().all(|m| m.is_nan()) && margins[1][0].is_finite());
        }
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let logits = testing::normal(0, &[2, 3, 4], 1.0);
        let error = cross_entropy(&logits, &testing::values(0, 3, 4)).unwrap_err();
        assert!(error.message.contains("needs class labels"), "{error}");
        let error = accuracy(&logits, &testing::classes(0, 5, 4)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Shape);
        assert_eq!(error.message, "accuracy: logits of 3 points, labels [5]");
        let high = Labels::Classes(Tensor::new(&[0u32, 4, 1], &Device::Cpu).unwrap());
        let error = cross_entropy(&logits, &high).unwrap_err();
        assert_eq!(
            error.message,
            "cross_entropy: point 1 has class 4, but there are 4 outputs"
        );
        let error = mse(&logits, &testing::values(0, 3, 5)).unwrap_err();
        assert_eq!(
            error.message,
            "mse: outputs of shape [3, 4] for every member, target values [3, 5]"
        );
        let flat = testing::normal(0, &[3, 4], 1.0);
        let error = mse(&flat, &testing::values(0, 3, 4)).unwrap_err();
        assert!(
            error
                .message
                .contains("[members, points, outputs], found [3, 4]")
        );
        let empty = testing::normal(0, &[2, 0, 4], 1.0);
        let error = mse(&empty, &testing::values(0, 0, 4)).unwrap_err();
        assert!(error.message.contains("hold no number"), "{error}");
    }
}
