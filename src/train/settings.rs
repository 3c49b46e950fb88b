//! What a trainer is told: its settings, its probes, and the caller's part in the loop.

use serde::Serialize;
use serde_json::Value;

use super::probe::Probe;
use super::progress::Progress;
use super::{Clip, Loss};
use crate::error::{Error, Result};
use crate::model::SharedModel;
use crate::optim::{PerMember, Schedule};

/// How a trainer trains.
#[derive(Debug, Clone, Serialize)]
pub struct TrainerSettings {
    /// Loss; `None` is the usual one for the stream's targets.
    pub loss: Option<Loss>,
    /// Examples per step.
    pub batch: usize,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Gradient clipping.
    pub clip: Clip,
    /// Decay of an exponential moving average of the weights, which is kept if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<PerMember>,
    /// Probes.
    pub probes: Vec<Probe>,
    /// Test examples used by probes; `None` for all.
    pub test_points: Option<usize>,
}

impl Default for TrainerSettings {
    fn default() -> Self {
        Self {
            loss: None,
            batch: 128,
            schedule: Schedule::Constant,
            clip: Clip::None,
            ema: None,
            probes: Vec::new(),
            test_points: None,
        }
    }
}

impl TrainerSettings {
    /// Names of the probes, in the order given.
    pub(super) fn probe_names(&self) -> impl Iterator<Item = &str> {
        self.probes.iter().filter_map(Probe::name)
    }

    /// Checks that the record can tell the probes apart.
    pub(super) fn check_probes(&self) -> Result<()> {
        let names: Vec<&str> = self.probe_names().collect();
        let again = (1..names.len()).find(|&i| names[..i].contains(&names[i]));
        match again.map(|i| names[i]) {
            None => Ok(()),
            Some(name) => Err(Error::setting(format!(
                "setting `probes`: two probes are called \"{name}\""
            ))
            .with_help("the record keeps what they give by name: give each its own")),
        }
    }

    /// The factor of the learning rate at a step.
    pub(super) fn lr_factor(&self, step: u64, hooks: &mut dyn Hooks) -> Result<f64> {
        let factor = match self.schedule.factor(step) {
            Some(factor) => factor,
            None => hooks.lr_factor(step)?,
        };
        match factor >= 0.0 && factor.is_finite() {
            true => Ok(factor),
            false => Err(Error::setting(format!(
                "the schedule's factor at step {step} must be a finite number from 0 up, found {factor}"
            ))),
        }
    }
}

/// What the caller of the training loop contributes to it.
pub trait Hooks {
    /// The factor of the learning rate at a step, for [`Schedule::Custom`].
    ///
    /// # Errors
    /// Stops the run.
    fn lr_factor(&mut self, step: u64) -> Result<f64>;

    /// The value of a [`Probe::Custom`].
    ///
    /// # Errors
    /// Stops the run.
    fn probe(&mut self, name: &str, step: u64, model: &SharedModel) -> Result<Value>;

    /// Whether the caller's parts have a state of their own that is not as it was at the beginning: which,
    /// in words. There are no checkpoints then, for nobody could bring that state back.
    fn changed(&mut self) -> Option<String> {
        None
    }

    /// Called when a run goes on from a checkpoint, with the steps that are done already.
    fn resumed(&mut self, _step: u64) {}

    /// Called after every step.
    fn progress(&mut self, progress: Progress);

    /// Something that the user should know and that does not stop the run.
    fn warn(&mut self, message: &str);
}

/// Hooks that do nothing, for trainers without custom parts.
#[derive(Debug, Clone, Copy)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn lr_factor(&mut self, _step: u64) -> Result<f64> {
        Ok(1.0)
    }
    fn probe(&mut self, _name: &str, _step: u64, _model: &SharedModel) -> Result<Value> {
        Ok(Value::Null)
    }
    fn progress(&mut self, _progress: Progress) {}
    fn warn(&mut self, _message: &str) {}
}

/// Why a run of steps ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps were done.
    Done,
    /// The user asked to stop; everything up to the last step is kept.
    Interrupted,
    /// No member is left that has not diverged.
    AllDiverged,
}
