//! Training on a GPU: steps are queued whole, and their losses fetched when somebody looks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use super::settings::Hooks;
use super::trainer::{GRADIENT_CHECK, Trainer, read};
use super::{Clip, Ema};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Graph, Grid, address, words};
use crate::memory;
use crate::metrics::{Goal, GpuGoal, Loss};
use crate::model::Model;
use crate::nn::{Mode, Param, Plan, Span};
use crate::optim::{
    self, GpuRule, Optimizer, Orthogonal, Tables, TensorUpdate, Updated, all_scalars,
};
use crate::parametrization::Scales;
use crate::tensor::elementwise::copy;
use crate::tensor::rng::Key;

/// Steps whose losses may wait on the device.
const KEPT: usize = 64;
/// Losses wait no longer than this.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a trainer has on a GPU beside parameters, gradients and states.
#[derive(Debug)]
pub(super) struct GpuTraining {
    gpu: Arc<Gpu>,
    /// All trained parameters.
    tables: Tables,
    groups: Vec<Group>,
    orthogonal: Orthogonal,
    averages: Option<Tables>,
    goal: GpuGoal,
    losses: Tensor,
    /// Losses of steps that the host has not fetched.
    kept: Tensor,
    /// Members that have not diverged.
    active: Tensor,
    received: Tensor,
    squares: Tensor,
    clip: Tensor,
    /// A step, when it has been done once.
    graph: Option<Graph>,
    begun: bool,
    /// Steps and learning-rate factors whose losses are kept.
    waiting: Vec<(u64, f64)>,
    fetched: Instant,
    last_mean: f64,
}

/// Parameters that one kernel updates.
#[derive(Debug)]
struct Group {
    kernel: &'static str,
    tables: Tables,
    /// Their places among the trained parameters.
    params: Vec<usize>,
    /// Room for the direction of a matrix that is made orthogonal.
    directions: Vec<Option<Tensor>>,
}

/// What a trainer gives.
pub(super) struct Parts<'a> {
    pub model: &'a Model,
    pub plan: &'a Plan,
    pub optimizer: &'a dyn Optimizer,
    pub grads: &'a [Tensor],
    pub states: &'a [Vec<Tensor>],
    pub ema: Option<&'a Ema>,
    pub loss: Loss,
    pub batch: usize,
}

impl GpuTraining {
    /// On the model's GPU; `None` if it has none.
    pub fn new(parts: &Parts<'_>) -> Result<Option<Self>> {
        let Some(on_gpu) = parts.plan.on_gpu() else {
            return Ok(None);
        };
        let (gpu, stored) = (on_gpu.gpu().clone(), on_gpu.stored());
        let (members, rows) = (parts.model.members(), parts.model.rows(parts.batch));
        let device = gpu.device().clone();
        let zeros = |name: &str, shape: &[usize], dtype| memory::zeros(name, shape, dtype, &device);
        let params = parts.model.params();
        let all = params.iter().zip(parts.grads).zip(parts.states);
        let trained: Vec<_> = all.filter(|((p, _), _)| p.info.kind.is_trained()).collect();
        let bare = trained.iter().map(|((p, grad), _)| Updated {
            param: &p.value,
            grad,
            states: Vec::new(),
        });
        let tables = Tables::new(&gpu, stored, members, &bare.collect::<Vec<_>>())?;
        let mut groups: Vec<Group> = Vec::new();
        if let Some(rule) = parts.optimizer.on_gpu() {
            let kernels = trained.iter().map(|((p, _), _)| rule.kernel(&p.info));
            let kernels: std::collections::BTreeSet<_> = kernels.collect();
            for kernel in kernels {
                let of_kernel = trained.iter().enumerate();
                let members_of =
                    of_kernel.filter(|(_, ((p, _), _))| rule.kernel(&p.info) == kernel);
                let members_of: Vec<_> = members_of.collect();
                let directions = members_of.iter().map(|(_, ((p, _), _))| {
                    let orthogonal = rule.orthogonal(&p.info).is_some();
                    orthogonal.then(|| p.zeros("direction")).transpose()
                });
                let directions = directions.collect::<Result<Vec<_>>>()?;
                let updated = members_of.iter().zip(&directions);
                let updated: Vec<_> = updated
                    .map(|((_, ((p, grad), states)), direction)| Updated {
                        param: &p.value,
                        grad,
                        states: states.iter().chain(direction).collect(),
                    })
                    .collect();
                groups.push(Group {
                    kernel,
                    tables: Tables::new(&gpu, stored, members, &updated)?,
                    params: members_of.iter().map(|(i, _)| *i).collect(),
                    directions,
                });
            }
        }
        let updated = trained.len();
        let averages = match parts.ema {
            None => None,
            Some(ema) => {
                let averaged = params
                    .iter()
                    .zip(ema.averages())
                    .map(|(p, average)| Updated {
                        param: &p.value,
                        grad: &p.value,
                        states: vec![average],
                    });
                let averaged: Vec<_> = averaged.collect();
                Some(Tables::new(&gpu, stored, members, &averaged)?)
            }
        };
        Ok(Some(Self {
            goal: GpuGoal::new(on_gpu, parts.loss, members, [rows, parts.model.outputs()])?,
            losses: zeros("losses", &[members], DType::F64)?,
            kept: zeros("losses of steps", &[KEPT, members], DType::F64)?,
            active: zeros("active members", &[members], DType::U32)?,
            received: zeros("received gradients", &[updated.max(1)], DType::U32)?,
            squares: zeros("squares", &[tables.blocks().max(1)], DType::F64)?,
            clip: zeros("factors of gradients", &[members], DType::F64)?,
            tables,
            groups,
            orthogonal: Orthogonal::new(&gpu, stored, members),
            averages,
            graph: None,
            begun: false,
            waiting: Vec::new(),
            fetched: Instant::now(),
            last_mean: f64::NAN,
            gpu,
        }))
    }

