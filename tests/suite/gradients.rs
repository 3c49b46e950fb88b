//! Gradients of whole networks against central differences in f64, and against candle's autograd.

use candle_core::{DType, Device, Tensor, Var};
use widthwise::data::Labels;
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, Flatten, LayerNorm, Linear};
use widthwise::nn::{Gradients, Mlp, Network, Node, mlp};
use widthwise::parametrization::{MeanField, Mup, Ntp, Parametrization};
use widthwise::tensor::elem::{read, to_f64, write};
use widthwise::tensor::rng::Key;
use widthwise::train::Loss;

fn numbers(label: &str, n: usize) -> Vec<f64> {
    let mut rng = Key::new(5).label(label).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn blocks(activation: Activation) -> Network {
    let mut network = Network::new("blocks", Some(6), serde_json::json!({}), move |sizes| {
        let linear = |outputs| Linear {
            outputs,
            bias: true,
        };
        let inner = Node::Residual {
            name: "inner".into(),
            body: vec![
                Node::layer("mix", linear(sizes.width)),
                Node::layer("act", activation),
            ],
            shortcut: vec![],
            multiplier: -0.7,
        };
        Ok(vec![
            Node::layer("norm", LayerNorm::default()),
            Node::layer("flat", Flatten),
            Node::layer("in", linear(sizes.width)),
            Node::Residual {
                name: "outer".into(),
                body: vec![
                    Node::layer("norm", LayerNorm { eps: 1e-3 }),
                    inner,
                    Node::layer("flat", Flatten),
                    Node::layer("act", activation),
                ],
                shortcut: vec![],
                multiplier: 0.5,
            },
            Node::layer("readout", linear(sizes.outputs)),
        ])
    });
    network.input = Some(vec![2, 3]);
    network
}

fn rules() -> Vec<std::sync::Arc<dyn Parametrization>> {
    let mup = Mup {
        base_width: 3,
        output_mult: 2.0,
        input_mult: 0.5,
        ..Mup::default()
    };
    vec![
        std::sync::Arc::new(mup),
        std::sync::Arc::new(Ntp {
            weight_std: 1.3,
            bias_std: 0.4,
        }),
        std::sync::Arc::new(MeanField { gamma0: 0.5 }),
    ]
}

fn f64_model(network: Network, rule: std::sync::Arc<dyn Parametrization>) -> Result<Model> {
    let settings = ModelSettings {
        seeds: vec![3, 8],
        dtype: DType::F64,
        place: Place::Cpu,
    };
    Model::new(network, rule, settings)
}

#[test]
fn gradients_equal_central_differences() -> Result<()> {
    let batch = 5;
    let cpu = Device::Cpu;
    for activation in Activation::ALL {
        for rule in rules() {
            let model = f64_model(blocks(activation), rule)?;
            let plan = model.plan(batch, Gradients::Passing)?;
            let x = Tensor::from_vec(numbers("x", batch * 6), (batch, 2, 3), &cpu)?;
            let classes = Labels::Classes(Tensor::new(&[0u32, 3, 9, 1, 3], &cpu)?);
            let values = Tensor::from_vec(numbers("y", batch * 10), (batch, 10), &cpu)?;
            for (loss, labels) in [
                (Loss::CrossEntropy, &classes),
                (Loss::Mse, &classes),
                (Loss::Mse, &Labels::Values(values)),
            ] {
                plan.forward(&model.values(), &x)?;
                loss.evaluate(plan.output(), labels, plan.output_gradient())?;
                let grads: Vec<Tensor> = model
                    .params()
                    .iter()
                    .map(|p| p.value.zeros_like())
                    .collect::<candle_core::Result<_>>()?;
                plan.backward(&model.values(), &grads)?;
                let at = |value: &Tensor, i: usize, delta: f64| -> Result<Vec<f64>> {
                    write(value, |v: &mut [f64]| {
                        v[i] += delta;
                        Ok(())
                    })?;
                    plan.forward(&model.values(), &x)?;
                    let losses = loss.evaluate(plan.output(), labels, None);
                    write(value, |v: &mut [f64]| {
                        v[i] -= delta;
                        Ok(())
                    })?;
                    losses
                };
                for (param, grad) in model.params().iter().zip(&grads) {
                    let size = param.value.elem_count();
                    for i in (0..size).step_by((size / 7).max(1)) {
                        let h = 1e-5;
                        let (up, down) = (at(&param.value, i, h)?, at(&param.value, i, -h)?);
                        let member = i / (size / 2);
                        let wanted = (up[member] - down[member]) / (2.0 * h);
                        let ours = read(grad, |g: &[f64]| Ok(g[i]))?;
                        assert!(
                            (ours - wanted).abs() < 1e-7 * (1.0 + wanted.abs()),
                            "{activation:?} {loss:?} {} [{i}]: {ours} {wanted}",
                            param.info.path
                        );
                        let other = 1 - member;
                        assert_eq!(up[other], down[other], "members do not touch each other");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_equal_candles_autograd() -> Result<()> {
    let (batch, inputs) = (7, 12);
    let network = mlp(Mlp {
        width: 9,
        depth: 4,
        activation: Activation::Tanh,
        inputs: Some(inputs),
        ..Mlp::default()
    });
    let model = f64_model(
        network,
        std::sync::Arc::new(Mup {
            base_width: 3,
            ..Mup::default()
        }),
    )?;
    let x = Tensor::from_vec(numbers("x", batch * inputs), (batch, inputs), &Device::Cpu)?;
    let classes = Tensor::new(&[0u32, 3, 9, 1, 3, 2, 2], &Device::Cpu)?;
    let plan = model.plan(batch, Gradients::Passing)?;
    plan.forward(&model.values(), &x)?;
    let labels = Labels::Classes(classes.clone());
    let losses = Loss::CrossEntropy.evaluate(plan.output(), &labels, plan.output_gradient())?;
    let grads: Vec<Tensor> = model
        .params()
        .iter()
        .map(|p| p.value.zeros_like())
        .collect::<candle_core::Result<_>>()?;
    plan.backward(&model.values(), &grads)?;
    for (member, loss) in losses.iter().enumerate() {
        let vars: Vec<Var> = model
            .params()
            .iter()
            .map(|p| Var::from_tensor(&p.value.get(member)?.copy()?))
            .collect::<candle_core::Result<_>>()?;
        let mut h = x.clone();
        for (i, pair) in vars.chunks(2).enumerate() {
            let scale = model.params()[2 * i].multiplier;
            h = (h.matmul(&pair[0])? * scale)?.broadcast_add(&pair[1])?;
            if i + 1 < vars.len() / 2 {
                h = h.tanh()?;
            }
        }
        let theirs = candle_nn::loss::cross_entropy(&h, &classes)?;
        assert!((theirs.to_scalar::<f64>()? - loss).abs() < 1e-12);
        let store = theirs.backward()?;
        for (var, grad) in vars.iter().zip(&grads) {
            let theirs = to_f64(store.get(var).unwrap())?;
            let ours = to_f64(&grad.get(member)?)?;
            for (a, b) in ours.iter().zip(&theirs) {
                assert!((a - b).abs() < 1e-12, "{a} {b}");
            }
        }
    }
    Ok(())
}
