//! Optimizers, clipping and schedules against PyTorch over 100 steps.

mod reference;

use candle_core::{DType, Device, Tensor};
use reference::Fixture;
use serde_json::Value;
use widthwise::error::Result;
use widthwise::optim::{
    Adam, Optimizer, PerMember, Schedule, Sgd, TensorUpdate, update as update_all,
};
use widthwise::parametrization::{Init, Scales};
use widthwise::tensor::elem::to_f64;
use widthwise::train::Clip;

const PARAMS: [&str; 3] = ["weight", "bias", "kernel"];

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

/// `copies` members with the same numbers.
fn members(values: &[f64], copies: usize, dtype: DType) -> Result<Tensor> {
    let row = Tensor::from_slice(values, (1, values.len()), &Device::Cpu)?;
    Ok(row.repeat((copies, 1))?.contiguous()?.to_dtype(dtype)?)
}

const PLAIN: Scales = Scales {
    init: Init::Constant(0.0),
    multiplier: 1.0,
    lr: 1.0,
    weight_decay: 1.0,
    eps: 1.0,
    source: "",
};

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
    for path in PARAMS {
        let start = fixture.tensor(&format!("start.{path}"));
        let grads = fixture.tensor(&format!("gradients.{path}"));
        let size = start.values.len();
        let param = members(&start.values, 2, dtype)?;
        let state = optimizer.states().iter().map(|_| param.zeros_like());
        let state = state.collect::<candle_core::Result<Vec<_>>>()?;
        for step in 1..=factors.len() {
            let grad = members(&grads.values[(step - 1) * size..step * size], 2, dtype)?;
            let update = TensorUpdate {
                param: &param,
                grad: &grad,
                state: &state,
                scales: &PLAIN,
                factor: factors[step - 1],
                active: &[true, step <= 10],
                step: step as u64,
            };
            update_all(&*optimizer, &update)?;
            if [1, 10, 100].contains(&step) {
                let wanted = fixture.tensor(&format!("{name}.{step}.{path}")).values;
                let ours = to_f64(&param)?;
                for (a, b) in ours[..size].iter().zip(&wanted) {
                    worst = worst.max((a - b).abs() / (1.0 + b.abs()));
                }
                // the second member stops after 10 steps and keeps its numbers
                let kept = fixture
                    .tensor(&format!("{name}.{}.{path}", step.min(10)))
                    .values;
                for (a, b) in ours[size..].iter().zip(&kept) {
                    worst = worst.max((a - b).abs() / (1.0 + b.abs()));
                }
            }
        }
    }
    Ok(worst)
}

#[test]
fn every_optimizer_follows_pytorch_for_100_steps() -> Result<()> {
    let fixture = Fixture::load("optimizers");
    let cases = fixture.json["cases"].as_object().unwrap();
    assert!(cases.len() >= 10);
    for (name, case) in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let found = deviation(&fixture, name, case, &[1.0; 100], dtype)?;
            assert!(found < tolerance, "{name} in {dtype:?}: {found:.2e}");
        }
    }
    Ok(())
}

fn schedule(settings: &Value) -> Option<Schedule> {
    let whole = |key: &str| settings.get(key).and_then(Value::as_u64);
    let number = |key: &str| settings.get(key).and_then(Value::as_f64);
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
        (None, Some(warmup)) => Schedule::Linear { warmup },
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
    assert!(checked.len() >= 7, "{checked:?}");
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
