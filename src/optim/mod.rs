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

use crate::error::Result;
use crate::parametrization::{OptimizerFamily, Scales};

/// One parameter's update.
#[derive(Debug)]
pub struct Update<'a> {
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

/// An optimizer: scalars, one per member where wanted, and an update rule.
pub trait Optimizer: Debug + Send + Sync {
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

    /// Updates one parameter and its state in place.
    ///
    /// # Errors
    /// If shapes do not fit.
    fn update(&self, update: Update<'_>) -> Result<()>;

    /// Settings for the record.
    fn settings(&self) -> Value;
}
