//! Losses and accuracies on the test set during training, and the outputs that are kept.

use super::probe::Probe;
use super::trainer::{Trainer, read, write};
use crate::data::Batch;
use crate::error::Result;
use crate::memory::{self, Need};
use crate::metrics::scores;

/// Outputs up to so many bytes are kept without asking whether there is memory for them.
const SMALL: u128 = 64 << 20;

impl Trainer {
    /// The first `test_points` examples of the test set.
    ///
    /// # Errors
    /// If the stream's test set cannot be had.
    pub fn test_batch(&self) -> Result<Batch> {
        let test = self.stream.test_set()?;
        let all = test.size();
        test.narrow(0, self.settings.test_points.unwrap_or(all).min(all))
    }

    /// Measures on the test set, and keeps the outputs if that is wanted.
    pub(super) fn test(&mut self, keep: bool) -> Result<()> {
        let test = self.test_batch()?;
        let active = &self.active;
        let (found, outputs) = scores(&mut write(&self.model), &test, self.loss, active, keep)?;
        if let Some(outputs) = outputs {
            self.record.predictions.insert(self.step, outputs);
        }
        self.record.tested(self.step, &found.named())
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
        let points = self.test_batch()?.size();
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
