//! Eigenvalues and traces of Hessians and Gauss–Newton matrices, in several units, and gradient noise: against
//! PyTorch's autograd and numpy's eigenvalues, and against closed forms.

use std::sync::Arc;

use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, FromTensors, FromTensorsSettings, Labels};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::metrics::{
    CurvatureMatrix, EigenvalueSettings, Loss, NoiseSettings, Rates, TraceSettings,
    gradient_noise_scale, hessian_eigenvalues, hessian_trace,
};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, Conv2d, GlobalAvgPool, GroupNorm, Linear};
use widthwise::nn::{Mlp, Network, Node, mlp};
use widthwise::optim::{Adam, Optimizer, ParamRates, PerMember, Sgd};
use widthwise::parametrization::{Mup, Ntp, Sp};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::rng::Key;
use widthwise::train::{NoHooks, Probe, Trainer, TrainerSettings, When};

const CPU: Device = Device::Cpu;
const MATRICES: [(&str, CurvatureMatrix); 2] = [
    ("hessian", CurvatureMatrix::Hessian),
    ("gauss_newton", CurvatureMatrix::GaussNewton),
];

fn normal(label: &str, shape: &[usize]) -> Result<Tensor> {
    let mut rng = Key::new(6).label(label).rng();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Ok(Tensor::from_vec(values, shape, &CPU)?)
}

fn linear(outputs: usize) -> Linear {
    Linear {
        outputs,
        bias: true,
    }
}

fn conv(stride: usize) -> Conv2d {
    Conv2d {
        outputs: 4,
        kernel: [3, 3],
        stride: [stride; 2],
        padding: [1, 1],
        groups: 1,
        bias: true,
    }
}

/// The networks of the fixture, with layers called as PyTorch calls them.
fn network(name: &str) -> Network {
    let (input, nodes) = match name {
        "mlp" => (
            vec![5],
            vec![
                Node::layer("0", linear(7)),
                Node::layer("1", Activation::Tanh),
                Node::layer("2", linear(6)),
                Node::layer("3", Activation::Tanh),
                Node::layer("4", linear(3)),
            ],
        ),
        _ => (
            vec![2, 5, 4],
            vec![
                Node::layer("0", conv(1)),
                Node::layer("1", Activation::Relu),
                Node::layer("2", conv(2)),
                Node::layer("3", GroupNorm::new(2)),
                Node::layer("4", Activation::Relu),
                Node::layer("5", GlobalAvgPool),
                Node::layer("7", linear(3)),
            ],
        ),
    };
    let json = serde_json::json!({});
    let mut network = Network::new("test", None, json, move |_| Ok(nodes.clone()));
    network.input = Some(input);
    network.outputs = Some(3);
    network
}

fn settings(seeds: &[u64], dtype: DType) -> ModelSettings {
    ModelSettings {
        seeds: seeds.to_vec(),
        dtype,
        place: Place::Cpu,
    }
}

/// PyTorch's parameter in our layout, for `members` members.
fn ours(array: &Array, members: usize) -> Result<Tensor> {
    let t = array.to_tensor();
    let t = match t.rank() {
        4 => t.permute((2, 3, 1, 0))?.contiguous()?,
        2 => t.t()?.contiguous()?,
        _ => t,
    };
    Ok(Tensor::stack(&vec![t; members], 0)?)
}

/// A model of the fixture, of two equal members.
fn model(fixture: &Fixture, name: &str) -> Result<Model> {
    let mut model = Model::new(
        network(name),
        Arc::new(Sp::default()),
        settings(&[1, 2], DType::F64),
    )?;
    let paths: Vec<String> = model.params().iter().map(|p| p.info.path.clone()).collect();
    for path in paths {
        let value = ours(&fixture.tensor(&format!("{name}.{path}")), 2)?;
        model.set_param(&path, &value)?;
    }
    Ok(model)
}

fn batch(fixture: &Fixture, name: &str, loss: Loss) -> Batch {
    Batch {
        inputs: fixture.tensor(&format!("{name}.x")).to_tensor(),
        labels: match loss {
            Loss::CrossEntropy => {
                Labels::Classes(fixture.tensor(&format!("{name}.classes")).to_classes())
            }
            Loss::Mse => Labels::Values(fixture.tensor(&format!("{name}.values")).to_tensor()),
        },
    }
}

