//! The empirical neural tangent kernel.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::Gradients;

/// Each member's neural tangent kernel on `inputs [points, …]`, traced over outputs: `[members, points,
/// points]` in the model's element type. `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩` for the parameters
/// as they are stored (Jacot, Gabriel, Hongler 2018), contracted layer by layer from inputs and
/// back-propagated signals. The network is that of evaluation: batch normalisation uses its running
/// estimates, which are not among the parameters.
///
/// # Errors
/// If the inputs do not fit the network, or there are none.
pub fn ntk(model: &Model, inputs: &Tensor) -> Result<Tensor> {
    let inputs = model.shaped(inputs)?;
    let points = inputs.dims()[0];
    if points == 0 {
        return Err(Error::shape("a kernel needs at least one input"));
    }
    let plan = model.plan(points, Gradients::None)?;
    let values = model.values();
    plan.forward(&values, &inputs)?;
    let dims = (model.members(), points, points);
    let kernels = Tensor::zeros(dims, model.dtype(), model.device())?;
    plan.ntk(&values, &kernels)?;
    Ok(kernels)
}
