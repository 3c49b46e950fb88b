//! Trainers and their records.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};
use serde_json::Value;

use super::Registry;
use super::data::StreamValue;
use super::model::ModelValue;
use super::optim::OptimizerValue;
use super::tensor::TensorValue;
use crate::error::{Error, Result};
use crate::model::SharedModel;
use crate::optim::Schedule;
use crate::script::options::{FromScript, POSITIVE, Values};
use crate::script::{OrRaise, RhaiResultOf, Session, StoredFn, raise, session};
use crate::train::{
    Clip, Hooks, Loss, Probe, Progress, Reporter, RunEnd, Trainer, TrainerSettings, When,
};

/// Runs shorter than this print no progress.
const QUIET_STEPS: u64 = 5;

/// A trainer with the script functions that it calls.
struct Training {
    trainer: Trainer,
    name: String,
    schedule: Option<StoredFn>,
    probes: Vec<(String, StoredFn)>,
    show_progress: bool,
}

/// A trainer as scripts hold it: copies are the same trainer.
#[derive(Clone)]
pub struct TrainerValue(Arc<Mutex<Training>>);

/// The record of a trainer, as it stands when it is looked at.
#[derive(Clone)]
pub struct RecordValue(Arc<Mutex<Training>>);

/// A probe of a script.
#[derive(Debug, Clone)]
pub struct ProbeValue {
    name: String,
    when: When,
    function: StoredFn,
}

/// A schedule, or a function of the step.
#[derive(Debug, Clone)]
pub enum ScheduleSetting {
    /// One of `schedule::…`.
    Fixed(Schedule),
    /// `|step| factor`.
    Function(FnPtr),
}

impl FromScript for ScheduleSetting {
    fn words() -> String {
        "schedule, such as schedule::cosine(#{ steps: 1000 }), or function of the step, such as |step| 1.0"
            .into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if let Some(schedule) = value.clone().try_cast::<Schedule>() {
            return Ok(Self::Fixed(schedule));
        }
        let function = value.clone().try_cast::<FnPtr>();
        function
            .map(Self::Function)
            .ok_or_else(|| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        match self {
            Self::Fixed(_) => "schedule::constant()".into(),
            Self::Function(_) => "|step| …".into(),
        }
    }
}

impl FromScript for When {
    fn words() -> String {
        "steps: every(10), log_steps(4), or an array of steps".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if let Some(when) = value.clone().try_cast::<Self>() {
            return Ok(when);
        }
        if value.is_array() {
            return Vec::<u64>::from_script(value).map(Self::At);
        }
        Err(Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        match self {
            Self::Every(n) => format!("every({n})"),
            Self::Log(n) => format!("log_steps({n})"),
            Self::At(steps) => format!("{steps:?}"),
        }
    }
}

crate::script_type!(
    ProbeValue,
    "probe",
    "probe(\"name\", every(10), |model, step| 0.0)"
);
crate::choice! { Loss { "cross_entropy" => Loss::CrossEntropy, "mse" => Loss::Mse } }

crate::options! {
    /// Settings of a trainer.
    pub struct TrainerOptions for "trainer" {
        /// Examples per step.
        batch: usize = 128, where (1..);
        /// Loss; left out, cross-entropy for classes and squared error for values.
        loss: Option<Loss> = None;
        /// Factor of the learning rate by step.
        schedule: ScheduleSetting = ScheduleSetting::Fixed(Schedule::Constant);
        /// Largest norm of each member's gradient over all parameters.
        clip_norm: Option<f64> = None, where POSITIVE;
        /// Largest absolute value of each number of the gradient.
        clip_value: Option<f64> = None, where POSITIVE;
        /// Steps at which loss and accuracy on the test set are measured.
        test: Option<When> = None;
        /// Number of test examples used; left out, all.
        test_points: Option<usize> = None, where (1..);
        /// Whether the outputs on the test set are kept in the record at those steps.
        keep_predictions: bool = false;
        /// Measurements of your own.
        probes: Vec<ProbeValue> = Vec::new();
        /// Name of the run: of its record's file, `NAME.jsonl`, and in the progress display.
        name: Option<String> = None;
        /// Whether progress is shown.
        progress: bool = true;
    }
}

/// Registers trainers and records.
pub fn register(registry: &mut Registry) {
    registry.name_type::<TrainerValue>("Trainer");
    registry.name_type::<RecordValue>("Record");
    registry.name_type::<ProbeValue>("Probe");
    registry.name_type::<When>("When");
    registry.options(TrainerOptions::spec());
    registry.global(rhai::exported_module!(functions));
    registry.global(rhai::exported_module!(records));
}

/// The trainer, unless it is taking steps at this moment (a probe that asks its own trainer).
fn lock<'a>(
    ctx: &NativeCallContext,
    training: &'a Mutex<Training>,
) -> RhaiResultOf<MutexGuard<'a, Training>> {
    match training.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(raise(
            ctx,
            Error::other("the trainer is taking steps just now").with_help(
                "a probe can use its arguments, the model and the step, but not its trainer",
            ),
        )),
    }
}

