//! Networks with batch normalisation: training against PyTorch, members, killed runs, and what the
//! running estimates are to optimizers and metrics.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use widthwise::data::{Batch, Labels, Stream, Targets};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::metrics::{Hessian, Loss, PowerIteration, ntk, top_eigenvalue};
use widthwise::model::{Model, ModelSettings, SharedModel, explain};
use widthwise::nn::layers::{Activation, BatchNorm, Conv2d, Flatten, Linear};
use widthwise::nn::{Cost, ImageNorm, Network, Node, Resnet, resnet};
use widthwise::optim::{Adam, Optimizer, PerMember, Sgd};
use widthwise::parametrization::{Abc, MeanField, Mup, Ntp, OptimizerFamily, Parametrization, Sp};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::elementwise::copy;
use widthwise::tensor::rng::Key;
use widthwise::train::{CheckpointSettings, Clip, NoHooks, RunEnd, Trainer, TrainerSettings};

/// Batches given beforehand.
#[derive(Debug)]
struct Given {
    shape: Vec<usize>,
    classes: usize,
    batches: Vec<Batch>,
}

impl Given {
    fn new(inputs: &Array, labels: &Array, classes: usize) -> Result<Self> {
        let batch = |i: usize| -> Result<Batch> {
            Ok(Batch {
                inputs: inputs.index(i).to_tensor().to_dtype(DType::F32)?,
                labels: Labels::Classes(labels.index(i).to_classes()),
            })
        };
        Ok(Self {
            shape: inputs.shape[2..].to_vec(),
            classes,
            batches: (0..inputs.shape[0]).map(batch).collect::<Result<_>>()?,
        })
    }

    /// Twenty batches of drawn numbers.
    fn drawn(batch: usize, shape: &[usize], classes: usize) -> Result<Self> {
        let mut rng = Key::new(3).rng();
        let numbers = 20 * batch * shape.iter().product::<usize>();
        let inputs = Array {
            shape: [&[20, batch], shape].concat(),
            values: (0..numbers).map(|_| 2.0 * rng.normal() + 1.0).collect(),
        };
        let labels = Array {
            shape: vec![20, batch],
            values: (0..20 * batch).map(|i| (i % classes) as f64).collect(),
        };
        Self::new(&inputs, &labels, classes)
    }
}

impl Stream for Given {
    fn name(&self) -> &str {
        "given"
    }
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }
    fn targets(&self) -> Targets {
        Targets::Classes(self.classes)
    }
    fn len(&self) -> Option<u64> {
        None
    }
    fn positions(&self) -> Option<u64> {
        None
    }
    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        let index = (start as usize / size) % self.batches.len();
        self.batches[index].narrow(0, size)
    }
    fn test_set(&self) -> Result<Arc<Batch>> {
        Ok(Arc::new(self.batches[0].clone()))
    }
    fn settings(&self) -> serde_json::Value {
        json!({})
    }
}

fn sgd(lr: impl Into<PerMember>, momentum: f64, weight_decay: f64) -> Arc<dyn Optimizer> {
    Arc::new(Sgd {
        lr: lr.into(),
        momentum: momentum.into(),
        nesterov: false,
        weight_decay: weight_decay.into(),
    })
}

fn adam() -> Arc<dyn Optimizer> {
    Arc::new(Adam {
        lr: 0.01.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        eps: 1e-8.into(),
        weight_decay: 0.1.into(),
        decoupled: true,
    })
}

/// Convolution and linear layer, each with batch normalisation.
fn small() -> Network {
    Network::new("small", Some(6), json!({}), |sizes| {
        let linear = |outputs| Linear {
            outputs,
            // a batch norm takes biases off again
            bias: false,
        };
        let relu = BatchNorm {
            relu: true,
            ..BatchNorm::default()
        };
        Ok(vec![
            Node::layer("image", BatchNorm::default()),
            Node::layer("conv", Conv2d::square(sizes.width, 3, 1)),
            Node::layer("norm", relu),
            Node::layer("flat", Flatten),
            Node::layer("hidden", linear(sizes.width)),
            Node::layer("hidden.norm", BatchNorm::default()),
            Node::layer("act", Activation::Tanh),
            Node::layer(
                "readout",
                Linear {
                    outputs: sizes.outputs,
                    bias: true,
                },
            ),
        ])
    })
}

