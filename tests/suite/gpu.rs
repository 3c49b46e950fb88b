//! Training on a GPU, in the emulator, against training on the CPU; and on a real GPU where there is one.

use std::io::Write;
use std::sync::{Arc, RwLock};

use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, Labels, Teacher, TeacherSettings};
use widthwise::error::Result;
use widthwise::gpu::{Gpu, Name, Place, open};
use widthwise::metrics::{EigenvalueSettings, Loss, Rates, hessian_eigenvalues};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{
    Activation, BatchNorm, Conv2d, Dropout, Flatten, GlobalAvgPool, LayerNorm, Linear,
};
use widthwise::nn::{Layer, Mlp, Network, Node, mlp};
use widthwise::optim::{Adam, Adjust, Lion, Muon, Optimizer, ParamRates, PerMember, Sgd};
use widthwise::parametrization::{Mup, Sp};
use widthwise::tensor::elem::to_f64;
use widthwise::train::{Clip, NoHooks, Trainer, TrainerSettings};

fn emulated() -> Place {
    Place::Gpu(Arc::new(Gpu::emulated()))
}

/// Places that stand for a GPU here: the emulator, and the first GPU if there is one. That none was there is
/// said.
fn gpus() -> Vec<Place> {
    let mut all = vec![emulated()];
    match open(Name::Cuda(0)) {
        Ok(gpu) => all.push(gpu),
        // straight to the terminal, for the test harness keeps what passing tests print
        Err(e) => {
            let line = format!("SKIPPED on a GPU, run in the emulator alone: {e}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
    all
}

struct Run {
    seeds: Vec<u64>,
    place: Place,
    dtype: DType,
    settings: TrainerSettings,
}

impl Run {
    fn new(place: &Place) -> Self {
        Self {
            seeds: vec![3, 1, 4],
            place: place.clone(),
            dtype: DType::F64,
            settings: TrainerSettings {
                batch: 8,
                ..TrainerSettings::default()
            },
        }
    }

    fn trainer(&self, network: Network, optimizer: impl Optimizer + 'static) -> Result<Trainer> {
        let settings = ModelSettings {
            seeds: self.seeds.clone(),
            dtype: self.dtype,
            place: self.place.clone(),
        };
        let model = match network.width {
            Some(_) => Model::new(network, Arc::new(Mup::default()), settings)?,
            None => Model::new(network, Arc::new(Sp::default()), settings)?,
        };
        let stream = TeacherSettings {
            inputs: 12,
            ..TeacherSettings::default()
        };
        Trainer::new(
            Arc::new(RwLock::new(model)),
            Arc::new(optimizer),
            Arc::new(Teacher::new(stream)?),
            self.settings.clone(),
        )
    }
}

fn small() -> Network {
    mlp(Mlp {
        width: 8,
        depth: 3,
        ..Mlp::default()
    })
}

fn sgd(lr: PerMember) -> Sgd {
    Sgd {
        lr,
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 1e-3.into(),
    }
}

/// Losses of all steps and members, then the numbers of all parameters.
fn result(trainer: &Trainer) -> Vec<f64> {
    let series = &trainer.record().series["train_loss"];
    let mut all: Vec<f64> = series.values.iter().flatten().copied().collect();
    let model = trainer.model().read().unwrap();
    for param in model.params() {
        all.extend(to_f64(&param.value).unwrap());
    }
    all
}

fn close(what: &str, a: &[f64], b: &[f64], bound: f64) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let apart = (a - b).abs() / (1.0 + a.abs());
        assert!(apart < bound, "{what}: number {i}: {a} {b}");
    }
}

/// The same training on the CPU and on every GPU.
fn same<O: Optimizer + Clone + 'static>(
    what: &str,
    network: impl Fn() -> Network,
    optimizer: &O,
    steps: u64,
    change: impl Fn(&mut TrainerSettings),
) -> Result<()> {
    let run = |place: &Place, dtype| -> Result<Vec<f64>> {
        let mut run = Run::new(place);
        change(&mut run.settings);
        run.dtype = dtype;
        let mut trainer = run.trainer(network(), optimizer.clone())?;
        trainer.run(steps, &mut NoHooks)?;
        let mut all = result(&trainer);
        if let Some(averages) = trainer.ema_model()? {
            for param in averages.params() {
                all.extend(to_f64(&param.value)?);
            }
        }
        Ok(all)
    };
    let cpu = run(&Place::Cpu, DType::F64)?;
    for gpu in gpus() {
        close(what, &run(&gpu, DType::F64)?, &cpu, 1e-8);
        let what = format!("{what} in f32");
        close(&what, &run(&gpu, DType::F32)?, &cpu, 2e-2);
    }
    Ok(())
}