/// The fixture's learning rates: the first member has them, the second four times as large ones.
fn rates(fixture: &Fixture, name: &str, model: &Model) -> Rates {
    let rate = |path: &str| {
        fixture.at(&format!("/networks/{name}/rates"))[path]
            .as_f64()
            .unwrap()
    };
    let params = model.params().iter();
    Rates::new(
        params
            .map(|p| {
                let rate = rate(&p.info.path);
                ParamRates::PerMember(vec![rate, 4.0 * rate])
            })
            .collect(),
    )
}

fn preconditioner(fixture: &Fixture, name: &str, model: &Model) -> Result<Rates> {
    let params = model.params().iter().map(|p| {
        let each = fixture.tensor(&format!("{name}.{}.preconditioner", p.info.path));
        Ok(ParamRates::PerNumber(to_f64(&ours(&each, 2)?)?))
    });
    Ok(Rates::new(params.collect::<Result<_>>()?))
}

#[test]
fn eigenvalues_are_those_of_pytorchs_matrices() -> Result<()> {
    let fixture = Fixture::load("curvature");
    for name in ["mlp", "cnn"] {
        let model = model(&fixture, name)?;
        let given = [
            ("stored", None, 1.0),
            ("in_rates", Some(rates(&fixture, name, &model)), 4.0),
            (
                "preconditioned",
                Some(preconditioner(&fixture, name, &model)?),
                1.0,
            ),
        ];
        for loss in [Loss::CrossEntropy, Loss::Mse] {
            let batch = batch(&fixture, name, loss);
            for (kind, matrix) in MATRICES {
                for (units, rates, factor) in &given {
                    let what = format!("/networks/{name}/{}/{kind}/{units}", loss.name());
                    let settings = EigenvalueSettings {
                        count: 6,
                        products: 200,
                        tolerance: 1e-8,
                        matrix,
                        ..EigenvalueSettings::default()
                    };
                    let found =
                        hessian_eigenvalues(&model, &batch, loss, rates.as_ref(), settings)?;
                    assert_eq!(found.converged, [true, true], "{what}: {found:?}");
                    let expected = fixture.numbers(&what);
                    assert_close(&what, &found.values[0], &expected, 1e-9);
                    let scaled: Vec<f64> = expected.iter().map(|v| v * factor).collect();
                    assert_close(&what, &found.values[1], &scaled, 1e-9);
                    let rough = EigenvalueSettings {
                        products: 8,
                        tolerance: 1e-14,
                        ..settings
                    };
                    let rough = hessian_eigenvalues(&model, &batch, loss, rates.as_ref(), rough)?;
                    assert_eq!(rough.converged, [false, false], "{what}");
                }
            }
        }
    }
    Ok(())
}

/// A batch of random inputs with more features than examples, in the first of which the classes are.
fn wide(points: usize, features: usize) -> Result<Batch> {
    let inputs = normal("inputs", &[points, features])?;
    let classes: Vec<u32> = (0..points as u32).map(|i| i % 4).collect();
    Ok(Batch {
        inputs,
        labels: Labels::Classes(Tensor::from_vec(classes, points, &CPU)?),
    })
}

fn perceptron(width: usize, inputs: usize) -> Network {
    mlp(Mlp {
        width,
        depth: 3,
        inputs: Some(inputs),
        outputs: Some(4),
        activation: Activation::Tanh,
        ..Mlp::default()
    })
}

