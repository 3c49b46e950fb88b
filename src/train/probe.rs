//! What is measured during training.

use std::sync::Arc;

use candle_core::DType;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::When;
use super::settings::Hooks;
use super::trainer::Trainer;
use crate::data::{Batch, Labels};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::metrics::EigenvalueSettings;
use crate::tensor::elem::each_f64;

/// Something measured during training at chosen steps.
#[derive(Debug, Clone, Serialize)]
pub enum Probe {
    /// Loss and accuracy of each member and of the ensemble (mean of outputs) on the test set, and
    /// if wanted the outputs themselves.
    Test {
        /// At which steps.
        when: When,
        /// Whether [`Record::predictions`](super::Record::predictions) keeps the outputs.
        keep: bool,
    },
    /// The sharpness in units of the next step, see [`Trainer::sharpness`]. Nothing is recorded before
    /// the first update of an optimizer whose effective learning rates that update makes.
    Sharpness {
        /// Name in the record.
        name: String,
        /// At which steps.
        when: When,
        /// The examples.
        #[serde(serialize_with = "examples")]
        batch: Arc<Batch>,
        /// How eigenvalues are looked for.
        settings: EigenvalueSettings,
    },
    /// Measured by the caller's [`Hooks::probe`].
    Custom {
        /// Name in the record.
        name: String,
        /// At which steps.
        when: When,
    },
}

impl Probe {
    /// Its name in the record; that of the test set has none of its own.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Test { .. } => None,
            Self::Sharpness { name, .. } | Self::Custom { name, .. } => Some(name),
        }
    }

    /// At which steps it is measured.
    pub fn when(&self) -> &When {
        match self {
            Self::Test { when, .. } | Self::Sharpness { when, .. } | Self::Custom { when, .. } => {
                when
            }
        }
    }
}

/// Examples in a record: how many, and their fingerprint, so that a resumed run is one with the same
/// examples.
fn examples<S: Serializer>(batch: &Batch, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let mut hash = Fingerprint::default();
    let mut mix = |x: f64| hash.add(x.to_bits());
    each_f64(&batch.inputs, &mut mix)
        .and_then(|()| match &batch.labels {
            Labels::Values(values) => each_f64(values, &mut mix),
            Labels::Classes(classes) => each_f64(&classes.to_dtype(DType::F64)?, &mut mix),
        })
        .map_err(serde::ser::Error::custom)?;
    let count = batch.inputs.dims().first();
    json!({ "examples": count, "fingerprint": format!("{:016x}", hash.value()) })
        .serialize(serializer)
}

impl Trainer {
    /// Measures the probes that are due at the present step, once.
    pub(super) fn measure(&mut self, hooks: &mut dyn Hooks) -> Result<()> {
        if self.probed == Some(self.step) {
            return Ok(());
        }
        let step = self.step;
        let due: Vec<Probe> = self
            .settings
            .probes
            .iter()
            .filter(|p| p.when().due(step))
            .cloned()
            .collect();
        if !due.is_empty() {
            self.settle(hooks)?;
            if self.gpu.is_some() && !self.active.contains(&true) {
                return Ok(());
            }
        }
        self.probed = Some(self.step);
        for probe in due {
            match probe {
                Probe::Test { keep, .. } => self.test(keep)?,
                Probe::Sharpness {
                    name,
                    batch,
                    settings,
                    ..
                } => {
                    if let Some(value) = self.sharpness_so_far(&batch, settings, hooks)? {
                        self.record.probed(&name, step, value)?;
                    }
                }
                Probe::Custom { name, .. } => {
                    let value = hooks.probe(&name, step, &self.model)?;
                    self.record.probed(&name, step, value)?;
                }
            }
        }
        Ok(())
    }

    /// The sharpness as a record keeps it; `None` where the optimizer has no effective learning rates
    /// yet, or no member is left.
    fn sharpness_so_far(
        &mut self,
        batch: &Batch,
        settings: EigenvalueSettings,
        hooks: &mut dyn Hooks,
    ) -> Result<Option<Value>> {
        let stability = self.optimizer.stability();
        let waits = stability.is_some_and(|s| s.needs_updates()) && self.step == 0;
        if waits || !self.active.contains(&true) {
            return Ok(None);
        }
        let found = self.sharpness(batch, settings, hooks)?;
        serde_json::to_value(&found)
            .map(Some)
            .map_err(|e| Error::other(format!("the sharpness cannot be kept: {e}")))
    }
}
