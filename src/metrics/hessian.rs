//! Hessian–vector and Gauss–Newton–vector products, and the largest eigenvalue by power iteration.

use candle_core::{DType, Tensor};
use serde::Serialize;

use super::gpu_goal::GpuGoal;
use super::gpu_vectors::GpuVectors;
use super::objective::{Goal, Loss};
use super::reduced::Reduced;
use crate::data::{Batch, Labels};
use crate::error::{Error, Result};
use crate::gpu::address;
use crate::interrupt;
use crate::memory;
use crate::model::{Model, Work};
use crate::nn::{Gradients, Param, Plan};
use crate::tensor::elem::{dispatch, read, write};
use crate::tensor::elementwise::{dot, scale};
use crate::tensor::rng::Key;

/// What a vector in the space of the parameters is called in messages.
pub(super) const DIRECTION: &str = "direction";

/// Which matrix of second derivatives is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CurvatureMatrix {
    /// The Hessian of the loss.
    Hessian,
    /// The generalised Gauss–Newton matrix `Jᵀ H_L J`: `J` is the Jacobian of the outputs with respect to
    /// the parameters, `H_L` the Hessian of the loss with respect to the outputs (Schraudolph 2002). It
    /// has no negative eigenvalues.
    GaussNewton,
}

/// The Hessian of each member's loss on one batch, as a linear map of the parameters as they are
/// stored. The products are exact up to rounding: the tangent of the gradient, forward over reverse
/// (Pearlmutter 1994). Activations and their gradients are computed once, for all products.
///
/// The Gauss–Newton matrix is what is left of it where the gradient of the outputs is zero: the Hessian is
/// `Jᵀ H_L J + Σ_o ∂L/∂z_o ∇²z_o`, and the second term is linear in the gradients that the backward pass
/// leaves.
///
/// The loss is that of evaluation: batch normalisation uses its running estimates, which count as
/// constants, and dropout does nothing.
#[derive(Debug)]
pub struct Hessian {
    plan: Plan,
    values: Vec<Tensor>,
    multipliers: Vec<f64>,
    goal: Goal,
    on_gpu: Option<GpuGoal>,
}

impl Hessian {
    /// The Hessian of `loss` on `batch`; with the gradient, in the order of the parameters.
    ///
    /// # Errors
    /// If the batch does not fit the model, or the loss the labels; if what a product needs does not
    /// fit into memory.
    pub fn new(model: &Model, batch: &Batch, loss: Loss) -> Result<(Self, Vec<Tensor>)> {
        let inputs = model.shaped(&batch.inputs)?;
        let hessian = CurvatureMatrix::Hessian;
        Self::at(model, &inputs, values(model), &batch.labels, loss, hessian)
    }

    /// The Gauss–Newton matrix of `loss` on `batch`, with the same products.
    ///
    /// # Errors
    /// As for [`Hessian::new`].
    pub fn gauss_newton(model: &Model, batch: &Batch, loss: Loss) -> Result<Self> {
        let inputs = model.shaped(&batch.inputs)?;
        let matrix = CurvatureMatrix::GaussNewton;
        let made = Self::at(model, &inputs, values(model), &batch.labels, loss, matrix);
        made.map(|(hessian, _)| hessian)
    }

