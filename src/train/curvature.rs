//! Curvature in units of a trainer's own steps.

use serde::Serialize;

use super::settings::Hooks;
use super::trainer::{Trainer, read};
use crate::data::Batch;
use crate::error::Result;
use crate::metrics::{self, EigenvalueSettings, Eigenvalues, Rates};
use crate::optim::{ParamRates, RatesOf};

/// Eigenvalues in units of a trainer's learning rates, beside what they may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sharpness {
    /// The eigenvalues.
    #[serde(flatten)]
    pub eigenvalues: Eigenvalues,
    /// Of each member, the value above which the optimizer's steps near a minimum grow, see
    /// [`Optimizer::stability`](crate::optim::Optimizer::stability).
    pub threshold: Vec<f64>,
}

impl Trainer {
    /// The largest eigenvalues of `D^(1/2) H D^(1/2)` on a batch, in units of the learning rates that the
    /// next step would have: parametrization and schedule are in them, and for Adam the preconditioner that
    /// its second moments are now, `D = lr / ((1 − β₁ᵗ) (√v̂ + ε))` (Cohen et al. 2022, arXiv 2207.14484).
    /// The loss is the trainer's. Weight decay and clipping are left out.
    ///
    /// # Errors
    /// If the optimizer has no stability threshold, or Adam has taken no step; as for
    /// [`metrics::hessian_eigenvalues`].
    pub fn sharpness(
        &mut self,
        batch: &Batch,
        settings: EigenvalueSettings,
        hooks: &mut dyn Hooks,
    ) -> Result<Sharpness> {
        self.settle(hooks)?;
        let optimizer = self.optimizer.clone();
        let stability = optimizer
            .stability()
            .ok_or_else(|| optimizer.no_threshold())?;
        let factor = self.settings.lr_factor(self.step, hooks)?;
        let model = read(&self.model);
        let members = model.members();
        let parts = model.params().iter().zip(&self.scales).zip(&self.states);
        let rates = parts.map(|((param, scales), state)| {
            if !param.info.kind.is_trained() {
                return Ok(ParamRates::PerMember(vec![0.0; members]));
            }
            stability.rates(&RatesOf {
                info: &param.info,
                scales,
                factor,
                members,
                updates: self.step,
                state,
            })
        });
        let rates = Rates::new(rates.collect::<Result<_>>()?);
        let eigenvalues =
            metrics::hessian_eigenvalues(&model, batch, self.loss, Some(&rates), settings)?;
        Ok(Sharpness {
            eigenvalues,
            threshold: (0..members).map(|m| stability.threshold(m)).collect(),
        })
    }
}
