//! A member gives the same numbers alone and in an ensemble, with one thread and with several.

use std::sync::{Arc, RwLock};

use candle_core::{DType, Device};
use widthwise::data::{Stream, SyntheticImages, SyntheticImagesSettings, Teacher, TeacherSettings};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, Flatten, LayerNorm, Linear};
use widthwise::nn::{Mlp, Network, Node, mlp};
use widthwise::optim::{Adam, Adjust, Lion, Muon, Optimizer, PerMember, Sgd};
use widthwise::parametrization::{MeanField, Mup, Parametrization, Sp};
use widthwise::tensor::elem::to_f64;
use widthwise::train::{Clip, Hooks, NoHooks, Probe, RunEnd, Trainer, TrainerSettings, When};

fn sgd(lr: PerMember) -> Arc<dyn Optimizer> {
    Arc::new(Sgd {
        lr,
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    })
}

fn adam(lr: PerMember) -> Arc<dyn Optimizer> {
    Arc::new(Adam {
        lr,
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        eps: 1e-8.into(),
        weight_decay: 0.01.into(),
        decoupled: true,
    })
}

fn lion(lr: PerMember) -> Arc<dyn Optimizer> {
    Arc::new(Lion {
        lr,
        beta1: 0.9.into(),
        beta2: 0.99.into(),
        weight_decay: 0.01.into(),
    })
}

fn muon(lr: PerMember) -> Arc<dyn Optimizer> {
    Arc::new(Muon {
        lr,
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: Adjust::Original,
        weight_decay: 0.1.into(),
        adam_factor: 0.5.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        adam_eps: 1e-8.into(),
    })
}

fn images() -> Arc<dyn Stream> {
    let settings = SyntheticImagesSettings {
        test_size: 50,
        ..SyntheticImagesSettings::default()
    };
    Arc::new(SyntheticImages::new(settings).unwrap())
}

fn with_norm(width: usize) -> Network {
    mlp(Mlp {
        width,
        layer_norm: true,
        activation: Activation::Gelu,
        ..Mlp::default()
    })
}

/// A network with everything: shared input into a norm, a residual block of width.
fn residual(width: usize) -> Network {
    Network::new("blocks", Some(width), serde_json::json!({}), |sizes| {
        let linear = |outputs| Linear {
            outputs,
            bias: true,
        };
        let block = vec![
            Node::layer("norm", LayerNorm::default()),
            Node::layer("up", linear(2 * sizes.width)),
            Node::layer("act", Activation::Tanh),
            Node::layer("down", linear(sizes.width)),
        ];
        Ok(vec![
            Node::layer("flat", Flatten),
            Node::layer("norm", LayerNorm::default()),
            Node::layer("in", linear(sizes.width)),
            Node::Residual {
                name: "block".into(),
                body: block,
                shortcut: vec![],
                multiplier: 0.5,
            },
            Node::layer("readout", linear(sizes.outputs)),
        ])
    })
}

struct Outcome {
    losses: Vec<Vec<f64>>,
    params: Vec<Vec<f64>>,
    predictions: Vec<f64>,
}

fn train(
    network: Network,
    rule: Arc<dyn Parametrization>,
    seeds: &[u64],
    optimizer: Arc<dyn Optimizer>,
    clip: Clip,
) -> Result<Outcome> {
    let settings = ModelSettings {
        seeds: seeds.to_vec(),
        dtype: DType::F32,
        place: Place::Cpu,
    };
    let model = Arc::new(RwLock::new(Model::new(network, rule, settings)?));
    let settings = TrainerSettings {
        batch: 24,
        clip,
        probes: vec![Probe::Test {
            when: When::At(vec![8]),
            keep: true,
        }],
        ..TrainerSettings::default()
    };
    let mut trainer = Trainer::new(model.clone(), optimizer, images(), settings)?;
    assert_eq!(trainer.run(8, &mut NoHooks)?, RunEnd::Done);
    assert!(trainer.without_gradient().is_empty());
    let model = model.read().unwrap();
    let params = model.params().iter().map(|p| to_f64(&p.value));
    Ok(Outcome {
        losses: trainer.record().series["train_loss"].values.clone(),
        params: params.collect::<Result<_>>()?,
        predictions: to_f64(&trainer.record().predictions[&8])?,
    })
}

fn part(values: &[f64], members: usize, member: usize) -> &[f64] {
    let size = values.len() / members;
    &values[member * size..(member + 1) * size]
}

type MakeNetwork = fn(usize) -> Network;
type MakeOptimizer = fn(PerMember) -> Arc<dyn Optimizer>;

