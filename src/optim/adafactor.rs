//! Adafactor.

use serde::Serialize;
use serde_json::Value;

use super::matrix::matrix;
use super::{GpuRule, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::update::{self, AdafactorState};

/// Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) with PyTorch's conventions: second moments of a matrix
/// as an outer product, and steps in proportion to the parameter's root mean square. Filters count as matrices
/// of `[fan_in, fan_out]`.
#[derive(Debug, Clone, Serialize)]
pub struct Adafactor {
    /// Learning rate, relative to the parameter's root mean square.
    pub lr: PerMember,
    /// The second moment's decay at step t is `1 − t^beta2_decay`.
    pub beta2_decay: PerMember,
    /// Least size of the root of the second moment; `None` is the element type's rounding.
    pub eps1: Option<f64>,
    /// Least root mean square of a parameter.
    pub eps2: PerMember,
    /// Largest root mean square of the normalised gradient.
    pub clip: PerMember,
    /// Weight decay: the weight shrinks by `lr · weight_decay`.
    pub weight_decay: PerMember,
}

impl Optimizer for Adafactor {
    fn name(&self) -> &'static str {
        "adafactor"
    }

    fn family(&self) -> OptimizerFamily {
        OptimizerFamily::Adafactor
    }

    fn lr(&self) -> &PerMember {
        &self.lr
    }

    fn elementwise(&self) -> bool {
        false
    }

    fn states(&self, param: &ParamInfo) -> Vec<State> {
        if param.shape.len() > 1 {
            let [rows, columns] = matrix(&param.shape);
            vec![
                State::of("row_var", vec![rows]),
                State::of("col_var", vec![columns]),
            ]
        } else {
            vec![State::like("variance", param)]
        }
    }

    fn hidden_states(&self) -> usize {
        0
    }

    fn scratch(&self, param: &ParamInfo) -> usize {
        param.shape.iter().product()
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.beta2_decay.check("beta2_decay", members)?;
        self.eps2.check("eps2", members)?;
        self.clip.check("clip", members)?;
        self.weight_decay.check("weight_decay", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Adafactor {
    /// The scalars of a member's update, in a type of this rounding.
    pub(super) fn at(
        &self,
        scales: &Scales,
        factor: f64,
        member: usize,
        step: u64,
        epsilon: f64,
    ) -> update::Adafactor {
        let lr = self.lr.of(member) * factor;
        let weight_decay = self.weight_decay.of(member) * scales.weight_decay;
        update::Adafactor {
            lr,
            scale: scales.lr,
            beta2_decay: self.beta2_decay.of(member),
            eps1: self.eps1.unwrap_or(epsilon),
            eps2: self.eps2.of(member) * scales.eps,
            clip: self.clip.of(member),
            keep: 1.0 - lr * scales.lr * weight_decay,
            step,
        }
    }
}

impl<T: Elem> Rule<T> for Adafactor {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let scalars = self.at(u.scales, u.factor, u.member, u.step, T::epsilon().f64());
        let state = if u.info.shape.len() > 1 {
            let [rows, columns] = u.state.take()?;
            AdafactorState::Factored { rows, columns }
        } else {
            let [variance] = u.state.take()?;
            AdafactorState::Full(variance)
        };
        scalars.update(u.param, u.grad, state);
        Ok(())
    }
}