fn model(
    network: Network,
    rule: Arc<dyn Parametrization>,
    seeds: &[u64],
    dtype: DType,
) -> Result<SharedModel> {
    let settings = ModelSettings {
        seeds: seeds.to_vec(),
        dtype,
        place: Place::Cpu,
    };
    Ok(Arc::new(RwLock::new(Model::new(network, rule, settings)?)))
}

fn settings(batch: usize, clip: Clip) -> TrainerSettings {
    TrainerSettings {
        batch,
        clip,
        ..TrainerSettings::default()
    }
}

fn values(model: &SharedModel) -> Result<Vec<(String, Vec<f64>)>> {
    let model = model.read().unwrap();
    let params = model.params().iter();
    params
        .map(|p| Ok((p.info.path.clone(), to_f64(&p.value)?)))
        .collect()
}

fn losses(trainer: &Trainer) -> Vec<Vec<f64>> {
    trainer.record().series["train_loss"].values.clone()
}

/// PyTorch's parameter in our layout, with a member axis.
fn ours(array: &Array) -> Tensor {
    let t = array.to_tensor();
    let t = match t.rank() {
        4 => t.permute((2, 3, 1, 0)).unwrap(),
        2 => t.t().unwrap(),
        _ => t,
    };
    t.contiguous().unwrap().unsqueeze(0).unwrap()
}

