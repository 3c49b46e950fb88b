//! Whole networks in many settings: against PyTorch, gradients and Hessian–vector products against
//! differences, alone and in an ensemble, roles of their parameters, and what cannot be built.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use crate::derivatives::{direction, gradients, slopes, step};
use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, Labels, Stream, Targets};
use widthwise::error::Result;
use widthwise::metrics::{Hessian, Loss};
use widthwise::model::{Model, ModelSettings, explain};
use widthwise::nn::layers::{Activation, AttentionScale, Linear};
use widthwise::nn::{
    Blocks, Cnn, Downsample, Gradients, Heads, ImageNorm, Network, Node, NormPosition, Positions,
    Resnet, Role, RowNorm, Sizes, Stem, Transformer, Vit, VitPool, cnn, resnet, stages,
    transformer, vit,
};
use widthwise::optim::Sgd;
use widthwise::parametrization::{Mup, OptimizerFamily, Sp};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::rng::Key;
use widthwise::train::{Clip, NoHooks, Trainer, TrainerSettings};

const CPU: Device = Device::Cpu;
const CASES: [&str; 14] = [
    "transformer.post_norm",
    "transformer.llama",
    "transformer.qk_norm",
    "vit.class_token",
    "vit.mean",
    "resnet.bottleneck",
    "resnet.layer",
    "resnet.none",
    "resnet.batch",
    "cnn.avg_pool",
    "cnn.max_pool",
    "cnn.stride",
    "cnn.none",
    "transformer.tied",
];

/// A case of `architectures.py`, and the shape of its inputs.
fn case(name: &str) -> (Network, Vec<usize>) {
    let gpt2 = Blocks {
        depth: 2,
        heads: Heads::Size(4),
        ..Blocks::default()
    };
    let decoder = |blocks: Blocks| Transformer {
        width: 12,
        context: Some(5),
        vocab: Some(11),
        blocks,
        ..Transformer::default()
    };
    let sight = |blocks: Blocks| Vit {
        width: 12,
        outputs: Some(3),
        blocks: Blocks {
            activation: Activation::Gelu,
            causal: false,
            ..blocks
        },
        ..Vit::default()
    };
    let residual = Resnet {
        width: 2,
        blocks: vec![1, 1],
        norm: ImageNorm::Group(2),
        outputs: Some(3),
        ..Resnet::default()
    };
    let plain = Cnn {
        width: 2,
        depth: 3,
        outputs: Some(3),
        ..Cnn::default()
    };
    let network = match name {
        "transformer.post_norm" => transformer(decoder(Blocks {
            norm_position: NormPosition::Post,
            activation: Activation::Relu,
            ..gpt2
        })),
        "transformer.llama" => transformer(decoder(Blocks {
            heads: Heads::Count(2),
            mlp_ratio: 8.0 / 3.0,
            activation: Activation::Silu,
            gated: true,
            bias: false,
            norm: RowNorm::Rms,
            positions: Positions::Rope,
            ..gpt2
        })),
        "transformer.qk_norm" => transformer(decoder(Blocks {
            qk_norm: true,
            scale: AttentionScale::Inverse,
            multiplier: 0.5,
            mlp_ratio: 1.0,
            ..gpt2
        })),
        "transformer.tied" => transformer(Transformer {
            tied: true,
            ..decoder(Blocks { depth: 1, ..gpt2 })
        }),
        "vit.class_token" => vit(sight(gpt2)),
        "vit.mean" => vit(Vit {
            patch: [2, 4],
            pool: VitPool::Mean,
            ..sight(Blocks {
                depth: 1,
                gated: true,
                norm: RowNorm::Rms,
                norm_position: NormPosition::Post,
                positions: Positions::None,
                ..gpt2
            })
        }),
        "resnet.bottleneck" => resnet(Resnet {
            blocks: vec![1, 2],
            bottleneck: true,
            stem: Stem::Imagenet,
            ..residual
        }),
        "resnet.layer" => resnet(Resnet {
            blocks: vec![1, 2, 1],
            norm: ImageNorm::Layer,
            multiplier: 0.5,
            ..residual
        }),
        "resnet.none" => resnet(Resnet {
            norm: ImageNorm::None,
            ..residual
        }),
        "resnet.batch" => resnet(Resnet {
            norm: ImageNorm::Batch,
            ..residual
        }),
        "cnn.avg_pool" => cnn(plain),
        "cnn.max_pool" => cnn(Cnn {
            downsample: Downsample::MaxPool,
            norm: ImageNorm::Group(2),
            activation: Activation::Tanh,
            flatten: true,
            bias: false,
            ..plain
        }),
        "cnn.stride" => cnn(Cnn {
            downsample: Downsample::Stride,
            norm: ImageNorm::Batch,
            kernel: [5, 3],
            double: false,
            depth: 4,
            ..plain
        }),
        "cnn.none" => cnn(Cnn {
            downsample: Downsample::None,
            norm: ImageNorm::Layer,
            activation: Activation::Gelu,
            ..plain
        }),
        other => panic!("no case {other}"),
    };
    let input = match name.split('.').next() {
        Some("transformer") => vec![5],
        Some("vit") => vec![3, 8, 12],
        _ => vec![3, 9, 10],
    };
    (network, input)
}

