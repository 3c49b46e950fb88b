//! Stochastic gradient descent with momentum.

use serde::Serialize;
use serde_json::Value;

use super::{GpuRule, LinearStability, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::update;

/// SGD as in PyTorch: `g += weight_decay · p; v = momentum · v + g; p −= lr · v` (with Nesterov,
/// `p −= lr · (g + momentum · v)`).
#[derive(Debug, Clone, Serialize)]
pub struct Sgd {
    /// Learning rate.
    pub lr: PerMember,
    /// Momentum.
    pub momentum: PerMember,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// L2 penalty added to the gradient.
    pub weight_decay: PerMember,
}

impl Optimizer for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn family(&self) -> OptimizerFamily {
        OptimizerFamily::Sgd
    }

    fn lr(&self) -> &PerMember {
        &self.lr
    }

    fn elementwise(&self) -> bool {
        true
    }

    fn states(&self, param: &ParamInfo) -> Vec<State> {
        let names = ["momentum"].into_iter().take(self.hidden_states());
        names.map(|s| State::like(s, param)).collect()
    }

    fn hidden_states(&self) -> usize {
        usize::from(self.momentum.values().iter().any(|&m| m != 0.0))
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.momentum.check("momentum", members)?;
        self.weight_decay.check("weight_decay", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn stability(&self) -> Option<&dyn LinearStability> {
        Some(self)
    }

    fn momentum(&self) -> Option<&PerMember> {
        Some(&self.momentum)
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Sgd {
    /// The scalars of a member's update.
    pub(super) fn at(&self, scales: &Scales, factor: f64, member: usize) -> update::Sgd {
        update::Sgd {
            lr: self.lr.of(member) * scales.lr * factor,
            momentum: self.momentum.of(member),
            nesterov: self.nesterov,
            weight_decay: self.weight_decay.of(member) * scales.weight_decay,
        }
    }
}

impl<T: Elem> Rule<T> for Sgd {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let scalars = self.at(u.scales, u.factor, u.member);
        let velocity = if u.state.is_empty() {
            None
        } else {
            let [velocity] = u.state.take()?;
            Some(velocity)
        };
        scalars.update(u.param, u.grad, velocity);
        Ok(())
    }
}
