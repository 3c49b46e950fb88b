//! Adam and AdamW.

use serde::Serialize;
use serde_json::Value;

use super::{GpuRule, LinearStability, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::update;

/// Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) where the weight decay is
/// decoupled, with PyTorch's conventions.
#[derive(Debug, Clone, Serialize)]
pub struct Adam {
    /// Learning rate.
    pub lr: PerMember,
    /// Decay of the first moment.
    pub beta1: PerMember,
    /// Decay of the second moment.
    pub beta2: PerMember,
    /// Added to the root of the second moment.
    pub eps: PerMember,
    /// Weight decay.
    pub weight_decay: PerMember,
    /// Whether this is AdamW: the weight shrinks by `lr · weight_decay`; otherwise the decay is
    /// added to the gradient.
    pub decoupled: bool,
}

impl Optimizer for Adam {
    fn name(&self) -> &'static str {
        if self.decoupled { "adamw" } else { "adam" }
    }

    fn family(&self) -> OptimizerFamily {
        OptimizerFamily::Adam
    }

    fn lr(&self) -> &PerMember {
        &self.lr
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn states(&self, param: &ParamInfo) -> Vec<State> {
        adamw_states(param)
    }

    fn hidden_states(&self) -> usize {
        2
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.beta1.check("beta1", members)?;
        self.beta2.check("beta2", members)?;
        self.eps.check("eps", members)?;
        self.weight_decay.check("weight_decay", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn stability(&self) -> Option<&dyn LinearStability> {
        Some(self)
    }

    fn momentum(&self) -> Option<&PerMember> {
        Some(&self.beta1)
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Adam {
    /// AdamW.
    pub(super) fn adamw(
        lr: &PerMember,
        [beta1, beta2]: [&PerMember; 2],
        eps: &PerMember,
        weight_decay: &PerMember,
    ) -> Self {
        Self {
            lr: lr.clone(),
            beta1: beta1.clone(),
            beta2: beta2.clone(),
            eps: eps.clone(),
            weight_decay: weight_decay.clone(),
            decoupled: true,
        }
    }

    /// The scalars of a member's update.
    pub(super) fn at(
        &self,
        scales: &Scales,
        factor: f64,
        member: usize,
        step: u64,
    ) -> update::Adam {
        update::Adam {
            lr: self.lr.of(member) * scales.lr * factor,
            beta1: self.beta1.of(member),
            beta2: self.beta2.of(member),
            eps: self.eps.of(member) * scales.eps,
            weight_decay: self.weight_decay.of(member) * scales.weight_decay,
            decoupled: self.decoupled,
            step,
        }
    }
}

impl<T: Elem> Rule<T> for Adam {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let scalars = self.at(u.scales, u.factor, u.member, u.step);
        let [first, second] = u.state.take()?;
        scalars.update(u.param, u.grad, first, second);
        Ok(())
    }
}

/// What optimizers of matrices do with all that is no hidden matrix: AdamW with these scalars, of which `eps` is
/// before its scale.
pub(super) fn adamw<T: Elem>(
    u: Update<'_, T>,
    lr: f64,
    [beta1, beta2]: [f64; 2],
    eps: f64,
    weight_decay: f64,
) -> Result<()> {
    let scalars = update::Adam {
        lr,
        beta1,
        beta2,
        eps: eps * u.scales.eps,
        weight_decay,
        decoupled: true,
        step: u.step,
    };
    let [first, second] = u.state.take()?;
    scalars.update(u.param, u.grad, first, second);
    Ok(())
}

/// The state that [`adamw`] needs.
pub(super) fn adamw_states(param: &ParamInfo) -> Vec<State> {
    ["exp_avg", "exp_avg_sq"]
        .map(|s| State::like(s, param))
        .to_vec()
}
