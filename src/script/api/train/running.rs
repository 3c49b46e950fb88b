//! A trainer that takes steps: the script's schedule and probes, and progress.

use std::sync::PoisonError;

use rhai::{Dynamic, NativeCallContext};
use serde_json::Value;

use super::{Measured, TrainerValue, Training, lock};
use crate::error::Result;
use crate::model::SharedModel;
use crate::script::api::model::ModelValue;
use crate::script::convert::{json, to_data};
use crate::script::{OrRaise, RhaiResultOf, StoredFn};
use crate::train::{Hooks, Progress, Reporter, RunEnd, Trainer};

/// Runs shorter than this print no progress.
const QUIET_STEPS: u64 = 5;

/// The script's part in a training loop.
struct ScriptHooks<'a> {
    name: &'a str,
    schedule: Option<&'a StoredFn>,
    probes: &'a [(String, StoredFn)],
    measured: &'a mut Measured,
    reporter: Option<Reporter>,
    last: Option<Progress>,
}

impl Hooks for ScriptHooks<'_> {
    fn lr_factor(&mut self, step: u64) -> Result<f64> {
        match self.schedule {
            Some(schedule) => schedule
                .call::<f64>((step as i64,))
                .map_err(|e| e.at("schedule")),
            None => Ok(1.0),
        }
    }

    fn probe(&mut self, name: &str, step: u64, model: &SharedModel) -> Result<Value> {
        let Some((_, function)) = self.probes.iter().find(|(own, _)| own == name) else {
            return Ok(Value::Null);
        };
        let model = ModelValue(model.clone());
        let value = function.call::<Dynamic>((model, step as i64))?;
        let data = to_data(&value).map_err(|e| e.at(format_args!("probe \"{name}\"")))?;
        let kept = json(&data);
        self.measured.insert((name.to_string(), step), data);
        Ok(kept)
    }

    fn changed(&mut self) -> Option<String> {
        let probes = self.probes.iter();
        let probes = probes.map(|(name, function)| (format!("the probe `{name}`"), function));
        let schedule = self.schedule.map(|f| ("the schedule".to_string(), f));
        let (what, _) = probes
            .chain(schedule)
            .find(|(_, function)| !function.is_unchanged())?;
        Some(format!(
            "{what} changes a variable of the script, or has one that can change, such as a model; what a probe returns is kept"
        ))
    }

    fn resumed(&mut self, step: u64) {
        let text = format!("{}: resumed at step {step}", self.name);
        match &self.reporter {
            Some(reporter) => reporter.message(&text),
            None => eprintln!("{text}"),
        }
    }

    fn progress(&mut self, progress: Progress) {
        self.last = Some(progress);
        if let Some(reporter) = &mut self.reporter {
            reporter.update(progress);
        }
    }

    fn warn(&mut self, message: &str) {
        let text = format!("warning: {message}");
        match &self.reporter {
            Some(reporter) => reporter.message(&text),
            None => eprintln!("{text}"),
        }
    }
}

impl Training {
    /// Takes steps.
    pub(super) fn run(&mut self, steps: u64) -> Result<RunEnd> {
        let show = self.show_progress && steps >= QUIET_STEPS;
        let mut hooks = ScriptHooks {
            name: &self.name,
            schedule: self.schedule.as_ref(),
            probes: &self.probes,
            measured: &mut self.measured,
            reporter: show.then(|| Reporter::new(&self.name, steps)),
            last: None,
        };
        let end = self.trainer.run(steps, &mut hooks);
        if let (Some(reporter), Some(last)) = (&hooks.reporter, hooks.last) {
            let model = self.trainer.model().read();
            let model = model.unwrap_or_else(PoisonError::into_inner);
            reporter.finish(last, model.place().used());
        }
        end
    }
}

impl TrainerValue {
    /// Lets `f` take steps with the script's schedule and probes, and without progress.
    pub(in crate::script::api) fn silently<R>(
        &self,
        ctx: &NativeCallContext,
        f: impl FnOnce(&mut Trainer, &mut dyn Hooks) -> Result<R>,
    ) -> RhaiResultOf<R> {
        let mut training = lock(ctx, &self.0)?;
        let training = &mut *training;
        let mut hooks = ScriptHooks {
            name: &training.name,
            schedule: training.schedule.as_ref(),
            probes: &training.probes,
            measured: &mut training.measured,
            reporter: None,
            last: None,
        };
        f(&mut training.trainer, &mut hooks).or_raise(ctx)
    }
}
