//! Shampoo.

use serde::Serialize;
use serde_json::Value;

use super::adam::{adamw, adamw_states};
use super::matrix::{Graft, Sizing, blocks, side_states, step, take_sides};
use super::{GpuRule, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::OptimizerFamily;
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::{copy_scaled, scale};
use crate::tensor::scratch;
use crate::tensor::update::{self, ShampooState, average};

/// Shampoo (Gupta, Koren, Singer 2018, arXiv 1802.09568) with the moving averages, blocks and grafting of its
/// distributed forms (arXiv 2002.09018, 2309.06497): hidden matrices move along their first moment between inverse
/// powers of the gradient's second moments, everything else follows AdamW.
#[derive(Debug, Clone, Serialize)]
pub struct Shampoo {
    /// Learning rate.
    pub lr: PerMember,
    /// Decay of the first moment.
    pub beta1: PerMember,
    /// Decay of the second moments.
    pub beta2: PerMember,
    /// Added to second moments, in units of their largest eigenvalue.
    pub eps: PerMember,
    /// Power on the side of the fan-in.
    pub exponent_in: f64,
    /// Power on the side of the fan-out.
    pub exponent_out: f64,
    /// Largest side of a block; `None` leaves matrices whole.
    pub block: Option<usize>,
    /// Steps between two refreshments of the powers.
    pub frequency: usize,
    /// Whose size the steps have.
    pub graft: Graft,
    /// Weight decay: the weight shrinks by `lr · weight_decay`.
    pub weight_decay: PerMember,
    /// Learning rate of AdamW over `lr`.
    pub adam_factor: PerMember,
    /// Epsilon of AdamW, and of the Adam that is grafted onto.
    pub adam_eps: PerMember,
}

impl Optimizer for Shampoo {
    fn name(&self) -> &'static str {
        "shampoo"
    }

    fn family(&self) -> OptimizerFamily {
        self.graft.family(OptimizerFamily::Shampoo {
            exponent_in: self.exponent_in,
            exponent_out: self.exponent_out,
            block: self.block,
        })
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
        if !param.is_hidden_matrix() {
            return adamw_states(param);
        }
        let mut states = vec![State::like("exp_avg", param)];
        let names = [["moments_in", "powers_in"], ["moments_out", "powers_out"]];
        states.extend(side_states(blocks(param, self.block), self.sides(), names));
        states.extend(self.graft.states(param));
        states
    }

    fn hidden_states(&self) -> usize {
        5
    }

    fn scratch(&self, param: &ParamInfo) -> usize {
        match param.is_hidden_matrix() {
            true => {
                param.shape.iter().product::<usize>()
                    + update::Shampoo::scratch(blocks(param, self.block))
            }
            false => 0,
        }
    }

    fn check(&self, members: usize) -> Result<()> {
        self.lr.check("lr", members)?;
        self.beta1.check("beta1", members)?;
        self.beta2.check("beta2", members)?;
        self.eps.check("eps", members)?;
        self.weight_decay.check("weight_decay", members)?;
        self.adam_factor.check("adam_factor", members)?;
        self.adam_eps.check("adam_eps", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Shampoo {
    /// Whether there are second moments on the sides of the fan-in and the fan-out.
    pub(super) fn sides(&self) -> [bool; 2] {
        [self.exponent_in != 0.0, self.exponent_out != 0.0]
    }

    /// Whether the powers are taken afresh at a step.
    pub(super) fn refreshes(&self, step: u64) -> bool {
        (step.max(1) - 1).is_multiple_of(self.frequency.max(1) as u64)
    }

    /// The scalars of what is done with a member's second moments.
    pub(super) fn at(&self, member: usize, step: u64) -> update::Shampoo {
        update::Shampoo {
            beta2: self.beta2.of(member),
            eps: self.eps.of(member),
            exponents: [self.exponent_in, self.exponent_out],
            refresh: self.refreshes(step),
            step,
        }
    }
}

impl<T: Elem> Rule<T> for Shampoo {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let weight_decay = self.weight_decay.of(u.member) * u.scales.weight_decay;
        let betas @ [beta1, _] = [self.beta1.of(u.member), self.beta2.of(u.member)];
        let adam_eps = self.adam_eps.of(u.member);
        if !u.info.is_hidden_matrix() {
            return adamw(u, lr, betas, adam_eps, weight_decay);
        }
        let scalars = self.at(u.member, u.step);
        let mut states = u.state.all().into_iter();
        let first = states.next().unwrap_or_default();
        let [moments, powers] = take_sides(&mut states, self.sides());
        let mut state = ShampooState { moments, powers };
        average(beta1, first, u.grad);
        let correction = 1.0 - beta1.powi(u.step.min(i32::MAX as u64) as i32);
        scratch::with(u.param.len(), |direction: &mut [T]| {
            copy_scaled(direction, first, 1.0 / correction);
            scalars.update(blocks(u.info, self.block), u.grad, direction, &mut state)?;
            let sizing = Sizing {
                grad: u.grad,
                first,
                betas,
                eps: adam_eps * u.scales.eps,
                info: u.info,
                scales: u.scales,
                step: u.step,
            };
            let factor = sizing.factor(self.graft, direction, states.next());
            scale(u.param, 1.0 - lr * weight_decay);
            step(u.param, direction, lr * factor);
            Ok(())
        })
    }
}
