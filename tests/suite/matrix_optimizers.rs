//! Adafactor, Shampoo and SOAP against PyTorch, pytorch-optimizer and scipy.

use crate::reference::Fixture;
use crate::stepping::{PLAIN, info, shaped, states, updated};
use candle_core::DType;
use serde_json::Value;
use widthwise::error::Result;
use widthwise::nn::Role;
use widthwise::optim::{
    Adafactor, Adam, Graft, Optimizer, PerMember, Shampoo, Soap, TensorUpdate, update as update_all,
};
use widthwise::parametrization::{OptimizerFamily, Scales};
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::elementwise::copy;

fn shampoo() -> Shampoo {
    Shampoo {
        lr: 0.02.into(),
        beta1: 0.9.into(),
        beta2: 0.95.into(),
        eps: 1e-4.into(),
        exponent_in: 0.25,
        exponent_out: 0.25,
        block: None,
        frequency: 1,
        graft: Graft::None,
        weight_decay: 0.0.into(),
        adam_factor: 0.5.into(),
        adam_eps: 1e-6.into(),
    }
}

fn soap() -> Soap {
    Soap {
        lr: 0.02.into(),
        beta1: 0.95.into(),
        beta2: 0.95.into(),
        shampoo_beta: None,
        eps: 1e-8.into(),
        basis_in: true,
        basis_out: true,
        block: None,
        frequency: 3,
        graft: Graft::None,
        weight_decay: 0.0.into(),
        adam_factor: 0.5.into(),
    }
}

/// The optimizer of a case, for a matrix of `[in, out]`.
fn optimizer(case: &Value, shape: &[usize]) -> Box<dyn Optimizer> {
    let number = |key: &str, default: f64| -> PerMember {
        PerMember::Same(case.get(key).and_then(Value::as_f64).unwrap_or(default))
    };
    let of = |key: &str, i: usize, default: f64| {
        let list = case.get(key).and_then(Value::as_array);
        list.and_then(|l| l[i].as_f64()).unwrap_or(default)
    };
    let whole = |key: &str| case.get(key).and_then(Value::as_u64).map(|n| n as usize);
    match case["optimizer"].as_str().unwrap() {
        "adafactor" => Box::new(Adafactor {
            lr: number("lr", f64::NAN),
            beta2_decay: number("beta2_decay", -0.8),
            eps1: case.get("eps").map(|e| e[0].as_f64().unwrap()),
            eps2: of("eps", 1, 1e-3).into(),
            clip: number("d", 1.0),
            weight_decay: number("weight_decay", 0.0),
        }),
        "soap" => {
            let fits = |n: usize| n <= whole("max_precondition_dim").unwrap_or(usize::MAX);
            Box::new(Soap {
                lr: number("lr", f64::NAN),
                beta1: of("betas", 0, 0.95).into(),
                beta2: of("betas", 1, 0.95).into(),
                shampoo_beta: case
                    .get("shampoo_beta")
                    .and_then(Value::as_f64)
                    .map(PerMember::Same),
                eps: number("eps", 1e-8),
                basis_in: fits(shape[0]),
                basis_out: fits(shape[1]),
                frequency: whole("precondition_frequency").unwrap(),
                weight_decay: number("weight_decay", f64::NAN),
                ..soap()
            })
        }
        _ => Box::new(Shampoo {
            lr: number("lr", f64::NAN),
            beta1: number("beta1", f64::NAN),
            beta2: number("beta2", f64::NAN),
            eps: number("eps", f64::NAN),
            exponent_in: of("exponents", 0, f64::NAN),
            exponent_out: of("exponents", 1, f64::NAN),
            block: whole("block"),
            frequency: whole("frequency").unwrap(),
            graft: match case["graft"].as_str().unwrap() {
                "none" => Graft::None,
                "adam" => Graft::Adam,
                "spectral" => Graft::Spectral,
                other => panic!("{other}"),
            },
            weight_decay: number("weight_decay", f64::NAN),
            adam_eps: number("adam_eps", f64::NAN),
            ..shampoo()
        }),
    }
}

