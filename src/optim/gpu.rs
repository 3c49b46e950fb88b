//! Optimizers on GPUs: updates of all parameters of all members, queued so that the host waits for nothing.
//!
//! Adafactor, SGD, Adam and Lion are kernels over all parameters at once; Muon, Shampoo and SOAP are products of the
//! library for one matrix after the other, with AdamW's kernel for the rest. Eigenvectors and QR decompositions, which
//! Shampoo and SOAP need at some of their steps, are the host's: at those steps alone it waits for the second moments.

mod adafactor;
mod blocked;
mod each;
mod graft;
mod host;
mod matrices;
mod members;
mod muon;
mod shampoo;
mod soap;
mod tables;
mod updates;

use std::fmt::Debug;

use candle_core::Tensor;

use super::Adam;
use crate::error::Result;
use crate::nn::ParamInfo;
use crate::parametrization::Scales;

pub use members::GpuMembers;
pub use tables::{Limits, Tables, Updated};
pub use updates::GpuUpdates;

/// Scalars of one member's update of one parameter, `SCALARS` in `kernels/update.cuh`.
pub type Scalars = [f64; 16];

/// What the scalars of an update depend on.
#[derive(Debug, Clone, Copy)]
pub struct GpuUpdate<'a> {
    /// The parameter.
    pub info: &'a ParamInfo,
    /// Its scales.
    pub scales: &'a Scales,
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// The member.
    pub member: usize,
    /// Number of this update, from 1.
    pub step: u64,
    /// Rounding of the type that is computed in.
    pub epsilon: f64,
}

/// A parameter that is trained, with its gradient and its states, of all members.
#[derive(Debug, Clone, Copy)]
pub struct Trained<'a> {
    /// What is known of it.
    pub info: &'a ParamInfo,
    /// Its numbers.
    pub param: &'a Tensor,
    /// Its gradient.
    pub grad: &'a Tensor,
    /// One tensor for each of [`Optimizer::states`](super::Optimizer::states).
    pub states: &'a [Tensor],
}

/// An optimizer's updates on a GPU.
pub trait GpuRule {
    /// What updates these parameters: all, or those that are not left to AdamW.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>>;

    /// Its scalars.
    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars;

    /// What all parameters but hidden matrices follow, if not this rule; its learning rate is before the
    /// [factor of AdamW](super::Optimizer::adam_factor).
    fn adamw(&self) -> Option<Adam> {
        None
    }

    /// Numbers of a member that the work needs room for; the parameters share it.
    fn room(&self, _info: &ParamInfo) -> usize {
        0
    }
}

/// What updates some parameters.
pub trait GpuWork: Debug + Send + Sync {
    /// Where their scalars are.
    fn tables(&self) -> &Tables;

    /// Queues what comes before the host's part.
    ///
    /// # Errors
    /// If the device refuses it.
    fn begin(&self, _limits: Limits) -> Result<()> {
        Ok(())
    }

    /// What the host does at some steps.
    fn on_host(&self) -> Option<&dyn HostPart> {
        None
    }

    /// Queues the rest of the update.
    ///
    /// # Errors
    /// If the device refuses it.
    fn queue(&self, limits: Limits) -> Result<()>;
}

/// What the host does of an update, between what is queued before and after it.
pub trait HostPart {
    /// Whether there is something to do at a step, from 1.
    fn is_due(&self, step: u64) -> bool;

    /// Does it for the members that are `active`, when the work before is done.
    ///
    /// # Errors
    /// If the device or a decomposition fails.
    fn run(&self, step: u64, active: &[bool]) -> Result<()>;
}

/// Some numbers, and zeros.
pub(super) fn scalars<const N: usize>(numbers: [f64; N]) -> Scalars {
    let mut all = Scalars::default();
    all.iter_mut().zip(numbers).for_each(|(to, x)| *to = x);
    all
}