    /// Queues clipping and the optimizer's kernel.
    fn update(&self, model: &Model, rule: &dyn GpuRule, clip: Clip) -> Result<()> {
        let active = address(&self.active)?;
        let clip = match clip {
            Clip::None => (0, f64::INFINITY),
            Clip::Value(limit) => (0, limit),
            Clip::Norm(limit) => {
                let (squares, factors) = (address(&self.squares)?, address(&self.clip)?);
                let none = (0, f64::INFINITY);
                self.tables
                    .launch("squared_norms", active, none, words![squares])?;
                let words = words![
                    self.tables.chunks()?,
                    squares,
                    factors,
                    self.tables.blocks(),
                    limit
                ];
                let grid = Grid::blocks(1, self.losses.elem_count());
                self.gpu.launch_plain("clip_factors", grid, words)?;
                (factors, f64::INFINITY)
            }
        };
        let trained = || {
            let params = model.params().iter();
            params.filter(|p| p.info.kind.is_trained()).map(|p| &p.info)
        };
        let infos: Vec<_> = trained().collect();
        for group in &self.groups {
            group.tables.launch(group.kernel, active, clip, &[])?;
            let mut matrices = false;
            for (at, (&i, direction)) in group.params.iter().zip(&group.directions).enumerate() {
                let Some(direction) = direction else { continue };
                matrices = true;
                let size = direction.elem_count() / self.losses.elem_count();
                let span = Span {
                    at: address(direction)?,
                    stride: size,
                };
                let (scalars, distance) = group.tables.scalars_of(at)?;
                // the least norm is the sixth of the scalars
                let least = (scalars + 5 * 8, distance);
                let steps = rule.orthogonal(infos[i]).unwrap_or(0);
                self.orthogonal
                    .queue(span, infos[i], steps, least)
                    .map_err(|e| e.at(&infos[i].path))?;
            }
            if matrices {
                group
                    .tables
                    .launch("muon_step", active, (0, f64::INFINITY), &[])?;
            }
        }
        Ok(())
    }

    /// Whether somebody should look at the losses: they are many, they are old, or the run is young.
    fn is_due(&self, step: u64) -> bool {
        self.waiting.len() >= KEPT || step <= GRADIENT_CHECK || self.fetched.elapsed() > PATIENCE
    }

    /// Waits for the losses that are kept: those of each step, `[steps][members]`.
    fn fetch(&mut self) -> Result<Vec<Vec<f64>>> {
        let members = self.losses.elem_count();
        let mut all = vec![0.0; self.waiting.len() * members];
        self.gpu.download(address(&self.kept)?, &mut all)?;
        self.fetched = Instant::now();
        Ok(all.chunks(members).map(<[f64]>::to_vec).collect())
    }
}

