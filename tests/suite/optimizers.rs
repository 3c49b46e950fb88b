//! Optimizers, clipping and schedules against PyTorch and lion-pytorch over 100 steps.

use crate::reference::Fixture;
use crate::stepping::{PLAIN, info, members, shaped, states, updated};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use widthwise::error::Result;
use widthwise::nn::Role;
use widthwise::optim::{
    Adam, Adjust, DecayShape, Lion, Muon, Optimizer, PerMember, Schedule, Sgd, TensorUpdate,
    update as update_all,
};
use widthwise::parametrization::Scales;
use widthwise::tensor::elem::to_f64;
use widthwise::train::Clip;

const PARAMS: [&str; 3] = ["weight", "bias", "kernel"];
const MATRICES: [&str; 3] = ["tall", "wide", "square"];

fn optimizer(case: &Value) -> Box<dyn Optimizer> {
    let number = |key: &str, default: f64| -> PerMember {
        PerMember::Same(case.get(key).and_then(Value::as_f64).unwrap_or(default))
    };
    let lr = number("lr", f64::NAN);
    match case["optimizer"].as_str().unwrap() {
        "SGD" => Box::new(Sgd {
            lr,
            momentum: number("momentum", 0.0),
            nesterov: case
                .get("nesterov")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            weight_decay: number("weight_decay", 0.0),
        }),
        "Lion" => Box::new(Lion {
            lr,
            beta1: case["betas"][0].as_f64().unwrap().into(),
            beta2: case["betas"][1].as_f64().unwrap().into(),
            weight_decay: number("weight_decay", 0.0),
        }),
        "Muon" => Box::new(Muon {
            lr,
            momentum: number("momentum", 0.95),
            nesterov: case.get("nesterov").and_then(Value::as_bool) != Some(false),
            ns_steps: case.get("ns_steps").and_then(Value::as_u64).unwrap_or(5) as usize,
            eps: number("eps", 1e-7),
            adjust: match case.get("adjust_lr_fn").and_then(Value::as_str) {
                None | Some("original") => Adjust::Original,
                Some("match_rms_adamw") => Adjust::MatchRmsAdamw,
                Some("spectral_unclamped") => Adjust::Spectral,
                Some(other) => panic!("{other}"),
            },
            weight_decay: number("weight_decay", 0.1),
            ..muon()
        }),
        name => Box::new(Adam {
            lr,
            beta1: case["betas"][0].as_f64().unwrap().into(),
            beta2: case["betas"][1].as_f64().unwrap().into(),
            eps: number("eps", 1e-8),
            weight_decay: number("weight_decay", 0.0),
            decoupled: name == "AdamW",
        }),
    }
}

fn muon() -> Muon {
    Muon {
        lr: 0.02.into(),
        momentum: 0.95.into(),
        nesterov: true,
        ns_steps: 5,
        eps: 1e-7.into(),
        adjust: Adjust::Original,
        weight_decay: 0.1.into(),
        adam_factor: 0.5.into(),
        beta1: 0.8.into(),
        beta2: 0.95.into(),
        adam_eps: 1e-6.into(),
    }
}

