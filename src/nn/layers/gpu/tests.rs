//! GPU plans in the emulator against CPU plans.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::gpu::{Gpu, Place, address};
use crate::nn::layers::*;
use crate::nn::{Curvature, Gradients, Layer, Mode, Node, Param, Plan};
use crate::tensor::elem::to_f64;
use crate::tensor::rng::Key;

const MEMBERS: usize = 3;
const BATCH: usize = 5;

fn node(name: &str, layer: impl Layer + 'static) -> Node {
    Node::Layer {
        name: name.into(),
        layer: Arc::new(layer),
    }
}

fn linear(outputs: usize) -> Linear {
    Linear {
        outputs,
        bias: true,
    }
}

fn normal(name: &str, shape: &[usize], dtype: DType) -> Tensor {
    let mut rng = Key::new(7).label(name).rng();
    let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
    tensor.to_dtype(dtype).unwrap()
}

/// The curvature of ½ z².
struct Half;

impl<T: Copy> Curvature<T> for Half {
    fn apply(&self, _outputs: &[T], tangent: &[T], to: &mut [T]) {
        to.copy_from_slice(tangent);
    }
}

/// What the passes of a plan give: outputs, gradients, a Hessian–vector product, a kernel.
struct Given {
    output: Vec<f64>,
    grads: Vec<Vec<f64>>,
    image: Vec<Vec<f64>>,
    kernel: Option<Vec<f64>>,
}

/// Parameters as the layers want them, found by asking them in order.
fn shapes(nodes: &[Node], mut input: Vec<usize>) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for node in nodes {
        match node {
            Node::Layer { layer, .. } => {
                if layer.tied(&input).is_none() {
                    all.extend(layer.params(&input).into_iter().map(|p| p.shape));
                }
                input = layer.output_shape(&input).unwrap();
            }
            Node::Residual { body, shortcut, .. } => {
                all.extend(shapes(body, input.clone()));
                all.extend(shapes(shortcut, input.clone()));
            }
            Node::Parallel { branches, .. } => {
                for branch in branches {
                    all.extend(shapes(branch, input.clone()));
                }
            }
        }
    }
    all
}

fn run(
    nodes: &[Node],
    input: &[usize],
    place: &Place,
    dtype: DType,
    mode: &Mode,
    inputs: &Tensor,
) -> Result<Given> {
    let arith = if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let shapes = shapes(nodes, input.to_vec());
    let tensors = |what: &str, zero: bool| -> Vec<Tensor> {
        let all = shapes.iter().enumerate();
        let tensor = all.map(|(i, shape)| {
            let dims = [&[MEMBERS], shape.as_slice()].concat();
            let value = normal(&format!("{what}{i}"), &dims, arith);
            // running variances must not be negative
            let value = if what == "w" {
                (value.abs().unwrap() * 0.5).unwrap()
            } else {
                value
            };
            if zero {
                value.zeros_like().unwrap()
            } else {
                value
            }
        });
        tensor.collect()
    };
    let (values, grads) = (tensors("w", false), tensors("g", true));
    let params: Vec<Param<'_>> = values
        .iter()
        .enumerate()
        .map(|(i, value)| Param {
            value,
            multiplier: 0.75 + 0.5 * i as f64,
        })
        .collect();
    // buffers of gradients that are used again, and longer than what is in them, are those of training
    let gradients = match mode {
        Mode::Evaluation => Gradients::Kept,
        Mode::Training(_) => Gradients::Passing,
    };
    let plan = Plan::new(nodes, input, (MEMBERS, BATCH), (dtype, place), gradients)?;
    plan.set_mode(mode.clone());
    // the second time over what the first one left
    for _ in 0..2 {
        plan.forward(&params, inputs)?;
        // the gradient of ½ z²
        let gradient = plan.output_gradient().unwrap();
        match plan.on_gpu() {
            None => crate::tensor::elementwise::copy(gradient, plan.output())?,
            Some(on_gpu) => {
                let bytes = gradient.elem_count() * on_gpu.stored().size();
                let to = address(gradient)?;
                on_gpu.gpu().copy(on_gpu.output().at, to, bytes)?;
            }
        }
        plan.backward(&params, &grads)?;
    }
    let z = plan.output().to_dtype(DType::F64)?;
    let all = |tensors: &[Tensor]| tensors.iter().map(|t| to_f64(t).unwrap()).collect();
    let mut given = Given {
        output: to_f64(&z)?,
        grads: all(&grads),
        image: Vec::new(),
        kernel: None,
    };
    if *mode == Mode::Evaluation {
        let (direction, image) = (tensors("d", false), tensors("i", true));
        match plan.on_gpu() {
            Some(on_gpu) => {
                let n = z.elem_count() / MEMBERS;
                let gpu = on_gpu.gpu().clone();
                let stored = on_gpu.stored();
                on_gpu.hessian_vector(&params, &direction, &image, &|_, from, to| {
                    let size = MEMBERS * n * stored.size();
                    gpu.copy(from.at, to.at, size)
                })?;
            }
            None if dtype == DType::F64 => {
                plan.hessian_vector::<f64>(&params, &direction, &image, &Half)?;
            }
            None => plan.hessian_vector::<f32>(&params, &direction, &image, &Half)?,
        }
        given.image = all(&image);
        let plan = Plan::new(
            nodes,
            input,
            (MEMBERS, BATCH),
            (dtype, place),
            Gradients::None,
        )?;
        plan.forward(&params, inputs)?;
        let kernel = Tensor::zeros((MEMBERS, BATCH, BATCH), arith, &Device::Cpu)?;
        given.kernel = match plan.ntk(&params, &kernel) {
            Ok(()) => Some(to_f64(&kernel)?),
            Err(e) => {
                assert!(e.message.contains("share"), "{e}");
                None
            }
        };
    }
    Ok(given)
}

