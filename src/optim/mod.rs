//! Optimizers over members, and learning-rate schedules.

mod adam;
mod per_member;
mod schedule;
mod sgd;

use std::fmt::Debug;

use serde_json::Value;

pub use adam::Adam;
pub use per_member::PerMember;
pub use schedule::Schedule;
pub use sgd::Sgd;

use crate::error::Result;
use crate::nn::{Parts, Real};
use crate::parametrization::{OptimizerFamily, Scales};

/// The update of one member's part of one parameter.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// The parameter, changed in place.
    pub param: &'a mut [T],
    /// Its gradient.
    pub grad: &'a [T],
    /// Its state, one slice of the same size for each of [`Optimizer::states`].
    pub state: Parts<'a, T>,
    /// Its shape, without the member axis.
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
    /// Updates one member's part of a parameter and its state in place.
    ///
    /// # Errors
    /// If there is less state than [`Optimizer::states`] says.
    fn update(&self, update: Update<'_, T>) -> Result<()>;
}

/// An element type that optimizers compute in.
pub trait Optimized: Real {
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

/// An optimizer: scalars, one per member where wanted, and an update rule.
pub trait Optimizer: Debug + Send + Sync + Rule<f32> + Rule<f64> {
    /// Name in scripts, for instance `sgd`.
    fn name(&self) -> &'static str;

    /// Which rows of the parametrization's table apply.
    fn family(&self) -> OptimizerFamily;

    /// Learning rate before schedule and parametrization.
    fn lr(&self) -> &PerMember;

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