/// Largest absolute difference to the fixture's parameters, relative to 1 + |value|.
fn deviation(
    fixture: &Fixture,
    name: &str,
    case: &Value,
    factors: &[f64],
    dtype: DType,
) -> Result<f64> {
    let optimizer = optimizer(case);
    let mut worst: f64 = 0.0;
    let matrices = name.starts_with("muon");
    // a matrix is [in, out] here
    let read = |name: String| match (fixture.tensor(&name), matrices) {
        (found, true) => found.transposed(),
        (found, false) => found,
    };
    for path in if matrices { MATRICES } else { PARAMS } {
        let start = read(format!("start.{path}"));
        let grads = read(format!("gradients.{path}"));
        let (size, shape) = (start.values.len(), start.shape.as_slice());
        let info = info(shape, Role::Hidden);
        let scales = Scales {
            fans: [info.fan_in, info.fan_out],
            ..PLAIN
        };
        let param = shaped(&start.values, shape, 2, dtype)?;
        let state = states(&*optimizer, &info, 2, dtype)?;
        for step in 1..=factors.len() {
            let grad = shaped(
                &grads.values[(step - 1) * size..step * size],
                shape,
                2,
                dtype,
            )?;
            let update = TensorUpdate {
                param: &param,
                grad: &grad,
                state: &state,
                info: &info,
                scales: &scales,
                factor: factors[step - 1],
                active: &[true, step <= 10],
                step: step as u64,
            };
            update_all(&*optimizer, &update)?;
            if [1, 10, 100].contains(&step) {
                let wanted = read(format!("{name}.{step}.{path}")).values;
                let ours = to_f64(&param)?;
                for (a, b) in ours[..size].iter().zip(&wanted) {
                    worst = worst.max((a - b).abs() / (1.0 + b.abs()));
                }
                // the second member stops after 10 steps and keeps its numbers
                let kept = read(format!("{name}.{}.{path}", step.min(10))).values;
                for (a, b) in ours[size..].iter().zip(&kept) {
                    worst = worst.max((a - b).abs() / (1.0 + b.abs()));
                }
            }
        }
    }
    Ok(worst)
}

#[test]
fn every_optimizer_follows_its_reference_for_100_steps() -> Result<()> {
    let fixture = Fixture::load("optimizers");
    let cases = fixture.json["cases"].as_object().unwrap();
    let matrices = fixture.json["matrix_cases"].as_object().unwrap();
    assert!(cases.len() >= 14 && matrices.len() >= 6);
    for (name, case) in cases.iter().chain(matrices) {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let found = deviation(&fixture, name, case, &[1.0; 100], dtype)?;
            assert!(found < tolerance, "{name} in {dtype:?}: {found:.2e}");
        }
    }
    Ok(())
}

#[test]
fn muon_flattens_filters_and_leaves_the_rest_to_adamw() -> Result<()> {
    let scales = Scales {
        fans: [18, 4],
        lr: 0.7,
        ..PLAIN
    };
    let filters = updated(&muon(), &info(&[3, 3, 2, 4], Role::Hidden), &scales)?;
    assert_eq!(
        filters,
        updated(&muon(), &info(&[18, 4], Role::Hidden), &scales)?
    );
    let adam = Adam {
        lr: 0.01.into(),
        beta1: 0.8.into(),
        beta2: 0.95.into(),
        eps: 1e-6.into(),
        weight_decay: 0.1.into(),
        decoupled: true,
    };
    for role in [
        Role::InputLike,
        Role::OutputLike,
        Role::VectorLike,
        Role::Fixed,
    ] {
        let info = info(&[18, 4], role);
        assert_eq!(
            updated(&muon(), &info, &scales)?,
            updated(&adam, &info, &scales)?
        );
        assert_eq!(muon().lr_of(&info, 0), 0.01);
    }
    Ok(())
}

#[test]
fn states_that_do_not_fit_are_refused() -> Result<()> {
    let info = info(&[3, 2], Role::Hidden);
    let tensor = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu);
    let param = tensor(&[1, 3, 2])?;
    let message = |state: &[Tensor]| {
        let update = TensorUpdate {
            param: &param,
            grad: &param,
            state,
            info: &info,
            scales: &PLAIN,
            factor: 1.0,
            active: &[true],
            step: 1,
        };
        update_all(&muon(), &update).map_err(|e| e.message)
    };
    let missing = message(&[]).unwrap_err();
    assert!(missing.contains("muon needs 1 state tensors"), "{missing}");
    let wrong = message(&[tensor(&[1, 2, 3])?]).unwrap_err();
    assert!(wrong.contains("[1, 2, 3]"), "{wrong}");
    Ok(())
}