#[test]
fn two_hundred_steps_are_those_of_the_cpu() -> Result<()> {
    let lr = PerMember::Each(vec![0.01, 0.02, 0.03]);
    same("sgd", small, &sgd(lr), 200, |_| {})
}

#[test]
fn optimizers_do_the_same() -> Result<()> {
    let adam = |decoupled| Adam {
        lr: PerMember::Each(vec![0.01, 0.02, 0.03]),
        beta1: 0.9.into(),
        beta2: 0.95.into(),
        eps: 1e-8.into(),
        weight_decay: 0.01.into(),
        decoupled,
    };
    same("adam", small, &adam(false), 20, |_| {})?;
    same("adamw", small, &adam(true), 20, |_| {})?;
    let lion = Lion {
        lr: 0.001.into(),
        beta1: 0.9.into(),
        beta2: 0.99.into(),
        weight_decay: 0.1.into(),
    };
    same("lion", small, &lion, 20, |_| {})?;
    let nesterov = Sgd {
        nesterov: true,
        ..sgd(0.02.into())
    };
    same("nesterov", small, &nesterov, 20, |_| {})?;
    let muon = Muon {
        lr: 0.02.into(),
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: Adjust::Original,
        weight_decay: 0.1.into(),
        adam_factor: 0.1.into(),
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        adam_eps: 1e-8.into(),
    };
    same("muon", small, &muon, 12, |s| s.clip = Clip::Norm(0.5))
}

#[test]
fn clipping_and_averages_do_the_same() -> Result<()> {
    let sgd = sgd(0.05.into());
    same("norm", small, &sgd, 12, |s| s.clip = Clip::Norm(0.1))?;
    same("value", small, &sgd, 12, |s| s.clip = Clip::Value(0.01))?;
    let decay = PerMember::Each(vec![0.5, 0.9, 0.99]);
    same("averages", small, &sgd, 12, |s| {
        s.ema = Some(decay.clone());
    })
}

fn node(name: &str, layer: impl Layer + 'static) -> Node {
    Node::Layer {
        name: name.into(),
        layer: Arc::new(layer),
    }
}

/// Convolution, batch normalisation with running estimates, dropout.
fn images() -> Network {
    let linear = |outputs| Linear {
        outputs,
        bias: true,
    };
    let nodes = vec![
        node("conv", Conv2d::square(4, 3, 1)),
        node(
            "norm",
            BatchNorm {
                eps: 1e-5,
                momentum: 0.1,
                relu: true,
            },
        ),
        node("pool", GlobalAvgPool),
        node("flat", Flatten),
        node("row_norm", LayerNorm::default()),
        node("tanh", Activation::Tanh),
        node("dropout", Dropout { p: 0.25 }),
        node("out", linear(1)),
    ];
    let build = move |_| Ok(nodes.clone());
    let mut network = Network::new("images", None, serde_json::Value::Null, build);
    network.input = Some(vec![3, 2, 2]);
    network
}

#[test]
fn layers_that_draw_and_estimate_do_the_same() -> Result<()> {
    same("images", images, &sgd(0.05.into()), 15, |_| {})
}

#[test]
fn a_member_alone_is_that_member_in_an_ensemble() -> Result<()> {
    for gpu in gpus() {
        let run = |seeds: &[u64], dtype| -> Result<Vec<f64>> {
            let mut run = Run::new(&gpu);
            run.seeds = seeds.to_vec();
            run.dtype = dtype;
            let mut trainer = run.trainer(small(), sgd(0.02.into()))?;
            trainer.run(10, &mut NoHooks)?;
            let series = trainer.record().series["train_loss"].values.iter();
            let at = seeds.iter().position(|&s| s == 1).unwrap();
            Ok(series.map(|losses| losses[at]).collect())
        };
        for (dtype, bound) in [(DType::F64, 1e-10), (DType::F32, 1e-3), (DType::BF16, 0.05)] {
            close(
                "member",
                &run(&[1], dtype)?,
                &run(&[3, 1, 4], dtype)?,
                bound,
            );
        }
    }
    Ok(())
}

