//! Optimizers over members, and learning-rate schedules.

mod adam;
mod per_member;
mod schedule;
mod sgd;

use std::fmt::Debug;

use candle_core::Tensor;
use serde_json::Value;

pub use adam::Adam;
pub use per_member::PerMember;
pub use schedule::Schedule;
pub use sgd::Sgd;

use crate::error::{Error, Result};
use crate::nn::{Buffer, LayerElem, Parts};
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::dispatch;

/// The update of one member's part of one parameter.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// The parameter, changed in place.
    pub param: &'a mut [T],
    /// Its gradient.
    pub grad: &'a [T],
    /// Its state, one slice of the same size for each of [`Optimizer::states`].
    pub state: Parts<'a, T>,
    /// The whole parameter's shape, without the member axis.
    pub shape: &'a [usize],
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
    /// Its state, one tensor of the same shape for each of [`Optimizer::states`].
    pub state: &'a [Tensor],
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
    let others = u.state.iter().chain([u.grad]);
    if let Some(bad) = others.into_iter().find(|t| t.dims() != u.param.dims()) {
        return Err(Error::shape(format!(
            "update: parameter {:?} does not fit gradient or state {:?}",
            u.param.dims(),
            bad.dims()
        )));
    }
    dispatch!(u.param, T => {
        let (param, grad) = (Buffer::<T>::new(u.param)?, Buffer::<T>::new(u.grad)?);
        let state = u.state.iter().map(Buffer::new).collect::<Result<Vec<_>>>()?;
        for member in (0..u.param.dims()[0]).filter(|&m| u.active.get(m) == Some(&true)) {
            // SAFETY: one member after the other, and four different tensors
            let (param, grad, state) = unsafe {
                (param.of_mut(member), grad.of(member), Parts::new(&state, member))
            };
            T::rule(optimizer).update(Update {
                param,
                grad,
                state,
                shape: &u.param.dims()[1..],
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

    /// Whether an entry's update depends on its own gradient and state alone, so that a parameter may be
    /// updated in parts.
    fn elementwise(&self) -> bool;

    /// Names of the state tensors that each parameter has, for instance `momentum`.
    fn states(&self) -> &'static [&'static str];

    /// Checks that every per-member scalar has one value or one for each of `members`.
    ///
    /// # Errors
    /// If one has another number of values: the setting's name and both numbers.
    fn check(&self, members: usize) -> Result<()>;

    /// Settings for the record.
    fn settings(&self) -> Value;
}
