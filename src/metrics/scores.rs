//! What a test set says of a model: losses and accuracies of each member, and of the ensemble.

use candle_core::Tensor;

use super::gpu_scores::GpuScores;
use super::{Average, Loss, accuracy, ensemble_accuracy, ensemble_cross_entropy, ensemble_mse};
use crate::data::{Batch, Labels};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EVAL_OUTPUTS, Model};
use crate::tensor::elem::{Elem, dispatch, write};

/// Losses and accuracies, means over examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Loss of each member.
    pub loss: Vec<f64>,
    /// Accuracy of each member where labels are classes, NaN where an output is not finite.
    pub accuracy: Option<Vec<f64>>,
    /// Loss of the mean of the outputs over the members whose outputs are finite, if there is one.
    pub ensemble_loss: Option<f64>,
    /// Accuracy of that mean, where labels are classes.
    pub ensemble_accuracy: Option<f64>,
}

impl Scores {
    /// Those of outputs `[members, points, …, outputs]`.
    ///
    /// # Errors
    /// If labels do not fit the outputs or the loss.
    pub fn of(outputs: &Tensor, labels: &Labels, loss: Loss) -> Result<Self> {
        let are_classes = matches!(labels, Labels::Classes(_));
        let ensemble = match loss {
            Loss::CrossEntropy => ensemble_cross_entropy(outputs, labels, Average::Logits),
            Loss::Mse => ensemble_mse(outputs, labels),
        };
        // an ensemble needs a member whose outputs are finite
        let ensemble = match ensemble {
            Ok(loss) => Some(loss.value),
            Err(error) if error.kind == ErrorKind::Diverged => None,
            Err(error) => return Err(error),
        };
        let ensemble_accuracy = match ensemble {
            Some(_) if are_classes => {
                Some(ensemble_accuracy(outputs, labels, Average::Logits)?.value)
            }
            _ => None,
        };
        Ok(Self {
            loss: loss.evaluate(outputs, labels, None)?,
            accuracy: are_classes.then(|| accuracy(outputs, labels)).transpose()?,
            ensemble_loss: ensemble,
            ensemble_accuracy,
        })
    }

    /// Those of all examples, from those of parts and their shares of the examples. What a part lacks is
    /// left out.
    fn mean(parts: &[(f64, Self)]) -> Option<Self> {
        let (_, first) = parts.first()?;
        let members = |of: fn(&Self) -> Option<&[f64]>| -> Option<Vec<f64>> {
            let one = |member: usize| {
                parts
                    .iter()
                    .map(|(share, part)| Some(share * of(part)?[member]))
                    .sum()
            };
            (0..first.loss.len()).map(one).collect()
        };
        let ensemble = |of: fn(&Self) -> Option<f64>| {
            parts
                .iter()
                .map(|(share, part)| Some(share * of(part)?))
                .sum()
        };
        Some(Self {
            loss: members(|part| Some(&part.loss))?,
            accuracy: members(|part| part.accuracy.as_deref()),
            ensemble_loss: ensemble(|part| part.ensemble_loss),
            ensemble_accuracy: ensemble(|part| part.ensemble_accuracy),
        })
    }

    /// What was found, by name in a record.
    pub fn named(self) -> Vec<(&'static str, Vec<f64>)> {
        let all = [
            ("test_loss", Some(self.loss)),
            ("test_accuracy", self.accuracy),
            ("ensemble_test_loss", self.ensemble_loss.map(|x| vec![x])),
            (
                "ensemble_test_accuracy",
                self.ensemble_accuracy.map(|x| vec![x]),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, values)| Some((name, values?)))
            .collect()
    }
}

/// Makes the outputs of members that are not active NaN.
fn spoil(outputs: &Tensor, active: &[bool]) -> Result<()> {
    let each = outputs.elem_count() / active.len().max(1);
    dispatch!(outputs, T => write(outputs, |all: &mut [T]| {
        for (outputs, active) in all.chunks_exact_mut(each.max(1)).zip(active) {
            if !active {
                outputs.fill(T::of(f64::NAN));
            }
        }
        Ok(())
    }))
}

/// The scores of a model on examples, and if `keep` the outputs `[members, points, …, outputs]`, on the
/// host. On a GPU the scores are found there. A member that is not `active` has diverged before, and is
/// NaN: what its parameters were left at says nothing.
///
/// # Errors
/// If examples do not fit the model or the loss, or the user asks to stop.
pub fn scores(
    model: &mut Model,
    test: &Batch,
    loss: Loss,
    active: &[bool],
    keep: bool,
) -> Result<(Scores, Option<Tensor>)> {
    let points = test.size();
    let share = |part: usize| part as f64 / points as f64;
    let mut parts = Vec::new();
    let mut outputs = None;
    if model.place().gpu().is_some() {
        let (members, positions, width) = (model.members(), model.rows(1), model.outputs());
        let mut on_gpu: Option<GpuScores> = None;
        let kept = model.walk_all(&test.inputs, "", |start, plan| {
            let Some(passes) = plan.on_gpu() else {
                return Err(Error::other("the plan is not on the GPU"));
            };
            let labels = test.narrow(start, plan.batch())?.labels;
            let rows = plan.batch() * positions;
            let place = match on_gpu.take().filter(|place| place.rows() == rows) {
                Some(place) => place,
                None => GpuScores::new(passes, &labels, members, [rows, width])?,
            };
            let found = on_gpu.insert(place).of(passes, &labels, loss, active)?;
            parts.push((share(plan.batch()), found));
            Ok(match keep {
                true => vec![plan.output().clone()],
                false => Vec::new(),
            })
        })?;
        outputs = kept.into_iter().next();
        outputs.iter().try_for_each(|all| spoil(all, active))?;
    } else {
        // what is not kept is made in pieces
        let fits = match keep {
            true => points,
            false => EVAL_OUTPUTS / model.bytes_of_outputs().max(1),
        };
        let piece = points.div_ceil(points.div_ceil(fits.max(1)).max(1)).max(1);
        for start in (0..points).step_by(piece) {
            let part = test.narrow(start, piece.min(points - start))?;
            let found = model.predict(&part.inputs)?;
            spoil(&found, active)?;
            parts.push((share(part.size()), Scores::of(&found, &part.labels, loss)?));
            outputs = keep.then_some(found);
        }
    }
    let none = || Error::shape("the test set has no examples");
    Ok((Scores::mean(&parts).ok_or_else(none)?, outputs))
}
