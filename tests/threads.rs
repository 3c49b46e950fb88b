//! Training gives the same bits on one thread and on several, for every architecture.
//!
//! Sizes are such that one member's work is split: products above 2²⁰ multiply-adds, elementwise work
//! above 2¹⁶ numbers, convolutions, attention and sums over the batch.

use std::sync::{Arc, RwLock};

use candle_core::DType;
use widthwise::bench::fingerprint;
use widthwise::data::{
    MarkovTokens, MarkovTokensSettings, Stream, SyntheticImages, SyntheticImagesSettings, Teacher,
    TeacherSettings,
};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::Activation;
use widthwise::nn::{
    Blocks, Heads, ImageNorm, Mlp, Network, Positions, Resnet, Transformer, mlp, resnet,
    transformer,
};
use widthwise::optim::{Adam, Adjust, Muon, Optimizer, Sgd};
use widthwise::parametrization::Mup;
use widthwise::train::{Clip, NoHooks, Probe, Trainer, TrainerSettings, When};

/// Of one run: losses of every step, bits of parameters, predictions on the test set.
type Outcome = (Vec<Vec<u64>>, u64, Vec<u32>);

struct Case {
    name: &'static str,
    network: Network,
    members: u64,
    stream: Arc<dyn Stream>,
    batch: usize,
    optimizer: Arc<dyn Optimizer>,
    clip: Clip,
}

const STEPS: u64 = 2;

fn images() -> Arc<dyn Stream> {
    let settings = SyntheticImagesSettings {
        test_size: 40,
        ..SyntheticImagesSettings::default()
    };
    Arc::new(SyntheticImages::new(settings).unwrap())
}

fn teacher() -> Arc<dyn Stream> {
    let settings = TeacherSettings {
        test_size: 40,
        ..TeacherSettings::default()
    };
    Arc::new(Teacher::new(settings).unwrap())
}

fn tokens(context: usize) -> Arc<dyn Stream> {
    let settings = MarkovTokensSettings {
        vocab: 50,
        context,
        test_size: 9,
        ..MarkovTokensSettings::default()
    };
    Arc::new(MarkovTokens::new(settings).unwrap())
}

fn cases() -> Vec<Case> {
    let perceptron = || {
        mlp(Mlp {
            width: 300,
            layer_norm: true,
            activation: Activation::Gelu,
            ..Mlp::default()
        })
    };
    let small = |positions| Transformer {
        width: 48,
        context: Some(70),
        vocab: Some(50),
        blocks: Blocks {
            depth: 1,
            heads: Heads::Size(24),
            dropout: 0.1,
            positions,
            ..Blocks::default()
        },
        ..Transformer::default()
    };
    vec![
        Case {
            name: "mlp",
            network: perceptron(),
            members: 1,
            stream: teacher(),
            batch: 250,
            optimizer: adam(),
            clip: Clip::Norm(1.0),
        },
        Case {
            name: "ensemble of mlps",
            network: perceptron(),
            members: 3,
            stream: teacher(),
            batch: 250,
            optimizer: sgd(),
            clip: Clip::Norm(1.0),
        },
        Case {
            name: "mlps with muon",
            network: perceptron(),
            members: 3,
            stream: teacher(),
            batch: 250,
            optimizer: muon(),
            clip: Clip::None,
        },
        // without clipping, weights are updated while their gradients are made
        Case {
            name: "ensemble of mlps without clipping",
            network: perceptron(),
            members: 3,
            stream: teacher(),
            batch: 250,
            optimizer: sgd(),
            clip: Clip::None,
        },
        Case {
            name: "resnet18 with batch norm",
            network: resnet(Resnet {
                width: 8,
                norm: ImageNorm::Batch,
                ..Resnet::default()
            }),
            members: 1,
            stream: images(),
            batch: 16,
            optimizer: sgd(),
            clip: Clip::None,
        },
        Case {
            name: "resnet18",
            network: resnet(Resnet {
                width: 8,
                norm: ImageNorm::Group(4),
                ..Resnet::default()
            }),
            members: 1,
            stream: images(),
            batch: 8,
            optimizer: sgd(),
            clip: Clip::Norm(1.0),
        },
        Case {
            name: "transformer",
            network: transformer(small(Positions::Learned)),
            members: 1,
            stream: tokens(70),
            batch: 24,
            optimizer: adam(),
            clip: Clip::Norm(1.0),
        },
        Case {
            name: "transformer with rope, two members",
            network: transformer(small(Positions::Rope)),
            members: 2,
            stream: tokens(70),
            batch: 16,
            optimizer: sgd(),
            clip: Clip::Norm(1.0),
        },
    ]
}

fn adam() -> Arc<dyn Optimizer> {
    Arc::new(Adam {
        lr: 0.003.into(),
        beta1: 0.9.into(),
        beta2: 0.99.into(),
        eps: 1e-8.into(),
        weight_decay: 0.01.into(),
        decoupled: true,
    })
}

fn muon() -> Arc<dyn Optimizer> {
    Arc::new(Muon {
        lr: 0.02.into(),
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: Adjust::Spectral,
        weight_decay: 0.1.into(),
        adam_factor: 0.1.into(),
        beta1: 0.9.into(),
        beta2: 0.99.into(),
        adam_eps: 1e-8.into(),
    })
}

fn sgd() -> Arc<dyn Optimizer> {
    Arc::new(Sgd {
        lr: 0.05.into(),
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.001.into(),
    })
}

fn train(case: &Case) -> Result<Outcome> {
    let settings = ModelSettings {
        seeds: (5..5 + case.members).collect(),
        dtype: DType::F32,
        place: Place::Cpu,
    };
    let rule = Arc::new(Mup {
        base_width: 24,
        ..Mup::default()
    });
    let model = Model::new(case.network.clone(), rule, settings)?;
    let model = Arc::new(RwLock::new(model));
    let settings = TrainerSettings {
        batch: case.batch,
        clip: case.clip,
        probes: vec![Probe::Test {
            when: When::At(vec![STEPS]),
            keep: true,
        }],
        ..TrainerSettings::default()
    };
    let mut trainer = Trainer::new(
        model.clone(),
        case.optimizer.clone(),
        case.stream.clone(),
        settings,
    )?;
    trainer.run(STEPS, &mut NoHooks)?;
    let record = trainer.record();
    let losses = record.series["train_loss"].values.iter();
    let bits = losses.map(|row| row.iter().map(|x| x.to_bits()).collect());
    let outputs = record.predictions[&STEPS].flatten_all()?;
    let outputs = outputs.to_vec1::<f32>()?.into_iter().map(f32::to_bits);
    let parameters = fingerprint(&model.read().unwrap())?;
    Ok((bits.collect(), parameters, outputs.collect()))
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for case in cases() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| train(&case)).unwrap()
        };
        let one = run(1);
        let finite = |bits: &u64| f64::from_bits(*bits).is_finite();
        assert!(one.0.iter().flatten().all(finite), "{}", case.name);
        for threads in [2, 3, 5] {
            let many = run(threads);
            let name = format!("{}, {threads} threads", case.name);
            assert_eq!(one.0, many.0, "losses: {name}");
            assert_eq!(one.1, many.1, "parameters: {name}");
            assert!(one.2 == many.2, "predictions: {name}");
        }
    }
}