fn model(name: &str, seeds: &[u64], dtype: DType) -> Result<Model> {
    let (mut network, input) = case(name);
    network.input = Some(input);
    let made = ModelSettings {
        seeds: seeds.to_vec(),
        dtype,
        place: widthwise::gpu::Place::Cpu,
    };
    let conv = name.starts_with("resnet") || name.starts_with("cnn");
    let rule = Mup {
        base_width: if conv { 2 } else { 4 },
        output_mult: 1.5,
        ..Mup::default()
    };
    Model::new(network, Arc::new(rule), made)
}

/// PyTorch's layout to ours.
fn ours(path: &str, array: &Array) -> Tensor {
    let tensor = array.to_tensor();
    let table = ["embedding.weight", "positions.weight", "class_token.weight"].contains(&path);
    let turned = match tensor.rank() {
        4 => tensor.permute((2, 3, 1, 0)).unwrap(),
        2 if !table => tensor.t().unwrap(),
        _ => tensor,
    };
    turned.contiguous().unwrap()
}

#[test]
fn networks_and_gradients_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("architectures");
    let all = fixture.json["cases"].as_object().unwrap();
    let names: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(CASES));
    for (name, wanted) in all {
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let (mut network, input) = case(name);
        network.input = Some(input);
        let made = ModelSettings {
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        let mut model = Model::new(network, Arc::new(Sp::default()), made)?;
        let paths: Vec<String> = model.params().iter().map(|p| p.info.path.clone()).collect();
        let mut sorted = paths.clone();
        sorted.sort();
        let wanted: Vec<String> = serde_json::from_value(wanted["parameters"].clone()).unwrap();
        assert_eq!(sorted, wanted, "{name}");
        for path in &paths {
            // the vision transformer's embedding is a linear layer
            let kind = match path.as_str() {
                "embedding.weight" if name.starts_with("vit") => "linear",
                path => path,
            };
            let value = ours(kind, &get(&format!("params.{path}")));
            model.set_param(path, &value.unsqueeze(0)?)?;
        }
        let x = get("x").to_tensor();
        let plan = model.plan(x.dims()[0], Gradients::Passing)?;
        plan.forward(&model.values(), &x)?;
        assert_close(name, &to_f64(plan.output())?, &get("output").values, 1e-11);
        let gradient = plan.output_gradient().unwrap();
        let g = get("g").to_tensor().reshape(gradient.dims())?;
        widthwise::tensor::elementwise::copy(gradient, &g)?;
        let params = model.params().iter();
        let grads = params
            .map(|p| p.value.zeros_like())
            .collect::<candle_core::Result<Vec<_>>>()?;
        plan.backward(&model.values(), &grads)?;
        let mut compared = 0;
        for (path, grad) in paths.iter().zip(&grads) {
            if path.contains("running") {
                continue;
            }
            let kind = match path.as_str() {
                "embedding.weight" if name.starts_with("vit") => "linear",
                path => path,
            };
            let wanted = ours(kind, &get(&format!("grad.{path}")));
            assert_close(
                &format!("{name} {path}"),
                &to_f64(grad)?,
                &to_f64(&wanted)?,
                1e-10,
            );
            compared += 1;
        }
        assert!(compared >= 5, "{name}");
    }
    Ok(())
}

