//! Optimizers over members, and learning-rate schedules.

mod adafactor;
mod adam;
mod gpu;
mod lion;
mod matrix;
mod muon;
mod per_member;
mod schedule;
mod sgd;
mod shampoo;
mod soap;
mod stability;
mod state;

use std::fmt::Debug;

use candle_core::Tensor;
use serde_json::Value;

pub use adafactor::Adafactor;
pub use adam::Adam;
pub use gpu::{
    GpuMembers, GpuRule, GpuUpdate, GpuUpdates, GpuWork, HostPart, Limits, Scalars, Tables,
    Trained, Updated,
};
pub use lion::Lion;
pub use matrix::Graft;
pub use muon::{Adjust, Muon};
pub use per_member::PerMember;
pub use schedule::{DecayShape, Schedule};
pub use sgd::Sgd;
pub use shampoo::Shampoo;
pub use soap::Soap;
pub use stability::{LinearStability, ParamRates, RatesOf};
pub use state::State;

use crate::error::{Error, Result};
use crate::nn::{Buffer, LayerElem, ParamInfo, Parts};
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::dispatch;

/// The update of one member's part of one parameter.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// The parameter, changed in place.
    pub param: &'a mut [T],
    /// Its gradient.
    pub grad: &'a [T],
    /// Its state, one slice for each of [`Optimizer::states`]; of an
    /// [elementwise](Optimizer::elementwise) optimizer, of the same size as `param`.
    pub state: Parts<'a, T>,
    /// What is known of the whole parameter.
    pub info: &'a ParamInfo,
    /// Its scales.
    pub scales: &'a Scales,
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// The member, for scalars that differ among members.
    pub member: usize,
    /// Number of this update, from 1.
    pub step: u64,
}

/// An update rule in one element type.
pub trait Rule<T> {
    /// Updates one member's part of a parameter and its state in place; of an
    /// [elementwise](Optimizer::elementwise) optimizer's parameters, any entries.
    ///
    /// # Errors
    /// If there is less state than [`Optimizer::states`] says.
    fn update(&self, update: Update<'_, T>) -> Result<()>;
}

/// An element type that optimizers compute in.
pub trait Optimized: LayerElem {
    /// An optimizer's rule in this type.
    fn rule(optimizer: &dyn Optimizer) -> &dyn Rule<Self>;
}

impl Optimized for f32 {
    fn rule(optimizer: &dyn Optimizer) -> &dyn Rule<Self> {
        optimizer
    }
}

impl Optimized for f64 {
    fn rule(optimizer: &dyn Optimizer) -> &dyn Rule<Self> {
        optimizer
    }
}

/// The update of all members of one parameter.
#[derive(Debug)]
pub struct TensorUpdate<'a> {
    /// The parameter, `[members, …]`, changed in place.
    pub param: &'a Tensor,
    /// Its gradient, of the same shape.
    pub grad: &'a Tensor,
    /// Its state, one tensor for each of [`Optimizer::states`], with the member axis in front.
    pub state: &'a [Tensor],
    /// What is known of it.
    pub info: &'a ParamInfo,
    /// Its scales.
    pub scales: &'a Scales,
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// Members to update; the others are left as they are.
    pub active: &'a [bool],
    /// Number of this update, from 1.
    pub step: u64,
}

/// Updates a parameter outside a training step.
///
/// # Errors
/// If the shapes differ, or a tensor is not a contiguous f32 or f64 tensor.
pub fn update(optimizer: &dyn Optimizer, u: &TensorUpdate<'_>) -> Result<()> {
    let members = u.param.dims().first().copied().unwrap_or(0);
    let fits = |t: &Tensor, shape: &[usize]| t.dims() == [&[members], shape].concat();
    let states = optimizer.states(u.info);
    let shapes = states.iter().map(|s| s.shape.as_slice());
    let expected = [u.info.shape.as_slice(); 2].into_iter().chain(shapes);
    let given = || [u.param, u.grad].into_iter().chain(u.state);
    if given().count() != states.len() + 2 {
        return Err(Error::shape(format!(
            "update: {} needs {} state tensors for {}, found {}",
            optimizer.name(),
            states.len(),
            u.info.path,
            u.state.len()
        )));
    }
    if let Some((bad, _)) = given().zip(expected).find(|(t, shape)| !fits(t, shape)) {
        return Err(Error::shape(format!(
            "update: parameter {:?} does not fit gradient or state {:?}",
            u.param.dims(),
            bad.dims()
        )));
    }
    dispatch!(u.param, T => {
        let (param, grad) = (Buffer::<T>::new(u.param)?, Buffer::<T>::new(u.grad)?);
        let state = u.state.iter().map(Buffer::new).collect::<Result<Vec<_>>>()?;
        for member in (0..members).filter(|&m| u.active.get(m) == Some(&true)) {
            // SAFETY: one member after the other, and four different tensors
            let (param, grad, state) = unsafe {
                (param.of_mut(member), grad.of(member), Parts::new(&state, member))
            };
            T::rule(optimizer).update(Update {
                param,
                grad,
                state,
                info: u.info,
                scales: u.scales,
                factor: u.factor,
                member,
                step: u.step,
            })?;
        }
        Ok(())
    })
}

