//! microsoft/mup itself against our muP on residual networks and transformers: initial spreads,
//! multipliers, and training step by step.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Tensor};
use serde_json::{Value, json};
use widthwise::data::{Batch, Labels, Stream, Targets};
use widthwise::error::Result;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, AttentionScale};
use widthwise::nn::{
    Blocks, Heads, ImageNorm, Network, Positions, Resnet, Role, RowNorm, Stem, Transformer, resnet,
    transformer,
};
use widthwise::optim::{Adam, Optimizer, Sgd};
use widthwise::parametrization::{Init, Mup, OptimizerFamily};
use widthwise::tensor::elem::to_f64;
use widthwise::train::{NoHooks, Trainer, TrainerSettings};

/// The fixture's batches in their order.
struct Replay {
    inputs: Array,
    classes: Array,
    targets: usize,
}

impl Stream for Replay {
    fn name(&self) -> &str {
        "replay"
    }
    fn input_shape(&self) -> &[usize] {
        &self.inputs.shape[2..]
    }
    fn targets(&self) -> Targets {
        Targets::Classes(self.targets)
    }
    fn target_positions(&self) -> &[usize] {
        &self.classes.shape[2..]
    }
    fn len(&self) -> Option<u64> {
        None
    }
    fn positions(&self) -> Option<u64> {
        None
    }
    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        // the trainer makes the batch after the last one too
        let step = start as usize / size % self.inputs.shape[0];
        Ok(Batch {
            inputs: self.inputs.index(step).to_tensor().to_dtype(DType::F32)?,
            labels: Labels::Classes(self.classes.index(step).to_classes()),
        })
    }
    fn test_set(&self) -> Result<Arc<Batch>> {
        Ok(Arc::new(self.batch(0, 1)?))
    }
    fn settings(&self) -> Value {
        json!({})
    }
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// A variant of the fixture.
struct Variant<'a> {
    fixture: &'a Fixture,
    name: &'a str,
    json: &'a Value,
}

impl<'a> Variant<'a> {
    fn new(fixture: &'a Fixture, name: &'a str) -> Self {
        let json = &fixture.json["variants"][name];
        Self {
            fixture,
            name,
            json,
        }
    }

    /// `resnet` or `transformer`.
    fn kind(&self) -> &'a str {
        self.json["network"].as_str().unwrap()
    }

    fn size(&self, key: &str) -> usize {
        self.fixture.number(&format!("/settings/{key}")) as usize
    }

    fn base_width(&self) -> usize {
        self.size(&format!("{}_base", self.kind()))
    }

    fn outputs(&self) -> usize {
        match self.kind() {
            "resnet" => self.size("outputs"),
            _ => self.size("vocab"),
        }
    }

    fn rule(&self) -> Arc<Mup> {
        Arc::new(Mup {
            base_width: self.base_width(),
            output_mult: self.json["output_mult"].as_f64().unwrap(),
            zero_readout: self.zero_readout(),
            ..Mup::default()
        })
    }

    fn zero_readout(&self) -> bool {
        self.json["readout_zero_init"].as_bool().unwrap()
    }

    fn network(&self, width: usize) -> Network {
        let s = &self.json["settings"];
        let is = |key: &str| s[key].as_bool().unwrap();
        let multiplier = s["multiplier"].as_f64().unwrap();
        if self.kind() == "resnet" {
            let mut network = resnet(Resnet {
                width,
                blocks: serde_json::from_value(s["blocks"].clone()).unwrap(),
                bottleneck: is("bottleneck"),
                stem: match s["stem"].as_str().unwrap() {
                    "imagenet" => Stem::Imagenet,
                    _ => Stem::Cifar,
                },
                norm: match s["norm"].as_u64() {
                    Some(groups) => ImageNorm::Group(groups as usize),
                    None => ImageNorm::Batch,
                },
                multiplier,
                outputs: Some(self.outputs()),
            });
            network.input = Some(self.fixture.tensor("resnet.inputs").shape[2..].to_vec());
            return network;
        }
        let heads = match s["head_size"].as_u64() {
            Some(size) => Heads::Size(size as usize),
            None => Heads::Count(whole(&s["heads"])),
        };
        let base = heads.size(self.base_width()).unwrap();
        let scale = match s["scale"].as_str().unwrap() {
            "1/sqrt(d)" => AttentionScale::InverseSqrt,
            "1/d" => AttentionScale::Inverse,
            // 1/d that is 1/sqrt(d) at the base width, as mup's README has it
            _ => AttentionScale::Number((base as f64).sqrt() / heads.size(width).unwrap() as f64),
        };
        transformer(Transformer {
            width,
            context: Some(self.size("context")),
            vocab: Some(self.outputs()),
            tied: is("tied"),
            blocks: Blocks {
                depth: whole(&s["depth"]),
                heads,
                mlp_ratio: s["mlp_ratio"].as_f64().unwrap(),
                activation: Activation::from_name(s["activation"].as_str().unwrap()).unwrap(),
                gated: is("gated"),
                bias: is("bias"),
                norm: match s["norm"].as_str().unwrap() {
                    "rms" => RowNorm::Rms,
                    _ => RowNorm::Layer,
                },
                qk_norm: is("qk_norm"),
                positions: match s["positions"].as_str().unwrap() {
                    "rope" => Positions::Rope,
                    _ => Positions::Learned,
                },
                scale,
                multiplier,
                ..Blocks::default()
            },
        })
    }

    fn model(&self, width: &str) -> Result<Model> {
        let settings = ModelSettings {
            dtype: DType::F64,
            ..ModelSettings::default()
        };
        Model::new(self.network(width.parse().unwrap()), self.rule(), settings)
    }

    /// mup's parameters at a width, and what it says about them.
    fn parameters(&self, width: &str) -> impl Iterator<Item = (&'a str, Vec<f64>)> + use<'a> {
        let all = self.json["widths"][width]["parameters"].as_object();
        let rows = all.unwrap().iter();
        rows.map(|(path, row)| (path.as_str(), serde_json::from_value(row.clone()).unwrap()))
    }

    /// The model as mup's run started.
    fn start(&self, width: &str) -> Result<Model> {
        let mut model = self.model(width)?;
        let weights = self.json["weights"].as_str().unwrap();
        for (path, _) in self.parameters(width) {
            // our rule makes the zeros itself
            if self.zero_readout() && path.starts_with("readout.") {
                continue;
            }
            let array = self.fixture.tensor(&format!("{weights}.{width}.{path}"));
            let value = turned(path, array.to_tensor(), [2, 3, 1, 0]);
            model.set_param(path, &value.unsqueeze(0)?)?;
        }
        Ok(model)
    }

    fn stream(&self) -> Replay {
        let kind = self.kind();
        Replay {
            inputs: self.fixture.tensor(&format!("{kind}.inputs")),
            classes: self.fixture.tensor(&format!("{kind}.classes")),
            targets: self.outputs(),
        }
    }
}