fn batch(name: &str, size: usize) -> Result<Batch> {
    let (_, input) = case(name);
    let mut rng = Key::new(2).label(name).rng();
    let numbers = size * input.iter().product::<usize>();
    let shape = [&[size], input.as_slice()].concat();
    if name.starts_with("transformer") {
        let mut draw = || {
            (0..numbers)
                .map(|_| rng.below(11) as u32)
                .collect::<Vec<_>>()
        };
        return Ok(Batch {
            inputs: Tensor::from_vec(draw(), shape.as_slice(), &CPU)?.to_dtype(DType::F32)?,
            labels: Labels::Classes(Tensor::from_vec(draw(), shape.as_slice(), &CPU)?),
        });
    }
    let x: Vec<f32> = (0..numbers).map(|_| rng.normal() as f32).collect();
    let classes: Vec<u32> = (0..size).map(|_| rng.below(3) as u32).collect();
    Ok(Batch {
        inputs: Tensor::from_vec(x, shape.as_slice(), &CPU)?,
        labels: Labels::Classes(Tensor::from_vec(classes, size, &CPU)?),
    })
}

/// Gradients against differences of losses, Hessian–vector products against differences of gradients.
#[test]
fn derivatives_equal_differences() -> Result<()> {
    for name in CASES {
        let (model, batch) = (model(name, &[3, 8], DType::F64)?, batch(name, 3)?);
        // shifts start at 0, where relu behind a norm of equal numbers has its kink
        step(&model, &direction(&model, "away")?, 0.1)?;
        let direction = direction(&model, "along")?;
        let (_, grads) = gradients(&model, &batch, false)?;
        let slopes = slopes(&grads, &direction, 2)?;
        let image = direction.iter().map(Tensor::zeros_like);
        let image = image.collect::<candle_core::Result<Vec<_>>>()?;
        let (hessian, _) = Hessian::new(&model, &batch, Loss::CrossEntropy)?;
        hessian.product(&direction, &image)?;
        let h = 1e-6;
        step(&model, &direction, h)?;
        let (up, grads_up) = gradients(&model, &batch, false)?;
        step(&model, &direction, -2.0 * h)?;
        let (down, grads_down) = gradients(&model, &batch, false)?;
        for member in 0..2 {
            let wanted = (up[member] - down[member]) / (2.0 * h);
            assert_close(name, &[slopes[member]], &[wanted], 1e-6);
        }
        for (i, image) in image.iter().enumerate() {
            let wanted = to_f64(&((&grads_up[i] - &grads_down[i])? / (2.0 * h))?)?;
            let path = &model.params()[i].info.path;
            assert_close(&format!("{name} {path}"), &to_f64(image)?, &wanted, 1e-5);
        }
    }
    Ok(())
}

