//! Neural tangent kernels in f64, as a whole and parameter by parameter: against PyTorch's Jacobians
//! and against gradients of single outputs of single examples; members and threads.

use std::sync::Arc;

use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::error::Result;
use widthwise::metrics::{NtkSettings, ntk, ntk_blocks, tangent_kernel};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{
    Activation, Conv2d, Flatten, GlobalAvgPool, GroupNorm, LayerNorm, Linear, Pool2d, Pooling,
};
use widthwise::nn::{
    Blocks, Gradients, Heads, ImageNorm, Network, Node, Positions, Resnet, Transformer, resnet,
    transformer,
};
use widthwise::parametrization::{Mup, Sp};
use widthwise::tensor::elem::{to_f64, write};
use widthwise::tensor::rng::Key;

const CPU: Device = Device::Cpu;

fn numbers(label: &str, n: usize) -> Vec<f64> {
    let mut rng = Key::new(6).label(label).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn tensor(label: &str, shape: &[usize]) -> Result<Tensor> {
    let values = numbers(label, shape.iter().product());
    Ok(Tensor::from_vec(values, shape, &CPU)?)
}

fn linear(outputs: usize) -> Linear {
    Linear {
        outputs,
        bias: true,
    }
}

fn conv(outputs: usize, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Conv2d {
    Conv2d {
        outputs,
        kernel,
        stride,
        padding,
        groups: 1,
        bias: true,
    }
}

fn network(input: &[usize], nodes: Vec<Node>) -> Network {
    let json = serde_json::json!({});
    let mut network = Network::new("test", None, json, move |_| Ok(nodes.clone()));
    network.input = Some(input.to_vec());
    network
}

/// The networks of the fixture, with layers called as PyTorch calls them.
fn of_fixture(name: &str) -> Network {
    let mut nodes = Vec::new();
    let mut push = |i: usize, node: &dyn Fn(&str) -> Node| nodes.push(node(&i.to_string()));
    let act = |a: Activation| move |n: &str| Node::layer(n, a);
    let dense = |outputs: usize| move |n: &str| Node::layer(n, linear(outputs));
    let (relu, tanh) = (act(Activation::Relu), act(Activation::Tanh));
    let input: &[usize] = match name {
        "mlp" => {
            push(0, &dense(7));
            push(1, &relu);
            push(2, &dense(6));
            push(3, &|n| Node::layer(n, LayerNorm::default()));
            push(4, &tanh);
            push(5, &dense(3));
            &[5]
        }
        "rows" => {
            push(0, &dense(5));
            push(1, &tanh);
            push(2, &dense(4));
            push(3, &relu);
            push(4, &|n| Node::layer(n, Flatten));
            push(5, &dense(2));
            &[4, 3]
        }
        _ => {
            let (second, third) = (
                conv(6, [3, 2], [2, 1], [1, 0]),
                conv(4, [3, 3], [2, 2], [1, 1]),
            );
            push(0, &|n| Node::layer(n, conv(4, [3, 3], [1, 1], [1, 1])));
            push(1, &relu);
            push(2, &|n| {
                Node::layer(
                    n,
                    Conv2d {
                        groups: 2,
                        ..second
                    },
                )
            });
            push(3, &|n| Node::layer(n, GroupNorm::new(3)));
            push(4, &relu);
            push(5, &|n| {
                Node::layer(
                    n,
                    Conv2d {
                        bias: false,
                        ..third
                    },
                )
            });
            push(6, &relu);
            if name == "cnn" {
                push(7, &|n| Node::layer(n, GlobalAvgPool));
                push(9, &dense(3));
            } else {
                push(7, &|n| Node::layer(n, Flatten));
                push(8, &dense(3));
            }
            &[2, 7, 6]
        }
    };
    network(input, nodes)
}

/// PyTorch's parameter in our layout.
fn ours(array: &Array) -> Result<Tensor> {
    let t = array.to_tensor();
    Ok(match t.rank() {
        4 => t.permute((2, 3, 1, 0))?.contiguous()?,
        2 => t.t()?.contiguous()?,
        _ => t,
    })
}

#[test]
fn kernels_of_whole_networks_and_of_each_parameter_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("ntk");
    let networks = fixture.json["networks"].as_object().unwrap();
    assert_eq!(networks.len(), 4);
    for (name, about) in networks {
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let settings = ModelSettings {
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        let mut model = Model::new(of_fixture(name), Arc::new(Sp::default()), settings)?;
        let paths = about["parameters"].as_array().unwrap();
        for path in paths {
            let path = path.as_str().unwrap();
            model.set_param(path, &ours(&get(path))?.unsqueeze(0)?)?;
        }
        let inputs = get("x").to_tensor();
        let kernel = to_f64(&ntk(&model, &inputs)?)?;
        assert_close(name, &kernel, &get("kernel").values, 1e-12);
        let blocks = ntk_blocks(&model, &inputs)?;
        assert_eq!(blocks.len(), paths.len());
        for block in blocks {
            let wanted = get(&format!("kernel.{}", block.path)).values;
            let found = to_f64(&block.kernel)?;
            assert_close(&format!("{name} {}", block.path), &found, &wanted, 1e-12);
        }
    }
    Ok(())
}

fn model(network: Network, seeds: &[u64], dtype: DType) -> Result<Model> {
    let settings = ModelSettings {
        seeds: seeds.to_vec(),
        dtype,
        place: widthwise::gpu::Place::Cpu,
    };
    let model = if network.width.is_some() {
        let rule = Mup {
            base_width: 4,
            output_mult: 1.5,
            input_mult: 0.7,
            ..Mup::default()
        };
        Model::new(network, Arc::new(rule), settings)?
    } else {
        Model::new(network, Arc::new(Sp::default()), settings)?
    };
    for param in model.params() {
        // zero biases and readouts would hide terms
        let size = param.value.elem_count() / seeds.len();
        let noise = numbers(&param.info.path, size).repeat(seeds.len());
        match dtype {
            DType::F32 => write(&param.value, |v: &mut [f32]| {
                v.iter_mut()
                    .zip(&noise)
                    .for_each(|(v, n)| *v += 0.3 * *n as f32);
                Ok(())
            })?,
            _ => write(&param.value, |v: &mut [f64]| {
                v.iter_mut().zip(&noise).for_each(|(v, n)| *v += 0.3 * n);
                Ok(())
            })?,
        }
    }
    Ok(model)
}

/// For each parameter and member the gradients `[points][outputs · numbers]` of every output of every
/// point, one at a time.
fn gradients(model: &Model, inputs: &Tensor) -> Result<Vec<Vec<Vec<Vec<f64>>>>> {
    let plan = model.plan(1, Gradients::Passing)?;
    let points = inputs.dims()[0];
    let mut rows = vec![vec![vec![Vec::new(); points]; model.members()]; model.params().len()];
    let grads = model.params().iter().map(|p| p.value.zeros_like());
    let grads = grads.collect::<candle_core::Result<Vec<_>>>()?;
    for i in 0..points {
        plan.forward(&model.values(), &inputs.narrow(0, i, 1)?)?;
        let gradient = plan.output_gradient().unwrap();
        let outputs = gradient.elem_count() / model.members();
        for output in 0..outputs {
            write(gradient, |g: &mut [f64]| {
                g.fill(0.0);
                let ones = g.iter_mut().skip(output).step_by(outputs);
                ones.for_each(|g| *g = 1.0);
                Ok(())
            })?;
            plan.backward(&model.values(), &grads)?;
            for (rows, grad) in rows.iter_mut().zip(&grads) {
                let values = to_f64(grad)?;
                let members = values.chunks(values.len() / model.members());
                for (rows, values) in rows.iter_mut().zip(members) {
                    rows[i].extend_from_slice(values);
                }
            }
        }
    }
    Ok(rows)
}

fn check(name: &str, model: &Model, inputs: &Tensor) -> Result<()> {
    let points = inputs.dims()[0];
    let mut sum = vec![0.0; model.members() * points * points];
    let blocks = ntk_blocks(model, inputs)?;
    let rows = gradients(model, inputs)?;
    assert_eq!(blocks.len(), rows.len());
    for (block, rows) in blocks.iter().zip(&rows) {
        let mut wanted = Vec::new();
        for rows in rows {
            for a in rows {
                wanted.extend(
                    rows.iter()
                        .map(|b| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()),
                );
            }
        }
        let found = to_f64(&block.kernel)?;
        let scale = wanted.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        let [found, wanted] = [found, wanted].map(|v| v.iter().map(|x| x / scale).collect());
        let (found, wanted): (Vec<f64>, Vec<f64>) = (found, wanted);
        assert_close(&format!("{name} {}", block.path), &found, &wanted, 1e-11);
        for (sum, found) in sum.iter_mut().zip(&found) {
            *sum += scale * found;
        }
    }
    let whole = to_f64(&ntk(model, inputs)?)?;
    let scale = sum.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    let [whole, sum]: [Vec<f64>; 2] = [whole, sum].map(|v| v.iter().map(|x| x / scale).collect());
    assert_close(name, &whole, &sum, 1e-12);
    Ok(())
}

#[test]
fn kernels_are_made_of_inner_products_of_gradients() -> Result<()> {
    let all = [Positions::Learned, Positions::Rope, Positions::None];
    for (positions, tied) in all.map(|p| (p, false)).into_iter().chain([(all[0], true)]) {
        let settings = Transformer {
            width: 8,
            tied,
            context: Some(5),
            vocab: Some(7),
            blocks: Blocks {
                depth: 1,
                heads: Heads::Size(4),
                positions,
                ..Blocks::default()
            },
        };
        let model = model(transformer(settings), &[3, 8], DType::F64)?;
        let mut rng = Key::new(2).rng();
        let tokens: Vec<f32> = (0..20).map(|_| rng.below(7) as f32).collect();
        let inputs = Tensor::from_vec(tokens, (4, 5), &CPU)?;
        check(&format!("{positions:?}, tied: {tied}"), &model, &inputs)?;
    }
    let mut residual = resnet(Resnet {
        width: 4,
        norm: ImageNorm::Group(2),
        ..Resnet::default()
    });
    residual.input = Some(vec![3, 9, 8]);
    residual.outputs = Some(3);
    let inputs = tensor("images", &[3, 3, 9, 8])?;
    check("resnet18", &model(residual, &[1, 2], DType::F64)?, &inputs)
}

/// Layers in all orders that change the form of what goes back.
#[test]
fn kernels_of_odd_shapes() -> Result<()> {
    let pool = |pooling| Pool2d {
        pooling,
        kernel: [2, 2],
        stride: [1, 2],
        padding: [0, 1],
    };
    let average = pool(Pooling::Average { count_border: true });
    let cases: Vec<(&str, Vec<usize>, Vec<Node>)> = vec![
        (
            "two linear layers at the end",
            vec![3],
            vec![
                Node::layer("a", linear(4)),
                Node::layer("b", Activation::Tanh),
                Node::layer("c", Activation::Gelu),
                Node::layer("d", linear(5)),
                Node::layer("e", linear(3)),
            ],
        ),
        (
            "an activation at the end",
            vec![2, 3],
            vec![
                Node::layer("a", linear(4)),
                Node::layer("b", LayerNorm::default()),
                Node::layer("c", Activation::Tanh),
            ],
        ),
        (
            "pools",
            vec![3, 5, 7],
            vec![
                Node::layer("a", conv(4, [3, 2], [2, 1], [2, 0])),
                Node::layer("b", pool(Pooling::Max)),
                Node::layer(
                    "c",
                    Conv2d {
                        groups: 2,
                        bias: false,
                        ..conv(6, [1, 1], [1, 1], [0, 0])
                    },
                ),
                Node::layer("d", average),
                Node::layer("e", GlobalAvgPool),
            ],
        ),
        (
            "a residual block at the end",
            vec![4, 3],
            vec![
                Node::layer("a", linear(4)),
                Node::Residual {
                    name: "b".into(),
                    body: vec![
                        Node::layer("a", Activation::Tanh),
                        Node::layer("b", linear(4)),
                    ],
                    shortcut: Vec::new(),
                    multiplier: -0.5,
                },
            ],
        ),
        (
            "one residual block in another",
            vec![2, 4, 4],
            vec![
                Node::layer("a", conv(3, [3, 3], [1, 1], [1, 1])),
                Node::Residual {
                    name: "b".into(),
                    body: vec![
                        Node::layer(
                            "a",
                            GroupNorm {
                                relu: true,
                                ..GroupNorm::new(1)
                            },
                        ),
                        Node::Residual {
                            name: "b".into(),
                            body: vec![Node::layer("a", conv(3, [3, 3], [1, 1], [1, 1]))],
                            shortcut: vec![Node::layer("b", conv(3, [1, 1], [1, 1], [0, 0]))],
                            multiplier: 0.3,
                        },
                    ],
                    shortcut: Vec::new(),
                    multiplier: 2.0,
                },
                Node::layer("c", Flatten),
            ],
        ),
    ];
    for (name, input, nodes) in cases {
        for points in [1, 6] {
            let model = model(network(&input, nodes.clone()), &[4, 7], DType::F64)?;
            let inputs = tensor(name, &[&[points], input.as_slice()].concat())?;
            check(name, &model, &inputs)?;
        }
    }
    Ok(())
}

#[test]
fn a_member_alone_is_the_member_in_an_ensemble_on_any_number_of_threads() -> Result<()> {
    let inputs = tensor("images", &[40, 2, 7, 6])?;
    let bits = |seeds: &[u64], threads: usize| -> Result<Vec<Vec<Vec<f64>>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let model = model(of_fixture("cnn"), seeds, DType::F32)?;
            let mut kernels = vec![ntk(&model, &inputs)?];
            kernels.extend(ntk_blocks(&model, &inputs)?.into_iter().map(|b| b.kernel));
            let of = |member: usize| {
                let kernels = kernels.iter();
                kernels
                    .map(|k| to_f64(&k.narrow(0, member, 1)?.contiguous()?))
                    .collect()
            };
            (0..seeds.len()).map(of).collect()
        })
    };
    let all = bits(&[5, 9, 7], 1)?;
    assert_eq!(bits(&[5, 9, 7], 3)?, all);
    assert_eq!(bits(&[9], 3)?[0], all[1]);
    assert_ne!(all[0], all[1]);
    Ok(())
}

