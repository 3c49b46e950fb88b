//! When a trainer writes its checkpoints, and how it goes on from one.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::checkpoint::{self, CheckpointSettings, Checkpoints, Loaded, Plain};
use super::probe::Probe;
use super::trainer::{Trainer, read};
use crate::error::Result;

impl Trainer {
    /// Keeps the state in a file during the first run of steps, and resumes that run from it if
    /// wanted. Not for trainers with parts of the caller's ([`Schedule::Custom`](crate::optim::Schedule),
    /// [`Probe::Custom`]), whose own state no file can hold: these ignore it, and the result is
    /// `false`.
    pub fn checkpoint_to(&mut self, settings: CheckpointSettings) -> bool {
        let own = self.settings.schedule.factor(0).is_some()
            && !self
                .settings
                .probes
                .iter()
                .any(|p| matches!(p, Probe::Custom { .. }));
        self.checkpoints = own.then(|| Checkpoints {
            settings,
            fingerprint: String::new(),
            last: Instant::now(),
            written: false,
        });
        own
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
            let seeds = read(&self.model).seeds().to_vec();
            let path = &own.settings.path;
            let loaded = match path.is_file() {
                true => Loaded::read(path, &own.fingerprint, &seeds)?,
                false => None,
            };
            let Some(loaded) = loaded.filter(|l| l.plain.step <= steps) else {
                self.checkpoints = Some(own);
                return self.record.restart();
            };
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

    /// Writes a checkpoint, if one is due or `now` is set.
    pub(super) fn keep(&mut self, now: bool) -> Result<()> {
        let Some(own) = self.checkpoints.as_ref().filter(|_| self.keeps_now(now)) else {
            return Ok(());
        };
        let received: Vec<bool> = self.received.iter().map(|r| r.load(Relaxed)).collect();
        let plain = Plain::new(&own.fingerprint, self.step, self.probed).with(
            &self.active,
            &received,
            self.record.length(),
        );
        let path = own.settings.path.clone();
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