#[test]
fn a_member_alone_is_the_member_in_an_ensemble_on_any_number_of_threads() -> Result<()> {
    let bits = |name: &str, seeds: &[u64], threads: usize| -> Result<Vec<Vec<f64>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let (losses, grads) =
                gradients(&model(name, seeds, DType::F32)?, &batch(name, 4)?, false)?;
            let mut all = losses.into_iter().map(|l| vec![l]).collect::<Vec<_>>();
            for grad in &grads {
                let numbers = to_f64(grad)?;
                let size = numbers.len() / seeds.len();
                for (member, part) in all.iter_mut().zip(numbers.chunks(size)) {
                    member.extend(part);
                }
            }
            Ok(all)
        })
    };
    for name in CASES {
        let all = bits(name, &[5, 9, 7], 1)?;
        assert!(bits(name, &[5, 9, 7], 3)? == all, "{name}");
        assert!(bits(name, &[9], 3)?[0] == all[1], "{name}");
        assert!(all[0] != all[1], "{name}");
    }
    Ok(())
}

#[test]
fn roles_follow_what_grows() -> Result<()> {
    let roles = |name: &str, wanted: &[(&str, Role)]| -> Result<()> {
        let (network, input) = case(name);
        let (infos, _) = network.infos(3, &input, None)?;
        for (path, role) in wanted {
            let info = infos.iter().find(|p| p.path == *path).unwrap();
            assert_eq!(info.role, *role, "{name} {path}");
        }
        Ok(())
    };
    use Role::{Fixed, Hidden, InputLike, OutputLike, VectorLike};
    roles(
        "transformer.qk_norm",
        &[
            ("embedding.weight", InputLike),
            ("positions.weight", InputLike),
            ("blocks.0.attention.qkv.weight", Hidden),
            // heads keep their size
            ("blocks.0.attention.qk_norm.query.weight", Fixed),
            ("blocks.1.mlp.down.weight", Hidden),
            ("norm.weight", VectorLike),
            ("readout.weight", OutputLike),
        ],
    )?;
    roles(
        "transformer.llama",
        &[
            ("blocks.0.mlp.up.weight", Hidden),
            ("blocks.0.attention.norm.weight", VectorLike),
        ],
    )?;
    roles(
        "vit.class_token",
        &[
            ("embedding.weight", InputLike),
            ("class_token.weight", InputLike),
            ("readout.weight", OutputLike),
            ("readout.bias", Fixed),
        ],
    )?;
    roles(
        "resnet.bottleneck",
        &[
            ("stem.weight", InputLike),
            ("stages.1.0.conv3.weight", Hidden),
            ("stages.0.0.shortcut.conv.weight", Hidden),
            ("readout.weight", OutputLike),
        ],
    )?;
    roles(
        "cnn.max_pool",
        &[
            ("layers.0.weight", InputLike),
            ("layers.1.weight", Hidden),
            ("readout.weight", OutputLike),
        ],
    )
}

