//! Gradients of a loss with respect to the parameters.

use candle_core::{DType, Device, Tensor};

use crate::data::Batch;
use crate::error::{Error, Result};
use crate::gpu::address;
use crate::memory;
use crate::metrics::gpu_goal::GpuGoal;
use crate::metrics::objective::{Goal, Loss};
use crate::model::{Model, Work};
use crate::nn::Gradients;

/// The gradient of each member's loss on a batch with respect to its parameters as they are stored:
/// the paths of all trained parameters in their order, each with a tensor `[members, …]` of the
/// parameter's shape, on the host. The loss is that of evaluation: batch normalisation uses its running
/// estimates, and dropout does nothing.
///
/// # Errors
/// If the batch does not fit the model, the loss the labels, or the passes the memory.
pub fn gradients(model: &Model, batch: &Batch, loss: Loss) -> Result<Vec<(String, Tensor)>> {
    let inputs = model.shaped(&batch.inputs)?;
    let points = inputs.dims()[0];
    if points == 0 {
        return Err(Error::shape("gradients need at least one example"));
    }
    let rows = model.rows(points);
    let goal = Goal::new(loss, &batch.labels, rows, model.outputs())?;
    let work = Work {
        gradients: Gradients::Passing,
        tensors: &["gradient"],
        optimizer: None,
        batches: 0,
    };
    model.check_memory("gradients", points, work)?;
    let plan = model.plan(points, Gradients::Passing)?;
    let (params, found) = (model.values(), model.like_params("gradient")?);
    plan.forward(&params, &inputs)?;
    match plan.on_gpu() {
        Some(on_gpu) => {
            let on_device = GpuGoal::new(on_gpu, loss, model.members(), [rows, model.outputs()])?;
            on_device.set(&goal)?;
            let device = on_gpu.gpu().device();
            let losses = memory::zeros("losses", &[model.members()], DType::F64, device)?;
            on_device.queue(on_gpu, address(&losses)?, 0)?;
            // what is queued writes there
            on_gpu.gpu().synchronize()?;
        }
        None => {
            goal.evaluate(plan.output(), plan.output_gradient())?;
        }
    }
    plan.backward(&params, &found)?;
    let each = model.params().iter().zip(found);
    let trained = each.filter(|(param, _)| param.info.kind.is_trained());
    let on_host = trained
        .map(|(param, gradient)| Ok((param.info.path.clone(), gradient.to_device(&Device::Cpu)?)));
    on_host.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Labels;
    use crate::metrics::testing;
    use crate::model::ModelSettings;
    use crate::nn::{Mlp, mlp};
    use crate::parametrization::Sp;
    use crate::reference::assert_close;
    use crate::tensor::elem::to_f64;
    use std::sync::Arc;

    #[test]
    fn gradients_are_differences_of_losses() {
        let network = mlp(Mlp {
            width: 5,
            depth: 2,
            inputs: Some(3),
            outputs: Some(4),
            activation: crate::nn::layers::Activation::Tanh,
            ..Mlp::default()
        });
        let settings = ModelSettings {
            seeds: vec![1, 2],
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        let mut model = Model::new(network, Arc::new(Sp::default()), settings).unwrap();
        let inputs = testing::normal(1, &[6, 3], 1.0);
        for (loss, labels) in [
            (Loss::CrossEntropy, testing::classes(2, 6, 4)),
            (Loss::Mse, testing::values(2, 6, 4)),
        ] {
            let batch = Batch {
                inputs: inputs.clone(),
                labels: labels.clone(),
            };
            let found = gradients(&model, &batch, loss).unwrap();
            let paths: Vec<String> = model.params().iter().map(|p| p.info.path.clone()).collect();
            assert!(found.iter().map(|(path, _)| path).eq(paths.iter()));
            for (path, gradient) in &found {
                let at = model
                    .params()
                    .iter()
                    .position(|p| p.info.path == *path)
                    .unwrap();
                let value = model.params()[at].value.copy().unwrap();
                let direction = testing::normal(9, value.dims(), 1.0);
                let mut side = |step: f64| {
                    let moved = (&value + (&direction * step).unwrap()).unwrap();
                    model.set_param(path, &moved).unwrap();
                    let outputs = model.predict(&inputs).unwrap();
                    loss.evaluate(&outputs, &labels, None).unwrap()
                };
                let (ahead, behind) = (side(1e-5), side(-1e-5));
                side(0.0);
                let products = (gradient * &direction).unwrap();
                let products = products.flatten_from(1).unwrap().sum(1).unwrap();
                let expected: Vec<f64> = ahead
                    .iter()
                    .zip(&behind)
                    .map(|(a, b)| (a - b) / 2e-5)
                    .collect();
                assert_close(path, &to_f64(&products).unwrap(), &expected, 1e-8);
            }
        }
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let network = mlp(Mlp {
            inputs: Some(3),
            outputs: Some(4),
            ..Mlp::default()
        });
        let model = Model::new(network, Arc::new(Sp::default()), ModelSettings::default()).unwrap();
        let inputs = testing::normal(1, &[6, 3], 1.0);
        let batch = Batch {
            inputs,
            labels: Labels::Classes(Tensor::new(&[9_u32; 6], &Device::Cpu).unwrap()),
        };
        let error = gradients(&model, &batch, Loss::CrossEntropy).unwrap_err();
        assert!(error.message.contains("class 9"), "{error}");
    }
}