/// An optimizer: scalars, one per member where wanted, and an update rule.
pub trait Optimizer: Debug + Send + Sync + Rule<f32> + Rule<f64> {
    /// Name in scripts, for instance `sgd`.
    fn name(&self) -> &'static str;

    /// Which rows of the parametrization's table apply.
    fn family(&self) -> OptimizerFamily;

    /// Learning rate before schedule and parametrization.
    fn lr(&self) -> &PerMember;

    /// Of an optimizer that acts on hidden matrices and leaves all else to AdamW: AdamW's learning rate over
    /// its own.
    fn adam_factor(&self) -> Option<&PerMember> {
        None
    }

    /// The learning rate of one parameter.
    fn lr_of(&self, param: &ParamInfo, member: usize) -> f64 {
        let lr = self.lr().of(member);
        match self.adam_factor() {
            Some(factor) if !param.is_hidden_matrix() => lr * factor.of(member),
            _ => lr,
        }
    }

    /// Whether an entry's update depends on its own gradient and state alone, so that a parameter may be
    /// updated in parts.
    fn elementwise(&self) -> bool;

    /// The state tensors of a parameter.
    fn states(&self, param: &ParamInfo) -> Vec<State>;

    /// How many tensors of its own size a hidden matrix has for state: what a step moves at least.
    fn hidden_states(&self) -> usize;

    /// Numbers that the update of one member's part of a parameter on the CPU needs room for while it runs.
    fn scratch(&self, _param: &ParamInfo) -> usize {
        0
    }

    /// Checks that the optimizer suits a network's parameters.
    ///
    /// # Errors
    /// If it has nothing to do what it is for.
    fn check_params(&self, params: &[&ParamInfo]) -> Result<()> {
        if self.adam_factor().is_none() || params.iter().any(|p| p.is_hidden_matrix()) {
            return Ok(());
        }
        Err(Error::setting(format!(
            "{} needs a hidden matrix, one whose fan-in and fan-out grow with width; this network has none",
            self.name()
        ))
        .with_help(
            "use adamw, or a deeper network; networks of your own must be functions of width",
        ))
    }

    /// Checks that every per-member scalar has one value or one for each of `members`.
    ///
    /// # Errors
    /// If one has another number of values: the setting's name and both numbers.
    fn check(&self, members: usize) -> Result<()>;

    /// The same on a GPU.
    fn on_gpu(&self) -> &dyn GpuRule;

    /// What stability of its steps depends on, for optimizers whose steps near a minimum are linear in the
    /// gradient.
    ///
    /// On a quadratic loss with curvature `λ` and effective learning rate `η`, steps shrink where `ηλ` is
    /// below a threshold: 2 for gradient descent; `2 (1 + β)` with momentum, `v = β v + g`;
    /// `(2 + 2β) / (1 + 2β)` with Nesterov's (Cohen et al. 2021, arXiv 2103.00065, appendix B);
    /// `(2 + 2β₁) / (1 − β₁)` for Adam and AdamW, whose preconditioner counts as constant (Cohen et al.
    /// 2022, arXiv 2207.14484). Weight decay, clipping and noise of batches are left out.
    fn stability(&self) -> Option<&dyn LinearStability> {
        None
    }

    /// The momentum, which thresholds of stability depend on, if there is one.
    fn momentum(&self) -> Option<&PerMember> {
        None
    }

    /// Settings for the record.
    fn settings(&self) -> Value;
}
