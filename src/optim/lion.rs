//! Lion.

use serde::Serialize;
use serde_json::Value;

use super::{GpuRule, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::update;

/// Lion (Chen et al. 2023, arXiv 2302.06675) with the conventions of lion-pytorch: the weight moves by
/// `lr` in the direction of the sign of an interpolation between momentum and gradient; weight decay
/// is decoupled.
#[derive(Debug, Clone, Serialize)]
pub struct Lion {
    /// Learning rate.
    pub lr: PerMember,
    /// Weight of the momentum in the interpolation whose sign is taken.
    pub beta1: PerMember,
    /// Decay of the momentum.
    pub beta2: PerMember,
    /// Weight decay: the weight shrinks by `lr · weight_decay`.
    pub weight_decay: PerMember,
}

impl Optimizer for Lion {
    fn name(&self) -> &'static str {
        "lion"
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
        vec![State::like("exp_avg", param)]
    }

    fn hidden_states(&self) -> usize {
        1
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.beta1.check("beta1", members)?;
        self.beta2.check("beta2", members)?;
        self.weight_decay.check("weight_decay", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Lion {
    /// The scalars of a member's update.
    pub(super) fn at(&self, scales: &Scales, factor: f64, member: usize) -> update::Lion {
        update::Lion {
            lr: self.lr.of(member) * scales.lr * factor,
            beta1: self.beta1.of(member),
            beta2: self.beta2.of(member),
            weight_decay: self.weight_decay.of(member) * scales.weight_decay,
        }
    }
}

impl<T: Elem> Rule<T> for Lion {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let scalars = self.at(u.scales, u.factor, u.member);
        let [momentum] = u.state.take()?;
        scalars.update(u.param, u.grad, momentum);
        Ok(())
    }
}
