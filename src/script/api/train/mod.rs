//! Trainers and their records.

mod curvature;
mod functions;
mod probes;
mod records;
mod running;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use rhai::{Dynamic, NativeCallContext};

use super::Registry;
use super::data::StreamValue;
use super::model::ModelValue;
use super::optim::OptimizerValue;
use crate::error::{Error, Result};
use crate::optim::Schedule;
use crate::script::{RhaiResultOf, StoredFn, raise, session};
use crate::train::{CheckpointSettings, Clip, Probe, Record, Trainer, TrainerSettings, When};
use settings::{ProbeValue, ScheduleSetting, TrainerOptions};

/// What the script's probes gave, by name and step: the record's JSON has no NaN.
type Measured = BTreeMap<(String, u64), Dynamic>;

/// A trainer with the script functions that it calls.
struct Training {
    trainer: Trainer,
    name: String,
    schedule: Option<StoredFn>,
    probes: Vec<(String, StoredFn)>,
    measured: Measured,
    show_progress: bool,
}

/// A trainer as scripts hold it: copies are the same trainer.
#[derive(Clone)]
pub struct TrainerValue(Arc<Mutex<Training>>);

/// The record of a trainer, as it stands when it is looked at, or one of another run.
#[derive(Clone)]
pub enum RecordValue {
    /// Of a trainer.
    Of(TrainerValue),
    /// Read from this file.
    Read(Arc<Record>, PathBuf),
}

/// Registers trainers and records.
pub fn register(registry: &mut Registry) {
    registry.name_type::<TrainerValue>("Trainer");
    registry.name_type::<RecordValue>("Record");
    registry.name_type::<ProbeValue>("Probe");
    registry.name_type::<When>("When");
    registry.options(TrainerOptions::spec());
    registry.global(rhai::exported_module!(functions::functions));
    registry.options(curvature::SharpnessOptions::spec());
    registry.global(rhai::exported_module!(curvature::functions));
    registry.global(rhai::exported_module!(probes::probes));
    registry.global(rhai::exported_module!(records::records));
}

/// What a function that a trainer calls can do instead of using the trainer.
pub const BUSY: &str = "a probe has the model and the step as its arguments; `sharpness_probe` \
                        measures the sharpness, and the record has the rest after the steps";

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
            Error::other("the trainer is busy while it steps").with_help(BUSY),
        )),
    }
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
        ScheduleSetting::Function(f) => {
            let function = StoredFn::taking(ctx, f, &["step"]);
            let function = function.map_err(|e| e.at("trainer: setting `schedule`"))?;
            (Schedule::Custom, Some(function))
        }
    };
    let mut probes: Vec<Probe> = Vec::new();
    probes.extend(o.test.map(|when| Probe::Test {
        when,
        keep: o.keep_predictions,
    }));
    probes.extend(o.probes.iter().map(ProbeValue::probe));
    let settings = TrainerSettings {
        loss: o.loss,
        batch: o.batch,
        schedule,
        clip,
        ema: o.ema,
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
    if name.trim().is_empty() {
        return Err(Error::setting(
            "trainer: the name of a run must not be empty",
        ));
    }
    // at the prompt a record goes to a file only if it was given a name
    if o.record && (session.script().is_some() || o.name.is_some()) {
        let path = session.record_path(&name)?;
        let file = path.file_stem().unwrap_or_default().to_string_lossy();
        let resume = session.settings.resume;
        // the prompt has no run to go on with
        if session.script().is_some() {
            trainer.checkpoint_to(CheckpointSettings {
                path: session
                    .checkpoint_folder()
                    .join(format!("{file}.safetensors")),
                every: Duration::from_secs_f64(session.settings.checkpoint_every.unwrap_or(30.0)),
                resume,
            });
        }
        match std::fs::metadata(&path) {
            // what stays of it is decided by the checkpoint, at the first step
            Ok(old) if resume => trainer.record_mut().continue_in(&path, old.len())?,
            Ok(_) => {
                trainer.record_mut().continue_in(&path, 0)?;
                trainer.record_mut().restart()?;
            }
            Err(_) => trainer.record_mut().write_to(&path)?,
        }
    }
    let probes = o.probes.into_iter().filter_map(ProbeValue::function);
    Ok(TrainerValue(Arc::new(Mutex::new(Training {
        trainer,
        name,
        schedule: function,
        probes: probes.collect(),
        measured: Measured::new(),
        show_progress: o.progress,
    }))))
}