/// Largest difference to the fixture's parameters at each step that is kept, relative to 1 + |value|.
fn deviations(fixture: &Fixture, name: &str, path: &str, dtype: DType) -> Result<Vec<f64>> {
    let case = &fixture.json["cases"][name];
    // a matrix is [in, out] here
    let read = |name: String| match fixture.tensor(&name) {
        found if path == "bias" => found,
        found => found.transposed(),
    };
    let (start, grads) = (
        read(format!("start.{path}")),
        read(format!("gradients.{path}")),
    );
    let shape = start.shape.as_slice();
    let size = start.values.len();
    let optimizer = optimizer(case, shape);
    let info = info(shape, Role::Hidden);
    let scales = Scales {
        fans: [info.fan_in, info.fan_out],
        ..PLAIN
    };
    let param = shaped(&start.values, shape, 2, dtype)?;
    let state = states(&*optimizer, &info, 2, dtype)?;
    let kept: Vec<usize> = fixture.json["settings"]["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap() as usize)
        .collect();
    let mut worst = Vec::new();
    for step in 1..=*kept.last().unwrap() {
        let grad = &grads.values[(step - 1) * size..step * size];
        let update = TensorUpdate {
            param: &param,
            grad: &shaped(grad, shape, 2, dtype)?,
            state: &state,
            info: &info,
            scales: &scales,
            factor: 1.0,
            active: &[true, step <= 10],
            step: step as u64,
        };
        update_all(&*optimizer, &update)?;
        if step == 1 && case["optimizer"] == "soap" {
            // eigenvectors of the eigenvalue 0 are arbitrary: go on with the reference's
            let names = optimizer.states(&info);
            for (state, tensor) in names.iter().zip(&state) {
                if let Some(side) = state.name.strip_prefix("basis_") {
                    let theirs = fixture.tensor(&format!("{name}.basis_{side}.{path}"));
                    let ours = to_f64(tensor)?;
                    same_basis(
                        &ours[..theirs.values.len()],
                        &theirs.values,
                        path == "square",
                        dtype,
                    );
                    copy(tensor, &shaped(&theirs.values, &state.shape, 2, dtype)?)?;
                }
            }
        }
        if kept.contains(&step) {
            let ours = to_f64(&param)?;
            // the second member stops after 10 steps and keeps its numbers
            let stopped = kept
                .iter()
                .copied()
                .filter(|&k| k <= step.min(10))
                .max()
                .unwrap();
            let mut largest: f64 = 0.0;
            for (ours, step) in ours.chunks(size).zip([step, stopped]) {
                let wanted = read(format!("{name}.{step}.{path}")).values;
                for (a, b) in ours.iter().zip(&wanted) {
                    largest = largest.max((a - b).abs() / (1.0 + b.abs()));
                }
            }
            worst.push(largest);
        }
    }
    Ok(worst)
}

/// Both have orthonormal columns, and the same ones up to signs where eigenvalues differ.
fn same_basis(ours: &[f64], theirs: &[f64], distinct: bool, dtype: DType) {
    let n = ours.len().isqrt();
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-3 };
    for i in 0..n {
        for j in 0..n {
            let product =
                |a: &[f64], b: &[f64]| (0..n).map(|k| a[k * n + i] * b[k * n + j]).sum::<f64>();
            let unit = f64::from(u8::from(i == j));
            assert!((product(ours, ours) - unit).abs() < tolerance);
            if distinct {
                assert!(
                    (product(ours, theirs).abs() - unit).abs() < tolerance,
                    "{i} {j}"
                );
            }
        }
    }
}