#[test]
fn units_of_learning_rates_are_the_matrix_between_their_roots() -> Result<()> {
    let batch = wide(9, 5)?;
    let model = Model::new(
        perceptron(8, 5),
        Arc::new(Mup {
            base_width: 2,
            ..Mup::default()
        }),
        settings(&[3, 4], DType::F64),
    )?;
    let optimizer: &dyn Optimizer = &Sgd {
        lr: PerMember::Each(vec![0.1, 0.3]),
        momentum: 0.0.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    };
    let rates = Rates::of(&model, optimizer)?;
    let scales = model.scales(optimizer.family())?;
    assert!(scales.iter().any(|s| s.lr != 1.0));
    for (rates, scales) in rates.params().iter().zip(&scales) {
        let ParamRates::PerMember(rates) = rates else {
            panic!("one for each member");
        };
        assert_eq!(rates, &[0.1 * scales.lr, 0.3 * scales.lr]);
    }
    let wrong = Sgd {
        lr: PerMember::Each(vec![0.1; 3]),
        momentum: 0.0.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    };
    let error = Rates::of(&model, &wrong).unwrap_err();
    assert!(
        error
            .message
            .contains("lr has 3 values, but the model has 2 members"),
        "{error}"
    );
    // a parameter whose learning rate is 0 is as good as constant
    let frozen = Rates::new(
        rates
            .params()
            .iter()
            .enumerate()
            .map(|(i, r)| match i {
                0 => ParamRates::PerMember(vec![0.0; 2]),
                _ => r.clone(),
            })
            .collect(),
    );
    let settings = EigenvalueSettings {
        count: 110,
        products: 300,
        tolerance: 1e-7,
        ..EigenvalueSettings::default()
    };
    let found = hessian_eigenvalues(&model, &batch, Loss::CrossEntropy, Some(&frozen), settings)?;
    assert_eq!(found.converged, [true, true]);
    let zeros = found.values[0].iter().filter(|v| **v == 0.0).count();
    assert!(zeros > 0 && found.values[0][0] > 0.0, "{found:?}");
    let none = Rates::new(
        rates
            .params()
            .iter()
            .map(|_| ParamRates::PerMember(vec![0.0; 2]))
            .collect(),
    );
    let found = hessian_eigenvalues(
        &model,
        &batch,
        Loss::CrossEntropy,
        Some(&none),
        EigenvalueSettings::default(),
    )?;
    assert_eq!((found.values, found.products), (vec![vec![0.0]; 2], 0));
    Ok(())
}

/// With more inputs than examples, products are formed in the examples' span: widths and learning rates are
/// chosen so that this pays.
#[test]
fn more_inputs_than_examples_change_nothing() -> Result<()> {
    let (points, features) = (6, 300);
    let batch = wide(points, features)?;
    for dtype in [DType::F64, DType::F32] {
        let model = Model::new(
            perceptron(7, features),
            Arc::new(Ntp::default()),
            settings(&[5], dtype),
        )?;
        let rates = Rates::of(
            &model,
            &Sgd {
                lr: 0.2.into(),
                momentum: 0.0.into(),
                nesterov: false,
                weight_decay: 0.0.into(),
            },
        )?;
        // the same rates number by number cannot be reduced
        let each = rates
            .params()
            .iter()
            .zip(model.params())
            .map(|(rates, p)| match rates {
                ParamRates::PerMember(r) => ParamRates::PerNumber(vec![r[0]; p.value.elem_count()]),
                ParamRates::PerNumber(_) => rates.clone(),
            });
        let each = Rates::new(each.collect());
        let (tolerance, bound) = if dtype == DType::F64 {
            (1e-8, 1e-9)
        } else {
            (1e-4, 1e-3)
        };
        let settings = EigenvalueSettings {
            count: 3,
            products: 120,
            tolerance,
            ..EigenvalueSettings::default()
        };
        let reduced =
            hessian_eigenvalues(&model, &batch, Loss::CrossEntropy, Some(&rates), settings)?;
        let whole = hessian_eigenvalues(&model, &batch, Loss::CrossEntropy, Some(&each), settings)?;
        assert_eq!(
            (&reduced.converged, &whole.converged),
            (&vec![true], &vec![true])
        );
        for (a, b) in reduced.values[0].iter().zip(&whole.values[0]) {
            assert!((a - b).abs() < bound * whole.values[0][0], "{a} {b}");
        }
    }
    Ok(())
}

