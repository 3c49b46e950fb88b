//! The fixtures themselves: present, of the shapes that their documents promise, and in agreement
//! with what can be said about them without running anything.

use crate::reference::{Fixture, assert_close};

#[test]
fn mup_has_every_parameter_of_every_width() {
    let mup = Fixture::load("mup");
    let mut parameters = 0;
    for (variant, settings) in mup.at("/variants").as_object().unwrap() {
        for (width, about) in settings["widths"].as_object().unwrap() {
            for (name, shape) in about["shapes"].as_object().unwrap() {
                let tensor = mup.tensor(&format!("{variant}.{width}.{name}"));
                assert_eq!(serde_json::json!(tensor.shape), *shape, "{variant} {name}");
                let bound = 3f64.sqrt() * about["init_std"][name].as_f64().unwrap();
                let constant = name.starts_with("norms") || bound == 0.0;
                let within = |x: &f64| x.abs() <= bound * (1.0 + 1e-12);
                assert!(
                    constant || tensor.values.iter().all(within),
                    "{variant} {name}"
                );
                parameters += 1;
            }
        }
    }
    assert_eq!(parameters, mup.names().len() - 3);
    let steps = mup.number("/settings/steps") as usize;
    for run in mup.at("/runs").as_array().unwrap() {
        for (width, about) in run["widths"].as_object().unwrap() {
            assert_eq!(about["losses"].as_array().unwrap().len(), steps, "{width}");
            assert!(about["float32_deviation"].as_f64().unwrap() < 1e-5);
        }
    }
}

#[test]
fn first_losses_of_zero_readout_are_those_of_the_uniform_guess() {
    let mup = Fixture::load("mup");
    let outputs = mup.number("/settings/outputs");
    let mut seen = 0;
    for run in mup.at("/runs").as_array().unwrap() {
        if run["variant"] == "zero_readout" {
            for about in run["widths"].as_object().unwrap().values() {
                let first = about["losses"][0].as_f64().unwrap();
                assert_close("loss", &[first], &[outputs.ln()], 1e-12);
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn transposing_twice_gives_the_tensor_back() {
    let layers = Fixture::load("layers");
    let weight = layers.tensor("linear_members.3x7x5x4.weight");
    assert_eq!(weight.shape, [3, 4, 5]);
    let transposed = weight.transposed();
    assert_eq!(transposed.shape, [3, 5, 4]);
    assert_eq!(transposed.values[1], weight.values[5]);
    assert_eq!(transposed.transposed(), weight);
    assert_eq!(transposed.index(2), weight.index(2).transposed());
}

#[test]
fn plain_sgd_by_hand() {
    let optimizers = Fixture::load("optimizers");
    let lr = optimizers.number("/cases/sgd/lr");
    for parameter in ["weight", "bias", "kernel"] {
        let mut values = optimizers.tensor(&format!("start.{parameter}")).values;
        let gradients = optimizers.tensor(&format!("gradients.{parameter}"));
        for step in 0..10 {
            for (value, gradient) in values.iter_mut().zip(gradients.index(step).values) {
                *value -= lr * gradient;
            }
        }
        let expected = optimizers.tensor(&format!("sgd.10.{parameter}"));
        assert_close(parameter, &values, &expected.values, 1e-12);
    }
}

#[test]
fn adam_by_hand() {
    let optimizers = Fixture::load("optimizers");
    let lr = optimizers.number("/cases/adam/lr");
    for parameter in ["weight", "bias", "kernel"] {
        let mut values = optimizers.tensor(&format!("start.{parameter}")).values;
        let gradients = optimizers.tensor(&format!("gradients.{parameter}"));
        let (mut first, mut second) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        for step in 0..100 {
            let correct = |beta: f64| 1.0 - beta.powi(step + 1);
            for (i, g) in gradients
                .index(step as usize)
                .values
                .into_iter()
                .enumerate()
            {
                first[i] = 0.9 * first[i] + 0.1 * g;
                second[i] = 0.999 * second[i] + 0.001 * g * g;
                let size = (second[i] / correct(0.999)).sqrt() + 1e-8;
                values[i] -= lr * first[i] / correct(0.9) / size;
            }
        }
        let expected = optimizers.tensor(&format!("adam.100.{parameter}"));
        assert_close(parameter, &values, &expected.values, 1e-12);
    }
}