fn is_table(path: &str) -> bool {
    ["embedding.weight", "positions.weight"].contains(&path)
}

/// Between PyTorch's layout and ours; `filters` are the axes that those of filters come from.
fn turned(path: &str, value: Tensor, filters: [usize; 4]) -> Tensor {
    let value = match value.rank() {
        4 => value.permute(filters).unwrap(),
        2 if !is_table(path) => value.t().unwrap(),
        _ => value,
    };
    value.contiguous().unwrap()
}

fn optimizer(settings: &Value, lr: f64) -> Arc<dyn Optimizer> {
    let number = |key: &str| settings.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    if settings["constructor"] == "MuSGD" {
        return Arc::new(Sgd {
            lr: lr.into(),
            momentum: number("momentum").into(),
            nesterov: false,
            weight_decay: number("weight_decay").into(),
        });
    }
    Arc::new(Adam {
        lr: lr.into(),
        beta1: settings["betas"][0].as_f64().unwrap().into(),
        beta2: settings["betas"][1].as_f64().unwrap().into(),
        eps: number("eps").into(),
        weight_decay: number("weight_decay").into(),
        decoupled: settings["constructor"] == "MuAdamW",
    })
}

/// The loss of every step to 1e-9, and some entries of every parameter after the last step.
#[test]
fn training_follows_microsoft_mup() -> Result<()> {
    let fixture = Fixture::load("mup_architectures");
    let mut checked = BTreeSet::new();
    for run in fixture.json["runs"].as_array().unwrap() {
        let name = run["name"].as_str().unwrap();
        let variant = Variant::new(&fixture, run["variant"].as_str().unwrap());
        let optimizer_name = run["optimizer"].as_str().unwrap();
        let settings = fixture.at(&format!("/optimizers/{optimizer_name}"));
        for (width, wanted) in run["widths"].as_object().unwrap() {
            let model = Arc::new(RwLock::new(variant.start(width)?));
            let wanted: Vec<f64> = serde_json::from_value(wanted.clone()).unwrap();
            let mut trainer = Trainer::new(
                model.clone(),
                optimizer(settings, run["lr"].as_f64().unwrap()),
                Arc::new(variant.stream()),
                TrainerSettings {
                    batch: variant.size("batch"),
                    ..TrainerSettings::default()
                },
            )?;
            trainer.run(wanted.len() as u64, &mut NoHooks)?;
            let ours = &trainer.record().series["train_loss"].values;
            assert_eq!(ours.len(), wanted.len());
            for (step, (ours, wanted)) in ours.iter().zip(&wanted).enumerate() {
                let off = ((ours[0] - wanted) / wanted).abs();
                // written so that NaN fails
                assert!(
                    off <= 1e-9,
                    "{name}, width {width}: loss {step} is off by {off:.2e}"
                );
            }

            let model = model.read().unwrap();
            let ends = fixture.tensor(&format!("{name}.{width}.ends"));
            for (i, (path, _)) in variant.parameters(width).enumerate() {
                let param = model.params().iter().find(|p| p.info.path == path).unwrap();
                let value = turned(path, param.value.squeeze(0)?, [3, 2, 0, 1]);
                let all = to_f64(&value)?;
                let wanted = ends.index(i).values;
                let last = wanted.len() - 1;
                let kept = (0..=last).map(|k| all[k * (all.len() - 1) / last]);
                let what = format!("{name}, width {width}, {path}");
                // Adam divides gradients near zero by themselves
                assert_close(&what, &kept.collect::<Vec<_>>(), &wanted, 1e-8);
            }
            checked.insert((variant.kind(), optimizer_name));
        }
    }
    // both networks under every optimizer
    assert_eq!(checked.len(), 2 * 5);
    Ok(())
}