#[test]
fn members_give_the_numbers_that_they_give_alone() -> Result<()> {
    let batch = wide(9, 5)?;
    let of = |seeds: &[u64]| -> Result<_> {
        let model = Model::new(
            perceptron(8, 5),
            Arc::new(Sp::default()),
            settings(seeds, DType::F64),
        )?;
        hessian_eigenvalues(
            &model,
            &batch,
            Loss::CrossEntropy,
            None,
            EigenvalueSettings {
                count: 2,
                ..EigenvalueSettings::default()
            },
        )
    };
    let together = of(&[1, 2, 3])?;
    for (i, seed) in [1, 2, 3].into_iter().enumerate() {
        let alone = of(&[seed])?;
        assert_eq!(
            (&alone.values[0], &alone.residuals[0]),
            (&together.values[i], &together.residuals[i])
        );
    }
    Ok(())
}

#[test]
fn a_member_that_is_not_finite_is_flagged() -> Result<()> {
    let batch = wide(9, 5)?;
    let mut model = Model::new(
        perceptron(8, 5),
        Arc::new(Sp::default()),
        settings(&[1, 2], DType::F64),
    )?;
    let path = model.params()[0].info.path.clone();
    let mut numbers = to_f64(&model.params()[0].value)?;
    numbers[3] = f64::NAN;
    let bad = Tensor::from_vec(numbers, model.params()[0].value.shape(), &CPU)?;
    model.set_param(&path, &bad)?;
    let found = hessian_eigenvalues(
        &model,
        &batch,
        Loss::CrossEntropy,
        None,
        EigenvalueSettings::default(),
    )?;
    assert_eq!(found.converged, [false, true]);
    assert!(found.values[0][0].is_nan() && found.values[1][0].is_finite());
    Ok(())
}

#[test]
fn wrong_settings_are_named() -> Result<()> {
    let batch = wide(9, 5)?;
    let model = Model::new(
        perceptron(2, 5),
        Arc::new(Sp::default()),
        settings(&[1], DType::F64),
    )?;
    let usual = EigenvalueSettings::default();
    let error = |s: EigenvalueSettings, rates: Option<&Rates>| {
        hessian_eigenvalues(&model, &batch, Loss::CrossEntropy, rates, s)
            .unwrap_err()
            .message
    };
    for (settings, text) in [
        (
            EigenvalueSettings { count: 0, ..usual },
            "count must be between 1 and products, which is 60, found 0",
        ),
        (
            EigenvalueSettings {
                count: 9,
                products: 8,
                ..usual
            },
            "which is 8, found 9",
        ),
        (
            EigenvalueSettings {
                count: 400,
                products: 400,
                ..usual
            },
            "30 trained parameters has no 400 eigenvalues",
        ),
        (
            EigenvalueSettings {
                tolerance: 0.0,
                ..usual
            },
            "tolerance must be positive, found 0",
        ),
    ] {
        let found = error(settings, None);
        assert!(found.contains(text), "{found}");
    }
    let few = Rates::new(vec![ParamRates::PerMember(vec![1.0])]);
    assert!(error(usual, Some(&few)).contains("parameters have 1 learning rates"));
    let mut rates: Vec<_> = model
        .params()
        .iter()
        .map(|_| ParamRates::PerMember(vec![1.0]))
        .collect();
    rates[1] = ParamRates::PerMember(vec![-1.0]);
    let found = error(usual, Some(&Rates::new(rates)));
    assert!(found.contains("a learning rate of -1"), "{found}");
    let none = batch.narrow(0, 0);
    if let Ok(none) = none {
        assert!(hessian_eigenvalues(&model, &none, Loss::CrossEntropy, None, usual).is_err());
    }
    Ok(())
}

fn teacher(points: usize) -> Result<(Arc<FromTensors>, Batch)> {
    let x = normal("x", &[points, 5])?.to_dtype(DType::F32)?;
    let y = normal("y", &[points, 4])?.to_dtype(DType::F32)?;
    let stream = FromTensors::new(&x, &y, &x, &y, FromTensorsSettings::default())?;
    let batch = Batch {
        inputs: x,
        labels: Labels::Values(y),
    };
    Ok((Arc::new(stream), batch))
}