#[test]
fn every_optimizer_follows_its_reference() -> Result<()> {
    let fixture = Fixture::load("matrix_optimizers");
    let cases = fixture.json["cases"].as_object().unwrap();
    assert!(cases.len() >= 15);
    for (name, case) in cases {
        let vectors: &[&str] = if case["optimizer"] == "adafactor" {
            &["bias"]
        } else {
            &[]
        };
        for path in ["tall", "wide", "square"].iter().chain(vectors) {
            for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-4)] {
                let found = deviations(&fixture, name, path, dtype)?;
                let worst = found.iter().copied().fold(0.0, f64::max);
                // the spectral norm is estimated from below, by one power iteration a step after the first
                let tolerance = if name == "shampoo_spectral" {
                    0.05
                } else {
                    tolerance
                };
                assert!(
                    worst < tolerance,
                    "{name} of {path} in {dtype:?}: {found:?}"
                );
                if name == "shampoo_spectral" {
                    assert!(found[0] < 2e-3, "{name} of {path} in {dtype:?}: {found:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn filters_are_flattened_and_the_rest_follows_adamw() -> Result<()> {
    let scales = Scales {
        lr: 0.3,
        eps: 2.0,
        weight_decay: 0.7,
        ..PLAIN
    };
    let decayed = || -> Vec<Box<dyn Optimizer>> {
        vec![
            Box::new(Shampoo {
                block: Some(3),
                weight_decay: 0.1.into(),
                ..shampoo()
            }),
            Box::new(Soap {
                block: Some(3),
                frequency: 1,
                weight_decay: 0.1.into(),
                ..soap()
            }),
            Box::new(Soap {
                graft: Graft::Adam,
                ..soap()
            }),
        ]
    };
    for optimizer in decayed() {
        let filters = updated(&*optimizer, &info(&[2, 2, 3, 5], Role::Hidden), &scales)?;
        let flat = updated(&*optimizer, &info(&[12, 5], Role::Hidden), &scales)?;
        assert_eq!(filters, flat);
        for (shape, role) in [
            (&[4, 6][..], Role::InputLike),
            (&[6, 4], Role::OutputLike),
            (&[6], Role::VectorLike),
        ] {
            let (betas, eps, decay) = match optimizer.settings() {
                s if optimizer.name() == "soap" => ([0.95, 0.95], 1e-8, s["weight_decay"].as_f64()),
                s => ([0.9, 0.95], 1e-6, s["weight_decay"].as_f64()),
            };
            let adamw = Adam {
                lr: 0.01.into(),
                beta1: betas[0].into(),
                beta2: betas[1].into(),
                eps: eps.into(),
                weight_decay: decay.unwrap().into(),
                decoupled: true,
            };
            let info = info(shape, role);
            assert_eq!(
                updated(&*optimizer, &info, &scales)?,
                updated(&adamw, &info, &scales)?
            );
        }
    }
    Ok(())
}

#[test]
fn a_graft_has_the_size_that_it_is_named_for() -> Result<()> {
    let info = info(&[6, 4], Role::Hidden);
    let grads: Vec<f64> = (0..24)
        .map(|i| ((i * i) as f64 * 0.7 + 0.3).sin())
        .collect();
    // the steps of the second update, since SOAP's first does nothing
    let step = |optimizer: &dyn Optimizer| -> Result<Vec<f64>> {
        let param = shaped(&[0.0; 24], &info.shape, 1, DType::F64)?;
        let state = states(optimizer, &info, 1, DType::F64)?;
        let mut before = vec![0.0; 24];
        for step in 1..=2 {
            before = to_f64(&param)?;
            let update = TensorUpdate {
                param: &param,
                grad: &shaped(&grads, &info.shape, 1, DType::F64)?,
                state: &state,
                info: &info,
                scales: &Scales {
                    fans: [6, 4],
                    ..PLAIN
                },
                factor: 1.0,
                active: &[true],
                step,
            };
            update_all(optimizer, &update)?;
        }
        Ok(to_f64(&param)?
            .iter()
            .zip(before)
            .map(|(a, b)| a - b)
            .collect())
    };
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    // the same gradient twice: Adam moves every number by its learning rate
    for optimizer in [
        Box::new(Shampoo {
            graft: Graft::Adam,
            ..shampoo()
        }) as Box<dyn Optimizer>,
        Box::new(Soap {
            graft: Graft::Adam,
            frequency: 1,
            ..soap()
        }),
    ] {
        let found = norm(&step(&*optimizer)?) / (0.02 * 24f64.sqrt());
        assert!((found - 1.0).abs() < 1e-3, "{}: {found}", optimizer.name());
        assert_eq!(optimizer.family(), OptimizerFamily::Adam);
    }
    for optimizer in [
        Box::new(Shampoo {
            graft: Graft::Spectral,
            ..shampoo()
        }) as Box<dyn Optimizer>,
        Box::new(Soap {
            graft: Graft::Spectral,
            frequency: 1,
            ..soap()
        }),
    ] {
        let found = step(&*optimizer)?;
        let mut x = [1.0, 0.3, -0.2, 0.7];
        let mut size = 0.0;
        for _ in 0..200 {
            let y: Vec<f64> = found
                .chunks(4)
                .map(|r| r.iter().zip(x).map(|(a, b)| a * b).sum())
                .collect();
            let back: [f64; 4] =
                std::array::from_fn(|j| (0..6).map(|i| found[i * 4 + j] * y[i]).sum());
            size = norm(&back).sqrt();
            x = back.map(|v| v / norm(&back));
        }
        let wanted = 0.02 * (4f64 / 6.0).sqrt();
        assert!(
            (size / wanted - 1.0).abs() < 0.02,
            "{}: {size} {wanted}",
            optimizer.name()
        );
        assert_eq!(optimizer.family(), OptimizerFamily::Muon);
    }
    Ok(())
}

#[test]
fn no_gradient_is_no_step_and_a_bad_one_stays_with_its_member() -> Result<()> {
    let info = info(&[3, 3], Role::Hidden);
    for optimizer in [
        Box::new(shampoo()) as Box<dyn Optimizer>,
        Box::new(Shampoo {
            graft: Graft::Spectral,
            ..shampoo()
        }),
        Box::new(Shampoo {
            graft: Graft::Adam,
            ..shampoo()
        }),
        Box::new(soap()),
        Box::new(Adafactor {
            lr: 0.1.into(),
            beta2_decay: (-0.8).into(),
            eps1: None,
            eps2: 1e-3.into(),
            clip: 1.0.into(),
            weight_decay: 0.0.into(),
        }),
    ] {
        let run = |grads: [f64; 2]| -> Result<Vec<f64>> {
            let param = shaped(&[1.0; 9], &info.shape, 2, DType::F64)?;
            let state = states(&*optimizer, &info, 2, DType::F64)?;
            for step in 1..=4 {
                let all = grads.map(|g| [g; 9]).concat();
                let update = TensorUpdate {
                    param: &param,
                    grad: &shaped(&all, &[18], 1, DType::F64)?.reshape((2, 3, 3))?,
                    state: &state,
                    info: &info,
                    scales: &PLAIN,
                    factor: 1.0,
                    active: &[true, true],
                    step,
                };
                update_all(&*optimizer, &update)?;
            }
            to_f64(&param)
        };
        let alone = run([0.5, 0.5])?;
        let none = run([0.0, 0.5])?;
        assert_eq!(none[..9], [1.0; 9], "{}", optimizer.name());
        assert_eq!(none[9..], alone[9..], "{}", optimizer.name());
        let bad = run([f64::NAN, 0.5])?;
        assert!(
            bad[..9].iter().all(|p| p.is_nan()),
            "{}: {bad:?}",
            optimizer.name()
        );
        assert_eq!(bad[9..], alone[9..], "{}", optimizer.name());
    }
    Ok(())
}
