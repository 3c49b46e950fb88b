use candle_core::{D, Device, Tensor};

use super::super::testing::{bits, check_promises};
use super::super::{Labels, describe};
use super::*;

fn small(activation: Activation) -> TeacherSettings {
    TeacherSettings {
        seed: 3,
        inputs: 20,
        outputs: 2,
        activation,
        test_size: 50,
        ..Default::default()
    }
}

fn targets(batch: &Batch) -> Tensor {
    match &batch.labels {
        Labels::Values(values) => values.clone(),
        Labels::Classes(_) => panic!("values expected"),
    }
}

#[test]
fn keeps_the_promises_of_a_stream() {
    for activation in Activation::ALL {
        let stream = Teacher::new(TeacherSettings {
            noise: 0.5,
            ..small(activation)
        })
        .unwrap();
        check_promises(&stream, 30);
        assert_eq!(describe(&stream), "teacher: endless, 20 → 2 values, seed 3");
    }
}

#[test]
fn targets_have_mean_zero_and_variance_one_plus_noise() {
    for activation in Activation::ALL {
        for (noise, variance) in [(0.0, 1.0), (0.5, 1.25)] {
            let settings = TeacherSettings {
                depth: 3,
                noise,
                ..small(activation)
            };
            let batch = Teacher::new(settings).unwrap().batch(0, 4_000).unwrap();
            let y = targets(&batch);
            let mean = y.mean(0).unwrap().to_vec1::<f32>().unwrap();
            let square = y.sqr().unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
            for (mean, square) in mean.iter().zip(square) {
                assert!(mean.abs() < 0.12, "{activation:?}: mean {mean}");
                // a quadratic of a quadratic has heavy tails
                let slack = if activation == Activation::Quadratic {
                    0.5
                } else {
                    0.15
                };
                assert!(
                    (square - variance).abs() < slack,
                    "{activation:?}: {square} instead of {variance}"
                );
            }
        }
    }
}

#[test]
fn the_network_is_the_one_described() {
    // the same network on candle's matrix products and activations
    for activation in Activation::ALL {
        let teacher = Teacher::new(TeacherSettings {
            depth: 3,
            ..small(activation)
        })
        .unwrap();
        let batch = teacher.batch(0, 16).unwrap();
        let mut x = batch.inputs.clone();
        for (i, (fan_out, weights)) in teacher.layers.iter().enumerate() {
            let shape = (weights.len() / fan_out, *fan_out);
            let w = Tensor::from_slice(weights, shape, &Device::Cpu).unwrap();
            let std = w.sqr().unwrap().mean_all().unwrap();
            let variance = std.to_scalar::<f32>().unwrap() * shape.0 as f32;
            assert!((variance - 1.0).abs() < 0.3, "{variance}");
            x = x.matmul(&w).unwrap();
            if i < 2 {
                x = match activation.name() {
                    "relu" => x.relu().unwrap(),
                    "tanh" => x.tanh().unwrap(),
                    "erf" => x.erf().unwrap(),
                    "gelu" => x.gelu_erf().unwrap(),
                    "gelu_tanh" => x.gelu().unwrap(),
                    "silu" => x.silu().unwrap(),
                    "quadratic" => x.sqr().unwrap(),
                    _ => x,
                };
            }
        }
        let mean = Tensor::from_slice(&teacher.mean, 2, &Device::Cpu).unwrap();
        let scale = Tensor::from_slice(&teacher.scale, 2, &Device::Cpu).unwrap();
        let x = x.broadcast_sub(&mean).unwrap();
        let x = x.broadcast_mul(&scale).unwrap();
        let difference = (x - targets(&batch)).unwrap().abs().unwrap();
        let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(largest < 2e-4, "{activation:?}: {largest}");
    }
}

#[test]
fn noise_and_data_seed_leave_the_teacher_alone() {
    let clean = Teacher::new(small(Activation::Tanh)).unwrap();
    let noisy = Teacher::new(TeacherSettings {
        noise: 0.3,
        ..small(Activation::Tanh)
    })
    .unwrap();
    let (a, b) = (clean.batch(0, 500).unwrap(), noisy.batch(0, 500).unwrap());
    assert_eq!(bits(&a).0, bits(&b).0);
    let noise = (targets(&a) - targets(&b)).unwrap();
    let variance = noise.sqr().unwrap().mean_all().unwrap();
    let variance = variance.to_scalar::<f32>().unwrap();
    assert!((variance - 0.09).abs() < 0.02, "{variance}");
    assert_eq!(
        bits(&clean.test_set().unwrap()),
        bits(&noisy.test_set().unwrap())
    );

    let other_data = Teacher::new(TeacherSettings {
        seed: 4,
        teacher_seed: Some(3),
        ..small(Activation::Tanh)
    })
    .unwrap();
    assert_eq!(clean.layers, other_data.layers);
    let c = other_data.batch(0, 500).unwrap();
    assert_ne!(bits(&a).0, bits(&c).0);
    // inputs of the two streams are not correlated
    let product = (&a.inputs * &c.inputs).unwrap().mean(D::Minus1).unwrap();
    let product = product.mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(product.abs() < 0.05, "{product}");
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let base = TeacherSettings::default();
    for (settings, message) in [
        (
            TeacherSettings {
                noise: -1.0,
                ..base.clone()
            },
            "`noise` of teacher must be a finite number, at least 0, got -1",
        ),
        (
            TeacherSettings {
                depth: 0,
                ..base.clone()
            },
            "`depth` of teacher must be between 1 and 8, got 0",
        ),
        (
            TeacherSettings {
                outputs: 0,
                ..base.clone()
            },
            "`outputs` of teacher must be between 1 and 65536, got 0",
        ),
    ] {
        assert_eq!(Teacher::new(settings).unwrap_err().message, message);
    }
}

#[test]
fn a_constant_teacher_is_refused() {
    // a narrow deep relu teacher is dead for some seeds
    let dead = (0..50).find_map(|seed| {
        Teacher::new(TeacherSettings {
            seed,
            width: 1,
            depth: 4,
            ..Default::default()
        })
        .err()
    });
    let error = dead.unwrap();
    assert!(
        error
            .message
            .starts_with("output 0 of the teacher does not vary"),
        "{error}"
    );
}