/// Numbers of parameters of the networks that everybody has.
#[test]
fn sizes_are_those_of_the_papers() -> Result<()> {
    let count = |network: &Network, outputs: usize, input: &[usize]| -> Result<usize> {
        let width = network.width.unwrap();
        let params = network.describe(Sizes { width, outputs }, input)?.params;
        let trained = params.iter().filter(|p| p.kind.is_trained());
        Ok(trained.map(|p| p.shape.iter().product::<usize>()).sum())
    };
    // torchvision's networks with 1,000 classes
    for (depth, wanted) in [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)] {
        let (blocks, bottleneck) = stages(depth).unwrap();
        let network = resnet(Resnet {
            blocks,
            bottleneck,
            stem: Stem::Imagenet,
            norm: ImageNorm::Batch,
            ..Resnet::default()
        });
        assert_eq!(count(&network, 1000, &[3, 224, 224])?, wanted, "{depth}");
    }
    // torchvision's vit_b_16
    let base = vit(Vit {
        width: 768,
        patch: [16, 16],
        blocks: Blocks {
            depth: 12,
            ..Vit::default().blocks
        },
        ..Vit::default()
    });
    assert_eq!(count(&base, 1000, &[3, 224, 224])?, 86_567_656);
    // GPT-2
    let gpt2 = transformer(Transformer {
        width: 768,
        context: Some(1024),
        vocab: Some(50_257),
        blocks: Blocks {
            depth: 12,
            ..Blocks::default()
        },
        tied: true,
    });
    assert_eq!(count(&gpt2, 50_257, &[1024])?, 124_439_808);
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() {
    let refused = |network: Network, input: &[usize], wanted: &str| {
        let sizes = Sizes {
            width: network.width.unwrap(),
            outputs: 3,
        };
        let error = network.describe(sizes, input).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    let heads = |heads| {
        transformer(Transformer {
            width: 10,
            blocks: Blocks {
                heads,
                ..Blocks::default()
            },
            ..Transformer::default()
        })
    };
    refused(
        heads(Heads::Size(4)),
        &[5],
        "multiple of head_size 4, got 10",
    );
    refused(heads(Heads::Count(3)), &[5], "multiple of heads 3, got 10");
    let sight = vit(Vit {
        patch: [5, 4],
        ..Vit::default()
    });
    refused(sight, &[3, 8, 8], "patches: patches of 5 × 4");
    let groups = resnet(Resnet {
        width: 6,
        norm: ImageNorm::Group(4),
        ..Resnet::default()
    });
    refused(groups, &[3, 8, 8], "stem.norm");
    let small = cnn(Cnn {
        depth: 5,
        ..Cnn::default()
    });
    refused(small, &[3, 8, 8], "layers.3.pool");
    assert_eq!(stages(19), None);
    assert_eq!(stages(20), Some((vec![3; 3], false)));
}

/// The readout's multiplier is its own, and what depends on one gradient per parameter says so.
#[test]
fn a_tied_readout_has_the_multiplier_of_its_role() -> Result<()> {
    let build = |rule: Mup| {
        let (network, _) = case("transformer.tied");
        Model::new(network, Arc::new(rule), ModelSettings::default())
    };
    let rule = Mup {
        base_width: 4,
        input_mult: 0.7,
        output_mult: 1.5,
        ..Mup::default()
    };
    let table = explain(&build(rule.clone())?, OptimizerFamily::Adam, None)?;
    let row = |path: &str| table.rows.iter().find(|r| r.path == path).unwrap();
    let (embedding, readout) = (row("embedding.weight"), row("readout.weight"));
    assert_eq!(embedding.multiplier.value, 0.7);
    assert_eq!(readout.multiplier.value, 1.5 / 3.0);
    assert_eq!(readout.multiplier.exponent, Some(-1.0));
    assert_eq!(readout.lr, embedding.lr);
    assert_eq!(readout.role, Role::OutputLike);
    let zero = Mup {
        zero_readout: true,
        ..rule.clone()
    };
    let error = build(zero).unwrap_err().to_string();
    assert!(error.contains("is also embedding.weight"), "{error}");
    build(rule)?;
    Ok(())
}

/// The same batch of tokens, for ever.
struct Fixed(Batch);

impl Stream for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }
    fn input_shape(&self) -> &[usize] {
        &[5]
    }
    fn targets(&self) -> Targets {
        Targets::Classes(11)
    }
    fn target_positions(&self) -> &[usize] {
        &[5]
    }
    fn len(&self) -> Option<u64> {
        None
    }
    fn positions(&self) -> Option<u64> {
        None
    }
    fn batch(&self, _start: u64, size: usize) -> Result<Batch> {
        self.0.narrow(0, size)
    }
    fn test_set(&self) -> Result<Arc<Batch>> {
        Ok(Arc::new(self.0.clone()))
    }
    fn settings(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

/// Training moves the shared parameter by the sum of both gradients, in whatever order they come: a step
/// of SGD is minus the learning rate times the gradient, with updates during the backward pass
/// switched on (no clipping) and off.
#[test]
fn a_shared_parameter_is_updated_by_its_whole_gradient() -> Result<()> {
    for clip in [Clip::None, Clip::Norm(1e9)] {
        let name = "transformer.tied";
        let batch = batch(name, 3)?;
        let stream = Fixed(batch.clone());
        let before = model(name, &[3, 8], DType::F64)?;
        let (_, grads) = gradients(&before, &batch, false)?;
        let start: Vec<Vec<f64>> = (before.params().iter())
            .map(|p| to_f64(&p.value))
            .collect::<Result<_>>()?;
        let shared = Arc::new(RwLock::new(before));
        let optimizer = Sgd {
            lr: 0.1.into(),
            momentum: 0.0.into(),
            nesterov: false,
            weight_decay: 0.0.into(),
        };
        let settings = TrainerSettings {
            batch: 3,
            clip,
            ..TrainerSettings::default()
        };
        let scales = shared.read().unwrap().scales(OptimizerFamily::Sgd).unwrap();
        let mut trainer = Trainer::new(
            shared.clone(),
            Arc::new(optimizer),
            Arc::new(stream),
            settings,
        )?;
        trainer.run(1, &mut NoHooks)?;
        let after = shared.read().unwrap();
        for (i, p) in after.params().iter().enumerate() {
            let g = to_f64(&grads[i])?;
            let lr = 0.1 * scales[i].lr;
            let wanted: Vec<f64> = start[i].iter().zip(&g).map(|(s, g)| s - lr * g).collect();
            assert_close(&p.info.path, &to_f64(&p.value)?, &wanted, 1e-12);
        }
    }
    Ok(())
}

/// A sum of three branches, one of them x itself, is what its parts are.
#[test]
fn parallel_branches_add_up() -> Result<()> {
    let linear = |name: &str| {
        Node::layer(
            name,
            Linear {
                outputs: 6,
                bias: true,
            },
        )
    };
    let network = Network::new("sum", Some(6), serde_json::json!({}), move |_| {
        let branches = vec![
            vec![linear("0"), Node::layer("1", Activation::Tanh)],
            vec![],
            vec![linear("0")],
        ];
        let sum = Node::Parallel {
            name: "sum".into(),
            branches,
        };
        Ok(vec![linear("first"), sum, linear("last")])
    });
    let mut network = network;
    network.input = Some(vec![4]);
    network.outputs = Some(6);
    let made = ModelSettings {
        seeds: vec![3, 8],
        dtype: DType::F64,
        place: widthwise::gpu::Place::Cpu,
    };
    let mut model = Model::new(network, Arc::new(Sp::default()), made)?;
    let x: Vec<f64> = (0..12).map(|i| (i as f64).sin()).collect();
    let x = Tensor::from_vec(x, (3, 4), &CPU)?;
    let mut get = |path: &str| to_f64(&model.activation(path, &x).unwrap()).unwrap();
    let (first, left, right) = (get("first"), get("sum.0.1"), get("sum.2.0"));
    let sum: Vec<f64> = (0..first.len())
        .map(|i| first[i] + left[i] + right[i])
        .collect();
    assert_close("sum", &get("sum"), &sum, 1e-14);
    let classes = Tensor::from_vec(vec![0u32, 5, 2], 3, &CPU)?;
    let batch = Batch {
        inputs: x.clone(),
        labels: Labels::Classes(classes),
    };
    let (_, grads) = gradients(&model, &batch, false)?;
    let direction = direction(&model, "along")?;
    let slopes: f64 = slopes(&grads, &direction, 2)?.iter().sum();
    let h = 1e-6;
    step(&model, &direction, h)?;
    let up: f64 = gradients(&model, &batch, false)?.0.iter().sum();
    step(&model, &direction, -2.0 * h)?;
    let down: f64 = gradients(&model, &batch, false)?.0.iter().sum();
    assert_close("slope", &[slopes], &[(up - down) / (2.0 * h)], 1e-7);
    Ok(())
}
