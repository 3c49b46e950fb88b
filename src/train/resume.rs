//! When a trainer writes its checkpoints, and how it goes on from one.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::checkpoint::{self, CheckpointSettings, Checkpoints, Loaded, Plain};
use super::settings::Hooks;
use super::trainer::{Trainer, read};
use crate::error::{Error, Result};

/// Whether the user knows that later runs of steps have no checkpoints.
static TOLD: AtomicBool = AtomicBool::new(false);
const ONLY_FIRST: &str =
    "only a trainer's first call of `step` has them; give it all steps, and measure with probes";

impl Trainer {
    /// Keeps the state in a file during the first run of steps, and resumes that run from it if
    /// wanted. Of the caller's parts ([`Schedule::Custom`](crate::optim::Schedule), [`Probe::Custom`](super::Probe)) a
    /// file holds no state: there are checkpoints as long as [`Hooks::changed`] finds none.
    pub fn checkpoint_to(&mut self, settings: CheckpointSettings) {
        self.checkpoints = Some(Checkpoints {
            settings,
            fingerprint: String::new(),
            last: Instant::now(),
            written: false,
            later: false,
            told: false,
        });
    }

    /// Calls `f` with parameters, optimizer states and averages under their names.
    fn with_values<R>(&self, f: impl FnOnce(checkpoint::Values<'_>) -> Result<R>) -> Result<R> {
        let model = read(&self.model);
        let mut values = Vec::new();
        for (param, states) in model.params().iter().zip(&self.states) {
            let path = &param.info.path;
            values.push((format!("param.{path}"), &param.value));
            for (kept, state) in self.optimizer.states(&param.info).iter().zip(states) {
                values.push((format!("{}.{path}", kept.name), state));
            }
        }
        if let Some(ema) = &self.ema {
            let averages = model.params().iter().zip(ema.averages());
            values.extend(averages.map(|(p, a)| (format!("ema.{}", p.info.path), a)));
        }
        f(values)
    }

    /// At the beginning of the first run: goes on from a checkpoint of this run with at most
    /// `steps` steps, if there is one and it is wanted.
    pub(super) fn resume(&mut self, steps: u64) -> Result<()> {
        let Some(mut own) = self.checkpoints.take() else {
            return Ok(());
        };
        let settings = &self.record.settings;
        own.fingerprint = self.with_values(|values| checkpoint::fingerprint(settings, &values))?;
        own.last = Instant::now();
        if own.settings.resume {
            let path = &own.settings.path;
            if !path.is_file() {
                self.checkpoints = Some(own);
                return self.record.restart();
            }
            let seeds = read(&self.model).seeds().to_vec();
            let loaded = Loaded::read(path, &own.fingerprint, &self.record.settings, &seeds)?;
            if loaded.plain.step > steps {
                return Err(Error::setting(format!(
                    "{} is at step {}, and the run has {steps} steps",
                    path.display(),
                    loaded.plain.step
                ))
                .with_help("resume with as many steps as that run had, or run with --force in place of --resume to begin anew"));
            }
            self.record.check_length(loaded.plain.record_length)?;
            self.with_values(|values| loaded.restore(values))?;
            self.step = loaded.plain.step;
            self.probed = loaded.plain.probed;
            self.active = loaded.plain.active;
            self.received = loaded
                .plain
                .received
                .into_iter()
                .map(AtomicBool::new)
                .collect();
            self.last_loss = loaded.last_loss;
            self.record.series = loaded.series;
            self.record.predictions = loaded.predictions;
            self.record.divergences = loaded.divergences;
            self.record.probes = loaded.plain.probes;
            if let (Some(path), Some(length)) = (
                self.record.path().map(std::path::Path::to_path_buf),
                loaded.plain.record_length,
            ) {
                self.record.continue_in(&path, length)?;
            }
            own.written = true;
        }
        self.checkpoints = Some(own);
        Ok(())
    }

    /// Whether a checkpoint is due.
    pub(super) fn keeps_now(&self, now: bool) -> bool {
        let due = |own: &Checkpoints| now || own.last.elapsed() >= own.settings.every;
        self.checkpoints.as_ref().is_some_and(due)
    }

    /// Writes a checkpoint, if one is due or `now` is set. Where there can be none, the user is told once.
    pub(super) fn keep(&mut self, now: bool, hooks: &mut dyn Hooks) -> Result<()> {
        if !self.keeps_now(now) {
            return Ok(());
        }
        let Some(own) = &mut self.checkpoints else {
            return Ok(());
        };
        let (why, told) = match own.later {
            // once for all trainers of a script that steps many of them bit by bit
            true => (Some(ONLY_FIRST.into()), TOLD.swap(true, Relaxed)),
            false => (hooks.changed(), own.told),
        };
        if let Some(why) = why {
            (own.last, own.told) = (Instant::now(), true);
            if !told {
                hooks.warn(&format!("no checkpoint at step {}: {why}", self.step));
            }
            return Ok(());
        }
        let received: Vec<bool> = self.received.iter().map(|r| r.load(Relaxed)).collect();
        let (fingerprint, path) = (own.fingerprint.clone(), own.settings.path.clone());
        let plain = Plain::new(&fingerprint, self.step, self.probed).with(
            &self.active,
            &received,
            self.record.length(),
        );
        self.with_values(|values| {
            checkpoint::save(&path, plain, values, &self.last_loss, &self.record)
        })?;
        if let Some(own) = &mut self.checkpoints {
            own.last = Instant::now();
            own.written = true;
        }
        Ok(())
    }
}