/// Largest difference, relative to the largest number.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()), "{a:?} {b:?}");
    let largest = a.iter().chain(b).fold(1e-30, |m: f64, x| m.max(x.abs()));
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f64::max) / largest
}

fn compare(what: &str, a: &Given, b: &Given, bound: f64) {
    let close = |part: &str, a: &[f64], b: &[f64]| {
        let found = apart(a, b);
        assert!(found < bound, "{what}: {part}: {found}");
    };
    close("output", &a.output, &b.output);
    for (i, (a, b)) in a.grads.iter().zip(&b.grads).enumerate() {
        close(&format!("gradient {i}"), a, b);
    }
    for (i, (a, b)) in a.image.iter().zip(&b.image).enumerate() {
        close(&format!("Hessian product {i}"), a, b);
    }
    assert_eq!(a.kernel.is_some(), b.kernel.is_some(), "{what}");
    if let (Some(a), Some(b)) = (&a.kernel, &b.kernel) {
        close("kernel", a, b);
    }
}

/// Layers that compare numbers: rounding may decide anew which is the largest or whether one is positive, and a
/// gradient then goes elsewhere.
const DECIDING: [&str; 3] = ["max_pool2d", "group_norm", "batch_norm"];

/// How far bf16 may be from f64, relative to the largest number. Weights, inputs and every layer's numbers are rounded,
/// each by at most 1/256 of itself: outputs were at most 0.009 apart, gradients 0.03, Hessian products 0.04.
fn bound_of_bf16(what: &str) -> f64 {
    if DECIDING.contains(&what) {
        0.3
    } else {
        1.0 / 16.0
    }
}

/// Runs nodes on both, in evaluation and in training, in every type.
fn same(what: &str, nodes: &[Node], input: &[usize], inputs: &Tensor) {
    let gpu = Place::Gpu(Arc::new(Gpu::emulated()));
    let keys = (0..MEMBERS as u64).map(Key::new).collect();
    for mode in [Mode::Evaluation, Mode::Training(keys)] {
        let on = |place: &Place, dtype| run(nodes, input, place, dtype, &mode, inputs).unwrap();
        let cpu = on(&Place::Cpu, DType::F64);
        let bf16 = bound_of_bf16(what);
        for (dtype, bound) in [(DType::F64, 1e-11), (DType::F32, 2e-4), (DType::BF16, bf16)] {
            let what = format!("{what} {dtype:?} {mode:?}");
            compare(&what, &on(&gpu, dtype), &cpu, bound);
        }
    }
}

/// A layer behind one that is trained and before one, so that it gets and gives gradients.
fn between(layer: impl Layer + 'static, input: &[usize]) {
    let name = layer.kind().to_string();
    let nodes = [
        node("first", linear(*input.last().unwrap())),
        node("layer", layer),
        node("flat", Flatten),
        node("last", linear(3)),
    ];
    let inputs = normal("x", &[&[BATCH], input].concat(), DType::F64);
    same(&name, &nodes, input, &inputs);
}

#[test]
fn activations() {
    for activation in Activation::ALL {
        between(activation, &[7]);
    }
}

#[test]
fn linear_layers_with_and_without_positions() {
    between(linear(6), &[9]);
    between(linear(6), &[4, 9]);
}