#[test]
fn the_same_run_has_the_same_bits() -> Result<()> {
    for gpu in gpus() {
        let run = || -> Result<Vec<u64>> {
            let mut trainer = Run::new(&gpu).trainer(small(), sgd(0.02.into()))?;
            trainer.run(10, &mut NoHooks)?;
            Ok(result(&trainer).into_iter().map(f64::to_bits).collect())
        };
        assert_eq!(run()?, run()?);
    }
    Ok(())
}

#[test]
fn a_member_that_diverges_stops_alone() -> Result<()> {
    let lr = PerMember::Each(vec![0.01, 1e6, 0.02]);
    for place in gpus() {
        let on = |place: &Place| -> Result<Trainer> {
            let mut run = Run::new(place);
            run.settings.batch = 4;
            let mut trainer = run.trainer(small(), sgd(lr.clone()))?;
            trainer.run(90, &mut NoHooks)?;
            Ok(trainer)
        };
        let (gpu, cpu) = (on(&place)?, on(&Place::Cpu)?);
        assert_eq!(gpu.active(), [true, false, true]);
        assert_eq!(cpu.active(), gpu.active());
        let step = |t: &Trainer| t.record().divergences.first().map(|d| (d.step, d.member));
        assert_eq!(step(&gpu), step(&cpu));
        let finite = |t: &Trainer| -> Vec<f64> {
            let series = t.record().series["train_loss"].values.iter();
            series.flat_map(|row| [row[0], row[2]]).collect()
        };
        close("the others", &finite(&gpu), &finite(&cpu), 1e-8);
    }
    Ok(())
}

#[test]
fn a_run_whose_members_all_diverge_ends_where_the_last_one_does() -> Result<()> {
    for place in gpus() {
        let on = |place: &Place| -> Result<(u64, usize)> {
            let mut trainer = Run::new(place).trainer(small(), sgd(1e9.into()))?;
            trainer.run(200, &mut NoHooks)?;
            let steps = trainer.record().series["train_loss"].steps.len();
            Ok((trainer.step(), steps))
        };
        assert_eq!(on(&place)?, on(&Place::Cpu)?);
    }
    Ok(())
}

#[test]
fn bf16_is_for_gpus() {
    let mut run = Run::new(&Place::Cpu);
    run.dtype = DType::BF16;
    let error = run.trainer(small(), sgd(0.1.into())).unwrap_err();
    assert!(error.message.contains("bf16"), "{error}");
    assert!(error.help.unwrap().contains("--device cuda"));
}

