//! Gradients of each member's loss on one batch after the other.

use candle_core::{DType, Tensor};

use super::gpu_goal::GpuGoal;
use super::objective::{Goal, Loss};
use crate::data::Batch;
use crate::error::Result;
use crate::gpu::address;
use crate::memory;
use crate::model::{Model, Work};
use crate::nn::{Gradients, Plan};

/// Passes for the gradients of batches of one size. The loss is that of evaluation, as for
/// [`Hessian`](super::Hessian).
pub(super) struct BatchGradients<'a> {
    model: &'a Model,
    plan: Plan,
    loss: Loss,
    on_gpu: Option<GpuGoal>,
    gradients: Vec<Tensor>,
}

impl<'a> BatchGradients<'a> {
    /// For batches of `size` examples.
    ///
    /// # Errors
    /// If passes and gradients do not fit into memory.
    pub fn new(model: &'a Model, size: usize, loss: Loss) -> Result<Self> {
        let work = Work {
            gradients: Gradients::Passing,
            tensors: &["gradient", "mean gradient"],
            optimizer: None,
            batches: 1,
        };
        model.check_memory("gradients of batches", size, work)?;
        let plan = model.plan(size, Gradients::Passing)?;
        let sizes = [model.rows(size), model.outputs()];
        let on_gpu = plan
            .on_gpu()
            .map(|on_gpu| GpuGoal::new(on_gpu, loss, model.members(), sizes))
            .transpose()?;
        Ok(Self {
            model,
            plan,
            loss,
            on_gpu,
            gradients: model.like_params("gradient")?,
        })
    }

    /// The gradients of each member's loss on a batch, in the order and shapes of the parameters.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the loss the labels.
    pub fn of(&self, batch: &Batch) -> Result<&[Tensor]> {
        let (model, plan) = (self.model, &self.plan);
        let inputs = model.shaped(&batch.inputs)?;
        let rows = model.rows(plan.batch());
        let goal = Goal::new(self.loss, &batch.labels, rows, model.outputs())?;
        let params = model.values();
        plan.forward(&params, &inputs)?;
        match (&self.on_gpu, plan.on_gpu()) {
            (Some(on_gpu), Some(passes)) => {
                on_gpu.set(&goal)?;
                let device = passes.gpu().device();
                let losses = memory::zeros("losses", &[model.members()], DType::F64, device)?;
                on_gpu.queue(passes, address(&losses)?, 0)?;
                // what is queued writes there
                passes.gpu().synchronize()?;
            }
            _ => {
                goal.evaluate(plan.output(), plan.output_gradient())?;
            }
        }
        plan.backward(&params, &self.gradients)?;
        Ok(&self.gradients)
    }
}