fn trainer(optimizer: Arc<dyn Optimizer>, settings: TrainerSettings) -> Result<(Trainer, Batch)> {
    let (stream, batch) = teacher(12)?;
    let model = Model::new(
        perceptron(8, 5),
        Arc::new(Mup {
            base_width: 4,
            ..Mup::default()
        }),
        self::settings(&[1, 2], DType::F64),
    )?;
    let model = Arc::new(std::sync::RwLock::new(model));
    let settings = TrainerSettings {
        batch: 12,
        ..settings
    };
    Ok((Trainer::new(model, optimizer, stream, settings)?, batch))
}

#[test]
fn a_trainers_sharpness_has_its_schedule_and_adams_preconditioner_in_it() -> Result<()> {
    use widthwise::optim::Schedule;
    let plain = Sgd {
        lr: PerMember::Each(vec![0.1, 0.2]),
        momentum: 0.9.into(),
        nesterov: false,
        weight_decay: 0.0.into(),
    };
    let schedule = Schedule::Step {
        every: 2,
        gamma: 0.25,
    };
    let (mut trainer, batch) = trainer(
        Arc::new(plain.clone()),
        TrainerSettings {
            schedule,
            ..TrainerSettings::default()
        },
    )?;
    trainer.run(3, &mut NoHooks)?;
    let settings = EigenvalueSettings {
        tolerance: 1e-8,
        products: 150,
        ..EigenvalueSettings::default()
    };
    let found = trainer.sharpness(&batch, settings, &mut NoHooks)?;
    assert_eq!(found.threshold, [3.8, 3.8]);
    let model = trainer.model().read().unwrap();
    let rates = Rates::of(&model, &plain)?;
    let whole = hessian_eigenvalues(&model, &batch, Loss::Mse, Some(&rates), settings)?;
    for (found, whole) in found.eigenvalues.values.iter().zip(&whole.values) {
        assert_close("a quarter", &[found[0]], &[0.25 * whole[0]], 1e-9);
    }
    drop(model);

    let adam = Adam {
        lr: 0.01.into(),
        beta1: 0.9.into(),
        beta2: 0.99.into(),
        eps: 1e-3.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
    };
    let (mut trainer, batch) = self::trainer(Arc::new(adam), TrainerSettings::default())?;
    let error = trainer
        .sharpness(&batch, settings, &mut NoHooks)
        .unwrap_err();
    assert!(error.message.contains("before its first step"), "{error}");
    trainer.run(1, &mut NoHooks)?;
    let found = trainer.sharpness(&batch, settings, &mut NoHooks)?;
    assert!(found.eigenvalues.converged.iter().all(|c| *c), "{found:?}");
    assert_close("threshold", &found.threshold, &[38.0, 38.0], 1e-12);
    assert!(found.eigenvalues.values.iter().all(|v| v[0] > 0.0));
    Ok(())
}

#[test]
fn a_probe_of_the_sharpness_has_adams_preconditioner_of_its_step() -> Result<()> {
    let adam = || {
        Arc::new(Adam {
            lr: 0.01.into(),
            beta1: 0.9.into(),
            beta2: 0.99.into(),
            eps: 1e-3.into(),
            weight_decay: 0.0.into(),
            decoupled: false,
        })
    };
    let settings = EigenvalueSettings {
        products: 20,
        ..EigenvalueSettings::default()
    };
    let (mut alone, batch) = trainer(adam(), TrainerSettings::default())?;
    let probe = Probe::Sharpness {
        name: "sharpness".into(),
        when: When::Every(2),
        batch: Arc::new(batch.clone()),
        settings,
    };
    let with_probe = TrainerSettings {
        probes: vec![probe],
        ..TrainerSettings::default()
    };
    let (mut trainer, _) = self::trainer(adam(), with_probe)?;
    trainer.run(4, &mut NoHooks)?;
    let found = &trainer.record().probes;
    let steps: Vec<u64> = found.iter().map(|(step, ..)| *step).collect();
    assert_eq!(steps, [2, 4], "Adam has no preconditioner at step 0");
    for (_, _, value) in found {
        alone.run(2, &mut NoHooks)?;
        let wanted = alone.sharpness(&batch, settings, &mut NoHooks)?;
        assert_eq!(value, &serde_json::to_value(wanted).unwrap());
    }
    Ok(())
}