impl Trainer {
    /// One step on the GPU, queued; the mean loss that was last heard of.
    pub(super) fn advance_on_gpu(&mut self, hooks: &mut dyn Hooks) -> Result<f64> {
        if !self.active.contains(&true) {
            return Ok(f64::NAN);
        }
        let batch = self.batch()?;
        let factor = match self.settings.schedule.factor(self.step) {
            Some(factor) => factor,
            None => hooks.lr_factor(self.step)?,
        };
        let size = self.settings.batch;
        let position = (self.step + 1) * size as u64;
        let stream = self.stream.clone();
        let (queued, next) = rayon::join(
            || self.queue_step(&batch, factor),
            || stream.batch(position, size),
        );
        self.next = Some((position, next));
        queued?;
        self.step += 1;
        if self.gpu.as_ref().is_some_and(|gpu| gpu.is_due(self.step)) {
            self.settle(hooks)?;
        }
        if self.step == GRADIENT_CHECK {
            self.name_missing_gradients(hooks)?;
        }
        Ok(self.gpu.as_ref().map_or(f64::NAN, |gpu| gpu.last_mean))
    }

    fn queue_step(&mut self, batch: &crate::data::Batch, factor: f64) -> Result<()> {
        let model = read(&self.model);
        let Some(training) = &mut self.gpu else {
            return Err(Error::other("the trainer is not on a GPU"));
        };
        let gpu = training.gpu.clone();
        let (plan, values) = (&self.plan, model.values());
        let Some(on_gpu) = plan.on_gpu() else {
            return Err(Error::other("the plan is not on the GPU"));
        };
        let rows = model.rows(self.settings.batch);
        let goal = Goal::new(self.loss, &batch.labels, rows, model.outputs())?;
        let noise = |&seed: &u64| Key::new(seed).label("noise").fold(self.step);
        plan.set_mode(Mode::Training(model.seeds().iter().map(noise).collect()));
        on_gpu.set_batch(&model.shaped(&batch.inputs)?)?;
        training.goal.set(&goal)?;
        if !training.begun {
            let active: Vec<u32> = self.active.iter().map(|&on| on.into()).collect();
            gpu.upload(&active, address(&training.active)?)?;
        }
        let rule = self.optimizer.on_gpu();
        let members = model.members();
        let params = || model.params().iter().zip(&self.scales);
        if let Some(rule) = rule {
            let trained = params().filter(|(p, _)| p.info.kind.is_trained());
            let trained: Vec<_> = trained.map(|(p, scales)| (&p.info, scales)).collect();
            let at = (factor, self.step + 1, members);
            for group in &training.groups {
                let own = group.params.iter().map(|&i| trained[i]);
                group.tables.set_scalars(&all_scalars(rule, own, at))?;
            }
        }
        if let (Some(ema), Some(averages)) = (&self.ema, &training.averages) {
            let rest = |trained: bool, member: usize| match trained && self.step > 0 {
                true => 1.0 - ema.decay().of(member),
                false => 1.0,
            };
            let mut scalars = Vec::new();
            for (p, _) in params() {
                let trained = p.info.kind.is_trained();
                scalars.extend((0..members).map(|m| {
                    let mut all = optim::Scalars::default();
                    all[0] = rest(trained, m);
                    all
                }));
            }
            averages.set_scalars(&scalars)?;
        }
        let active = address(&training.active)?;
        let whole = || -> Result<()> {
            on_gpu.forward(&values)?;
            training
                .goal
                .queue(on_gpu, address(&training.losses)?, active)?;
            on_gpu.backward(&values, &self.grads)?;
            let Some(rule) = rule else { return Ok(()) };
            training.update(&model, rule, self.settings.clip)?;
            after(training, plan, &values, active)
        };
        match &training.graph {
            Some(graph) => gpu.replay(graph)?,
            // the first step makes what later ones find
            None if !training.begun => whole()?,
            None => {
                let graph = gpu.capture(whole)?;
                gpu.replay(&graph)?;
                training.graph = Some(graph);
            }
        }
        training.begun = true;
        if rule.is_none() {
            let host = Host {
                optimizer: &*self.optimizer,
                clip: self.settings.clip,
                scales: &self.scales,
                factor,
                step: self.step + 1,
            };
            host.update(training, &model, &self.grads, &self.states)?;
            after(training, plan, &values, active)?;
        }
        if self.step < GRADIENT_CHECK {
            let none = (0, f64::INFINITY);
            let received = words![address(&training.received)?];
            training
                .tables
                .launch("any_gradient", active, none, received)?;
        }
        let to = address(&training.kept)? + (8 * members * training.waiting.len()) as u64;
        gpu.copy(address(&training.losses)?, to, 8 * members)?;
        training.waiting.push((self.step, factor));
        Ok(())
    }