fn schedule(settings: &Value) -> Option<Schedule> {
    let whole = |key: &str| settings.get(key).and_then(Value::as_u64);
    let number = |key: &str| settings.get(key).and_then(Value::as_f64);
    let steps = whole("steps").unwrap_or(0);
    let warmup = whole("warmup").unwrap_or(0);
    let floor = number("minimum").unwrap_or(0.0) / number("lr")?;
    match settings.get("kind").and_then(Value::as_str) {
        Some("linear") => {
            return Some(Schedule::Linear {
                steps,
                warmup,
                floor,
            });
        }
        Some("polynomial") => {
            return Some(Schedule::Polynomial {
                steps,
                warmup,
                floor,
                power: number("power")?,
            });
        }
        Some("wsd") => {
            return Some(Schedule::Wsd {
                steps,
                warmup,
                decay: whole("decay")?,
                floor,
                shape: match settings["shape"].as_str()? {
                    "linear" => DecayShape::Linear,
                    "cosine" => DecayShape::Cosine,
                    _ => DecayShape::Sqrt,
                },
            });
        }
        Some("inverse_sqrt") => return Some(Schedule::InverseSqrt { warmup }),
        _ => {}
    }
    if let Some(every) = whole("every") {
        return Some(Schedule::Step {
            every,
            gamma: number("factor")?,
        });
    }
    if let Some(at) = settings.get("at") {
        let at = serde_json::from_value(at.clone()).ok()?;
        return Some(Schedule::MultiStep {
            at,
            gamma: number("factor")?,
        });
    }
    Some(match (whole("steps"), whole("warmup")) {
        (Some(steps), warmup) => Schedule::Cosine {
            steps,
            warmup: warmup.unwrap_or(0),
            floor: number("minimum")? / number("lr")?,
        },
        (None, Some(warmup)) => Schedule::Warmup { warmup },
        (None, None) => Schedule::Constant,
    })
}

#[test]
fn schedules_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("optimizers");
    let mut checked = Vec::new();
    for (name, settings) in fixture.json["schedules"].as_object().unwrap() {
        if name.contains("from_zero") {
            continue; // a convention that we do not offer
        }
        let schedule = schedule(settings).unwrap();
        let lr = settings["lr"].as_f64().unwrap();
        let values = fixture.numbers(&format!("/schedules/{name}/values"));
        for (step, wanted) in values.iter().enumerate() {
            let ours = lr * schedule.factor(step as u64).unwrap();
            assert!(
                (ours - wanted).abs() < 1e-12,
                "{name} {schedule:?} at {step}: {ours} {wanted}"
            );
        }
        checked.push(name.clone());
    }
    assert!(checked.len() >= 14, "{checked:?}");
    for (name, run) in fixture.json["scheduled"].as_object().unwrap() {
        let settings = &fixture.json["schedules"][run["schedule"].as_str().unwrap()];
        let schedule = schedule(settings).unwrap();
        let case = &fixture.json["cases"][run["case"].as_str().unwrap()];
        let factors: Vec<f64> = (0..100).map(|s| schedule.factor(s).unwrap()).collect();
        let found = deviation(&fixture, name, case, &factors, DType::F64)?;
        assert!(found < 1e-12, "{name}: {found:.2e}");
    }
    Ok(())
}

#[test]
fn clipping_follows_pytorch() -> Result<()> {
    let fixture = Fixture::load("optimizers");
    for (name, settings) in fixture.json["clipping"].as_object().unwrap() {
        let limit = settings["limit"].as_f64().unwrap();
        let clip = match settings["kind"].as_str().unwrap() {
            "norm" => Clip::Norm(limit),
            _ => Clip::Value(limit),
        };
        for step in 0..3 {
            let row = |name: &str, size: usize| {
                fixture.tensor(name).values[step * size..(step + 1) * size].to_vec()
            };
            let grads = PARAMS.map(|path| {
                let size = fixture.tensor(&format!("start.{path}")).values.len();
                members(&row(&format!("gradients.{path}"), size), 2, DType::F64).unwrap()
            });
            clip.apply(&grads)?;
            for (path, grad) in PARAMS.iter().zip(&grads) {
                let ours = to_f64(grad)?;
                let wanted = row(&format!("{name}.{path}"), ours.len() / 2);
                for (a, b) in ours.iter().zip(wanted.iter().chain(&wanted)) {
                    assert!((a - b).abs() < 1e-12, "{name} {path}: {a} {b}");
                }
            }
        }
    }
    Ok(())
}