#[test]
fn training_resnet18_follows_pytorch() -> Result<()> {
    let fixture = Fixture::load("batch_norm_training");
    let number = |name: &str| fixture.number(&format!("/settings/{name}"));
    let outputs = number("outputs") as usize;
    let network = resnet(Resnet {
        width: number("width") as usize,
        norm: ImageNorm::Batch,
        outputs: Some(outputs),
        ..Resnet::default()
    });
    let stream = Given::new(
        &fixture.tensor("inputs"),
        &fixture.tensor("classes"),
        outputs,
    )?;
    let last = stream.batches.last().unwrap().clone();
    let model = model(network, Arc::new(Sp::default()), &[0], DType::F64)?;
    let optimizer = sgd(number("lr"), number("momentum"), number("weight_decay"));
    let settings = settings(number("batch") as usize, Clip::Norm(number("clip")));
    let mut trainer = Trainer::new(model.clone(), optimizer, Arc::new(stream), settings)?;
    for param in model.read().unwrap().params() {
        let start = ours(&fixture.tensor(&format!("start.{}", param.info.path)));
        copy(&param.value, &start)?;
    }
    trainer.run(number("steps") as u64, &mut NoHooks)?;
    let losses = losses(&trainer).concat();
    assert_close("losses", &losses, &fixture.numbers("/losses"), 1e-9);
    let mut compared = 0;
    for param in model.read().unwrap().params() {
        let path = &param.info.path;
        if path.contains("running") || path.contains("readout") {
            let end = ours(&fixture.tensor(&format!("end.{path}")));
            assert_close(path, &to_f64(&param.value)?, &to_f64(&end)?, 1e-9);
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * 20 + 2);
    let found = model.write().unwrap().predict(&last.inputs)?;
    let wanted = fixture.tensor("outputs").values;
    assert_close("outputs", &to_f64(&found)?, &wanted, 1e-9);
    let loss = Loss::CrossEntropy.evaluate(&found, &last.labels, None)?;
    assert_close("loss", &loss, &[fixture.number("/evaluation_loss")], 1e-9);
    Ok(())
}

#[test]
fn a_member_alone_has_the_bits_it_has_in_an_ensemble() -> Result<()> {
    let rule = || {
        Arc::new(Mup {
            base_width: 3,
            ..Mup::default()
        })
    };
    for (dtype, optimizer) in [
        (DType::F32, sgd(0.1, 0.9, 0.0)),
        (DType::F64, sgd(0.1, 0.9, 0.0)),
        (DType::F32, adam()),
    ] {
        for batch in [2, 13] {
            let run = |seeds: &[u64]| -> Result<_> {
                let stream = Arc::new(Given::drawn(batch, &[3, 5, 4], 3)?);
                let model = model(small(), rule(), seeds, dtype)?;
                let settings = settings(batch, Clip::Norm(1.0));
                let mut trainer = Trainer::new(model.clone(), optimizer.clone(), stream, settings)?;
                trainer.run(5, &mut NoHooks)?;
                assert!(trainer.without_gradient().is_empty());
                Ok((losses(&trainer), values(&model)?))
            };
            let (all, alone) = (run(&[5, 8, 6])?, run(&[8])?);
            for (all, alone) in all.0.iter().zip(&alone.0) {
                assert_eq!(all[1..2], alone[..]);
            }
            for ((path, all), (_, alone)) in all.1.iter().zip(&alone.1) {
                let size = alone.len();
                assert_eq!(&all[size..2 * size], alone, "{path}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let trainer = |resume: Option<bool>| -> Result<(Trainer, SharedModel)> {
        let model = model(small(), Arc::new(Sp::default()), &[1, 2], DType::F32)?;
        let stream = Arc::new(Given::drawn(6, &[3, 5, 4], 3)?);
        let mut trainer = Trainer::new(model.clone(), adam(), stream, settings(6, Clip::None))?;
        if let Some(resume) = resume {
            trainer.checkpoint_to(CheckpointSettings {
                path: folder.path().join("run.safetensors"),
                every: Duration::ZERO,
                resume,
            });
        }
        Ok((trainer, model))
    };
    let (mut whole, wanted) = trainer(None)?;
    whole.run(9, &mut NoHooks)?;
    let (mut first, _) = trainer(Some(false))?;
    first.run(4, &mut NoHooks)?;
    drop(first);
    let (mut second, found) = trainer(Some(true))?;
    assert_eq!(second.run(9, &mut NoHooks)?, RunEnd::Done);
    assert_eq!(losses(&second), losses(&whole));
    assert_eq!(values(&found)?, values(&wanted)?);
    let moved = values(&found)?;
    let mean = moved.iter().find(|(path, _)| path == "norm.running_mean");
    assert!(mean.unwrap().1.iter().all(|&m| m != 0.0));
    Ok(())
}

#[test]
fn a_diverged_members_estimates_stay() -> Result<()> {
    let model = model(small(), Arc::new(Sp::default()), &[1, 2], DType::F32)?;
    let stream = Arc::new(Given::drawn(6, &[3, 5, 4], 3)?);
    let rates = PerMember::Each(vec![1e38, 0.01]);
    let optimizer = sgd(rates, 0.0, 0.0);
    let mut trainer = Trainer::new(model.clone(), optimizer, stream, settings(6, Clip::None))?;
    trainer.run(12, &mut NoHooks)?;
    assert_eq!(trainer.active(), [false, true]);
    for (path, values) in values(&model)? {
        if path.starts_with("image.running") {
            // what the input is like, which no weight has made infinite
            assert!(values.iter().all(|v| v.is_finite()), "{path} {values:?}");
            let (gone, going) = values.split_at(values.len() / 2);
            assert_ne!(gone, going, "{path}");
        }
    }
    Ok(())
}

#[test]
fn one_number_has_no_variance() -> Result<()> {
    let train = |network: Network, shape: &[usize], batch: usize| {
        let model = model(network, Arc::new(Sp::default()), &[1], DType::F32)?;
        let stream = Arc::new(Given::drawn(batch, shape, 3)?);
        let optimizer = sgd(0.1, 0.0, 0.0);
        Trainer::new(model, optimizer, stream, settings(batch, Clip::None))?.run(1, &mut NoHooks)
    };
    let error = train(small(), &[3, 5, 4], 1).unwrap_err();
    for part in ["hidden.norm", "batch_norm", "variance", "[6]"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    train(small(), &[3, 5, 4], 2)?;
    // one example with several positions is enough
    let images = Network::new("images", None, json!({}), |_| {
        Ok(vec![
            Node::layer("norm", BatchNorm::default()),
            Node::layer("flat", Flatten),
            Node::layer(
                "readout",
                Linear {
                    outputs: 3,
                    bias: true,
                },
            ),
        ])
    });
    train(images, &[3, 5, 4], 1)?;
    Ok(())
}

#[test]
fn estimates_are_not_trained_under_any_rule() -> Result<()> {
    let rules: [Arc<dyn Parametrization>; 5] = [
        Arc::new(Sp::default()),
        Arc::new(Mup::default()),
        Arc::new(Ntp::default()),
        Arc::new(MeanField { gamma0: 2.0 }),
        Arc::new(Abc::default()),
    ];
    for rule in rules {
        let network = resnet(Resnet {
            width: 2,
            norm: ImageNorm::Batch,
            ..Resnet::default()
        });
        let model = model(network.clone(), rule, &[1, 2], DType::F32)?;
        let mut model = model.write().unwrap();
        for family in [OptimizerFamily::Sgd, OptimizerFamily::Adam] {
            let table = explain(&model, family, Some(0.1))?;
            for (row, param) in table.rows.iter().zip(model.params()) {
                if !row.path.contains("running") {
                    assert!(param.info.kind.is_trained() && row.source != "not trained");
                    continue;
                }
                let numbers = [row.init_std, row.lr, row.weight_decay].map(|n| n.value);
                assert_eq!(numbers, [0.0; 3], "{}", row.path);
                assert_eq!((param.multiplier, row.multiplier.value), (1.0, 1.0));
                assert_eq!(row.source, "not trained");
                let start = if row.path.ends_with("var") { 1.0 } else { 0.0 };
                assert!(to_f64(&param.value)?.iter().all(|&v| v == start));
            }
            assert!(table.to_string().contains("not trained"));
        }
        // as many trained numbers as with group normalisation
        let grouped = resnet(Resnet {
            width: 2,
            norm: ImageNorm::Group(2),
            ..Resnet::default()
        });
        let count = |network: &Network| Cost::of(network, 10, &[3, 32, 32]).map(|c| c.parameters);
        assert_eq!(count(&network)?, count(&grouped)?);
        assert_eq!(model.param_count() as u64, count(&network)?);
        let given = Tensor::new(&[[3f32, 4.0], [5.0, 6.0]], &Device::Cpu)?;
        model.set_param("stem.norm.running_mean", &given)?;
    }
    Ok(())
}

#[test]
fn metrics_are_those_of_evaluation() -> Result<()> {
    let model = model(small(), Arc::new(Sp::default()), &[1, 2], DType::F64)?;
    let stream = Arc::new(Given::drawn(6, &[3, 5, 4], 3)?);
    let optimizer = sgd(0.1, 0.0, 0.0);
    let mut trainer = Trainer::new(
        model.clone(),
        optimizer,
        stream.clone(),
        settings(6, Clip::None),
    )?;
    trainer.run(3, &mut NoHooks)?;
    let batch = stream.batch(0, 5)?;
    let outputs = model.write().unwrap().predict(&batch.inputs)?;
    let kernel = to_f64(&ntk(&model.read().unwrap(), &batch.inputs)?)?;
    for i in 0..5 {
        // an example alone has the outputs and the kernel that it has among others
        let one = batch.inputs.narrow(0, i, 1)?;
        let alone = model.write().unwrap().predict(&one)?;
        let among = outputs.narrow(1, i, 1)?;
        assert_close("outputs", &to_f64(&alone)?, &to_f64(&among)?, 1e-13);
        let alone = to_f64(&ntk(&model.read().unwrap(), &one)?)?;
        let among = [0, 1].map(|member| kernel[(member * 5 + i) * 5 + i]);
        assert_close("kernel", &alone, &among, 1e-12);
    }
    // the gradient is that of the loss of the outputs that `predict` gives
    let model = model.read().unwrap();
    let (hessian, gradient) = Hessian::new(&model, &batch, Loss::CrossEntropy)?;
    let image = gradient
        .iter()
        .map(Tensor::ones_like)
        .collect::<candle_core::Result<Vec<_>>>()?;
    hessian.product(&gradient, &image)?;
    for ((param, gradient), image) in model.params().iter().zip(&gradient).zip(&image) {
        let all = [to_f64(gradient)?, to_f64(image)?].concat();
        let zero = all.iter().all(|&g| g == 0.0);
        assert_eq!(zero, !param.info.kind.is_trained(), "{}", param.info.path);
    }
    let iteration = PowerIteration {
        products: 5,
        tolerance: 0.0,
        seed: 0,
    };
    let sharp = top_eigenvalue(&model, &batch, Loss::CrossEntropy, iteration)?;
    assert!(sharp.iter().flatten().all(|s| s.is_finite()));
    Ok(())
}