#[test]
fn the_kernel_between_two_sets_is_part_of_that_of_both() -> Result<()> {
    let model = model(of_fixture("rows"), &[5, 9], DType::F64)?;
    let inputs = tensor("rows", &[5, 4, 3])?;
    let whole = ntk(&model, &inputs)?;
    let between =
        |a: &Tensor, b: &Tensor| tangent_kernel(&model, a, Some(b), NtkSettings::default());
    let found = between(&inputs.narrow(0, 0, 2)?, &inputs.narrow(0, 2, 3)?)?;
    assert_eq!(found.dims(), [2, 2, 3]);
    let wanted = whole.narrow(1, 0, 2)?.narrow(2, 2, 3)?.contiguous()?;
    assert_close("between", &to_f64(&found)?, &to_f64(&wanted)?, 1e-13);
    let none = inputs.narrow(0, 0, 0)?;
    assert!(between(&none, &inputs).is_err());
    Ok(())
}

#[test]
fn too_many_points_are_refused_before_the_work() -> Result<()> {
    let model = model(of_fixture("mlp"), &[5], DType::F64)?;
    // a view: it takes no memory
    let inputs = Tensor::zeros((1, 5), DType::F64, &CPU)?.broadcast_as((1_000_000, 5))?;
    let error = ntk(&model, &inputs).unwrap_err();
    assert!(
        error.message.contains("not enough memory: a kernel needs"),
        "{error}"
    );
    assert!(
        error.message.contains("kernel [1, 1000000, 1000000]"),
        "{error}"
    );
    let help = error.help.unwrap();
    assert!(help.contains("points would fit"), "{help}");
    Ok(())
}
