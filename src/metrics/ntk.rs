//! The empirical neural tangent kernel.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::memory::{self, Need};
use crate::model::{Model, Work};
use crate::nn::Gradients;

/// Each member's neural tangent kernel on `inputs [points, …]`, traced over outputs: `[members, points,
/// points]` in the model's element type. `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩` for the parameters
/// as they are stored (Jacot, Gabriel, Hongler 2018), contracted layer by layer from inputs and
/// back-propagated signals.
///
/// # Errors
/// If the inputs do not fit the network, there are none, or a layer mixes the examples of a batch; if
/// kernels and signals do not fit into memory.
pub fn ntk(model: &Model, inputs: &Tensor) -> Result<Tensor> {
    let inputs = model.shaped(inputs)?;
    let points = inputs.dims()[0];
    if points == 0 {
        return Err(Error::shape("a kernel needs at least one input"));
    }
    memory::check("a kernel", &needs(model, points)?, |available| {
        let bytes = |points| Some(memory::total(&needs(model, points).ok()?));
        let fits = memory::largest(points, available, bytes);
        format!("a kernel on {fits} of {points} points would fit")
    })?;
    let plan = model.plan(points, Gradients::None)?;
    let values = model.values();
    plan.forward(&values, &inputs)?;
    let dims = [model.members(), points, points];
    let kernels = memory::zeros("kernels", &dims, model.dtype(), model.device())?;
    plan.ntk(&values, &kernels)?;
    Ok(kernels)
}

/// What a kernel on this many points needs at a time.
fn needs(model: &Model, points: usize) -> Result<Vec<Need>> {
    let number = model.dtype().size_in_bytes();
    let work = Work {
        gradients: Gradients::None,
        tensors: &[],
        batches: 0,
    };
    let mut needs = model.needs((model.members(), points), work)?;
    let numbers = |n: &Need| n.shape[1..].iter().product::<usize>();
    let activations = needs.iter().filter(|n| n.shape.len() > 2);
    let largest = activations.map(numbers).max().unwrap_or(0);
    let outputs = model.rows(1) * model.outputs();
    // members that are worked on at a time
    let running = model.members().min(rayon::current_num_threads());
    let mut push = |name: &str, shape: [usize; 3]| {
        needs.push(Need {
            name: name.into(),
            shape: shape.to_vec(),
            number,
        });
    };
    push("kernels", [model.members(), points, points]);
    push("products in a layer", [2 * running, points, points]);
    push("gradients of all outputs", [2 * running, outputs, largest]);
    Ok(needs)
}