    /// Waits for the steps that are queued, and takes their losses into the record. Where all members turn
    /// out to have diverged, steps after that count as not done.
    pub(super) fn settle(&mut self, hooks: &mut dyn Hooks) -> Result<()> {
        let Some(training) = self.gpu.as_mut().filter(|g| !g.waiting.is_empty()) else {
            return Ok(());
        };
        let losses = training.fetch()?;
        let waiting = std::mem::take(&mut training.waiting);
        if waiting.iter().any(|(step, _)| *step < GRADIENT_CHECK) {
            let mut received = vec![0u32; training.received.elem_count()];
            let from = address(&training.received)?;
            training.gpu.download(from, &mut received)?;
            let model = read(&self.model);
            let params = model.params().iter().zip(&self.received);
            let trained = params.filter(|(p, _)| p.info.kind.is_trained());
            for ((_, flag), on) in trained.zip(received) {
                flag.fetch_or(on != 0, Relaxed);
            }
        }
        let after = self.step;
        for ((step, factor), losses) in waiting.into_iter().zip(losses) {
            self.step = step;
            self.record.train(step, &losses, factor)?;
            self.note_divergence(&losses, hooks)?;
            let finite = || losses.iter().filter(|l| l.is_finite());
            let mean = finite().sum::<f64>() / finite().count() as f64;
            if let Some(training) = &mut self.gpu {
                training.last_mean = mean;
            }
            self.step += 1;
            if !self.active.contains(&true) {
                self.next = None;
                return Ok(());
            }
        }
        self.step = after;
        Ok(())
    }
}

/// Queues what follows an update: running estimates, averages of weights.
fn after(training: &GpuTraining, plan: &Plan, values: &[Param<'_>], active: u64) -> Result<()> {
    if let Some(on_gpu) = plan.on_gpu() {
        on_gpu.update_estimates(values, active)?;
    }
    match &training.averages {
        Some(averages) => averages.launch("ema", active, (0, f64::INFINITY), &[]),
        None => Ok(()),
    }
}

/// The update by an optimizer that has no kernel: on the host, which waits for the gradients.
struct Host<'a> {
    optimizer: &'a dyn Optimizer,
    clip: Clip,
    scales: &'a [Scales],
    factor: f64,
    step: u64,
}

impl Host<'_> {
    fn update(
        &self,
        training: &GpuTraining,
        model: &Model,
        grads: &[Tensor],
        states: &[Vec<Tensor>],
    ) -> Result<()> {
        let on_host = |t: &Tensor| t.to_device(&Device::Cpu);
        let mut active = vec![0u32; model.members()];
        training
            .gpu
            .download(address(&training.active)?, &mut active)?;
        let active: Vec<bool> = active.into_iter().map(|on| on != 0).collect();
        let grads = grads
            .iter()
            .map(on_host)
            .collect::<candle_core::Result<Vec<_>>>()?;
        self.clip.apply(&grads)?;
        let all = model
            .params()
            .iter()
            .zip(&grads)
            .zip(states)
            .zip(self.scales);
        for (((param, grad), states), scales) in all {
            if !param.info.kind.is_trained() {
                continue;
            }
            let value = on_host(&param.value)?;
            let state = states.iter().map(on_host);
            let state = state.collect::<candle_core::Result<Vec<_>>>()?;
            let update = TensorUpdate {
                param: &value,
                grad,
                state: &state,
                info: &param.info,
                scales,
                factor: self.factor,
                active: &active,
                step: self.step,
            };
            optim::update(self.optimizer, &update).map_err(|e| e.at(&param.info.path))?;
            // the emulator's tensors are the host's
            if matches!(param.value.device(), Device::Cpu) {
                continue;
            }
            copy(&param.value, &value)?;
            states
                .iter()
                .zip(&state)
                .try_for_each(|(to, from)| copy(to, from))?;
        }
        Ok(())
    }
}