/// Roles, initial spreads, multipliers, and factors of learning rate and weight decay. One convention
/// differs: PyTorch draws tables of embeddings from N(0, 1), we draw them as the linear layers on
/// one-hot inputs that they are, from a uniform distribution of standard deviation 1/√3. Both are the
/// same at every width, as muP asks.
#[test]
fn scales_equal_those_of_microsoft_mup() -> Result<()> {
    let fixture = Fixture::load("mup_architectures");
    let columns: Vec<String> = serde_json::from_value(fixture.at("/columns").clone()).unwrap();
    assert_eq!(
        columns,
        [
            "infinite_dimensions",
            "init_std",
            "sgd_lr",
            "sgd_weight_decay",
            "adam_lr",
            "adam_weight_decay"
        ]
    );
    let mut roles = BTreeSet::new();
    for name in fixture.json["variants"].as_object().unwrap().keys() {
        let variant = Variant::new(&fixture, name);
        for (width, theirs) in variant.json["widths"].as_object().unwrap() {
            let model = variant.model(width)?;
            let (sgd, adam) = (
                model.scales(OptimizerFamily::Sgd).unwrap(),
                model.scales(OptimizerFamily::Adam).unwrap(),
            );
            let trained = model.params().iter().filter(|p| p.info.kind.is_trained());
            let ours: BTreeSet<&str> = trained.map(|p| p.info.path.as_str()).collect();
            let paths: BTreeSet<&str> = variant.parameters(width).map(|(path, _)| path).collect();
            assert_eq!(ours, paths, "{name}");
            let readout = theirs["readout_multiplier"].as_f64().unwrap();
            for (i, param) in model.params().iter().enumerate() {
                let path = param.info.path.as_str();
                let Some((_, row)) = variant.parameters(width).find(|(p, _)| *p == path) else {
                    continue;
                };
                let growing = match param.info.role {
                    Role::Hidden => 2.0,
                    Role::Fixed => 0.0,
                    _ => 1.0,
                };
                let std = match sgd[i].init {
                    Init::Uniform(std) if is_table(path) => {
                        assert_close(path, &[std], &[1.0 / 3f64.sqrt()], 1e-15);
                        1.0
                    }
                    init => init.std(),
                };
                let ours = [
                    growing,
                    std,
                    sgd[i].lr,
                    sgd[i].weight_decay,
                    adam[i].lr,
                    adam[i].weight_decay,
                ];
                let place = format!("{name}, width {width}, {path}");
                assert_close(&place, &ours, &row, 1e-14);
                let multiplier = match path {
                    "readout.weight" => readout,
                    _ => 1.0,
                };
                assert_close(&place, &[sgd[i].multiplier], &[multiplier], 1e-15);
                roles.insert(param.info.role.name());
            }
            for (owner, info) in model.tied() {
                assert_eq!(owner, "embedding.weight");
                let scales = model
                    .parametrization()
                    .scales(info, OptimizerFamily::Sgd)
                    .unwrap();
                assert_close(name, &[scales.multiplier], &[readout], 1e-15);
            }
            let tied = variant.json["settings"]["tied"].as_bool().unwrap_or(false);
            assert_eq!(model.tied().len(), usize::from(tied), "{}", variant.name);
        }
    }
    assert_eq!(roles.len(), 5, "{roles:?}");
    Ok(())
}
