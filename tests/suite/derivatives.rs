//! What tests of whole networks share: gradients of a loss, directions, and steps along them.

use candle_core::{Device, Tensor};
use widthwise::data::Batch;
use widthwise::error::Result;
use widthwise::metrics::{Goal, Loss};
use widthwise::model::Model;
use widthwise::nn::{Gradients, Mode};
use widthwise::tensor::elem::{read, to_f64, write};
use widthwise::tensor::rng::Key;

/// Each member's cross-entropy and its gradients: in evaluation, or in training with each member's own
/// noise, the same in every call.
pub fn gradients(model: &Model, batch: &Batch, training: bool) -> Result<(Vec<f64>, Vec<Tensor>)> {
    let size = batch.inputs.dims()[0];
    let plan = model.plan(size, Gradients::Passing)?;
    if training {
        let keys = model.seeds().iter().map(|&s| Key::new(s)).collect();
        plan.set_mode(Mode::Training(keys));
    }
    let params = model.params().iter();
    let grads = params
        .map(|p| p.value.zeros_like())
        .collect::<candle_core::Result<Vec<_>>>()?;
    plan.forward(&model.values(), &batch.inputs)?;
    let goal = Goal::new(
        Loss::CrossEntropy,
        &batch.labels,
        model.rows(size),
        model.outputs(),
    )?;
    let losses = goal.evaluate(plan.output(), plan.output_gradient())?;
    plan.backward(&model.values(), &grads)?;
    Ok((losses, grads))
}

/// Random numbers for each parameter that is trained, zeros for the others.
pub fn direction(model: &Model, label: &str) -> Result<Vec<Tensor>> {
    let params = model.params().iter();
    params
        .map(|p| {
            let mut rng = Key::new(9).label(label).label(&p.info.path).rng();
            let moves = if p.info.kind.is_trained() { 1.0 } else { 0.0 };
            let count = p.value.elem_count();
            let values: Vec<f64> = (0..count).map(|_| moves * rng.normal()).collect();
            Ok(Tensor::from_vec(values, p.value.shape(), &Device::Cpu)?)
        })
        .collect()
}

/// Moves the parameters by `h` times a direction.
pub fn step(model: &Model, direction: &[Tensor], h: f64) -> Result<()> {
    for (param, direction) in model.params().iter().zip(direction) {
        read(direction, |d: &[f64]| {
            write(&param.value, |v: &mut [f64]| {
                v.iter_mut().zip(d).for_each(|(v, d)| *v += h * d);
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Each member's slope of the loss along a direction, from its gradients.
pub fn slopes(grads: &[Tensor], direction: &[Tensor], members: usize) -> Result<Vec<f64>> {
    let mut slopes = vec![0.0; members];
    for (g, d) in grads.iter().zip(direction) {
        let products = to_f64(&(g * d)?)?;
        let parts = products.chunks(products.len() / members);
        for (slope, part) in slopes.iter_mut().zip(parts) {
            *slope += part.iter().sum::<f64>();
        }
    }
    Ok(slopes)
}
