//! What scripts can set of a trainer.

use std::sync::Arc;

use rhai::{Dynamic, FnPtr};

use crate::data::Batch;
use crate::error::Result;
use crate::metrics::EigenvalueSettings;
use crate::optim::Schedule;
use crate::script::StoredFn;
use crate::script::options::{FromScript, POSITIVE, PerMember, Values};
use crate::train::{Loss, Probe, When};

/// A probe of a script.
#[derive(Debug, Clone)]
pub struct ProbeValue {
    pub(super) name: String,
    pub(super) when: When,
    pub(super) measured: Measured,
}

/// What a probe measures.
#[derive(Debug, Clone)]
pub(super) enum Measured {
    /// What a function gives.
    Function(Box<StoredFn>),
    /// The sharpness on some examples.
    Sharpness(Arc<Batch>, EigenvalueSettings),
}

impl ProbeValue {
    /// The probe as the trainer has it.
    pub(super) fn probe(&self) -> Probe {
        let (name, when) = (self.name.clone(), self.when.clone());
        match &self.measured {
            Measured::Function(_) => Probe::Custom { name, when },
            Measured::Sharpness(batch, settings) => Probe::Sharpness {
                name,
                when,
                batch: batch.clone(),
                settings: *settings,
            },
        }
    }

    /// Name and function of a probe that has one.
    pub(super) fn function(self) -> Option<(String, StoredFn)> {
        match self.measured {
            Measured::Function(function) => Some((self.name, *function)),
            Measured::Sharpness(..) => None,
        }
    }
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
        /// Decay of an exponential moving average of the weights, such as 0.999, or an array with one
        /// number per member; `ema_model` of the trainer gives the averaged model. Left out, none is
        /// kept.
        ema: Option<PerMember> = None, where (0.0..1.0);
        /// Steps at which loss and accuracy on the test set are measured.
        test: Option<When> = None;
        /// Number of test examples used; left out, all.
        test_points: Option<usize> = None, where (1..);
        /// Whether the outputs on the test set are kept in the record at those steps.
        keep_predictions: bool = false;
        /// Measurements of your own, `probe(…)`, and of the sharpness, `sharpness_probe(…)`.
        probes: Vec<ProbeValue> = Vec::new();
        /// Name of the run: of its record's file, `NAME.jsonl`, and in the progress display.
        name: Option<String> = None;
        /// Whether the record is written to a file; otherwise it is kept in memory only, and there
        /// are no checkpoints.
        record: bool = true;
        /// Whether progress is shown.
        progress: bool = true;
    }
}