#[test]
fn traces_are_those_of_pytorchs_matrices() -> Result<()> {
    let fixture = Fixture::load("curvature");
    for name in ["mlp", "cnn"] {
        let model = model(&fixture, name)?;
        let rates = rates(&fixture, name, &model);
        for loss in [Loss::CrossEntropy, Loss::Mse] {
            let batch = batch(&fixture, name, loss);
            for (kind, matrix) in MATRICES {
                for (units, rates, factor) in
                    [("trace", None, 1.0), ("trace_in_rates", Some(&rates), 4.0)]
                {
                    let settings = TraceSettings {
                        samples: 400,
                        matrix,
                        ..TraceSettings::default()
                    };
                    let found = hessian_trace(&model, &batch, loss, rates, settings)?;
                    let expected =
                        fixture.number(&format!("/networks/{name}/{}/{kind}/{units}", loss.name()));
                    let distance = (found.trace[0] - expected).abs();
                    assert!(
                        distance < 3.5 * found.error[0],
                        "{name} {kind} {units}: {found:?} {expected}"
                    );
                    let fewer = TraceSettings {
                        samples: 100,
                        ..settings
                    };
                    let fewer = hessian_trace(&model, &batch, loss, rates, fewer)?;
                    let gain = fewer.error[0] / found.error[0];
                    assert!((1.5..3.0).contains(&gain), "{name} {kind} {units}: {gain}");
                    assert_close(
                        "four times the rate",
                        &[found.trace[1]],
                        &[factor * found.trace[0]],
                        1e-9,
                    );
                }
            }
        }
    }
    Ok(())
}

