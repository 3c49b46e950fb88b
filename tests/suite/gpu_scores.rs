//! Losses and accuracies on a test set, found on a GPU: in the emulator, against the CPU; and on a real GPU where
//! there is one.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use widthwise::data::{Batch, Labels};
use widthwise::error::Result;
use widthwise::gpu::{Gpu, Name, Place, open};
use widthwise::metrics::{Loss, Scores, scores};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::{Blocks, Heads, Mlp, Network, Transformer, mlp, transformer};
use widthwise::parametrization::Sp;
use widthwise::tensor::elem::to_f64;
use widthwise::tensor::rng::Key;

const INPUTS: usize = 5;
const ACTIVE: [bool; 3] = [true; 3];

fn gpus() -> Vec<Place> {
    let mut all = vec![Place::Gpu(Arc::new(Gpu::emulated()))];
    all.extend(open(Name::Cuda(0)));
    all
}

fn network(outputs: usize) -> Network {
    let mut network = mlp(Mlp {
        width: 6,
        depth: 2,
        inputs: Some(INPUTS),
        ..Mlp::default()
    });
    network.outputs = Some(outputs);
    network
}

fn numbers(label: &str, shape: &[usize]) -> Result<Tensor> {
    let mut rng = Key::new(5).label(label).rng();
    let all: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Ok(Tensor::from_vec(all, shape, &Device::Cpu)?)
}

fn classes(shape: &[usize], below: u32) -> Result<Labels> {
    let mut rng = Key::new(6).rng();
    let each = |_| u32::try_from(rng.bits() % u64::from(below)).unwrap_or(0);
    let all: Vec<u32> = (0..shape.iter().product()).map(each).collect();
    Ok(Labels::Classes(Tensor::from_vec(all, shape, &Device::Cpu)?))
}

/// The model of two or three members with this network, where the parameters of members in `spoilt` are infinite.
fn model(network: Network, place: &Place, dtype: DType, spoilt: &[usize]) -> Result<Model> {
    let settings = ModelSettings {
        seeds: vec![3, 1, 4],
        dtype,
        place: place.clone(),
    };
    let mut model = Model::new(network, Arc::new(Sp::default()), settings)?;
    let path = "readout.weight";
    let found = model.params().iter().find(|p| p.info.path == path);
    let value = found.unwrap().value.to_device(&Device::Cpu)?;
    let each = value.elem_count() / 3;
    let mut all = to_f64(&value)?;
    for member in spoilt {
        all[member * each] = f64::INFINITY;
    }
    let value = Tensor::from_vec(all, value.dims(), &Device::Cpu)?.to_dtype(value.dtype())?;
    model.set_param(path, &value)?;
    Ok(model)
}

fn close(what: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < bound * (1.0 + b.abs());
        assert!(same, "{what}: {a} {b}");
    }
}

fn check(
    what: &str,
    network: impl Fn() -> Network,
    test: &Batch,
    loss: Loss,
    spoilt: &[usize],
) -> Result<Scores> {
    let on = |place: &Place, dtype| {
        let mut model = model(network(), place, dtype, spoilt)?;
        scores(&mut model, test, loss, &ACTIVE, true)
    };
    let (cpu, kept) = on(&Place::Cpu, DType::F64)?;
    let optional = |value: Option<f64>| value.into_iter().collect::<Vec<_>>();
    for gpu in gpus() {
        for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let (found, outputs) = on(&gpu, dtype)?;
            let close = |name: &str, a: &[f64], b: &[f64]| {
                close(&format!("{what}, {name}, {dtype:?}"), a, b, bound);
            };
            close("loss", &found.loss, &cpu.loss);
            close(
                "accuracy",
                &found.accuracy.clone().unwrap_or_default(),
                &cpu.accuracy.clone().unwrap_or_default(),
            );
            close(
                "ensemble",
                &optional(found.ensemble_loss),
                &optional(cpu.ensemble_loss),
            );
            close(
                "ensemble's accuracy",
                &optional(found.ensemble_accuracy),
                &optional(cpu.ensemble_accuracy),
            );
            let [a, b] = [&outputs, &kept].map(|all| all.as_ref().map(to_f64));
            close("outputs", &a.unwrap()?, &b.unwrap()?);
        }
    }
    Ok(cpu)
}

#[test]
fn classes_are_scored_as_on_the_cpu() -> Result<()> {
    // a warp for a row, several pieces of which the last is smaller; a block for a row
    for (points, outputs) in [(7, 3), (600, 10), (4, 1100)] {
        let test = Batch {
            inputs: numbers("inputs", &[points, INPUTS])?,
            labels: classes(&[points], 3)?,
        };
        for loss in [Loss::CrossEntropy, Loss::Mse] {
            let what = format!("{points} points, {outputs} classes, {}", loss.name());
            let found = check(&what, || network(outputs), &test, loss, &[])?;
            let share = found.accuracy.unwrap()[0];
            assert!(
                points == 4 || (share > 0.0 && share < 1.0),
                "{what}: {share}"
            );
        }
    }
    Ok(())
}

