//! Muon.

use serde::Serialize;
use serde_json::Value;

use super::adam::{adamw, adamw_states};
use super::matrix::matrix;
use super::{GpuRule, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::OptimizerFamily;
use crate::tensor::elem::Elem;
use crate::tensor::update;

/// How an orthogonalised update is sized by its matrix's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjust {
    /// √max(1, fan_out/fan_in) (Keller Jordan).
    Original,
    /// 0.2 √max(fan_in, fan_out), so that entries are as large as AdamW's (arXiv 2502.16982).
    MatchRmsAdamw,
    /// √(fan_out/fan_in) (Bernstein).
    Spectral,
}

impl Adjust {
    /// The factor of the learning rate of a matrix.
    pub fn factor(self, [fan_in, fan_out]: [usize; 2]) -> f64 {
        let (fan_in, fan_out) = (fan_in.max(1) as f64, fan_out as f64);
        match self {
            Self::Original => (fan_out / fan_in).max(1.0).sqrt(),
            Self::MatchRmsAdamw => 0.2 * fan_in.max(fan_out).sqrt(),
            Self::Spectral => (fan_out / fan_in).sqrt(),
        }
    }
}

/// Muon (Jordan et al. 2024) with PyTorch's conventions, in the parameter's own precision: hidden
/// matrices move along their orthogonalised momentum, everything else follows AdamW.
#[derive(Debug, Clone, Serialize)]
pub struct Muon {
    /// Learning rate.
    pub lr: PerMember,
    /// Decay of the momentum.
    pub momentum: PerMember,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Iterations of Newton and Schulz.
    pub ns_steps: usize,
    /// Least norm that a momentum is divided by.
    pub eps: PerMember,
    /// How updates are sized by the matrix's shape.
    pub adjust: Adjust,
    /// Weight decay: the weight shrinks by `lr · weight_decay`.
    pub weight_decay: PerMember,
    /// Learning rate of AdamW over `lr`.
    pub adam_factor: PerMember,
    /// AdamW's decay of the first moment.
    pub beta1: PerMember,
    /// AdamW's decay of the second moment.
    pub beta2: PerMember,
    /// AdamW's epsilon.
    pub adam_eps: PerMember,
}

impl Optimizer for Muon {
    fn name(&self) -> &'static str {
        "muon"
    }

    fn family(&self) -> OptimizerFamily {
        OptimizerFamily::Muon
    }

    fn lr(&self) -> &PerMember {
        &self.lr
    }

    fn adam_factor(&self) -> Option<&PerMember> {
        Some(&self.adam_factor)
    }

    fn elementwise(&self) -> bool {
        false
    }

    fn states(&self, param: &ParamInfo) -> Vec<State> {
        if param.is_hidden_matrix() {
            vec![State::like("momentum", param)]
        } else {
            adamw_states(param)
        }
    }

    fn hidden_states(&self) -> usize {
        1
    }

    fn scratch(&self, param: &ParamInfo) -> usize {
        if param.is_hidden_matrix() {
            update::Muon::scratch(matrix(&param.shape))
        } else {
            0
        }
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.momentum.check("momentum", members)?;
        self.eps.check("eps", members)?;
        self.weight_decay.check("weight_decay", members)?;
        self.adam_factor.check("adam_factor", members)?;
        self.beta1.check("beta1", members)?;
        self.beta2.check("beta2", members)?;
        self.adam_eps.check("adam_eps", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl<T: Elem> Rule<T> for Muon {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let weight_decay = self.weight_decay.of(u.member) * u.scales.weight_decay;
        if u.info.is_hidden_matrix() {
            let scalars = update::Muon {
                lr: lr * self.adjust.factor(u.scales.fans),
                momentum: self.momentum.of(u.member),
                nesterov: self.nesterov,
                ns_steps: self.ns_steps,
                eps: self.eps.of(u.member) * u.scales.eps,
                keep: 1.0 - lr * weight_decay,
            };
            let [momentum] = u.state.take()?;
            scalars.update(u.param, u.grad, momentum, matrix(&u.info.shape));
        } else {
            let betas = [self.beta1.of(u.member), self.beta2.of(u.member)];
            let eps = self.adam_eps.of(u.member);
            return adamw(u, lr, betas, eps, weight_decay);
        }
        Ok(())
    }
}
