//! Losses and accuracies on the test set during training, and the outputs that are kept.

use candle_core::Tensor;

use super::probe::Probe;
use super::trainer::{Trainer, read, write};
use crate::data::{Batch, Labels};
use crate::error::{ErrorKind, Result};
use crate::memory::{self, Need};
use crate::metrics::{
    Average, Loss, accuracy, ensemble_accuracy, ensemble_cross_entropy, ensemble_mse,
};
use crate::model::EVAL_OUTPUTS;

/// Outputs up to so many bytes are kept without asking whether there is memory for them.
const SMALL: u128 = 64 << 20;

/// Means over examples by name, put together from pieces.
#[derive(Default)]
struct Means(Vec<(String, Vec<f64>)>);

impl Means {
    /// Adds the means over a piece that has this share of the examples. What a piece lacks is left out.
    fn add(&mut self, piece: Vec<(String, Vec<f64>)>, share: f64) {
        if self.0.is_empty() {
            let scaled =
                |(name, x): (String, Vec<f64>)| (name, x.into_iter().map(|x| share * x).collect());
            self.0 = piece.into_iter().map(scaled).collect();
            return;
        }
        self.0.retain_mut(|(name, sums)| {
            let Some((_, values)) = piece.iter().find(|(other, _)| other == name) else {
                return false;
            };
            for (sum, x) in sums.iter_mut().zip(values) {
                *sum += share * x;
            }
            true
        });
    }
}

/// Number of examples.
fn size(batch: &Batch) -> usize {
    batch.inputs.dims().first().copied().unwrap_or(0)
}

impl Trainer {
    /// The first `test_points` examples of the test set.
    ///
    /// # Errors
    /// If the stream's test set cannot be had.
    pub fn test_batch(&self) -> Result<Batch> {
        let test = self.stream.test_set()?;
        let all = size(&test);
        test.narrow(0, self.settings.test_points.unwrap_or(all).min(all))
    }

    /// Measures on the test set, and keeps the outputs if that is wanted.
    pub(super) fn test(&mut self, keep: bool) -> Result<()> {
        let test = self.test_batch()?;
        let points = size(&test);
        let piece = match keep {
            true => points,
            false => {
                let fits = EVAL_OUTPUTS / read(&self.model).bytes_of_outputs().max(1);
                points.div_ceil(points.div_ceil(fits.max(1)).max(1))
            }
        };
        let mut means = Means::default();
        for start in (0..points).step_by(piece.max(1)) {
            let part = test.narrow(start, piece.min(points - start))?;
            let outputs = write(&self.model).predict(&part.inputs)?;
            let share = size(&part) as f64 / points as f64;
            means.add(self.measured(&outputs, &part.labels)?, share);
            if keep {
                self.record.predictions.insert(self.step, outputs);
            }
        }
        self.record.measured("test", self.step, &means.0)
    }

    /// Losses and accuracies of outputs: of each member, and of the ensemble.
    fn measured(&self, outputs: &Tensor, labels: &Labels) -> Result<Vec<(String, Vec<f64>)>> {
        let loss = self.loss.evaluate(outputs, labels, None)?;
        let mut values = vec![("test_loss".to_string(), loss)];
        let classes = matches!(labels, Labels::Classes(_));
        if classes {
            values.push(("test_accuracy".into(), accuracy(outputs, labels)?));
        }
        let loss = match self.loss {
            Loss::CrossEntropy => ensemble_cross_entropy(outputs, labels, Average::Logits),
            Loss::Mse => ensemble_mse(outputs, labels),
        };
        match loss {
            Ok(loss) => {
                values.push(("ensemble_test_loss".into(), vec![loss.value]));
                if classes {
                    let right = ensemble_accuracy(outputs, labels, Average::Logits)?;
                    values.push(("ensemble_test_accuracy".into(), vec![right.value]));
                }
            }
            // an ensemble needs a member whose outputs are finite; those of members that will be found to
            // have diverged at the next step may not be
            Err(error) if error.kind == ErrorKind::Diverged => {}
            Err(error) => return Err(error),
        }
        Ok(values)
    }

    /// Whether there is memory for the outputs that will have been kept at step `target`.
    ///
    /// # Errors
    /// If not: what they need, and for how many test points it would be enough.
    pub(super) fn check_kept_outputs(&self, target: u64) -> Result<()> {
        let due = |probe: &Probe| match probe {
            Probe::Test { when, keep: true } => when.count(self.step, target),
            _ => 0,
        };
        let steps: usize = self.settings.probes.iter().map(due).sum();
        if steps == 0 {
            return Ok(());
        }
        let points = size(&self.test_batch()?);
        let each = read(&self.model).bytes_of_outputs();
        let bytes = |points: usize| Some(steps as u128 * points as u128 * each as u128);
        if bytes(points).is_none_or(|bytes| bytes <= SMALL) {
            return Ok(());
        }
        let (members, rows, outputs, number) = {
            let model = read(&self.model);
            let number = model.dtype().size_in_bytes();
            (model.members(), model.rows(1), model.outputs(), number)
        };
        let positions = (rows > 1).then_some(rows);
        let shape = [steps, members, points].into_iter();
        let need = Need {
            name: "outputs".into(),
            shape: shape.chain(positions).chain([outputs]).collect(),
            number,
        };
        let what = format!("keeping the test set's outputs at {steps} steps");
        memory::check(&what, &[need], |available| {
            let fits = memory::largest(points, available, bytes);
            format!(
                "outputs of {fits} of {points} test points would fit (the setting `test_points`)"
            )
        })
    }
}