    /// A matrix for inputs and values that the model's network may have in another shape; with tensors
    /// like the parameters, of which those of the Hessian are the gradient.
    pub(super) fn at(
        model: &Model,
        inputs: &Tensor,
        values: Vec<Tensor>,
        labels: &Labels,
        loss: Loss,
        matrix: CurvatureMatrix,
    ) -> Result<(Self, Vec<Tensor>)> {
        let points = inputs.dims()[0];
        if points == 0 {
            return Err(Error::shape("a Hessian needs at least one example"));
        }
        let goal = Goal::new(loss, labels, model.rows(points), model.outputs())?;
        let work = Work {
            gradients: Gradients::Kept,
            tensors: &["gradient", DIRECTION],
            optimizer: None,
            batches: 0,
        };
        model.check_memory("a Hessian", points, work)?;
        let plan = model.plan_for(&inputs.dims()[1..], points, Gradients::Kept)?;
        let sizes = [model.rows(points), model.outputs()];
        let on_gpu = match plan.on_gpu() {
            Some(on_gpu) => Some(GpuGoal::new(on_gpu, loss, model.members(), sizes)?),
            None => None,
        };
        let gradients = values.iter().map(|v| memory::zeros_like("gradient", v));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        let hessian = Self {
            plan,
            values,
            multipliers: model.params().iter().map(|p| p.multiplier).collect(),
            goal,
            on_gpu,
        };
        let params = hessian.params();
        hessian.plan.forward(&params, inputs)?;
        let plan = &hessian.plan;
        match (&hessian.on_gpu, plan.on_gpu()) {
            // the gradient of a new plan's outputs is zero
            _ if matrix == CurvatureMatrix::GaussNewton => {}
            (Some(goal), Some(on_gpu)) => {
                goal.set(&hessian.goal)?;
                let device = on_gpu.gpu().device();
                let losses = memory::zeros("losses", &[model.members()], DType::F64, device)?;
                goal.queue(on_gpu, address(&losses)?, 0)?;
                // what is queued writes there
                on_gpu.gpu().synchronize()?;
            }
            _ => {
                let (outputs, gradient) = (plan.output(), plan.output_gradient());
                hessian.goal.evaluate(outputs, gradient)?;
            }
        }
        plan.backward(&params, &gradients)?;
        drop(params);
        Ok((hessian, gradients))
    }

    fn params(&self) -> Vec<Param<'_>> {
        let params = self.values.iter().zip(&self.multipliers);
        params
            .map(|(value, &multiplier)| Param { value, multiplier })
            .collect()
    }

    /// Writes each member's Hessian times `direction` into `image`; both in the order and shapes
    /// `[members, …]` of the parameters.
    ///
    /// # Errors
    /// If their shapes do not fit, or a layer has no second derivative.
    pub fn product(&self, direction: &[Tensor], image: &[Tensor]) -> Result<()> {
        let Some(first) = self.values.first() else {
            return Ok(());
        };
        if let (Some(goal), Some(on_gpu)) = (&self.on_gpu, self.plan.on_gpu()) {
            return on_gpu.hessian_vector(&self.params(), direction, image, &|z, dz, to| {
                goal.bend(z, dz, to)
            });
        }
        dispatch!(first, T => {
            self.plan.hessian_vector::<T>(&self.params(), direction, image, &self.goal)
        })
    }
}

pub(super) fn values(model: &Model) -> Vec<Tensor> {
    model.params().iter().map(|p| p.value.clone()).collect()
}

/// Inner products and lengths of tensors like the parameters.
pub(super) struct Products {
    members: usize,
    on_gpu: Option<GpuVectors>,
}

impl Products {
    /// Of tensors like these, where the model is.
    pub fn new(model: &Model, like: &[Tensor]) -> Result<Self> {
        let members = model.members();
        let on_gpu = match (model.place().gpu(), like.first()) {
            (Some(gpu), Some(first)) => {
                let sizes = like.iter().map(|t| t.elem_count() / members.max(1));
                let most = sizes.max().unwrap_or(0);
                Some(GpuVectors::new(gpu, first.dtype(), members, most)?)
            }
            _ => None,
        };
        Ok(Self { members, on_gpu })
    }

    /// The inner product of each member's numbers.
    pub fn inner(&self, a: &[Tensor], b: &[Tensor]) -> Result<Vec<f64>> {
        match &self.on_gpu {
            Some(vectors) => vectors.inner(a, b),
            None => per_member(self.members, a, b),
        }
    }

    /// Gives every member's direction the length 1.
    fn normalise(&self, direction: &[Tensor]) -> Result<()> {
        let Some(vectors) = &self.on_gpu else {
            return normalise(self.members, direction);
        };
        let squares = vectors.inner(direction, direction)?;
        // a direction of 0 stays as it is
        let factor = |square: f64| {
            if square > 0.0 {
                1.0 / square.sqrt()
            } else {
                1.0
            }
        };
        let factors: Vec<f64> = squares.into_iter().map(factor).collect();
        let mut tensors = direction.iter();
        tensors.try_for_each(|tensor| vectors.scaled(tensor, tensor, &factors))
    }
}