/// The file of a new record in a run's output folder: `NAME.jsonl`, or `NAME-2.jsonl` … if this run
/// has written that one. Files of an earlier run (`--force`) are replaced.
fn record_path(session: &Session, name: &str) -> Result<PathBuf> {
    static WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    for number in 1.. {
        let suffix = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let path = session.output_path(format!("{name}{suffix}.jsonl"))?;
        if written.insert(path.clone()) {
            if path.exists() {
                std::fs::remove_file(&path).map_err(|e| Error::io(&path, &e))?;
            }
            return Ok(path);
        }
    }
    Err(Error::other("no free name for the record"))
}

fn make(
    ctx: &NativeCallContext,
    model: &ModelValue,
    optimizer: &OptimizerValue,
    stream: &StreamValue,
    o: TrainerOptions,
) -> Result<TrainerValue> {
    let clip = match (o.clip_norm, o.clip_value) {
        (Some(_), Some(_)) => {
            return Err(Error::setting(
                "trainer: give either clip_norm or clip_value",
            ));
        }
        (Some(limit), None) => Clip::Norm(limit),
        (None, Some(limit)) => Clip::Value(limit),
        (None, None) => Clip::None,
    };
    let (schedule, function) = match o.schedule {
        ScheduleSetting::Fixed(schedule) => (schedule, None),
        ScheduleSetting::Function(f) => (Schedule::Custom, Some(StoredFn::new(ctx, f)?)),
    };
    let mut probes: Vec<Probe> = Vec::new();
    probes.extend(o.test.map(|when| Probe::Test {
        when,
        keep: o.keep_predictions,
    }));
    probes.extend(o.probes.iter().map(|p| Probe::Custom {
        name: p.name.clone(),
        when: p.when.clone(),
    }));
    let settings = TrainerSettings {
        loss: o.loss,
        batch: o.batch,
        schedule,
        clip,
        probes,
        test_points: o.test_points,
    };
    let mut trainer = Trainer::new(
        model.0.clone(),
        optimizer.0.clone(),
        stream.0.clone(),
        settings,
    )?;
    let session = session(ctx)?;
    let name = o.name.clone().unwrap_or_else(|| "train".into());
    // at the prompt a record goes to a file only if it was given a name
    if session.script().is_some() || o.name.is_some() {
        let path = record_path(&session, &name)?;
        trainer.record_mut().write_to(&path)?;
    }
    let probes = o.probes.into_iter().map(|p| (p.name, p.function)).collect();
    Ok(TrainerValue(Arc::new(Mutex::new(Training {
        trainer,
        name,
        schedule: function,
        probes,
        show_progress: o.progress,
    }))))
}

