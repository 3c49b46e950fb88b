//! microsoft/mup itself against our muP: initial spreads, multipliers, and 50 steps of training.

use std::sync::{Arc, RwLock};

use crate::reference::Fixture;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use widthwise::data::{Batch, Labels, Stream, Targets};
use widthwise::error::{Error, Result};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::Activation;
use widthwise::nn::{Mlp, mlp};
use widthwise::optim::{Adam, Optimizer, Sgd};
use widthwise::parametrization::{Mup, OptimizerFamily};
use widthwise::train::{Loss, NoHooks, Trainer, TrainerSettings};

/// The fixture's batches in their order.
struct Replay {
    inputs: Tensor,
    labels: Labels,
    shape: Vec<usize>,
    targets: Targets,
}

impl Replay {
    fn new(fixture: &Fixture, loss: Loss) -> Result<Self> {
        let flat = |name: &str| {
            let array = fixture.tensor(name);
            let rows = array.shape[0] * array.shape[1];
            Tensor::from_vec(array.values, (rows, ()), &Device::Cpu)
        };
        let inputs = flat("batches.inputs")?;
        let outputs = fixture.number("/settings/outputs") as usize;
        let (labels, targets) = match loss {
            Loss::CrossEntropy => (
                Labels::Classes(
                    flat("batches.classes")?
                        .flatten_all()?
                        .to_dtype(DType::U32)?,
                ),
                Targets::Classes(outputs),
            ),
            Loss::Mse => (
                Labels::Values(flat("batches.values")?),
                Targets::Values(outputs),
            ),
        };
        Ok(Self {
            shape: vec![inputs.dims()[1]],
            inputs,
            labels,
            targets,
        })
    }
}

impl Stream for Replay {
    fn name(&self) -> &str {
        "replay"
    }
    fn input_shape(&self) -> &[usize] {
        &self.shape
    }
    fn targets(&self) -> Targets {
        self.targets
    }
    fn len(&self) -> Option<u64> {
        Some(self.inputs.dims()[0] as u64)
    }
    fn positions(&self) -> Option<u64> {
        self.len()
    }
    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        if start + size as u64 > self.inputs.dims()[0] as u64 {
            return Err(Error::other("the fixture ends here"));
        }
        let all = Batch {
            inputs: self.inputs.clone(),
            labels: self.labels.clone(),
        };
        all.narrow(start as usize, size)
    }
    fn test_set(&self) -> Result<Arc<Batch>> {
        Ok(Arc::new(self.batch(0, 1)?))
    }
    fn settings(&self) -> Value {
        json!({})
    }
}

/// Our path of mup's parameter name: layers before the readout keep theirs.
fn our_path(name: &str, depth: usize) -> String {
    let last = format!("layers.{}.", depth - 1);
    match name.strip_prefix("norms.") {
        Some(rest) => format!("layers.{}", rest.replacen('.', ".norm.", 1)),
        None => name.replace(&last, "readout."),
    }
}

fn network(fixture: &Fixture, variant: &Value, width: usize) -> widthwise::nn::Network {
    let size = |key: &str| Some(fixture.number(&format!("/settings/{key}")) as usize);
    mlp(Mlp {
        width,
        depth: size("depth").unwrap(),
        activation: Activation::from_name(variant["activation"].as_str().unwrap()).unwrap(),
        bias: variant["bias"].as_bool().unwrap(),
        layer_norm: variant["layer_norm"].as_bool().unwrap(),
        inputs: size("inputs"),
        outputs: size("outputs"),
    })
}

fn rule(fixture: &Fixture, variant: &Value) -> Arc<Mup> {
    Arc::new(Mup {
        base_width: fixture.number("/settings/base_width") as usize,
        output_mult: variant["output_mult"].as_f64().unwrap(),
        zero_readout: variant["readout_zero_init"].as_bool().unwrap(),
        ..Mup::default()
    })
}

fn optimizer(fixture: &Fixture, name: &str, lr: f64) -> Arc<dyn Optimizer> {
    let settings = fixture.at(&format!("/optimizers/{name}"));
    let number = |key: &str| {
        settings
            .get(key)
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
            .into()
    };
    if settings["constructor"] == "MuSGD" {
        return Arc::new(Sgd {
            lr: lr.into(),
            momentum: number("momentum"),
            nesterov: false,
            weight_decay: number("weight_decay"),
        });
    }
    Arc::new(Adam {
        lr: lr.into(),
        beta1: settings["betas"][0].as_f64().unwrap().into(),
        beta2: settings["betas"][1].as_f64().unwrap().into(),
        eps: number("eps"),
        weight_decay: number("weight_decay"),
        decoupled: settings["constructor"] == "MuAdamW",
    })
}