#[test]
fn values_are_scored_as_on_the_cpu() -> Result<()> {
    let test = Batch {
        inputs: numbers("inputs", &[300, INPUTS])?,
        labels: Labels::Values(numbers("targets", &[300, 3])?),
    };
    let found = check("values", || network(3), &test, Loss::Mse, &[])?;
    assert_eq!((found.accuracy, found.ensemble_accuracy), (None, None));
    Ok(())
}

#[test]
fn every_position_of_a_text_counts() -> Result<()> {
    let network = || {
        let mut network = transformer(Transformer {
            context: Some(4),
            width: 8,
            blocks: Blocks {
                heads: Heads::Count(2),
                depth: 1,
                ..Blocks::default()
            },
            ..Transformer::default()
        });
        network.outputs = Some(7);
        network.input = Some(vec![4]);
        network
    };
    let Labels::Classes(tokens) = classes(&[5, 4], 7)? else {
        unreachable!()
    };
    let test = Batch {
        inputs: tokens.to_dtype(DType::F64)?,
        labels: classes(&[5, 4], 7)?,
    };
    check("tokens", network, &test, Loss::CrossEntropy, &[]).map(|_| ())
}

#[test]
fn members_that_diverged_are_left_out() -> Result<()> {
    let test = Batch {
        inputs: numbers("inputs", &[20, INPUTS])?,
        labels: classes(&[20], 3)?,
    };
    for spoilt in [&[1][..], &[0, 2], &[0, 1, 2]] {
        for loss in [Loss::CrossEntropy, Loss::Mse] {
            let found = check(&format!("{spoilt:?}"), || network(3), &test, loss, spoilt)?;
            let accuracy = found.accuracy.unwrap();
            assert!((0..3).all(|m| accuracy[m].is_nan() == spoilt.contains(&m)));
            assert_eq!(found.ensemble_loss.is_some(), spoilt.len() < 3);
        }
    }
    Ok(())
}

/// What a member was left at when it diverged may be finite.
#[test]
fn members_that_diverged_before_are_left_out() -> Result<()> {
    let test = Batch {
        inputs: numbers("inputs", &[20, INPUTS])?,
        labels: classes(&[20], 3)?,
    };
    let on = |place: &Place, active: [bool; 3]| {
        let mut model = model(network(3), place, DType::F64, &[])?;
        scores(&mut model, &test, Loss::CrossEntropy, &active, true)
    };
    let (all, _) = on(&Place::Cpu, ACTIVE)?;
    let mut places = gpus();
    places.push(Place::Cpu);
    for place in places {
        let (found, outputs) = on(&place, [true, false, true])?;
        assert!(found.loss[1].is_nan() && found.accuracy.unwrap()[1].is_nan());
        close("loss", &[found.loss[0]], &[all.loss[0]], 1e-12);
        let outputs = to_f64(&outputs.unwrap())?;
        let each = outputs.len() / 3;
        for (i, output) in outputs.iter().enumerate() {
            assert_eq!(output.is_nan(), i / each == 1, "{i}");
        }
        assert!(
            found
                .ensemble_loss
                .is_some_and(|loss| loss != all.ensemble_loss.unwrap())
        );
        let (none, _) = on(&place, [false; 3])?;
        assert_eq!(none.ensemble_loss, None);
    }
    Ok(())
}

/// Equal outputs: the first is the answer.
#[test]
fn of_equal_outputs_the_first_counts() -> Result<()> {
    let labels = Tensor::new(&[0u32, 1, 2], &Device::Cpu)?;
    let test = Batch {
        inputs: Tensor::zeros((3, INPUTS), DType::F64, &Device::Cpu)?,
        labels: Labels::Classes(labels),
    };
    let network = || {
        let mut network = mlp(Mlp {
            width: 6,
            bias: false,
            inputs: Some(INPUTS),
            ..Mlp::default()
        });
        network.outputs = Some(3);
        network
    };
    let found = check("ties", network, &test, Loss::CrossEntropy, &[])?;
    close("ties", &found.accuracy.unwrap(), &[1.0 / 3.0; 3], 1e-12);
    close(
        "ties",
        &[found.ensemble_accuracy.unwrap()],
        &[1.0 / 3.0],
        1e-12,
    );
    Ok(())
}

#[test]
fn labels_that_do_not_fit_are_refused_as_on_the_cpu() -> Result<()> {
    let test = Batch {
        inputs: numbers("inputs", &[6, INPUTS])?,
        labels: classes(&[6], 5)?,
    };
    for place in gpus() {
        let mut model = model(network(3), &place, DType::F32, &[])?;
        let error = scores(&mut model, &test, Loss::CrossEntropy, &ACTIVE, false).unwrap_err();
        let message = "does not fit a network with 3 outputs";
        assert!(error.message.contains(message), "{error}");
    }
    Ok(())
}
