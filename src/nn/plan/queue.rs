//! A compiled network's passes as work that is queued on a GPU.

use std::sync::Arc;

use candle_core::Tensor;

use super::gpu::{self, GpuRunner};
use super::{Plan, other_params};
use crate::error::Result;
use crate::gpu::{Gpu, Stored};
use crate::nn::gpu::Span;
use crate::nn::layer::Param;

/// A plan on a GPU: its passes as work to be queued, in the order in which it shall be done.
#[derive(Debug, Clone, Copy)]
pub struct GpuPlan<'a> {
    pub(super) plan: &'a Plan,
    pub(super) runner: &'a GpuRunner,
}

impl<'a> GpuPlan<'a> {
    /// The GPU.
    pub fn gpu(&self) -> &'a Arc<Gpu> {
        &self.runner.gpu
    }

    /// The type of activations.
    pub fn stored(&self) -> Stored {
        self.runner.stored
    }

    /// The output of the forward pass.
    pub fn output(&self) -> Span {
        self.runner.value(self.runner.last)
    }

    /// The gradient of the output, if there is room for one.
    pub fn output_gradient(&self) -> Option<Span> {
        self.runner.gradient(self.runner.last)
    }

    /// Copies what a step's passes read: inputs `[batch, …]` on the host, of any float type, and random
    /// keys.
    ///
    /// # Errors
    /// If the inputs do not have the shape that the plan was compiled for.
    pub fn set_batch(&self, inputs: &Tensor) -> Result<()> {
        let inputs = self.plan.inputs(inputs)?;
        self.runner.set_inputs(&self.plan.ops, &inputs)?;
        self.runner.set_mode(&self.plan.ops, &self.plan.mode())
    }

    /// Queues the forward pass.
    ///
    /// # Errors
    /// If a layer fails.
    pub fn forward(&self, params: &[Param<'_>]) -> Result<()> {
        let training = self.plan.is_training();
        self.runner
            .forward(&self.plan.ops, &gpu::params(params)?, training)
    }

    /// Queues the backward pass.
    ///
    /// # Errors
    /// As for [`Plan::backward`].
    pub fn backward(&self, params: &[Param<'_>], grads: &[Tensor]) -> Result<()> {
        self.plan.backward(params, grads)
    }

    /// Queues that running estimates follow the batch, of members whose 32-bit word at `active` is not 0.
    ///
    /// # Errors
    /// If a layer fails.
    pub fn update_estimates(&self, params: &[Param<'_>], active: u64) -> Result<()> {
        let params = gpu::params(params)?;
        self.runner
            .update_estimates(&self.plan.ops, &params, active)
    }

    /// Queues a Hessian–vector product, see [`Plan::hessian_vector`]; `bend` writes the tangent of the
    /// loss's gradient from outputs and their tangent.
    ///
    /// # Errors
    /// As for [`Plan::hessian_vector`].
    pub fn hessian_vector(
        &self,
        params: &[Param<'_>],
        direction: &[Tensor],
        image: &[Tensor],
        bend: &dyn Fn(Span, Span, Span) -> Result<()>,
    ) -> Result<()> {
        if direction.len() != params.len() || image.len() != params.len() {
            return Err(other_params(params.len(), direction.len().min(image.len())));
        }
        let moved = params.iter().zip(direction).map(|(param, value)| Param {
            value,
            multiplier: param.multiplier,
        });
        let direction = gpu::params(&moved.collect::<Vec<_>>())?;
        let image = image.iter().map(gpu::span).collect::<Result<Vec<_>>>()?;
        let params = gpu::params(params)?;
        self.runner
            .hessian_vector(&self.plan.ops, &params, &direction, &image, bend)
    }
}