#[test]
fn residual_blocks() {
    let nodes = [
        node("in", linear(6)),
        Node::Residual {
            name: "block".into(),
            body: vec![node("a", linear(6)), node("b", Activation::Tanh)],
            shortcut: vec![],
            multiplier: 0.5,
        },
        Node::Residual {
            name: "other".into(),
            body: vec![node("a", Activation::Gelu), node("b", linear(6))],
            shortcut: vec![node("c", linear(6))],
            multiplier: 1.0,
        },
        node("out", linear(2)),
    ];
    let inputs = normal("x", &[BATCH, 4], DType::F64);
    same("residual", &nodes, &[4], &inputs);
}

#[test]
fn norms_over_the_last_axis() {
    between(LayerNorm::default(), &[37]);
    between(LayerNorm::default(), &[3, 8]);
    between(RmsNorm { eps: 1e-6 }, &[37]);
    between(RmsNorm { eps: 1e-6 }, &[3, 8]);
    between(
        QkNorm {
            head_size: 4,
            eps: 1e-6,
        },
        &[3, 24],
    );
}

#[test]
fn norms_of_images() {
    for relu in [false, true] {
        let (eps, groups) = (1e-5, 2);
        between(GroupNorm { groups, eps, relu }, &[6, 4, 5]);
        let momentum = 0.1;
        between(
            BatchNorm {
                eps,
                momentum,
                relu,
            },
            &[4, 3, 5],
        );
    }
}

#[test]
fn convolutions() {
    for (kernel, stride, padding, groups, bias) in [
        ([3, 3], [1, 1], [1, 1], 1, true),
        ([1, 1], [1, 1], [0, 0], 1, false),
        ([1, 1], [2, 2], [0, 0], 1, true),
        ([3, 2], [2, 1], [1, 0], 2, true),
        ([5, 5], [2, 3], [2, 2], 1, false),
    ] {
        let outputs = 6;
        between(
            Conv2d {
                outputs,
                kernel,
                stride,
                padding,
                groups,
                bias,
            },
            &[4, 7, 6],
        );
    }
}

/// Channels enough for tensor cores, where numbers are bf16.
#[test]
fn convolutions_of_many_channels() {
    between(Conv2d::square(16, 3, 2), &[16, 5, 4]);
}

#[test]
fn pools() {
    let average = |count_border| Pooling::Average { count_border };
    for pooling in [Pooling::Max, average(false), average(true)] {
        for (kernel, stride, padding) in [
            ([2, 2], [2, 2], [0, 0]),
            ([3, 3], [2, 2], [1, 1]),
            ([3, 2], [1, 3], [0, 1]),
        ] {
            between(
                Pool2d {
                    pooling,
                    kernel,
                    stride,
                    padding,
                },
                &[3, 6, 7],
            );
        }
    }
    between(GlobalAvgPool, &[3, 6, 7]);
}

#[test]
fn dropout_drops_the_same() {
    between(Dropout { p: 0.4 }, &[70]);
}

#[test]
fn gated_units() {
    between(
        Glu {
            activation: Activation::Silu,
        },
        &[3, 10],
    );
}

#[test]
fn positions_and_patches() {
    between(ClassToken, &[4, 6]);
    between(PositionPool::First, &[4, 6]);
    between(PositionPool::Mean, &[4, 6]);
    between(Patches { size: [2, 3] }, &[3, 4, 6]);
    between(PositionalEmbedding { context: None }, &[4, 6]);
    between(PositionalEmbedding { context: Some(7) }, &[4, 6]);
    for pairs in [Pairs::Adjacent, Pairs::Halves] {
        between(Rope::new(4, 100.0, pairs).unwrap(), &[5, 24]);
    }
}

#[test]
fn attention() {
    for (causal, scale) in [
        (true, AttentionScale::InverseSqrt),
        (false, AttentionScale::Inverse),
    ] {
        for (head_size, positions, heads) in [(4, 5, 2), (6, 37, 1)] {
            let layer = Attention {
                head_size,
                causal,
                scale,
            };
            between(layer, &[positions, 3 * heads * head_size]);
        }
    }
}

/// A transformer's ends: tokens in, the same table out.
#[test]
fn embeddings_and_tied_readouts() {
    let (vocab, width) = (300, 6);
    let tokens: Vec<f64> = (0..BATCH * 4)
        .map(|i| f64::from((i as u32 * 79) % 300))
        .collect();
    let tokens = Tensor::from_vec(tokens, (BATCH, 4), &Device::Cpu).unwrap();
    let body = || {
        vec![
            node("table", Embedding { vocab, width }),
            node("a", Activation::Tanh),
        ]
    };
    let end = vec![node("flat", Flatten), node("last", linear(3))];
    same("embedding", &[body(), end.clone()].concat(), &[4], &tokens);
    let tied = TiedReadout {
        to: "table".into(),
        vocab,
        multiplier: 0.5,
    };
    let readout = vec![node("tied", tied)];
    same("tied", &[body(), readout, end].concat(), &[4], &tokens);
}
