//! The empirical neural tangent kernel.

use candle_core::{Device, Tensor};

use super::tangent_kernel::{NtkSettings, tangent_kernel};
use crate::error::{Error, Result};
use crate::memory;
use crate::model::Model;
use crate::nn::{Gradients, Plan};

/// Each member's neural tangent kernel on `inputs [points, …]`, traced over outputs: `[members, points,
/// points]` in the model's element type. `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩` for the parameters
/// as they are stored (Jacot, Gabriel, Hongler 2018). It is [`tangent_kernel`] with its usual settings.
///
/// # Errors
/// As for [`tangent_kernel`].
pub fn ntk(model: &Model, inputs: &Tensor) -> Result<Tensor> {
    tangent_kernel(model, inputs, None, NtkSettings::default())
}

/// One parameter's part of the kernel.
#[derive(Debug, Clone)]
pub struct NtkBlock {
    /// The parameter's path, for instance `layers.1.weight`.
    pub path: String,
    /// `[members, points, points]`.
    pub kernel: Tensor,
}

/// The parts of [`ntk`] that each parameter has, in the order of the parameters. Their sum is the
/// kernel; weighted with the learning rates of the parameters it is the kernel that gradient descent
/// under a parametrization follows, `Σ_p lr_p K_p`.
///
/// # Errors
/// If the inputs do not fit the network, there are none, or kernels and signals
/// do not fit into memory.
pub fn ntk_blocks(model: &Model, inputs: &Tensor) -> Result<Vec<NtkBlock>> {
    let (plan, kernels) = prepared(model, inputs)?;
    plan.ntk_blocks(&model.values(), &kernels)?;
    let on_host = kernels.iter().map(|k| k.to_device(&Device::Cpu));
    let kernels = on_host.collect::<candle_core::Result<Vec<_>>>()?;
    let params = model.params().iter();
    let blocks = params.zip(kernels).map(|(param, kernel)| NtkBlock {
        path: param.info.path.clone(),
        kernel,
    });
    Ok(blocks.collect())
}

/// A plan after its forward pass, and a kernel for every parameter.
fn prepared(model: &Model, inputs: &Tensor) -> Result<(Plan, Vec<Tensor>)> {
    let inputs = model.shaped(inputs)?;
    let (points, count) = (inputs.dims()[0], model.params().len());
    if points == 0 {
        return Err(Error::shape("a kernel needs at least one input"));
    }
    let needs = |points| model.kernel_needs(points, count, None);
    memory::check_on(model.place(), "a kernel", &needs(points)?, |available| {
        let bytes = |points| Some(memory::total(&needs(points).ok()?));
        let fits = memory::largest(points, available, bytes);
        format!("a kernel on {fits} of {points} points would fit")
    })?;
    let plan = model.plan(points, Gradients::None)?;
    plan.forward(&model.values(), &inputs)?;
    let dims = [model.members(), points, points];
    let zeros = || memory::zeros("kernels", &dims, model.dtype(), model.place().device());
    let kernels = (0..count).map(|_| zeros()).collect::<Result<_>>()?;
    Ok((plan, kernels))
}