#[test]
fn a_member_alone_has_the_bits_it_has_in_an_ensemble() -> Result<()> {
    let seeds = [11, 4, 7];
    let rates = [0.02, 0.05, 0.01];
    let networks: [MakeNetwork; 3] = [
        |w| {
            mlp(Mlp {
                width: w,
                ..Mlp::default()
            })
        },
        with_norm,
        residual,
    ];
    for network in networks {
        for optimizer in [sgd as MakeOptimizer, adam, lion, muon] {
            // without clipping, weights are updated while their gradients are made; from some width on the
            // shared input is packed for all members
            let limit = Clip::Norm(1.0);
            for (width, clip) in [(33, limit), (96, limit), (96, Clip::None)] {
                let rule = || {
                    Arc::new(Mup {
                        base_width: 32,
                        ..Mup::default()
                    })
                };
                let each = optimizer(PerMember::Each(rates.to_vec()));
                let together = train(network(width), rule(), &seeds, each, clip)?;
                for (i, &seed) in seeds.iter().enumerate() {
                    let own = optimizer(rates[i].into());
                    let alone = train(network(width), rule(), &[seed], own, clip)?;
                    for (all, one) in together.losses.iter().zip(&alone.losses) {
                        assert_eq!(all[i], one[0], "loss of member {i} at width {width}");
                    }
                    for (all, one) in together.params.iter().zip(&alone.params) {
                        assert_eq!(part(all, 3, i), one);
                    }
                    assert_eq!(part(&together.predictions, 3, i), alone.predictions);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let rule = Arc::new(Sp::default());
            let clip = Clip::Norm(1.0);
            train(residual(160), rule, &[1, 2], sgd(0.05.into()), clip)
        })
    };
    let one = run(1)?;
    for threads in [2, 5] {
        let many = run(threads)?;
        assert_eq!(one.losses, many.losses);
        assert_eq!(one.params, many.params);
        assert_eq!(one.predictions, many.predictions);
    }
    Ok(())
}

#[test]
fn a_diverging_member_is_marked_and_the_others_go_on() -> Result<()> {
    let stream = Arc::new(Teacher::new(TeacherSettings::default())?);
    let settings = ModelSettings {
        seeds: vec![0, 1, 2],
        ..ModelSettings::default()
    };
    let network = mlp(Mlp {
        width: 16,
        ..Mlp::default()
    });
    let model = Model::new(network, Arc::new(MeanField::default()), settings)?;
    let optimizer = sgd(PerMember::Each(vec![0.01, 1e9, 0.01]));
    let settings = TrainerSettings {
        batch: 16,
        probes: vec![Probe::Test {
            when: When::Every(20),
            keep: true,
        }],
        ..TrainerSettings::default()
    };
    let mut trainer = Trainer::new(Arc::new(RwLock::new(model)), optimizer, stream, settings)?;
    assert_eq!(trainer.run(40, &mut NoHooks)?, RunEnd::Done);
    let record = trainer.record();
    assert_eq!(record.divergences.len(), 1);
    let d = record.divergences[0];
    assert_eq!((d.member, d.seed), (1, 1));
    assert!(!d.loss.is_finite() && d.last_finite.is_some_and(f64::is_finite));
    let last = record.series["train_loss"].values.last().unwrap();
    assert!(last[0].is_finite() && last[2].is_finite() && !last[1].is_finite());
    let ensemble = record.series["ensemble_test_loss"].values.last().unwrap();
    assert!(
        ensemble[0].is_finite(),
        "the ensemble leaves the diverged member out"
    );
    assert!(!record.series["test_loss"].values.last().unwrap()[1].is_finite());
    Ok(())
}

#[test]
fn all_members_diverging_ends_the_run() -> Result<()> {
    let stream = Arc::new(Teacher::new(TeacherSettings::default())?);
    let network = mlp(Mlp {
        width: 16,
        ..Mlp::default()
    });
    let model = Model::new(network, Arc::new(Sp::default()), ModelSettings::default())?;
    let shared = Arc::new(RwLock::new(model));
    let mut trainer = Trainer::new(shared, sgd(1e12.into()), stream, TrainerSettings::default())?;
    assert_eq!(trainer.run(1000, &mut NoHooks)?, RunEnd::AllDiverged);
    assert!(trainer.step() < 50);
    Ok(())
}

#[test]
fn misfits_are_errors_that_name_both_sides() -> Result<()> {
    let model = |network: Network, members: u64| {
        let settings = ModelSettings {
            seeds: (0..members).collect(),
            ..ModelSettings::default()
        };
        let model = Model::new(network, Arc::new(Mup::default()), settings).unwrap();
        Arc::new(RwLock::new(model))
    };
    let fixed = mlp(Mlp {
        inputs: Some(784),
        ..Mlp::default()
    });
    let plain = TrainerSettings::default;
    let error = Trainer::new(model(fixed, 1), sgd(0.1.into()), images(), plain()).unwrap_err();
    assert!(
        error.message.contains("[784]") && error.message.contains("[3, 32, 32]"),
        "{error}"
    );
    let five = mlp(Mlp {
        outputs: Some(5),
        ..Mlp::default()
    });
    let error = Trainer::new(model(five, 1), sgd(0.1.into()), images(), plain()).unwrap_err();
    assert!(
        error.message.contains("5 outputs") && error.message.contains("10"),
        "{error}"
    );
    let rates = PerMember::Each(vec![0.1, 0.2]);
    let error =
        Trainer::new(model(mlp(Mlp::default()), 3), sgd(rates), images(), plain()).unwrap_err();
    assert!(
        error.message.contains("lr has 2 values") && error.message.contains("3 members"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_model_keeps_its_sizes_and_values_once_it_has_met_a_stream() -> Result<()> {
    let network = mlp(Mlp {
        width: 16,
        ..Mlp::default()
    });
    let model = Model::new(network, Arc::new(Sp::default()), ModelSettings::default())?;
    let model = Arc::new(RwLock::new(model));
    let teacher: Arc<dyn Stream> = Arc::new(Teacher::new(TeacherSettings::default())?);
    let plain = TrainerSettings::default;
    let mut first = Trainer::new(model.clone(), sgd(0.1.into()), teacher.clone(), plain())?;
    first.run(3, &mut NoHooks)?;
    let values = || to_f64(&model.read().unwrap().params()[0].value);
    let trained = values()?;
    let error = Trainer::new(model.clone(), sgd(0.1.into()), images(), plain()).unwrap_err();
    assert!(
        error.message.contains("[32]") && error.message.contains("[3, 32, 32]"),
        "{error}"
    );
    assert_eq!(
        values()?,
        trained,
        "a failed trainer leaves the model as it was"
    );
    Trainer::new(model.clone(), sgd(0.1.into()), teacher, plain())?;
    assert_eq!(
        values()?,
        trained,
        "a second trainer goes on from the trained values"
    );
    Ok(())
}

/// Hooks that keep what they are told.
#[derive(Default)]
struct Listener(Vec<String>);

impl Hooks for Listener {
    fn lr_factor(&mut self, _step: u64) -> Result<f64> {
        Ok(1.0)
    }
    fn probe(
        &mut self,
        _name: &str,
        _step: u64,
        _model: &widthwise::model::SharedModel,
    ) -> Result<serde_json::Value> {
        Ok(serde_json::Value::Null)
    }
    fn progress(&mut self, _progress: widthwise::train::Progress) {}
    fn warn(&mut self, message: &str) {
        self.0.push(message.to_string());
    }
}

#[test]
fn parameters_without_a_gradient_are_named() -> Result<()> {
    let network = mlp(Mlp {
        width: 8,
        ..Mlp::default()
    });
    let stream: Arc<dyn Stream> = Arc::new(Teacher::new(TeacherSettings::default())?);
    for dead in [false, true] {
        let model = Model::new(
            network.clone(),
            Arc::new(Sp::default()),
            ModelSettings::default(),
        )?;
        let model = Arc::new(RwLock::new(model));
        let rate = sgd(0.01.into());
        let mut trainer = Trainer::new(
            model.clone(),
            rate,
            stream.clone(),
            TrainerSettings::default(),
        )?;
        if dead {
            // no unit of the second layer is ever on, so nothing below the readout's bias learns
            let off = candle_core::Tensor::full(-1e6f32, (1, 8), &Device::Cpu)?;
            model.write().unwrap().set_param("layers.1.bias", &off)?;
        }
        let mut listener = Listener::default();
        trainer.run(5, &mut listener)?;
        if dead {
            let lost = [
                "layers.0.weight",
                "layers.0.bias",
                "layers.1.weight",
                "layers.1.bias",
                "readout.weight",
            ];
            assert_eq!(trainer.without_gradient(), lost);
            assert_eq!(listener.0.len(), 1, "{:?}", listener.0);
            assert!(
                listener.0[0].contains("layers.0.weight, layers.0.bias"),
                "{:?}",
                listener.0
            );
        } else {
            assert!(listener.0.is_empty(), "{:?}", listener.0);
        }
    }
    Ok(())
}

#[test]
fn a_divergence_is_told_with_step_member_and_last_finite_loss() -> Result<()> {
    let stream = Arc::new(Teacher::new(TeacherSettings::default())?);
    let network = mlp(Mlp {
        width: 16,
        ..Mlp::default()
    });
    let settings = ModelSettings {
        seeds: vec![40, 41],
        ..ModelSettings::default()
    };
    let model = Model::new(network, Arc::new(Sp::default()), settings)?;
    let rates = sgd(PerMember::Each(vec![0.01, 1e9]));
    let shared = Arc::new(RwLock::new(model));
    let mut trainer = Trainer::new(shared, rates, stream, TrainerSettings::default())?;
    let mut listener = Listener::default();
    trainer.run(20, &mut listener)?;
    assert_eq!(listener.0.len(), 1);
    for words in ["member 1 (seed 41) diverged at step", "last finite value"] {
        assert!(listener.0[0].contains(words), "{:?}", listener.0);
    }
    Ok(())
}
