//! Hessian–vector products and neural tangent kernels, in f64, against differences of gradients and
//! against the gradients of single examples.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, Labels};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::metrics::{Goal, Hessian, Loss, ntk};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, BatchNorm, Flatten, LayerNorm, Linear, RmsNorm};
use widthwise::nn::{Gradients, Network, Node};
use widthwise::parametrization::Mup;
use widthwise::tensor::elem::{read, to_f64, write};
use widthwise::tensor::rng::Key;

const BATCH: usize = 5;

fn numbers(label: &str, n: usize) -> Vec<f64> {
    let mut rng = Key::new(6).label(label).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn network(activation: Activation) -> Network {
    let mut network = Network::new("blocks", Some(6), serde_json::json!({}), move |sizes| {
        let linear = |outputs, bias| Linear { outputs, bias };
        let inner = Node::Residual {
            name: "inner".into(),
            body: vec![
                Node::layer("mix", linear(sizes.width, false)),
                Node::layer("act", activation),
            ],
            shortcut: Vec::new(),
            multiplier: -0.7,
        };
        Ok(vec![
            Node::layer("rows", linear(4, true)),
            Node::layer("act", activation),
            Node::layer("flat", Flatten),
            Node::layer("in", linear(sizes.width, true)),
            Node::Residual {
                name: "outer".into(),
                body: vec![
                    Node::layer("norm", LayerNorm { eps: 1e-3 }),
                    Node::layer("batch", BatchNorm::default()),
                    Node::layer("rms", RmsNorm { eps: 1e-3 }),
                    inner,
                    Node::layer("act", activation),
                ],
                shortcut: vec![Node::layer("mix", linear(sizes.width, true))],
                multiplier: 0.5,
            },
            Node::layer("readout", linear(sizes.outputs, true)),
        ])
    });
    network.input = Some(vec![2, 3]);
    network.outputs = Some(4);
    network
}

fn model(activation: Activation) -> Result<Model> {
    let rule = Mup {
        base_width: 3,
        output_mult: 2.0,
        input_mult: 0.5,
        ..Mup::default()
    };
    let settings = ModelSettings {
        seeds: vec![3, 8],
        dtype: DType::F64,
        place: Place::Cpu,
    };
    let model = Model::new(network(activation), Arc::new(rule), settings)?;
    for (i, param) in model.params().iter().enumerate() {
        // zero biases and readouts would hide terms
        let noise = numbers(&format!("noise {i}"), param.value.elem_count());
        write(&param.value, |v: &mut [f64]| {
            v.iter_mut().zip(&noise).for_each(|(v, n)| *v += 0.3 * n);
            Ok(())
        })?;
    }
    Ok(model)
}

fn like(model: &Model, label: &str) -> Result<Vec<Tensor>> {
    let params = model.params().iter();
    params
        .map(|p| {
            let mut values = numbers(&format!("{label} {}", p.info.path), p.value.elem_count());
            if !p.info.kind.is_trained() {
                values.fill(0.0);
            }
            Ok(Tensor::from_vec(values, p.value.shape(), &Device::Cpu)?)
        })
        .collect()
}

fn step(model: &Model, direction: &[Tensor], h: f64) -> Result<()> {
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

#[test]
fn hessian_vector_products_equal_differences_of_gradients() -> Result<()> {
    let cpu = Device::Cpu;
    let inputs = Tensor::from_vec(numbers("x", BATCH * 6), (BATCH, 2, 3), &cpu)?;
    let classes = Labels::Classes(Tensor::new(&[0u32, 3, 2, 1, 3], &cpu)?);
    let values = Tensor::from_vec(numbers("y", BATCH * 4), (BATCH, 4), &cpu)?;
    for activation in Activation::ALL {
        for (loss, labels) in [
            (Loss::CrossEntropy, classes.clone()),
            (Loss::Mse, Labels::Values(values.clone())),
        ] {
            let model = model(activation)?;
            let batch = Batch {
                inputs: inputs.clone(),
                labels,
            };
            let direction = like(&model, "direction")?;
            let image = like(&model, "image")?;
            Hessian::new(&model, &batch, loss)?
                .0
                .product(&direction, &image)?;
            let h = 1e-5;
            let mut sides = Vec::new();
            for side in [h, -h] {
                step(&model, &direction, side)?;
                sides.push(Hessian::new(&model, &batch, loss)?.1);
                step(&model, &direction, -side)?;
            }
            for (i, param) in model.params().iter().enumerate() {
                let (up, down) = (to_f64(&sides[0][i])?, to_f64(&sides[1][i])?);
                for ((ours, up), down) in to_f64(&image[i])?.iter().zip(&up).zip(&down) {
                    let wanted = (up - down) / (2.0 * h);
                    assert!(
                        (ours - wanted).abs() < 2e-6 * (1.0 + wanted.abs()),
                        "{activation:?} {loss:?} {}: {ours} {wanted}",
                        param.info.path
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_kernel_is_made_of_inner_products_of_gradients() -> Result<()> {
    let cpu = Device::Cpu;
    let inputs = Tensor::from_vec(numbers("x", BATCH * 6), (BATCH, 2, 3), &cpu)?;
    for activation in [Activation::Tanh, Activation::Relu] {
        let model = model(activation)?;
        let ours = to_f64(&ntk(&model, &inputs)?)?;
        // gradients of every output of every example, one at a time
        let plan = model.plan(1, Gradients::Passing)?;
        let mut rows = vec![Vec::new(); 2 * BATCH];
        for (i, row) in rows.chunks_mut(2).enumerate() {
            plan.forward(&model.values(), &inputs.narrow(0, i, 1)?)?;
            for output in 0..4 {
                let gradient = plan.output_gradient().unwrap();
                write(gradient, |g: &mut [f64]| {
                    g.fill(0.0);
                    g.iter_mut().skip(output).step_by(4).for_each(|g| *g = 1.0);
                    Ok(())
                })?;
                let grads = like(&model, "grads")?;
                plan.backward(&model.values(), &grads)?;
                for grad in &grads {
                    let values = to_f64(grad)?;
                    let (first, second) = values.split_at(values.len() / 2);
                    row[0].extend_from_slice(first);
                    row[1].extend_from_slice(second);
                }
            }
        }
        for member in 0..2 {
            for i in 0..BATCH {
                for j in 0..BATCH {
                    let (a, b) = (&rows[2 * i + member], &rows[2 * j + member]);
                    let wanted: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    let found = ours[(member * BATCH + i) * BATCH + j];
                    assert!(
                        (found - wanted).abs() < 1e-9 * (1.0 + wanted.abs()),
                        "{activation:?} member {member} ({i}, {j}): {found} {wanted}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn labels_that_do_not_fit_are_named() -> Result<()> {
    let labels = Labels::Classes(Tensor::new(&[9u32], &Device::Cpu)?);
    let error = Goal::new(Loss::CrossEntropy, &labels, 1, 4).unwrap_err();
    assert!(error.message.contains("class 9"), "{error}");
    Ok(())
}