/// What a script prints on a device.
fn printed(device: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.rhai"), text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(folder.path())
        .args(["run", "s.rhai", "--device", device])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{device}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same script, whatever the device: training with probes, predictions, kernels, sharpness, networks of every
/// architecture, an optimizer with a part of the host.
#[test]
fn a_script_prints_the_same_on_every_device() {
    let script = r#"
        let round = |x| (x * 1e6).round() / 1e6;
        let s = data::teacher(#{ inputs: 6, test_size: 10 });
        let m = init(mlp(#{ width: 8 }), mup(), #{ members: 2, dtype: "f64" });
        let t = trainer(m, adam(#{ lr: [0.01, 0.02] }), s, #{ batch: 5 });
        t.step(12);
        print(t.record.last("train_loss").map(|x| round.call(x)));
        let x = s.batch(4).inputs;
        print(metrics::ntk(m, x)[1].to_array().map(|row| row.map(|x| round.call(x))));
        print(metrics::sharpness(m, s.batch(4)).map(|x| round.call(x)));
        let rounded = |rows| rows.map(|row| row.map(|x| round.call(x)));
        for matrix in ["hessian", "gauss_newton"] {
            let found = metrics::hessian_eigenvalues(m, s.batch(4), #{
                matrix: matrix, count: 2, tolerance: 1e-9, optimizer: sgd(#{ lr: [0.1, 0.2] }),
            });
            print(rounded.call(found.values) + found.converged);
        }
        let shape = #{ width: 8, depth: 1, head_size: 4, vocab: 5, context: 3, tied: true };
        let tied = init(transformer(shape), mup(), #{ members: 2, dtype: "f64" });
        print(rounded.call(metrics::ntk(tied, tensor([[0, 1, 2], [3, 1, 1]]))[1].to_array()));
        print(rounded.call(t.sharpness(s.batch(4), #{ tolerance: 1e-9 }).values));
        let noise = metrics::gradient_noise_scale(m, s, #{ small: 3, parts: 2, batches: 2 });
        print(rounded.call([noise.trace, noise.squared_gradient]));
        print(m.to_string().contains("f64"));
        print(m.activation("layers.1.relu", x).shape);
        print(round.call(m.param("readout.weight").to_array()[1][2][0]));
        let h = trainer(m, shampoo(#{ lr: 0.01 }), s, #{ batch: 5 });
        h.step(3);
        print(h.record.last("train_loss").map(|x| round.call(x)));
    "#;
    let cpu = printed("cpu", script);
    assert_eq!(cpu.lines().count(), 12, "{cpu}");
    assert_eq!(printed("emulated", script), cpu);
    if open(Name::Cuda(0)).is_ok() {
        assert_eq!(printed("cuda", script), cpu);
    }
}

/// One linear layer, whose eigenvalues are there once for each output: Krylov spaces are exhausted before all are
/// found, and go on from another vector.
#[test]
fn eigenvalues_that_are_there_more_than_once_are_those_of_the_cpu() -> Result<()> {
    let network = || {
        mlp(Mlp {
            depth: 1,
            bias: false,
            inputs: Some(3),
            outputs: Some(3),
            activation: Activation::Identity,
            ..Mlp::default()
        })
    };
    let inputs = [[3f64, 0.1, 0.0], [0.0, 1.0, 0.4], [0.2, 0.0, 2.0]];
    let batch = Batch {
        inputs: Tensor::new(&inputs, &Device::Cpu)?,
        labels: Labels::Values(Tensor::zeros((3, 3), DType::F64, &Device::Cpu)?),
    };
    let settings = EigenvalueSettings {
        count: 5,
        products: 30,
        tolerance: 1e-9,
        ..EigenvalueSettings::default()
    };
    let found = |place: &Place| {
        let model = ModelSettings {
            seeds: vec![1, 2],
            dtype: DType::F64,
            place: place.clone(),
        };
        let model = Model::new(network(), Arc::new(Sp::default()), model)?;
        // the second member's directions into one output have no learning rate
        let rates = [1.0, 0.5].map(|r| [[r, r, r]; 3]);
        let mut rates: Vec<f64> = rates.into_iter().flatten().flatten().collect();
        (0..3).for_each(|i| rates[9 + 3 * i] = 0.0);
        let rates = Rates::new(vec![ParamRates::PerNumber(rates)]);
        hessian_eigenvalues(&model, &batch, Loss::Mse, Some(&rates), settings)
    };
    let cpu = found(&Place::Cpu)?;
    assert_eq!(cpu.converged, [true, true]);
    for gpu in gpus() {
        let gpu = found(&gpu)?;
        assert_eq!(
            (&gpu.converged, gpu.products),
            (&cpu.converged, cpu.products)
        );
        close(
            "eigenvalues",
            &gpu.values.concat(),
            &cpu.values.concat(),
            1e-10,
        );
    }
    Ok(())
}

/// Networks of every architecture, with clipping and second derivatives.
#[test]
fn architectures_print_the_same_on_every_device() {
    let script = r#"
        let round = |x| (x * 1e5).round() / 1e5;
        let tokens = data::markov_tokens(#{ vocab: 7, context: 6, test_size: 4 });
        let images = data::synthetic_images(#{ test_size: 4 });
        for one in [
            [transformer(#{ width: 8, heads: 2, depth: 1, context: 6 }), tokens, adamw(#{ lr: 0.01 })],
            [transformer(#{ width: 8, heads: 2, depth: 1, context: 6, preset: "llama" }), tokens, lion(#{ lr: 0.001 })],
            [vit(#{ width: 8, heads: 2, depth: 1, patch: 16 }), images, sgd(#{ lr: 0.01, momentum: 0.9 })],
            [cnn(#{ width: 2 }), images, sgd(#{ lr: 0.01 })],
        ] {
            let m = init(one[0], mup(), #{ members: 2, dtype: "f64" });
            let t = trainer(m, one[2], one[1], #{ batch: 3, clip_norm: 1.0 });
            t.step(4);
            print(t.record.last("train_loss").map(|x| round.call(x)));
            let x = one[1].batch(3);
            print(metrics::sharpness(m, x, #{ products: 2, tolerance: 0 }).map(|x| round.call(x)));
            let newton = metrics::hessian_trace(m, x, #{ samples: 2, matrix: "gauss_newton" });
            print(newton.trace.map(|x| round.call(x / 10.0)));
        }
    "#;
    let cpu = printed("cpu", script);
    assert_eq!(cpu.lines().count(), 12, "{cpu}");
    assert_eq!(printed("emulated", script), cpu);
    if open(Name::Cuda(0)).is_ok() {
        assert_eq!(printed("cuda", script), cpu);
    }
}

/// What is measured inside a network: gradients, activations, feature kernels, attention maps.
#[test]
fn measurements_print_the_same_on_every_device() {
    let script = r#"
        let round = |x| (x * 1e5).round() / 1e5;
        let tokens = data::markov_tokens(#{ vocab: 7, context: 5, test_size: 4 });
        let images = data::synthetic_images(#{ test_size: 4 });
        for one in [
            [transformer(#{ width: 8, heads: 2, depth: 1, context: 5, preset: "llama" }), tokens, "blocks.0.mlp"],
            [resnet(#{ depth: 8, width: 2, groups: 1 }), images, "stages.0.0.norm1.preactivation"],
        ] {
            let m = init(one[0], mup(), #{ members: 2, dtype: "f64" });
            let batch = one[1].batch(3);
            let gradients = metrics::gradients(m, batch);
            for path in gradients.keys() { print(`${path} ${round.call(gradients[path].abs().mean())}`); }
            print(round.call(m.activation(one[2], batch.inputs).abs().mean()));
            print(round.call(metrics::feature_kernel(m, one[2], batch.inputs).mean()));
            print(round.call(m.predict(batch).abs().mean()));
        }
        let m = init(transformer(#{ width: 8, heads: 2, depth: 1, context: 5, vocab: 7 }), mup(), #{ members: 2, dtype: "f64" });
        let maps = metrics::attention_maps(m, 0, tokens.batch(3).inputs);
        print(maps[1][2][1][4].to_array().map(|x| round.call(x)));
    "#;
    let cpu = printed("cpu", script);
    assert_eq!(cpu.lines().count(), 45, "{cpu}");
    assert_eq!(printed("emulated", script), cpu);
    if open(Name::Cuda(0)).is_ok() {
        assert_eq!(printed("cuda", script), cpu);
    }
}

/// A transformer in bf16, whose attention is another kernel than that of f64. Each number is rounded by at most 1/256
/// of itself, forward and backward; a loss is a mean over many.
#[test]
fn a_transformer_in_bf16_trains_like_one_in_f64() {
    let script = |dtype: &str| {
        format!(
            r#"
            let tokens = data::markov_tokens(#{{ vocab: 7, context: 40, test_size: 4 }});
            let network = transformer(#{{ width: 24, heads: 2, depth: 2, context: 40 }});
            let m = init(network, mup(), #{{ members: 2, dtype: "{dtype}" }});
            let t = trainer(m, adamw(#{{ lr: [0.01, 0.02] }}), tokens, #{{ batch: 2 }});
            for i in 0..6 {{
                t.step(1);
                for loss in t.record.last("train_loss") {{ print(loss); }}
            }}
        "#
        )
    };
    let losses = |device: &str, dtype: &str| -> Vec<f64> {
        let printed = printed(device, &script(dtype));
        printed.lines().map(|line| line.parse().unwrap()).collect()
    };
    let exact = losses("cpu", "f64");
    assert_eq!(exact.len(), 12);
    let cuda = open(Name::Cuda(0)).is_ok().then_some("cuda");
    for device in ["emulated"].into_iter().chain(cuda) {
        close(device, &losses(device, "bf16"), &exact, 1.0 / 256.0);
    }
}

#[test]
fn wrong_tokens_are_named() {
    let script = r#"
        let m = init(transformer(#{ width: 8, heads: 2, depth: 1, context: 3, vocab: 5 }), sp());
        m.predict(tensor([[0.0, 4.0, 7.0]]));
    "#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.rhai"), script).unwrap();
    for device in ["cpu", "emulated"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_widthwise"))
            .current_dir(folder.path())
            .args(["run", "s.rhai", "--device", device])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        let wanted = "whole numbers from 0 to 4, got 7 at position 2 of example 0";
        assert!(error.contains(wanted), "{device}: {error}");
    }
}