/// Per member, the sum over parameters of inner products of its parts.
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

/// A random direction, the same for every member.
pub(super) fn random_direction(model: &Model, seed: u64) -> Result<Vec<Tensor>> {
    let direction = model.like_params(DIRECTION)?;
    let params = model.params().iter().zip(&direction);
    for (param, tensor) in params.filter(|(p, _)| p.info.kind.is_trained()) {
        let key = Key::new(seed).label("direction").label(&param.info.path);
        dispatch!(tensor, T => write(tensor, |numbers: &mut [T]| {
            let size = (numbers.len() / model.members()).max(1);
            let mut rng = key.rng();
            let first: Vec<T> = (0..size)
                .map(|_| <T as crate::tensor::elem::Elem>::of(rng.normal()))
                .collect();
            numbers.chunks_mut(size).for_each(|part| part.copy_from_slice(&first));
            Ok(())
        }))?;
    }
    Ok(direction)
}

/// How [`top_eigenvalue`] iterates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerIteration {
    /// Most Hessian–vector products.
    pub products: usize,
    /// A member is done when its residual is at most this share of its value; with 0 it takes all products.
    pub tolerance: f64,
    /// Seed of the first direction, which all members share.
    pub seed: u64,
}

/// Each member's Hessian eigenvalue of largest magnitude, by power iteration from a random direction: the last
/// Rayleigh quotient, and its residual `‖H v − θ v‖`, at least the root of one rounding: an eigenvalue is no further away
/// than that. A member that is
/// done is left as it is, so that its numbers do not depend on the others.
///
/// Where a first linear layer has more inputs than there are examples, the products are formed in the
/// coordinates of the examples' span: the Hessian has no image outside of it, so that the
/// quotients from the second product on are the same up to rounding.
///
/// # Errors
/// As for [`Hessian::new`].
pub fn top_eigenvalue(
    model: &Model,
    batch: &Batch,
    loss: Loss,
    iteration: PowerIteration,
) -> Result<Vec<[f64; 2]>> {
    top_eigenvalue_in(None, model, batch, loss, iteration)
}