/// Largest relative difference of losses in one run of the fixture at one width.
fn deviation(fixture: &Fixture, run: &Value, width: &str, dtype: DType) -> Result<f64> {
    let variant_name = run["variant"].as_str().unwrap();
    let variant = &fixture.json["variants"][variant_name];
    let depth = fixture.number("/settings/depth") as usize;
    let settings = ModelSettings {
        dtype,
        ..ModelSettings::default()
    };
    let network = network(fixture, variant, width.parse().unwrap());
    let mut model = Model::new(network, rule(fixture, variant), settings)?;
    for name in variant["widths"][width]["shapes"]
        .as_object()
        .unwrap()
        .keys()
    {
        let array = fixture.tensor(&format!("{variant_name}.{width}.{name}"));
        let array = if array.shape.len() == 2 {
            array.transposed()
        } else {
            array
        };
        let shape = [&[1], array.shape.as_slice()].concat();
        let value = Tensor::from_vec(array.values, shape, &Device::Cpu)?;
        model.set_param(&our_path(name, depth), &value)?;
    }
    let loss = match run["loss"].as_str().unwrap() {
        "mse" => Loss::Mse,
        _ => Loss::CrossEntropy,
    };
    let mut trainer = Trainer::new(
        Arc::new(RwLock::new(model)),
        optimizer(
            fixture,
            run["optimizer"].as_str().unwrap(),
            run["lr"].as_f64().unwrap(),
        ),
        Arc::new(Replay::new(fixture, loss)?),
        TrainerSettings {
            loss: Some(loss),
            batch: fixture.number("/settings/batch") as usize,
            ..TrainerSettings::default()
        },
    )?;
    let wanted: Vec<f64> = run["widths"][width]["losses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    trainer.run(wanted.len() as u64, &mut NoHooks)?;
    let ours = &trainer.record().series["train_loss"].values;
    assert_eq!(ours.len(), wanted.len());
    let differences = ours
        .iter()
        .zip(&wanted)
        .map(|(a, b)| ((a[0] - b) / b).abs());
    Ok(differences.fold(0.0, f64::max))
}

fn all_runs(dtype: DType, tolerance: f64) -> Result<()> {
    let fixture = Fixture::load("mup");
    let runs = fixture.json["runs"].as_array().unwrap();
    let mut checked = 0;
    for run in runs {
        for width in run["widths"].as_object().unwrap().keys() {
            let found = deviation(&fixture, run, width, dtype)?;
            let name = run["name"].as_str().unwrap();
            assert!(
                found < tolerance,
                "{name}, width {width}: losses differ by {found:.2e}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 3 * 4, "only {checked} runs in the fixture");
    Ok(())
}

#[test]
fn losses_equal_those_of_microsoft_mup_in_f64() -> Result<()> {
    all_runs(DType::F64, 1e-9)
}

#[test]
fn losses_equal_those_of_microsoft_mup_in_f32() -> Result<()> {
    all_runs(DType::F32, 1e-4)
}

#[test]
fn scales_equal_those_of_microsoft_mup() -> Result<()> {
    let fixture = Fixture::load("mup");
    let depth = fixture.number("/settings/depth") as usize;
    let mut checked = 0;
    for variant in fixture.json["variants"].as_object().unwrap().values() {
        for (width, theirs) in variant["widths"].as_object().unwrap() {
            let network = network(&fixture, variant, width.parse().unwrap());
            let model = Model::new(network, rule(&fixture, variant), ModelSettings::default())?;
            let families = [
                (OptimizerFamily::Sgd, "MuSGD"),
                (OptimizerFamily::Adam, "MuAdam"),
            ];
            for name in theirs["shapes"].as_object().unwrap().keys() {
                let path = our_path(name, depth);
                let index = model
                    .params()
                    .iter()
                    .position(|p| p.info.path == path)
                    .unwrap();
                let close = |ours: f64, theirs: &Value, what: &str| {
                    let theirs = theirs.as_f64().unwrap();
                    assert!(
                        (ours - theirs).abs() <= 1e-12 * theirs.abs(),
                        "{path} {what}: {ours} {theirs}"
                    );
                };
                for (family, their_name) in families {
                    let scales = &model.scales(family).unwrap()[index];
                    let multipliers = &theirs["optimizer_multipliers"][their_name][name];
                    close(scales.lr, &multipliers["lr"], "lr");
                    close(
                        scales.weight_decay,
                        &multipliers["weight_decay"],
                        "weight decay",
                    );
                    close(scales.init.std(), &theirs["init_std"][name], "init std");
                    if path == "readout.weight" {
                        close(
                            scales.multiplier,
                            &theirs["readout_multiplier"],
                            "multiplier",
                        );
                    } else {
                        assert_eq!(scales.multiplier, 1.0, "{path}");
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100);
    Ok(())
}
