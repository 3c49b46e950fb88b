//! The trainer: model, optimizer and stream, which takes steps.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use candle_core::{DType, Tensor};
use serde_json::json;

use super::checkpoint::Checkpoints;
use super::gpu::{GpuTraining, Parts};
use super::progress::Progress;
use super::settings::{Hooks, RunEnd, TrainerSettings};
use super::step::{StepSettings, StepWork};
use super::{Divergence, Ema, Record};
use crate::data::{Batch, Stream};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::metrics::{Goal, Loss};
use crate::model::{Model, SharedModel, Work};
use crate::nn::{Gradients, Mode, Plan};
use crate::optim::Optimizer;
use crate::parametrization::Scales;
use crate::tensor::elementwise::copy;
use crate::tensor::rng::Key;

/// Updates after which a parameter that never had a gradient is named. More than one, because a
/// readout that starts at zero rightly gives the layers below none at first.
pub(super) const GRADIENT_CHECK: u64 = 3;

/// A model, an optimizer and a stream.
pub struct Trainer {
    pub(super) model: SharedModel,
    pub(super) optimizer: Arc<dyn Optimizer>,
    pub(super) stream: Arc<dyn Stream>,
    pub(super) settings: TrainerSettings,
    pub(super) loss: Loss,
    pub(super) scales: Vec<Scales>,
    pub(super) plan: Plan,
    /// Room for gradients. What is updated during the backward pass is not written here.
    pub(super) grads: Vec<Tensor>,
    pub(super) states: Vec<Vec<Tensor>>,
    pub(super) ema: Option<Ema>,
    pub(super) received: Vec<AtomicBool>,
    pub(super) step: u64,
    pub(super) last_loss: Vec<Option<f64>>,
    pub(super) active: Vec<bool>,
    pub(super) next: Option<(u64, Result<Batch>)>,
    pub(super) probed: Option<u64>,
    pub(super) record: Record,
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) gpu: Option<GpuTraining>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trainer(step {}, {:?})", self.step, self.optimizer)
    }
}

pub(super) fn read(model: &SharedModel) -> RwLockReadGuard<'_, Model> {
    model.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(model: &SharedModel) -> RwLockWriteGuard<'_, Model> {
    model.write().unwrap_or_else(PoisonError::into_inner)
}

impl Trainer {
    /// A trainer at step 0. The model is fitted to the stream's inputs and targets.
    ///
    /// # Errors
    /// If network and stream, or per-member scalars and members, do not fit, or the loss does not
    /// suit the targets.
    pub fn new(
        model: SharedModel,
        optimizer: Arc<dyn Optimizer>,
        stream: Arc<dyn Stream>,
        settings: TrainerSettings,
    ) -> Result<Self> {
        if settings.batch == 0 {
            return Err(Error::setting("batch must be at least 1"));
        }
        settings.check_probes()?;
        let loss = settings.loss.unwrap_or(Loss::usual(stream.targets()));
        if loss == Loss::CrossEntropy && Loss::usual(stream.targets()) != loss {
            return Err(Error::setting(format!(
                "cross_entropy needs class labels, but {} has real targets",
                stream.name()
            ))
            .with_help("use loss: \"mse\" with this stream"));
        }
        let members = read(&model).members();
        optimizer.check(members)?;
        if let Some(decay) = &settings.ema {
            decay.check("ema", members)?;
        }
        write(&model).fit(stream.input_shape(), stream.targets().outputs())?;
        let guard = read(&model);
        if guard.positions() != stream.target_positions() {
            return Err(Error::shape(format!(
                "the {} has outputs at positions {:?}, but {} has targets at positions {:?} ([] is one per example)",
                guard.network().name,
                guard.positions(),
                stream.name(),
                stream.target_positions()
            ))
            .with_help("flatten() makes one output per example; a transformer needs a stream of tokens"));
        }
        let trained = guard.params().iter().map(|p| &p.info);
        let trained: Vec<_> = trained.filter(|p| p.kind.is_trained()).collect();
        optimizer.check_params(&trained)?;
        let work = Work {
            gradients: Gradients::Passing,
            tensors: if settings.ema.is_some() {
                &["gradient", "average"]
            } else {
                &["gradient"]
            },
            optimizer: Some(&*optimizer),
            // one is trained on while the next is made
            batches: 2,
        };
        guard.check_memory("training", settings.batch, work)?;
        let plan = guard.plan(settings.batch, Gradients::Passing)?;
        let grads = guard.like_params("gradient")?;
        let states = guard.params().iter().map(|p| {
            if p.info.kind.is_trained() {
                let states = optimizer.states(&p.info).into_iter();
                states.map(|s| p.room(s.name, &s.shape)).collect()
            } else {
                Ok(Vec::new())
            }
        });
        let states = states.collect::<Result<Vec<_>>>()?;
        let ema = match &settings.ema {
            None => None,
            Some(decay) => {
                let averages = guard.like_params("average")?;
                for (average, param) in averages.iter().zip(guard.params()) {
                    copy(average, &param.value)?;
                }
                Some(Ema::new(decay.clone(), averages))
            }
        };
        let scales = guard.scales(optimizer.family())?;
        let mut settled = json!({
            "model": guard.record(),
            "optimizer": { "name": optimizer.name(), "settings": optimizer.settings() },
            "stream": { "name": stream.name(), "settings": stream.settings() },
            "loss": loss.name(),
            "training": settings,
        });
        if guard.parametrization().is_own() {
            let paths = guard.params().iter().map(|p| p.info.path.clone());
            let rows = scales
                .iter()
                .map(|s| serde_json::to_value(s).unwrap_or_default());
            let table: serde_json::Map<_, _> = paths.zip(rows).collect();
            settled["scales"] = table.into();
        }
        let record = Record::new(settled);
        let params = grads.len();
        let gpu = GpuTraining::new(&Parts {
            model: &guard,
            plan: &plan,
            optimizer: &*optimizer,
            grads: &grads,
            states: &states,
            ema: ema.as_ref(),
            loss,
            batch: settings.batch,
        })?;
        drop(guard);
        Ok(Self {
            model,
            optimizer,
            stream,
            settings,
            loss,
            scales,
            plan,
            grads,
            states,
            ema,
            received: (0..params).map(|_| AtomicBool::new(false)).collect(),
            step: 0,
            last_loss: vec![None; members],
            active: vec![true; members],
            next: None,
            probed: None,
            record,
            checkpoints: None,
            gpu,
        })
    }