fn top_eigenvalue_in(
    reduce: Option<bool>,
    model: &Model,
    batch: &Batch,
    loss: Loss,
    iteration: PowerIteration,
) -> Result<Vec<[f64; 2]>> {
    let PowerIteration {
        products,
        tolerance,
        seed,
    } = iteration;
    if products == 0 {
        return Err(Error::setting("products must be at least 1"));
    }
    let mut inputs = model.shaped(&batch.inputs)?;
    let (mut values, mut direction) = (values(model), random_direction(model, seed)?);
    if let (true, Some(first)) = (model.reads_by_product(), values.first()) {
        let (points, sizes) = (inputs.dims()[0], first.dims());
        let pays = Reduced::pays(points, sizes[1], sizes[2], products);
        if reduce.unwrap_or(pays) && points > 0 {
            let reduced = Reduced::new(&inputs)?;
            inputs = reduced.inputs(first)?;
            values[0] = reduced.weight(first)?;
            direction[0] = reduced.weight(&direction[0])?;
        }
    }
    let matrix = CurvatureMatrix::Hessian;
    let (hessian, mut image) = Hessian::at(model, &inputs, values, &batch.labels, loss, matrix)?;
    let of = Products::new(model, &direction)?;
    let mut found = vec![[f64::NAN; 2]; model.members()];
    let mut done = vec![false; model.members()];
    let rounding = match model.dtype() {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    };
    for _ in 0..products {
        if interrupt::requested() {
            return Err(Error::interrupted());
        }
        of.normalise(&direction)?;
        hessian.product(&direction, &image)?;
        let quotients = of.inner(&direction, &image)?;
        let squares = of.inner(&image, &image)?;
        for (member, (value, square)) in quotients.into_iter().zip(squares).enumerate() {
            if !done[member] {
                // the difference has no more digits than that
                let least = rounding.sqrt() * value.abs();
                let residual = (square - value * value).max(0.0).sqrt().max(least);
                found[member] = [value, residual];
                let close = tolerance > 0.0 && residual <= tolerance * value.abs();
                done[member] = close || !value.is_finite();
            }
        }
        if done.iter().all(|d| *d) {
            break;
        }
        std::mem::swap(&mut direction, &mut image);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Place;
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
            place: Place::Cpu,
        };
        let model = Model::new(network, Arc::new(Sp::default()), settings)?;
        let batch = Batch {
            inputs: Tensor::new(&[[3f64, 0.0], [0.0, 1.0]], &Device::Cpu)?,
            labels: Labels::Values(Tensor::zeros((2, 3), DType::F64, &Device::Cpu)?),
        };
        let iteration = |products, tolerance| PowerIteration {
            products,
            tolerance,
            seed: 0,
        };
        let exact = 2.0 / (2.0 * 3.0) * 9.0;
        for tolerance in [0.1, 0.01] {
            for [value, residual] in
                top_eigenvalue(&model, &batch, Loss::Mse, iteration(60, tolerance))?
            {
                assert!(residual <= tolerance * value, "{residual}");
                assert!((value - exact).abs() <= residual, "{value} {residual}");
            }
        }
        for [_, residual] in top_eigenvalue(&model, &batch, Loss::Mse, iteration(1, 1e-3))? {
            assert!(residual > 1e-3, "{residual}");
        }
        for [value, _] in top_eigenvalue(&model, &batch, Loss::Mse, iteration(60, 0.0))? {
            // 2 / (2 · 3) · 9
            assert!((value - 3.0).abs() < 1e-9, "{value}");
        }
        Ok(())
    }

    #[test]
    fn fewer_coordinates_give_the_same_eigenvalues() -> Result<()> {
        same_eigenvalues(DType::F64, 1e-9)?;
        same_eigenvalues(DType::F32, 1e-3)
    }

    fn same_eigenvalues(dtype: DType, bound: f64) -> Result<()> {
        let (points, inputs) = (9, 30);
        let network = mlp(Mlp {
            width: 7,
            inputs: Some(inputs),
            outputs: Some(4),
            activation: Activation::Tanh,
            ..Mlp::default()
        });
        let settings = ModelSettings {
            seeds: vec![1, 2, 3],
            dtype,
            place: Place::Cpu,
        };
        let model = Model::new(network, Arc::new(Sp::default()), settings)?;
        let mut rng = Key::new(1).rng();
        let mut x: Vec<f64> = (0..points * inputs).map(|_| rng.normal()).collect();
        // an example that is there twice
        x.copy_within(0..inputs, inputs);
        let classes: Vec<u32> = (0..points as u32).map(|i| i % 4).collect();
        let batch = Batch {
            inputs: Tensor::from_vec(x, (points, inputs), &Device::Cpu)?.to_dtype(dtype)?,
            labels: Labels::Classes(Tensor::from_vec(classes, points, &Device::Cpu)?),
        };
        for products in [2, 3, 20] {
            let value = |reduce| {
                top_eigenvalue_in(
                    Some(reduce),
                    &model,
                    &batch,
                    Loss::CrossEntropy,
                    PowerIteration {
                        products,
                        tolerance: 0.0,
                        seed: 4,
                    },
                )
            };
            let (whole, reduced) = (value(false)?, value(true)?);
            for ([a, _], [b, _]) in whole.iter().zip(&reduced) {
                assert!((a - b).abs() < bound * a.abs(), "{products}: {a} {b}");
            }
        }
        Ok(())
    }

    #[test]
    fn coordinates_are_reduced_where_that_is_less_work() {
        assert!(Reduced::pays(1000, 3072, 256, 20));
        assert!(!Reduced::pays(1000, 3072, 256, 1));
        assert!(!Reduced::pays(3072, 1000, 256, 20));
        assert!(!Reduced::pays(1000, 1010, 256, 20));
    }
}
