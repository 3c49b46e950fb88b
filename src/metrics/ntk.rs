//! The empirical neural tangent kernel.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::memory;
use crate::model::Model;
use crate::nn::{Gradients, Plan};

/// Each member's neural tangent kernel on `inputs [points, …]`, traced over outputs: `[members, points,
/// points]` in the model's element type. `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩` for the parameters
/// as they are stored (Jacot, Gabriel, Hongler 2018), contracted layer by layer from inputs and
/// back-propagated signals. The network is that of evaluation: batch normalisation uses its running
/// estimates, which are not among the parameters.
///
/// # Errors
/// If the inputs do not fit the network, there are none, or kernels and signals do not fit into memory.
pub fn ntk(model: &Model, inputs: &Tensor) -> Result<Tensor> {
    let (plan, mut kernels) = prepared(model, inputs, 1)?;
    plan.ntk(&model.values(), &kernels[0])?;
    Ok(kernels.swap_remove(0).to_device(&Device::Cpu)?)
}

/// The kernel between two sets of inputs, `[members, points, others]`. It costs as much as the kernel
/// of both sets together, from which it is taken.
///
/// # Errors
/// As for [`ntk`].
pub fn ntk_between(model: &Model, inputs: &Tensor, others: &Tensor) -> Result<Tensor> {
    let (inputs, others) = (model.shaped(inputs)?, model.shaped(others)?);
    let (n, m) = (inputs.dims()[0], others.dims()[0]);
    if n == 0 || m == 0 {
        return Err(empty());
    }
    let dtype = model.dtype();
    let both = Tensor::cat(&[inputs.to_dtype(dtype)?, others.to_dtype(dtype)?], 0)?;
    let kernel = ntk(model, &both)?;
    Ok(kernel.narrow(1, 0, n)?.narrow(2, n, m)?.contiguous()?)
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
/// As for [`ntk`].
pub fn ntk_blocks(model: &Model, inputs: &Tensor) -> Result<Vec<NtkBlock>> {
    let (plan, kernels) = prepared(model, inputs, model.params().len())?;
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

/// A plan after its forward pass, and `count` kernels.
fn prepared(model: &Model, inputs: &Tensor, count: usize) -> Result<(Plan, Vec<Tensor>)> {
    let inputs = model.shaped(inputs)?;
    let points = inputs.dims()[0];
    if points == 0 {
        return Err(empty());
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

fn empty() -> Error {
    Error::shape("a kernel needs at least one input")
}
