//! SOAP.

use serde::Serialize;
use serde_json::Value;

use super::adam::{adamw, adamw_states};
use super::matrix::{Graft, Sizing, blocks, side_states, step, take_sides};
use super::{GpuRule, Optimizer, PerMember, Rule, State, Update};
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::scale;
use crate::tensor::scratch;
use crate::tensor::update::{self, SoapState};

/// SOAP (Vyas et al., arXiv 2409.11321) in the order of its authors' code: hidden matrices follow Adam in the
/// eigenbases of the gradient's second moments, everything else follows AdamW. The first step of a hidden matrix
/// only finds its bases.
#[derive(Debug, Clone, Serialize)]
pub struct Soap {
    /// Learning rate.
    pub lr: PerMember,
    /// Decay of the first moment.
    pub beta1: PerMember,
    /// Decay of the second moment in the bases.
    pub beta2: PerMember,
    /// Decay of the second moments whose eigenvectors the bases are; `None` is `beta2`.
    pub shampoo_beta: Option<PerMember>,
    /// Added to the root of the second moment.
    pub eps: PerMember,
    /// Whether there is a basis on the side of the fan-in.
    pub basis_in: bool,
    /// Whether there is a basis on the side of the fan-out.
    pub basis_out: bool,
    /// Largest side of a block; `None` leaves matrices whole.
    pub block: Option<usize>,
    /// Steps between two refreshments of the bases.
    pub frequency: usize,
    /// Whose size the steps have.
    pub graft: Graft,
    /// Weight decay: the weight shrinks by `lr · weight_decay`.
    pub weight_decay: PerMember,
    /// Learning rate of AdamW over `lr`.
    pub adam_factor: PerMember,
}

impl Optimizer for Soap {
    fn name(&self) -> &'static str {
        "soap"
    }

    fn family(&self) -> OptimizerFamily {
        self.graft.family(OptimizerFamily::Soap {
            basis_in: self.basis_in,
            basis_out: self.basis_out,
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
        let mut states = adamw_states(param);
        let sides = [self.basis_in, self.basis_out];
        let names = [["moments_in", "basis_in"], ["moments_out", "basis_out"]];
        states.extend(side_states(blocks(param, self.block), sides, names));
        states.extend(self.graft.states(param));
        states
    }

    fn hidden_states(&self) -> usize {
        6
    }

    fn scratch(&self, param: &ParamInfo) -> usize {
        match param.is_hidden_matrix() {
            true => {
                param.shape.iter().product::<usize>()
                    + update::Soap::scratch(blocks(param, self.block))
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
        if let Some(beta) = &self.shampoo_beta {
            beta.check("shampoo_beta", members)?;
        }
        self.adam_factor.check("adam_factor", members)
    }

    fn on_gpu(&self) -> &dyn GpuRule {
        self
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Soap {
    /// Whether bases are found or refreshed after a step.
    pub(super) fn refreshes(&self, step: u64) -> bool {
        self.at(0, step).is_due()
    }

    /// What is added to the root of a member's second moment.
    pub(super) fn eps_of(&self, scales: &Scales, member: usize) -> f64 {
        let eps = self.eps.of(member);
        match self.graft {
            // a graft takes the size of what epsilon is added to
            Graft::None => eps * scales.eps,
            Graft::Adam | Graft::Spectral => eps,
        }
    }

    /// The scalars of a member's update, with epsilon before its scale.
    pub(super) fn at(&self, member: usize, step: u64) -> update::Soap {
        let beta2 = self.beta2.of(member);
        let shampoo_beta = self.shampoo_beta.as_ref().map(|b| b.of(member));
        update::Soap {
            beta1: self.beta1.of(member),
            beta2,
            shampoo_beta: shampoo_beta.unwrap_or(beta2),
            eps: self.eps.of(member),
            bases: [self.basis_in, self.basis_out],
            frequency: self.frequency as u64,
            step,
        }
    }
}

impl<T: Elem> Rule<T> for Soap {
    fn update(&self, u: Update<'_, T>) -> Result<()> {
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let weight_decay = self.weight_decay.of(u.member) * u.scales.weight_decay;
        let betas = [self.beta1.of(u.member), self.beta2.of(u.member)];
        let eps = self.eps.of(u.member);
        if !u.info.is_hidden_matrix() {
            return adamw(u, lr, betas, eps, weight_decay);
        }
        let scalars = update::Soap {
            eps: self.eps_of(u.scales, u.member),
            ..self.at(u.member, u.step)
        };
        let mut states = u.state.all().into_iter();
        let [exp_avg, exp_avg_sq] = [0; 2].map(|_| states.next().unwrap_or_default());
        let [moments, bases] = take_sides(&mut states, scalars.bases);
        let mut state = SoapState {
            exp_avg,
            exp_avg_sq,
            moments,
            bases,
        };
        scratch::with(u.param.len(), |direction: &mut [T]| {
            scalars.update(blocks(u.info, self.block), u.grad, direction, &mut state)?;
            if u.step <= 1 {
                return Ok(());
            }
            let sizing = Sizing {
                grad: u.grad,
                first: state.exp_avg,
                betas,
                eps: eps * u.scales.eps,
                info: u.info,
                scales: u.scales,
                // the first step counted for nothing
                step: u.step - 1,
            };
            let factor = sizing.factor(self.graft, direction, states.next());
            step(u.param, direction, lr * factor);
            scale(u.param, 1.0 - lr * weight_decay);
            Ok(())
        })
    }
}
