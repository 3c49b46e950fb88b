//! Training on a GPU: steps are queued whole, and their losses fetched when somebody looks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};

use super::settings::Hooks;
use super::trainer::{GRADIENT_CHECK, Trainer, read};
use super::{Clip, Ema};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Graph, Grid, address, words};
use crate::memory;
use crate::metrics::{Goal, GpuGoal, Loss};
use crate::model::Model;
use crate::nn::{Mode, Param, Plan};
use crate::optim::{self, GpuMembers, GpuUpdates, Limits, Optimizer, Tables, Trained, Updated};
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
    updates: GpuUpdates,
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
    /// A step, when it has been done once: as a whole, or what is before and after the host's part.
    graphs: [Option<Graph>; 2],
    begun: bool,
    /// Steps and learning-rate factors whose losses are kept.
    waiting: Vec<(u64, f64)>,
    fetched: Instant,
    last_mean: f64,
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
        let on = GpuMembers::new(&gpu, stored, members);
        let bare = trained
            .iter()
            .map(|((p, grad), _)| Updated::new(&p.value, grad, Vec::new()));
        let tables = Tables::new(&on, &bare.collect::<Vec<_>>())?;
        let whole = trained.iter().map(|((p, grad), states)| Trained {
            info: &p.info,
            param: &p.value,
            grad,
            states,
        });
        let updates = GpuUpdates::new(parts.optimizer, &on, &whole.collect::<Vec<_>>())?;
        let updated = trained.len();
        let averages = match parts.ema {
            None => None,
            Some(ema) => {
                let averaged = params
                    .iter()
                    .zip(ema.averages())
                    .map(|(p, average)| Updated::new(&p.value, &p.value, vec![average]));
                Some(Tables::new(&on, &averaged.collect::<Vec<_>>())?)
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
            updates,
            averages,
            graphs: [None, None],
            begun: false,
            waiting: Vec::new(),
            fetched: Instant::now(),
            last_mean: f64::NAN,
            gpu,
        }))
    }

    /// What limits the gradients.
    fn limits(&self, clip: Clip) -> Result<Limits> {
        let none = Limits::none(address(&self.active)?);
        Ok(match clip {
            Clip::None => none,
            Clip::Value(largest) => Limits { largest, ..none },
            Clip::Norm(_) => Limits {
                factors: address(&self.clip)?,
                ..none
            },
        })
    }

    /// Queues finding it.
    fn queue_limits(&self, clip: Clip) -> Result<()> {
        let Clip::Norm(limit) = clip else {
            return Ok(());
        };
        let none = Limits::none(address(&self.active)?);
        let (squares, factors) = (address(&self.squares)?, address(&self.clip)?);
        self.tables.launch("squared_norms", none, words![squares])?;
        let (chunks, blocks) = (self.tables.chunks()?, self.tables.blocks());
        let words = words![chunks, squares, factors, blocks, limit];
        let grid = Grid::blocks(1, self.losses.elem_count());
        self.gpu.launch_plain("clip_factors", grid, words)
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
        let factor = self.settings.lr_factor(self.step, hooks)?;
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
        let members = model.members();
        let params = || model.params().iter().zip(&self.scales);
        let trained = params().filter(|(p, _)| p.info.kind.is_trained());
        let trained: Vec<_> = trained.map(|(p, scales)| (&p.info, scales)).collect();
        let optimizer = &*self.optimizer;
        (training.updates).set_scalars(optimizer, &trained, factor, self.step + 1)?;
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
        let mut graphs = std::mem::take(&mut training.graphs);
        let (begun, this) = (training.begun, &*training);
        let limits = this.limits(self.settings.clip)?;
        let begin = || -> Result<()> {
            on_gpu.forward(&values)?;
            this.goal.queue(on_gpu, address(&this.losses)?, active)?;
            on_gpu.backward(&values, &self.grads)?;
            this.queue_limits(self.settings.clip)?;
            this.updates.begin(limits)
        };
        let end = || -> Result<()> {
            this.updates.queue(limits)?;
            after(this, plan, &values, active)
        };
        let [first, second] = &mut graphs;
        if this.updates.have_host_part() {
            run(&gpu, begun, first, begin)?;
            this.updates.on_host(self.step + 1, active)?;
            run(&gpu, begun, second, end)?;
        } else {
            run(&gpu, begun, first, || begin().and_then(|()| end()))?;
        }
        training.graphs = graphs;
        training.begun = true;
        if self.step < GRADIENT_CHECK {
            let received = words![address(&training.received)?];
            let none = Limits::none(active);
            training.tables.launch("any_gradient", none, received)?;
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

/// Queues work that is the same in every step. The first time it makes what later ones find; from the second on it is
/// kept, as one graph.
fn run(
    gpu: &Gpu,
    begun: bool,
    graph: &mut Option<Graph>,
    queue: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if !begun {
        return queue();
    }
    let graph = match graph {
        Some(graph) => graph,
        None => graph.insert(gpu.capture(queue)?),
    };
    gpu.replay(graph)
}

/// Queues what follows an update: running estimates, averages of weights.
fn after(training: &GpuTraining, plan: &Plan, values: &[Param<'_>], active: u64) -> Result<()> {
    if let Some(on_gpu) = plan.on_gpu() {
        on_gpu.update_estimates(values, active)?;
    }
    match &training.averages {
        Some(averages) => averages.launch("ema", Limits::none(active), &[]),
        None => Ok(()),
    }
}