    /// The model.
    pub fn model(&self) -> &SharedModel {
        &self.model
    }

    /// A model with the averaged weights as they are now, if averages are kept. It shares nothing with
    /// the model that is trained.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn ema_model(&self) -> Result<Option<Model>> {
        let Some(ema) = &self.ema else {
            return Ok(None);
        };
        read(&self.model).with_values(ema.averages()).map(Some)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Arc<dyn Optimizer> {
        &self.optimizer
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<dyn Stream> {
        &self.stream
    }

    /// The loss that is minimised.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Examples per step.
    pub fn batch_size(&self) -> usize {
        self.settings.batch
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record, to be given a file before the first step.
    pub fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Names of the probes, measured or not.
    pub fn probe_names(&self) -> impl Iterator<Item = &str> {
        self.settings.probe_names()
    }

    /// Which members have not diverged.
    pub fn active(&self) -> &[bool] {
        &self.active
    }

    /// Paths of the trained parameters that have received no gradient other than 0 so far.
    pub fn without_gradient(&self) -> Vec<String> {
        let model = read(&self.model);
        let missing = model.params().iter().zip(&self.received);
        missing
            .filter(|(p, received)| p.info.kind.is_trained() && !received.load(Relaxed))
            .map(|(p, _)| p.info.path.clone())
            .collect()
    }

    /// Takes `steps` steps, measuring probes when they are due (before the update of their step,
    /// and once more at the end if that step is due).
    ///
    /// # Errors
    /// If the stream ends, the record cannot be written, or a hook fails. Everything up to the last
    /// whole step is kept.
    pub fn run(&mut self, steps: u64, hooks: &mut dyn Hooks) -> Result<RunEnd> {
        let start = Instant::now();
        let first = self.step;
        let target = first + steps;
        if first == 0 {
            self.resume(target)?;
            if self.step > 0 {
                hooks.resumed(self.step);
            }
        }
        self.check_kept_outputs(target)?;
        let mut end = RunEnd::Done;
        while self.step < target {
            if !self.active.contains(&true) {
                end = RunEnd::AllDiverged;
                break;
            }
            if interrupt::requested() {
                end = RunEnd::Interrupted;
                self.settle(hooks)?;
                self.keep(true, hooks)?;
                break;
            }
            self.measure(hooks)?;
            let loss = match self.gpu {
                None => self.advance(hooks)?,
                Some(_) => self.advance_on_gpu(hooks)?,
            };
            if self.keeps_now(false) {
                self.settle(hooks)?;
                self.keep(false, hooks)?;
            }
            hooks.progress(Progress {
                done: self.step - first,
                total: steps,
                loss,
            });
        }
        self.settle(hooks)?;
        if !self.active.contains(&true) {
            end = RunEnd::AllDiverged;
        }
        if end == RunEnd::Done {
            self.measure(hooks)?;
        }
        if end != RunEnd::Interrupted {
            let long = self.checkpoints.as_ref().is_some_and(|c| c.written);
            self.keep(long, hooks)?;
        }
        if let Some(own) = &mut self.checkpoints {
            (own.later, own.written) = (true, false);
        }
        let status = match end {
            RunEnd::Done => "done",
            RunEnd::Interrupted => "interrupted",
            RunEnd::AllDiverged => "all members diverged",
        };
        let (seconds, memory) = (
            start.elapsed().as_secs_f64(),
            read(&self.model).place().used(),
        );
        self.record.end(status, self.step, seconds, memory)?;
        Ok(end)
    }

    pub(super) fn batch(&mut self) -> Result<Batch> {
        let position = self.step * self.settings.batch as u64;
        match self.next.take() {
            Some((at, batch)) if at == position => batch,
            _ => self.stream.batch(position, self.settings.batch),
        }
    }

    /// One step: the mean loss of the members that have not diverged.
    fn advance(&mut self, hooks: &mut dyn Hooks) -> Result<f64> {
        let batch = self.batch()?;
        let factor = self.settings.lr_factor(self.step, hooks)?;
        let size = self.settings.batch;
        let position = (self.step + 1) * size as u64;
        let stream = self.stream.clone();
        // the next batch is made while this one is trained on
        let (losses, next) = rayon::join(
            || self.update(&batch, factor),
            || stream.batch(position, size),
        );
        self.next = Some((position, next));
        let losses = losses?;
        self.record.train(self.step, &losses, factor)?;
        self.note_divergence(&losses, hooks)?;
        if let Some(ema) = &self.ema {
            let model = read(&self.model);
            let params = model.params().iter();
            let params = params.map(|p| (&p.value, p.info.kind.is_trained()));
            ema.update(params, &self.active, self.step == 0)?;
        }
        self.step += 1;
        if self.step == GRADIENT_CHECK {
            self.name_missing_gradients(hooks)?;
        }
        let finite = || losses.iter().filter(|l| l.is_finite());
        Ok(finite().sum::<f64>() / finite().count() as f64)
    }

    /// Forward, backward, clipping and update on one batch: each member's loss before the update.
    fn update(&mut self, batch: &Batch, factor: f64) -> Result<Vec<f64>> {
        let model = read(&self.model);
        let inputs = model.shaped(&batch.inputs)?;
        let goal = Goal::new(
            self.loss,
            &batch.labels,
            model.rows(self.settings.batch),
            model.outputs(),
        )?;
        let step = StepSettings {
            goal,
            clip: self.settings.clip,
            optimizer: &*self.optimizer,
            params: model.params(),
            scales: &self.scales,
            active: &self.active,
            factor,
            step: self.step + 1,
            received: &self.received,
        };
        let (plan, values, grads) = (&self.plan, model.values(), &self.grads);
        let noise = |&seed: &u64| Key::new(seed).label("noise").fold(self.step);
        plan.set_mode(Mode::Training(model.seeds().iter().map(noise).collect()));
        let losses = match model.dtype() {
            DType::F64 => {
                let work = StepWork::<f64>::new(step, grads, &self.states)?;
                plan.step(&values, &inputs, grads, &work)?
            }
            _ => {
                let work = StepWork::<f32>::new(step, grads, &self.states)?;
                plan.step(&values, &inputs, grads, &work)?
            }
        };
        Ok(losses)
    }

    pub(super) fn note_divergence(&mut self, losses: &[f64], hooks: &mut dyn Hooks) -> Result<()> {
        let seeds = read(&self.model).seeds().to_vec();
        for (member, &loss) in losses.iter().enumerate() {
            if loss.is_finite() {
                self.last_loss[member] = Some(loss);
            } else if std::mem::replace(&mut self.active[member], false) {
                let divergence = Divergence {
                    step: self.step,
                    member,
                    seed: seeds[member],
                    loss,
                    last_finite: self.last_loss[member],
                };
                self.record.diverged(divergence)?;
                let last = divergence
                    .last_finite
                    .map_or("there was no finite value".into(), |v| {
                        format!("last finite value {v:.4e}")
                    });
                hooks.warn(&format!(
                    "member {member} (seed {}) diverged at step {}: loss {loss}, {last}",
                    seeds[member], self.step
                ));
            }
        }
        Ok(())
    }

    pub(super) fn name_missing_gradients(&mut self, hooks: &mut dyn Hooks) -> Result<()> {
        let missing = self.without_gradient();
        if missing.is_empty() {
            return Ok(());
        }
        hooks.warn(&format!(
            "no gradient in the first {GRADIENT_CHECK} steps for {}",
            missing.join(", ")
        ));
        self.record.note("no_gradient", &json!(missing))
    }
}