/// One linear layer with squared error, whose Hessian is 2/(n k) (xᵀx ⊗ 1).
#[test]
fn a_linear_network_has_its_inputs_second_moments_for_curvature() -> Result<()> {
    let network = mlp(Mlp {
        depth: 1,
        bias: false,
        inputs: Some(3),
        outputs: Some(2),
        activation: Activation::Identity,
        ..Mlp::default()
    });
    let model = Model::new(network, Arc::new(Sp::default()), settings(&[1], DType::F64))?;
    let batch = Batch {
        inputs: Tensor::new(
            &[[3f64, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [0.0; 3]],
            &CPU,
        )?,
        labels: Labels::Values(normal("targets", &[4, 2])?),
    };
    for (_, matrix) in MATRICES {
        let settings = EigenvalueSettings {
            count: 6,
            tolerance: 1e-9,
            matrix,
            ..EigenvalueSettings::default()
        };
        let found = hessian_eigenvalues(&model, &batch, Loss::Mse, None, settings)?;
        assert_eq!(found.converged, [true]);
        // 2 / (4 · 2) times 9, 4 and 1, once for each output
        assert_close(
            "values",
            &found.values[0],
            &[2.25, 2.25, 1.0, 1.0, 0.25, 0.25],
            1e-12,
        );
        let trace = TraceSettings {
            samples: 2,
            matrix,
            ..TraceSettings::default()
        };
        let found = hessian_trace(&model, &batch, Loss::Mse, None, trace)?;
        assert_close("a diagonal's trace", &found.trace, &[7.0], 1e-12);
        assert!(found.error[0] < 1e-12);
        let one = TraceSettings {
            samples: 1,
            ..trace
        };
        let error = hessian_trace(&model, &batch, Loss::Mse, None, one).unwrap_err();
        assert!(
            error.message.contains("samples must be at least 2"),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn gradient_noise_is_that_of_pytorchs_single_gradients() -> Result<()> {
    let fixture = Fixture::load("curvature");
    let model = model(&fixture, "mlp")?;
    let rates = rates(&fixture, "mlp", &model);
    let (x, y) = (
        fixture.tensor("mlp.x").to_tensor(),
        fixture.tensor("mlp.classes").to_classes(),
    );
    let stream = FromTensors::new(
        &x,
        &y,
        &x,
        &y,
        FromTensorsSettings {
            epochs: Some(1),
            classes: Some(3),
            ..FromTensorsSettings::default()
        },
    )?;
    let setting = |name: &str| fixture.number(&format!("/settings/{name}")) as usize;
    let noise = NoiseSettings {
        small: setting("small"),
        parts: setting("parts"),
        batches: setting("groups"),
        start: 0,
    };
    for (units, rates) in [("stored", None), ("in_rates", Some(&rates))] {
        let found = gradient_noise_scale(&model, &stream, Loss::CrossEntropy, rates, noise)?;
        let at = |name: &str| fixture.number(&format!("/noise/{units}/{name}"));
        // the stream has the inputs in f32
        for (name, found) in [
            ("noise_scale", &found.noise_scale),
            ("trace", &found.trace),
            ("squared_gradient", &found.squared_gradient),
        ] {
            assert!(
                (found[0] / at(name) - 1.0).abs() < 1e-5,
                "{units} {name}: {found:?} {}",
                at(name)
            );
        }
        assert_eq!((found.small, found.big, found.batches), (2, 6, 2));
        assert!(found.noise_scale_error[0] > 0.0);
    }
    let more = NoiseSettings {
        batches: 3,
        ..noise
    };
    assert!(
        gradient_noise_scale(&model, &stream, Loss::CrossEntropy, None, more).is_err(),
        "the stream ends"
    );
    for (wrong, text) in [
        (
            NoiseSettings { small: 0, ..noise },
            "small must be at least 1, found 0",
        ),
        (
            NoiseSettings { parts: 1, ..noise },
            "parts must be at least 2, found 1",
        ),
        (
            NoiseSettings {
                batches: 1,
                ..noise
            },
            "batches must be at least 2, found 1",
        ),
    ] {
        let error =
            gradient_noise_scale(&model, &stream, Loss::CrossEntropy, None, wrong).unwrap_err();
        assert_eq!(error.message, text);
    }
    Ok(())
}

/// One weight on constant inputs with random targets: the gradient of an example is `2 (w − y)`, of mean
/// `2 (w − E y)` and variance `4 Var y`.
#[test]
fn the_noise_of_a_mean_is_its_variance() -> Result<()> {
    let network = mlp(Mlp {
        depth: 1,
        bias: false,
        inputs: Some(1),
        outputs: Some(1),
        activation: Activation::Identity,
        ..Mlp::default()
    });
    let mut model = Model::new(network, Arc::new(Sp::default()), settings(&[1], DType::F64))?;
    let path = model.params()[0].info.path.clone();
    model.set_param(&path, &Tensor::new(&[[[1.5f64]]], &CPU)?)?;
    let points = 20_000;
    let x = Tensor::ones((points, 1), DType::F32, &CPU)?;
    let y = normal("y", &[points, 1])?;
    let stream = FromTensors::new(&x, &y, &x, &y, FromTensorsSettings::default())?;
    let noise = NoiseSettings {
        small: 5,
        parts: 4,
        batches: 1000,
        start: 0,
    };
    let found = gradient_noise_scale(&model, &stream, Loss::Mse, None, noise)?;
    for (value, error, expected) in [
        (found.trace[0], found.trace_error[0], 4.0),
        (
            found.squared_gradient[0],
            found.squared_gradient_error[0],
            9.0,
        ),
        (found.noise_scale[0], found.noise_scale_error[0], 4.0 / 9.0),
    ] {
        assert!(
            (value - expected).abs() < 3.5 * error && error < 0.1 * expected,
            "{found:?}"
        );
    }
    // at the minimum there is nothing but noise
    model.set_param(&path, &Tensor::new(&[[[0f64]]], &CPU)?)?;
    let few = NoiseSettings {
        batches: 2,
        start: 40,
        ..noise
    };
    let scales: Vec<f64> = (0..20)
        .map(|i| {
            gradient_noise_scale(
                &model,
                &stream,
                Loss::Mse,
                None,
                NoiseSettings {
                    start: 40 * i,
                    ..few
                },
            )
        })
        .map(|found| found.map(|f| f.noise_scale[0]))
        .collect::<Result<_>>()?;
    assert!(scales.iter().any(|s| s.is_nan()), "{scales:?}");
    Ok(())
}