/// The script's part in a training loop.
struct ScriptHooks<'a> {
    schedule: Option<&'a StoredFn>,
    probes: &'a [(String, StoredFn)],
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
        serde_json::to_value(&value)
            .map_err(|e| Error::other(format!("probe {name}: the value cannot be kept: {e}")))
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
    fn run(&mut self, steps: u64) -> Result<RunEnd> {
        let show = self.show_progress && steps >= QUIET_STEPS;
        let mut hooks = ScriptHooks {
            schedule: self.schedule.as_ref(),
            probes: &self.probes,
            reporter: show.then(|| Reporter::new(&self.name, steps)),
            last: None,
        };
        let end = self.trainer.run(steps, &mut hooks);
        if let (Some(reporter), Some(last)) = (&hooks.reporter, hooks.last) {
            reporter.finish(last);
        }
        end
    }
}

fn numbers(values: &[f64]) -> Array {
    values.iter().map(|&v| v.into()).collect()
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A trainer: model, optimizer and stream, which takes steps. The model takes open sizes (input
    /// shape, number of outputs) from the stream.
    ///
    /// In a script the run is recorded in the output folder as `NAME.jsonl`, one JSON value per
    /// line, while it goes on; at the prompt only if it has a name.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 32 }), mup(), #{ members: 2 });
    /// let t = trainer(m, sgd(#{ lr: 0.1, momentum: 0.9 }), data::synthetic_images(), #{ batch: 16 });
    /// t.step(3);
    /// t.steps        // → 3
    /// ```
    #[rhai_fn(name = "trainer", return_raw, volatile)]
    pub fn trainer_with(
        ctx: NativeCallContext,
        model: ModelValue,
        optimizer: OptimizerValue,
        stream: StreamValue,
        settings: Map,
    ) -> RhaiResultOf<TrainerValue> {
        let o = TrainerOptions::from_map(&ctx, &settings)?;
        make(&ctx, &model, &optimizer, &stream, o).or_raise(&ctx)
    }
    #[rhai_fn(name = "trainer", return_raw, volatile)]
    pub fn trainer(
        ctx: NativeCallContext,
        model: ModelValue,
        optimizer: OptimizerValue,
        stream: StreamValue,
    ) -> RhaiResultOf<TrainerValue> {
        trainer_with(ctx, model, optimizer, stream, Map::new())
    }

    /// Takes `n` steps, with progress on stderr. Ctrl-C stops at the next step; model and record are
    /// kept. A member whose loss is no longer finite is marked as diverged, with a warning, and the
    /// others go on.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, adam(), data::sparse_parity(#{ inputs: 10, k: 2 }), #{ batch: 8 });
    /// t.step(2);
    /// t.step();
    /// t.steps        // → 3
    /// ```
    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step_n(ctx: NativeCallContext, trainer: &mut TrainerValue, n: i64) -> RhaiResultOf<()> {
        let Ok(steps) = u64::try_from(n) else {
            let error = Error::setting(format!(
                "step: the number of steps must be 0 or more, found {n}"
            ));
            return Err(raise(&ctx, error));
        };
        match lock(&ctx, &trainer.0)?.run(steps).or_raise(&ctx)? {
            RunEnd::Interrupted => Err(raise(&ctx, Error::interrupted())),
            RunEnd::Done | RunEnd::AllDiverged => Ok(()),
        }
    }
    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<()> {
        step_n(ctx, trainer, 1)
    }

    /// Number of steps taken so far.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.steps        // → 0
    /// ```
    #[rhai_fn(get = "steps", return_raw, pure)]
    pub fn steps(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<i64> {
        Ok(lock(&ctx, &trainer.0)?.trainer.step() as i64)
    }

    /// The model that is trained.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.model.width      // → 8
    /// ```
    #[rhai_fn(get = "model", return_raw, pure)]
    pub fn model(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<ModelValue> {
        Ok(ModelValue(lock(&ctx, &trainer.0)?.trainer.model().clone()))
    }

    /// The stream that is trained on.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.stream.name      // → "teacher"
    /// ```
    #[rhai_fn(get = "stream", return_raw, pure)]
    pub fn stream(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<StreamValue> {
        Ok(StreamValue(
            lock(&ctx, &trainer.0)?.trainer.stream().clone(),
        ))
    }

    /// The optimizer.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.optimizer.name      // → "sgd"
    /// ```
    #[rhai_fn(get = "optimizer", return_raw, pure)]
    pub fn optimizer(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<OptimizerValue> {
        Ok(OptimizerValue(
            lock(&ctx, &trainer.0)?.trainer.optimizer().clone(),
        ))
    }

    /// Paths of the parameters that have received no gradient other than 0 in the first steps; a
    /// warning names them during training too.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.without_gradient      // → []
    /// ```
    #[rhai_fn(get = "without_gradient", return_raw, pure)]
    pub fn without_gradient(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<Array> {
        let training = lock(&ctx, &trainer.0)?;
        Ok(training
            .trainer
            .without_gradient()
            .into_iter()
            .map(Dynamic::from)
            .collect())
    }

    /// The record: settings, series and probe results so far.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.names      // → ["lr_factor", "train_loss"]
    /// ```
    #[rhai_fn(get = "record", pure)]
    pub fn record(trainer: &mut TrainerValue) -> RecordValue {
        RecordValue(trainer.0.clone())
    }

    /// A measurement of your own: `function(model, step)` is called at the chosen steps, before the
    /// update of that step, and what it returns (numbers, arrays, maps) goes into the record.
    ///
    /// ```rhai
    /// let size = probe("readout", every(2), |model, step| model.param("readout.weight").std());
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8, probes: [size] });
    /// t.step(4);
    /// t.record.probe("readout").steps      // → [0, 2, 4]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn probe(
        ctx: NativeCallContext,
        name: &str,
        when: Dynamic,
        function: FnPtr,
    ) -> RhaiResultOf<ProbeValue> {
        let when = When::from_script(&when).or_raise(&ctx)?;
        let function = StoredFn::new(&ctx, function).or_raise(&ctx)?;
        Ok(ProbeValue {
            name: name.into(),
            when,
            function,
        })
    }

    /// Every `n`-th step from 0 on.
    ///
    /// ```rhai
    /// every(10).to_string()      // → "every(10)"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn every(ctx: NativeCallContext, n: i64) -> RhaiResultOf<When> {
        match u64::try_from(n) {
            Ok(n) if n > 0 => Ok(When::Every(n)),
            _ => Err(raise(
                &ctx,
                Error::setting(format!("every needs a number of steps above 0, found {n}")),
            )),
        }
    }

    /// Step 0, then `n` steps per doubling: the whole numbers nearest to 2^(i/n).
    ///
    /// ```rhai
    /// log_steps(2).to_string()      // → "log_steps(2)"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_steps(ctx: NativeCallContext, n: i64) -> RhaiResultOf<When> {
        match u64::try_from(n) {
            Ok(n) if n > 0 => Ok(When::Log(n)),
            _ => Err(raise(
                &ctx,
                Error::setting(format!("log_steps needs a number above 0, found {n}")),
            )),
        }
    }

    /// The steps from 0 to `last` at which this is due.
    ///
    /// ```rhai
    /// every(2).up_to(5)           // → [0, 2, 4]
    /// log_steps(1).up_to(10)      // → [0, 1, 2, 4, 8]
    /// ```
    #[rhai_fn(pure)]
    pub fn up_to(when: &mut When, last: i64) -> Array {
        let steps = 0..=u64::try_from(last).unwrap_or(0);
        steps
            .filter(|&s| when.due(s))
            .map(|s| (s as i64).into())
            .collect()
    }

    /// Steps in one line.
    ///
    /// ```rhai
    /// every(5).to_string()      // → "every(5)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn when_to_string(when: &mut When) -> String {
        when.show()
    }

    /// A probe in one line.
    ///
    /// ```rhai
    /// probe("norm", every(5), |model, step| 0.0).to_string()      // → "probe(\"norm\", every(5))"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn probe_to_string(probe: &mut ProbeValue) -> String {
        format!("probe({:?}, {})", probe.name, probe.when.show())
    }

    /// A trainer in one line.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.to_string()      // → "trainer at step 0: sgd on teacher, batch 8"
    /// ```
    #[rhai_fn(
        name = "to_string",
        name = "to_debug",
        name = "display",
        return_raw,
        pure
    )]
    pub fn trainer_to_string(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<String> {
        let training = lock(&ctx, &trainer.0)?;
        let t = &training.trainer;
        let mut text = format!(
            "trainer at step {}: {} on {}, batch {}",
            t.step(),
            t.optimizer().name(),
            t.stream().name(),
            t.batch_size()
        );
        if let Some(loss) = t
            .record()
            .series
            .get("train_loss")
            .and_then(|s| s.values.last())
        {
            let loss: Vec<String> = loss.iter().map(|l| format!("{l:.4}")).collect();
            text.push_str(&format!(", loss {}", loss.join(" ")));
        }
        Ok(text)
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod records {
    use super::*;

    /// Names of the series: `train_loss`, `lr_factor`, and with `test` also `test_loss`,
    /// `test_accuracy`, `ensemble_test_loss`, `ensemble_test_accuracy`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8, test: [2] });
    /// t.step(2);
    /// t.record.names      // → ["ensemble_test_loss", "lr_factor", "test_loss", "train_loss"]
    /// ```
    #[rhai_fn(get = "names", return_raw, pure)]
    pub fn names(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Array> {
        let training = lock(&ctx, &record.0)?;
        Ok(training
            .trainer
            .record()
            .series
            .keys()
            .map(|k| k.clone().into())
            .collect())
    }

    /// A series: `steps`, and `values`, one row per step with one number per member (a single one
    /// for quantities of the ensemble).
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 8 }), mup(), #{ members: 3 });
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// let s = t.record.series("train_loss");
    /// [s.steps, s.values[0].len()]      // → [[0, 1], 3]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn series(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Map> {
        let training = lock(&ctx, &record.0)?;
        let all = &training.trainer.record().series;
        let Some(series) = all.get(name) else {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            let error = Error::setting(format!(
                "the record has no series `{name}`; it has {}",
                names.join(", ")
            ));
            let help = crate::script::names::did_you_mean(name, names);
            return Err(raise(&ctx, match help {
                Some(help) => error.with_help(help),
                None => error.with_help("test_loss and test_accuracy are measured with the trainer's setting `test`"),
            }));
        };
        let steps: Array = series.steps.iter().map(|&s| (s as i64).into()).collect();
        let values: Array = series
            .values
            .iter()
            .map(|row| numbers(row).into())
            .collect();
        Ok([
            ("steps".into(), steps.into()),
            ("values".into(), values.into()),
        ]
        .into())
    }

    /// The last row of a series: one number per member.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.last("train_loss").len()      // → 1
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn last(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Array> {
        let mut series = series(ctx, record, name)?;
        let values = series.remove("values").and_then(Dynamic::try_cast::<Array>);
        Ok(values
            .and_then(|mut rows| rows.pop())
            .and_then(Dynamic::try_cast::<Array>)
            .unwrap_or_default())
    }

    /// What a probe of the script gave: `steps` and `values`.
    ///
    /// ```rhai
    /// let p = probe("step", [0, 1], |model, step| step * 10);
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8, probes: [p] });
    /// t.step(2);
    /// t.record.probe("step").values      // → [0, 10]
    /// ```
    #[rhai_fn(name = "probe", return_raw, pure)]
    pub fn probe_results(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Map> {
        let training = lock(&ctx, &record.0)?;
        let own = training
            .trainer
            .record()
            .probes
            .iter()
            .filter(|(_, own, _)| own == name);
        let mut steps = Array::new();
        let mut values = Array::new();
        for (step, _, value) in own {
            steps.push((*step as i64).into());
            let value: Dynamic = serde_json::from_value(value.clone())
                .map_err(|e| raise(&ctx, Error::other(format!("probe {name}: {e}"))))?;
            values.push(value);
        }
        Ok([
            ("steps".into(), steps.into()),
            ("values".into(), values.into()),
        ]
        .into())
    }

    /// Steps at which the outputs on the test set were kept (trainer's setting `keep_predictions`).
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(),
    ///     #{ batch: 8, test: [0, 2], keep_predictions: true });
    /// t.step(2);
    /// t.record.prediction_steps      // → [0, 2]
    /// ```
    #[rhai_fn(get = "prediction_steps", return_raw, pure)]
    pub fn prediction_steps(
        ctx: NativeCallContext,
        record: &mut RecordValue,
    ) -> RhaiResultOf<Array> {
        let training = lock(&ctx, &record.0)?;
        let steps = training.trainer.record().predictions.keys();
        Ok(steps.map(|&s| (s as i64).into()).collect())
    }

    /// Outputs on the test set that were kept at a step: `[members, points, outputs]`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(),
    ///     #{ batch: 8, test: [2], keep_predictions: true, test_points: 100 });
    /// t.step(2);
    /// t.record.predictions(2).shape      // → [1, 100, 1]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn predictions(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        step: i64,
    ) -> RhaiResultOf<TensorValue> {
        let training = lock(&ctx, &record.0)?;
        let all = &training.trainer.record().predictions;
        let found = u64::try_from(step).ok().and_then(|step| all.get(&step));
        found.cloned().map(TensorValue).ok_or_else(|| {
            let error = Error::setting(format!(
                "no predictions were kept at step {step}; they were at {:?}",
                all.keys().collect::<Vec<_>>()
            ));
            raise(
                &ctx,
                error.with_help("give the trainer test: […] and keep_predictions: true"),
            )
        })
    }

    /// Members that diverged: maps of `step`, `member`, `seed`, `loss` and `last_finite`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.divergences      // → []
    /// ```
    #[rhai_fn(get = "divergences", return_raw, pure)]
    pub fn divergences(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Array> {
        let training = lock(&ctx, &record.0)?;
        let map = |d: &crate::train::Divergence| -> Map {
            [
                ("step".into(), (d.step as i64).into()),
                ("member".into(), (d.member as i64).into()),
                ("seed".into(), (d.seed as i64).into()),
                ("loss".into(), d.loss.into()),
                (
                    "last_finite".into(),
                    d.last_finite.map_or(Dynamic::UNIT, Dynamic::from),
                ),
            ]
            .into()
        };
        Ok(training
            .trainer
            .record()
            .divergences
            .iter()
            .map(|d| map(d).into())
            .collect())
    }

    /// File that the record is written to, `()` if it is kept in memory only.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.record.path      // → ()
    /// ```
    #[rhai_fn(get = "path", return_raw, pure)]
    pub fn path(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Dynamic> {
        let training = lock(&ctx, &record.0)?;
        let path = training.trainer.record().path();
        Ok(path.map_or(Dynamic::UNIT, |p| p.display().to_string().into()))
    }

    /// A record in a few lines: the last values of each series.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.to_string().contains("train_loss")      // → true
    /// ```
    #[rhai_fn(
        name = "to_string",
        name = "to_debug",
        name = "display",
        return_raw,
        pure
    )]
    pub fn record_to_string(
        ctx: NativeCallContext,
        record: &mut RecordValue,
    ) -> RhaiResultOf<String> {
        let training = lock(&ctx, &record.0)?;
        let t = &training.trainer;
        let mut text = format!("record of {} steps", t.step());
        for (name, series) in &t.record().series {
            if let (Some(step), Some(row)) = (series.steps.last(), series.values.last()) {
                let row: Vec<String> = row.iter().map(|v| format!("{v:.4}")).collect();
                text.push_str(&format!("\n  {name} at step {step}: {}", row.join(" ")));
            }
        }
        for d in &t.record().divergences {
            text.push_str(&format!(
                "\n  member {} (seed {}) diverged at step {}",
                d.member, d.seed, d.step
            ));
        }
        Ok(text)
    }
}
