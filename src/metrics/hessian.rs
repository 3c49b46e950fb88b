//! Hessian–vector products, and the largest eigenvalue of the Hessian.

use candle_core::{DType, Tensor};

use super::objective::{Goal, Loss};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::model::{Model, Work};
use crate::nn::{Gradients, Plan};
use crate::tensor::elem::{dispatch, read, write};
use crate::tensor::elementwise::{dot, scale};
use crate::tensor::rng::Key;

/// What a vector in the space of the parameters is called in messages.
const DIRECTION: &str = "direction";

/// The Hessian of each member's loss on one batch, as a linear map of the parameters as they are
/// stored. The products are exact up to rounding: the tangent of the gradient, forward over reverse
/// (Pearlmutter 1994). Activations and their gradients are computed once, for all products.
#[derive(Debug)]
pub struct Hessian<'a> {
    model: &'a Model,
    plan: Plan,
    goal: Goal,
}

impl<'a> Hessian<'a> {
    /// The Hessian of `loss` on `batch`; with the gradient, in the order of the parameters.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the loss the labels; if what a product needs does not
    /// fit into memory.
    pub fn new(model: &'a Model, batch: &Batch, loss: Loss) -> Result<(Self, Vec<Tensor>)> {
        let inputs = model.shaped(&batch.inputs)?;
        let points = inputs.dims()[0];
        if points == 0 {
            return Err(Error::shape("a Hessian needs at least one example"));
        }
        let goal = Goal::new(loss, &batch.labels, model.rows(points), model.outputs())?;
        let work = Work {
            gradients: Gradients::Kept,
            tensors: &["gradient", DIRECTION],
            batches: 0,
        };
        model.check_memory("a Hessian", points, work)?;
        let plan = model.plan(points, Gradients::Kept)?;
        let values = model.values();
        plan.forward(&values, &inputs)?;
        let gradients = model.like_params("gradient")?;
        goal.evaluate(plan.output(), plan.output_gradient())?;
        plan.backward(&values, &gradients)?;
        Ok((Self { model, plan, goal }, gradients))
    }

    /// Writes each member's Hessian times `direction` into `image`; both in the order and shapes
    /// `[members, …]` of the parameters.
    ///
    /// # Errors
    /// If their shapes do not fit, or a layer has no second derivative.
    pub fn product(&self, direction: &[Tensor], image: &[Tensor]) -> Result<()> {
        let values = self.model.values();
        match self.model.dtype() {
            DType::F64 => self
                .plan
                .hessian_vector::<f64>(&values, direction, image, &self.goal),
            _ => self
                .plan
                .hessian_vector::<f32>(&values, direction, image, &self.goal),
        }
    }
}

/// Per member, the sum over parameters of `f(member's parts)`.
fn per_member(members: usize, a: &[Tensor], b: &[Tensor]) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; members];
    for (a, b) in a.iter().zip(b) {
        dispatch!(a, T => read(a, |a: &[T]| read(b, |b: &[T]| {
            let size = (a.len() / members).max(1);
            for ((sum, a), b) in sums.iter_mut().zip(a.chunks(size)).zip(b.chunks(size)) {
                *sum += dot(a, b);
            }
            Ok(())
        })))?;
    }
    Ok(sums)
}

/// Gives every member's direction the length 1.
fn normalise(members: usize, direction: &[Tensor]) -> Result<()> {
    let squares = per_member(members, direction, direction)?;
    for tensor in direction {
        dispatch!(tensor, T => write(tensor, |numbers: &mut [T]| {
            let size = (numbers.len() / members).max(1);
            for (part, square) in numbers.chunks_mut(size).zip(&squares) {
                if *square > 0.0 {
                    scale(part, 1.0 / square.sqrt());
                }
            }
            Ok(())
        }))?;
    }
    Ok(())
}

/// Each member's Hessian eigenvalue of largest magnitude, by power iteration with `products`
/// Hessian–vector products from a random direction of `seed`: the last Rayleigh quotient.
///
/// # Errors
/// As for [`Hessian::new`].
pub fn top_eigenvalue(
    model: &Model,
    batch: &Batch,
    loss: Loss,
    products: usize,
    seed: u64,
) -> Result<Vec<f64>> {
    if products == 0 {
        return Err(Error::setting("products must be at least 1"));
    }
    let members = model.members();
    let (hessian, mut image) = Hessian::new(model, batch, loss)?;
    let mut direction = model.like_params(DIRECTION)?;
    for (param, tensor) in model.params().iter().zip(&direction) {
        let key = Key::new(seed).label("direction").label(&param.info.path);
        dispatch!(tensor, T => write(tensor, |numbers: &mut [T]| {
            // the same direction for every member
            let size = (numbers.len() / members).max(1);
            let mut rng = key.rng();
            let first: Vec<T> = (0..size)
                .map(|_| <T as crate::tensor::elem::Elem>::of(rng.normal()))
                .collect();
            numbers.chunks_mut(size).for_each(|part| part.copy_from_slice(&first));
            Ok(())
        }))?;
    }
    let mut values = Vec::new();
    for _ in 0..products {
        normalise(members, &direction)?;
        hessian.product(&direction, &image)?;
        values = per_member(members, &direction, &image)?;
        std::mem::swap(&mut direction, &mut image);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Labels;
    use crate::model::ModelSettings;
    use crate::nn::layers::Activation;
    use crate::nn::{Mlp, mlp};
    use crate::parametrization::Sp;
    use candle_core::Device;
    use std::sync::Arc;

    /// One linear layer with squared error: the Hessian is a constant matrix, 2/(n k) (xᵀx ⊗ 1).
    #[test]
    fn a_linear_network_has_the_eigenvalue_of_its_inputs() -> Result<()> {
        let network = mlp(Mlp {
            depth: 1,
            bias: false,
            inputs: Some(2),
            outputs: Some(3),
            activation: Activation::Identity,
            ..Mlp::default()
        });
        let settings = ModelSettings {
            seeds: vec![1, 2],
            dtype: DType::F64,
            device: Device::Cpu,
        };
        let model = Model::new(network, Arc::new(Sp::default()), settings)?;
        let batch = Batch {
            inputs: Tensor::new(&[[3f64, 0.0], [0.0, 1.0]], &Device::Cpu)?,
            labels: Labels::Values(Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?),
        };
        for value in top_eigenvalue(&model, &batch, Loss::Mse, 60, 0)? {
            // 2 / (2 · 3) · 9
            assert!((value - 3.0).abs() < 1e-9, "{value}");
        }
        Ok(())
    }
}
