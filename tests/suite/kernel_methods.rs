//! Kernels of all outputs, in the units of the learning rates, their spectra and what is predicted with
//! them: against PyTorch, numpy, scipy, scikit-learn and neural-tangents, and against closed forms.

use std::sync::Arc;

use crate::reference::{Array, Fixture, assert_close};
use candle_core::{DType, Device, Tensor};
use widthwise::data::Labels;
use widthwise::error::{ErrorKind, Result};
use widthwise::gpu::{Gpu, Place};
use widthwise::metrics::{
    FlowSettings, InfiniteActivation, InfiniteSettings, KernelSettings, NtkOutputs, NtkSettings,
    SpectrumSettings, TaskSettings, eigenspace_overlap, infinite_kernels, kernel_gradient_flow,
    kernel_regression, kernel_spectrum, mean_kernel, ntk, ntk_blocks, spectrum_exponent,
    tangent_kernel, tangent_kernel_memory, task_power,
};
use widthwise::model::{Model, ModelSettings};
use widthwise::nn::layers::{Activation, Conv2d, Flatten, GroupNorm, LayerNorm, Linear};
use widthwise::nn::{Blocks, Gradients, Heads, Mlp, Network, Node, Transformer, mlp, transformer};
use widthwise::parametrization::{Mup, Ntp, OptimizerFamily, Parametrization, Sp};
use widthwise::tensor::elem::{to_f64, write};
use widthwise::tensor::rng::Key;

const CPU: Device = Device::Cpu;

fn normal(label: &str, shape: &[usize]) -> Result<Tensor> {
    let mut rng = Key::new(6).label(label).rng();
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Ok(Tensor::from_vec(values, shape, &CPU)?)
}

fn full(block: Option<usize>) -> NtkSettings {
    NtkSettings {
        outputs: NtkOutputs::Full,
        block,
        ..NtkSettings::default()
    }
}

fn model(network: Network, rule: impl Parametrization + 'static, seeds: &[u64]) -> Result<Model> {
    at(network, rule, seeds, Place::Cpu)
}

fn at(
    network: Network,
    rule: impl Parametrization + 'static,
    seeds: &[u64],
    place: Place,
) -> Result<Model> {
    let settings = ModelSettings {
        seeds: seeds.to_vec(),
        dtype: DType::F64,
        place,
    };
    Model::new(network, Arc::new(rule), settings)
}

fn perceptron(width: usize, activation: Activation) -> Network {
    mlp(Mlp {
        width,
        activation,
        inputs: Some(4),
        outputs: Some(3),
        ..Mlp::default()
    })
}

/// The networks of the fixture, with layers called as PyTorch calls them.
fn of_fixture(name: &str) -> Network {
    let linear = |outputs| Linear {
        outputs,
        bias: true,
    };
    let conv = |outputs, stride| Conv2d {
        bias: true,
        ..Conv2d::square(outputs, 3, stride)
    };
    let (input, nodes): (&[usize], Vec<Node>) = match name {
        "mlp" => (
            &[4],
            vec![
                Node::layer("0", linear(6)),
                Node::layer("1", Activation::Tanh),
                Node::layer("2", linear(5)),
                Node::layer("3", Activation::Relu),
                Node::layer("4", linear(3)),
            ],
        ),
        "cnn" => (
            &[2, 5, 4],
            vec![
                Node::layer("0", conv(4, 1)),
                Node::layer("1", Activation::Relu),
                Node::layer("2", conv(3, 2)),
                Node::layer("3", GroupNorm::new(1)),
                Node::layer("4", Activation::Tanh),
                Node::layer("5", Flatten),
                Node::layer("6", linear(3)),
            ],
        ),
        _ => (
            &[3, 4],
            vec![
                Node::layer("0", linear(5)),
                Node::layer("1", LayerNorm::default()),
                Node::layer("2", Activation::Tanh),
                Node::layer("3", linear(2)),
                Node::layer("4", Flatten),
            ],
        ),
    };
    let mut network = Network::new("test", None, serde_json::json!({}), move |_| {
        Ok(nodes.clone())
    });
    network.input = Some(input.to_vec());
    network
}

/// PyTorch's parameter in our layout.
fn ours(array: &Array) -> Result<Tensor> {
    let t = array.to_tensor();
    Ok(match t.rank() {
        4 => t.permute((2, 3, 1, 0))?.contiguous()?,
        2 => t.t()?.contiguous()?,
        _ => t,
    })
}

#[test]
fn full_kernels_follow_pytorch_in_blocks_between_sets_and_in_the_emulator() -> Result<()> {
    let fixture = Fixture::load("kernels");
    let networks = fixture.json["networks"].as_object().unwrap();
    assert_eq!(networks.len(), 3);
    for (name, about) in networks {
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let (inputs, wanted) = (get("x").to_tensor(), get("full"));
        let rows = wanted.shape[0];
        let points = inputs.dims()[0];
        for place in [Place::Cpu, Place::Gpu(Arc::new(Gpu::emulated()))] {
            let mut model = at(of_fixture(name), Sp::default(), &[0], place)?;
            for path in about["parameters"].as_array().unwrap() {
                let path = path.as_str().unwrap();
                model.set_param(path, &ours(&get(path))?.unsqueeze(0)?)?;
            }
            for block in [None, Some(1), Some(2), Some(9)] {
                let kernel = tangent_kernel(&model, &inputs, None, full(block))?;
                assert_eq!(kernel.dims(), [1, rows, rows]);
                assert_close(name, &to_f64(&kernel)?, &wanted.values, 1e-11);
                let (some, rest) = (inputs.narrow(0, 0, 2)?, inputs.narrow(0, 2, points - 2)?);
                let found = tangent_kernel(&model, &some, Some(&rest), full(block))?;
                let each = rows / points;
                let part = kernel.narrow(1, 0, 2 * each)?;
                let part = part.narrow(2, 2 * each, rows - 2 * each)?.contiguous()?;
                assert_close(name, &to_f64(&found)?, &to_f64(&part)?, 1e-11);
            }
            // the trace of each block of outputs is the kernel that is traced
            let traced = to_f64(&ntk(&model, &inputs)?)?;
            let each = rows / points;
            let sum = |i: usize, j: usize| -> f64 {
                let at = |c: usize| wanted.values[(i * each + c) * rows + j * each + c];
                (0..each).map(at).sum()
            };
            let sums: Vec<f64> = (0..points * points)
                .map(|i| sum(i / points, i % points))
                .collect();
            assert_close(name, &traced, &sums, 1e-11);
        }
    }
    Ok(())
}

/// Of a transformer with positions: the trace, and members by themselves.
#[test]
fn the_outputs_of_every_position_have_rows() -> Result<()> {
    let settings = Transformer {
        width: 8,
        context: Some(3),
        vocab: Some(5),
        blocks: Blocks {
            depth: 1,
            heads: Heads::Size(4),
            ..Blocks::default()
        },
        ..Transformer::default()
    };
    let mut rng = Key::new(2).rng();
    let tokens: Vec<f32> = (0..6).map(|_| rng.below(5) as f32).collect();
    let inputs = Tensor::from_vec(tokens, (2, 3), &CPU)?;
    let both = model(transformer(settings.clone()), Sp::default(), &[3, 8])?;
    let kernel = tangent_kernel(&both, &inputs, None, full(None))?;
    let (rows, each) = (2 * 15, 15);
    assert_eq!(kernel.dims(), [2, rows, rows]);
    let values = to_f64(&kernel)?;
    let traced = to_f64(&ntk(&both, &inputs)?)?;
    for (i, traced) in traced.iter().enumerate() {
        let (m, a, b) = (i / 4, i / 2 % 2, i % 2);
        let at = |c: usize| values[(m * rows + a * each + c) * rows + b * each + c];
        let sum: f64 = (0..each).map(at).sum();
        assert!(
            (sum - traced).abs() < 1e-10 * traced.abs().max(1.0),
            "{sum} {traced}"
        );
    }
    let alone = model(transformer(settings), Sp::default(), &[8])?;
    let alone = to_f64(&tangent_kernel(&alone, &inputs, None, full(None))?)?;
    assert_eq!(alone, values[rows * rows..]);
    Ok(())
}

#[test]
fn random_directions_estimate_the_trace() -> Result<()> {
    let inputs = normal("x", &[4, 4])?;
    for place in [Place::Cpu, Place::Gpu(Arc::new(Gpu::emulated()))] {
        let model = at(
            perceptron(6, Activation::Tanh),
            Sp::default(),
            &[1, 2],
            place,
        )?;
        let traced = to_f64(&ntk(&model, &inputs)?)?;
        let projected = |projections: usize| -> Result<Vec<f64>> {
            let settings = NtkSettings {
                outputs: NtkOutputs::Projected {
                    projections,
                    seed: 5,
                },
                ..NtkSettings::default()
            };
            to_f64(&tangent_kernel(&model, &inputs, None, settings)?)
        };
        // as the full kernel says for the same directions
        let rows = to_f64(&tangent_kernel(&model, &inputs, None, full(None))?)?;
        let mut rng = Key::new(5).label("output directions").rng();
        let v: Vec<f64> = (0..6)
            .map(|_| if rng.below(2) == 0 { -1.0 } else { 1.0 })
            .collect();
        let of = |m: usize, i: usize, j: usize| -> f64 {
            let mut sum = 0.0;
            for v in v.chunks(3) {
                for a in 0..3 {
                    for b in 0..3 {
                        sum += v[a] * v[b] * rows[(m * 12 + i * 3 + a) * 12 + j * 3 + b] / 2.0;
                    }
                }
            }
            sum
        };
        let wanted: Vec<f64> = (0..32).map(|i| of(i / 16, i / 4 % 4, i % 4)).collect();
        assert_close("two directions", &projected(2)?, &wanted, 1e-11);
        let many = projected(4000)?;
        let size = traced.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let worst = many
            .iter()
            .zip(&traced)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.05 * size, "{worst} of {size}");
    }
    Ok(())
}

/// A step of gradient descent with a small learning rate moves outputs by `−η K ∂L/∂f`.
#[test]
fn the_kernel_in_learning_rate_units_is_how_outputs_move() -> Result<()> {
    let inputs = normal("x", &[3, 4])?;
    let rule = Mup {
        base_width: 4,
        output_mult: 1.5,
        ..Mup::default()
    };
    let mut model = model(perceptron(16, Activation::Tanh), rule, &[1, 2])?;
    let weighted = NtkSettings {
        learning_rates: true,
        ..full(Some(2))
    };
    let kernel = to_f64(&tangent_kernel(&model, &inputs, None, weighted)?)?;
    let plain = to_f64(&tangent_kernel(&model, &inputs, None, full(None))?)?;
    assert!(
        (kernel[0] / plain[0] - 1.0).abs() > 0.1,
        "the rates are not all alike"
    );
    // parts of parameters, weighted
    let rates: Vec<f64> = model
        .scales(OptimizerFamily::Sgd)?
        .iter()
        .map(|s| s.lr)
        .collect();
    let mut traced = vec![0.0; 2 * 9];
    for (block, rate) in ntk_blocks(&model, &inputs)?.iter().zip(&rates) {
        let part = to_f64(&block.kernel)?;
        traced
            .iter_mut()
            .zip(&part)
            .for_each(|(sum, x)| *sum += rate * x);
    }
    let trace = NtkSettings {
        learning_rates: true,
        ..NtkSettings::default()
    };
    let found = to_f64(&tangent_kernel(&model, &inputs, None, trace)?)?;
    assert_close("weighted trace", &found, &traced, 1e-12);

    let plan = model.plan(3, Gradients::Passing)?;
    plan.forward(&model.values(), &inputs)?;
    let before = to_f64(plan.output())?;
    // ∂L/∂f of any loss
    let slope = to_f64(&normal("slope", &[2, 3, 3])?)?;
    write(plan.output_gradient().unwrap(), |g: &mut [f64]| {
        g.copy_from_slice(&slope);
        Ok(())
    })?;
    let grads: Vec<Tensor> = model
        .params()
        .iter()
        .map(|p| p.value.zeros_like().unwrap())
        .collect();
    plan.backward(&model.values(), &grads)?;
    let step = 1e-7;
    let moved: Vec<_> = (model.params().iter().zip(&grads).zip(&rates))
        .map(|((p, g), rate)| {
            (
                p.info.path.clone(),
                (&p.value - (g * (step * rate)).unwrap()).unwrap(),
            )
        })
        .collect();
    for (path, value) in moved {
        model.set_param(&path, &value)?;
    }
    plan.forward(&model.values(), &inputs)?;
    let after = to_f64(plan.output())?;
    for member in 0..2 {
        for row in 0..9 {
            let at = |c: usize| kernel[(member * 9 + row) * 9 + c] * slope[member * 9 + c];
            let wanted: f64 = -(0..9).map(at).sum::<f64>();
            let i = member * 9 + row;
            let found = (after[i] - before[i]) / step;
            assert!(
                (found - wanted).abs() < 1e-4 * wanted.abs().max(1.0),
                "{found} {wanted}"
            );
        }
    }
    Ok(())
}

/// `f = w x m` with a multiplier: the kernel is `m² x xᵀ` for every output, and nothing between outputs.
#[test]
fn a_linear_network_has_the_kernel_of_its_inputs() -> Result<()> {
    let network = mlp(Mlp {
        depth: 1,
        bias: false,
        inputs: Some(2),
        outputs: Some(2),
        ..Mlp::default()
    });
    let model = model(network, Ntp::default(), &[0])?;
    let inputs = Tensor::new(&[[3f64, 0.0], [1.0, 2.0]], &CPU)?;
    let found = to_f64(&tangent_kernel(&model, &inputs, None, full(None))?)?;
    let wanted = [
        4.5, 0.0, 1.5, 0.0, 0.0, 4.5, 0.0, 1.5, 1.5, 0.0, 2.5, 0.0, 0.0, 1.5, 0.0, 2.5,
    ];
    assert_close("linear", &found, &wanted, 1e-14);
    Ok(())
}

#[test]
fn memory_is_said_before_and_settings_that_are_zero_are_refused() -> Result<()> {
    let model = model(perceptron(8, Activation::Relu), Sp::default(), &[0, 1])?;
    let memory = tangent_kernel_memory(&model, 10, None, full(Some(3)))?;
    assert_eq!((memory.kernel, memory.block), (2 * 30 * 30 * 8, 3));
    assert!(memory.bytes > memory.kernel && memory.text.contains("in blocks of 3 points"));
    let huge = tangent_kernel_memory(&model, 3_000_000, None, full(None))?;
    assert!(huge.text.contains("TB"), "{}", huge.text);
    let inputs = normal("x", &[2, 4])?;
    for (settings, word) in [
        (full(Some(0)), "block must be at least 1"),
        (
            NtkSettings {
                outputs: NtkOutputs::Projected {
                    projections: 0,
                    seed: 0,
                },
                ..NtkSettings::default()
            },
            "projections must be at least 1",
        ),
    ] {
        let error = tangent_kernel(&model, &inputs, None, settings).unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
    let none = inputs.narrow(0, 0, 0)?;
    for (a, b) in [(&none, None), (&inputs, Some(&none))] {
        let error = tangent_kernel(&model, a, b, full(None)).unwrap_err();
        assert!(error.message.contains("at least one input"), "{error}");
    }
    let long = normal("x", &[40_000, 4])?;
    // 40000 · 3 rows: a kernel of 230 GB
    let error = tangent_kernel(&model, &long, None, full(None)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Memory);
    assert!(
        error
            .help
            .as_ref()
            .is_some_and(|h| h.contains("of 40000 points would fit")),
        "{error}"
    );
    Ok(())
}

struct Spectra {
    fixture: Fixture,
    train: Tensor,
    between: Tensor,
    y: Labels,
    y_test: Labels,
    classes: Labels,
    classes_test: Labels,
}

fn spectra() -> Spectra {
    let fixture = Fixture::load("kernels");
    let get = |name: &str| fixture.tensor(name).to_tensor();
    let classes = |name: &str| Labels::Classes(fixture.tensor(name).to_classes());
    Spectra {
        train: get("k_train"),
        between: get("k_test_train"),
        y: Labels::Values(get("y")),
        y_test: Labels::Values(get("y_test")),
        classes: classes("classes"),
        classes_test: classes("classes_test"),
        fixture,
    }
}

#[test]
fn spectra_and_task_power_are_those_of_numpy() -> Result<()> {
    let s = spectra();
    let get = |name: &str| s.fixture.tensor(name).values;
    let found = kernel_spectrum(&s.train, SpectrumSettings::default())?;
    assert_close("eigenvalues", &found.concat(), &get("eigenvalues"), 1e-12);
    let power = task_power(&s.train, &s.y, TaskSettings::default())?;
    assert_close(
        "eigenvalues",
        &power.eigenvalues.concat(),
        &get("eigenvalues"),
        1e-12,
    );
    assert_close("power", &power.power.concat(), &get("power"), 1e-11);
    assert_close(
        "cumulative",
        &power.cumulative.concat(),
        &get("cumulative"),
        1e-11,
    );
    let centred = TaskSettings {
        centred: true,
        classes: Some(3),
        ..TaskSettings::default()
    };
    let power = task_power(&s.train, &s.classes, centred)?;
    assert_close(
        "centred",
        &power.power.concat(),
        &get("power_centred"),
        1e-11,
    );
    let (a, b) = (s.train.narrow(0, 0, 1)?, s.train.narrow(0, 1, 1)?);
    let overlap = eigenspace_overlap(&a, &b, 4, None)?;
    assert_close(
        "overlap",
        &overlap,
        &[s.fixture.number("/spectra/overlap_4")],
        1e-10,
    );
    assert_close(
        "same",
        &eigenspace_overlap(&a, &s.train, 3, None)?[..1],
        &[1.0],
        1e-12,
    );
    assert_close(
        "all",
        &eigenspace_overlap(&s.train, &b, 12, None)?,
        &[1.0, 1.0],
        1e-12,
    );
    let fit = spectrum_exponent(&found[0], 2, Some(8))?;
    let at = |name: &str| s.fixture.number(&format!("/spectra/exponent_2_8/{name}"));
    assert_close("exponent", &[-fit.slope], &[at("exponent")], 1e-10);
    assert_close("error", &[fit.slope_error.unwrap()], &[at("error")], 1e-10);
    let mean = mean_kernel(&s.train)?;
    let numbers = to_f64(&s.train)?;
    let wanted: Vec<f64> = (0..144)
        .map(|i| (numbers[i] + numbers[144 + i]) / 2.0)
        .collect();
    assert_close("mean", &to_f64(&mean.kernel)?, &wanted, 1e-15);
    Ok(())
}

#[test]
fn a_kernel_of_all_outputs_gives_what_the_shared_one_gives() -> Result<()> {
    let s = spectra();
    // K ⊗ 1 over three outputs
    let spread = |k: &Tensor| -> Result<Tensor> {
        let (members, rows, columns) = k.dims3()?;
        let values = to_f64(k)?;
        let mut all = vec![0.0; values.len() * 9];
        for (i, x) in values.iter().enumerate() {
            let (m, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
            for c in 0..3 {
                all[(m * rows * 3 + row * 3 + c) * columns * 3 + column * 3 + c] = *x;
            }
        }
        Ok(Tensor::from_vec(
            all,
            (members, rows * 3, columns * 3),
            &CPU,
        )?)
    };
    let (train, between) = (spread(&s.train)?, spread(&s.between)?);
    let settings = KernelSettings::default();
    let run = |train: &Tensor, between: &Tensor, settings| {
        kernel_regression(train, &s.y, between, Some(&s.y_test), &[0.1, 2.0], settings)
    };
    let (all, shared) = (
        run(&train, &between, settings)?,
        run(&s.train, &s.between, settings)?,
    );
    assert_close(
        "regression",
        &to_f64(&all.predictions)?,
        &to_f64(&shared.predictions)?,
        1e-10,
    );
    let flow = FlowSettings {
        times: vec![1.0, 9.0],
        lr: 0.4,
        ..FlowSettings::default()
    };
    let all = kernel_gradient_flow(&train, &s.y, &between, &flow)?;
    let shared = kernel_gradient_flow(&s.train, &s.y, &s.between, &flow)?;
    assert_close("flow", &to_f64(&all.test)?, &to_f64(&shared.test)?, 1e-10);
    // the same kernels traced
    let (train, between) = ((&s.train * 3.0)?, (&s.between * 3.0)?);
    let settings = KernelSettings {
        traced: true,
        ..settings
    };
    let traced = run(&train, &between, settings)?;
    let wanted = run(&s.train, &s.between, KernelSettings::default())?;
    assert_close(
        "traced",
        &to_f64(&traced.predictions)?,
        &to_f64(&wanted.predictions)?,
        1e-10,
    );
    let flow = FlowSettings {
        kernel: settings,
        ..flow
    };
    let traced = kernel_gradient_flow(&train, &s.y, &between, &flow)?;
    assert_close(
        "traced flow",
        &to_f64(&traced.test)?,
        &to_f64(&shared.test)?,
        1e-10,
    );
    assert_close(
        "traced flow",
        &to_f64(&traced.train)?,
        &to_f64(&shared.train)?,
        1e-10,
    );
    Ok(())
}

#[test]
fn regression_is_that_of_scikit_learn_and_flow_that_of_scipy() -> Result<()> {
    let s = spectra();
    let get = |name: &str| s.fixture.tensor(name).values;
    let ridges = s.fixture.numbers("/spectra/ridges");
    let settings = KernelSettings::default();
    let found = kernel_regression(
        &s.train,
        &s.y,
        &s.between,
        Some(&s.y_test),
        &ridges,
        settings,
    )?;
    assert_eq!(found.predictions.dims(), [2, 3, 7, 3]);
    assert_close(
        "predictions",
        &to_f64(&found.predictions)?,
        &get("predictions"),
        1e-8,
    );
    assert_close(
        "error",
        &found.test_error.unwrap().concat(),
        &get("test_error"),
        1e-8,
    );
    assert!(found.accuracy.is_none());
    let tests = Some(&s.classes_test);
    let found = kernel_regression(&s.train, &s.classes, &s.between, tests, &ridges, settings)?;
    assert_close(
        "accuracy",
        &found.accuracy.unwrap().concat(),
        &get("accuracy"),
        1e-12,
    );
    let flow = FlowSettings {
        times: s.fixture.numbers("/spectra/times"),
        lr: s.fixture.number("/spectra/lr"),
        initial: Some(s.fixture.tensor("first").to_tensor()),
        initial_test: Some(s.fixture.tensor("first_test").to_tensor()),
        kernel: settings,
    };
    let found = kernel_gradient_flow(&s.train, &s.y, &s.between, &flow)?;
    assert_close("train", &to_f64(&found.train)?, &get("flow_train"), 1e-9);
    assert_close("test", &to_f64(&found.test)?, &get("flow_test"), 1e-9);
    // long enough, flow from 0 is the regression without a ridge
    let flow = FlowSettings {
        times: vec![1e12],
        lr: 1.0,
        ..FlowSettings::default()
    };
    let end = kernel_gradient_flow(&s.train, &s.y, &s.between, &flow)?;
    let ridgeless = kernel_regression(&s.train, &s.y, &s.between, None, &[0.0], settings)?;
    assert_eq!(ridgeless.left_out, [0, 0]);
    assert_close(
        "end",
        &to_f64(&end.test)?,
        &to_f64(&ridgeless.predictions)?,
        1e-6,
    );
    Ok(())
}

/// A kernel of rank one: without a ridge the other modes are left out.
#[test]
fn modes_of_no_size_are_left_out_without_a_ridge() -> Result<()> {
    let kernel = Tensor::new(&[[1f64, 1.0], [1.0, 1.0]], &CPU)?;
    let between = Tensor::new(&[[2f64, 2.0]], &CPU)?;
    let y = Labels::Values(Tensor::new(&[[1f64], [3.0]], &CPU)?);
    let found = kernel_regression(
        &kernel,
        &y,
        &between,
        None,
        &[0.0],
        KernelSettings::default(),
    )?;
    assert_eq!(found.left_out, [1]);
    assert_close("mean", &to_f64(&found.predictions)?, &[4.0], 1e-14);
    Ok(())
}

#[test]
fn kernels_of_infinite_width_are_those_of_neural_tangents() -> Result<()> {
    let fixture = Fixture::load("infinite_kernels");
    let (x, y) = (
        fixture.tensor("x").to_tensor(),
        fixture.tensor("y").to_tensor(),
    );
    for (i, case) in fixture.json["cases"].as_array().unwrap().iter().enumerate() {
        let bias_std = case["bias_std"].as_f64();
        let settings = InfiniteSettings {
            depth: case["depth"].as_u64().unwrap() as usize,
            activation: match case["activation"].as_str().unwrap() {
                "relu" => InfiniteActivation::Relu,
                _ => InfiniteActivation::Erf,
            },
            weight_std: case["weight_std"].as_f64().unwrap(),
            bias_std: bias_std.unwrap_or(0.0),
            bias: bias_std.is_some(),
        };
        for (name, others) in [("same", None), ("between", Some(&y))] {
            let found = infinite_kernels(&x, others, settings)?;
            let get = |kernel: &str| fixture.tensor(&format!("{i}.{name}.{kernel}")).values;
            assert_close(
                &format!("{i} {name} nngp"),
                &to_f64(&found.nngp)?,
                &get("nngp"),
                1e-7,
            );
            assert_close(
                &format!("{i} {name} ntk"),
                &to_f64(&found.ntk)?,
                &get("ntk"),
                1e-7,
            );
        }
    }
    Ok(())
}

/// The wider, the nearer: kernels of finite networks, traced over outputs and taken as a mean over members.
#[test]
fn kernels_of_finite_networks_go_to_those_of_infinite_width() -> Result<()> {
    let x = normal("x", &[4, 4])?;
    for (activation, own) in [
        (Activation::Relu, InfiniteActivation::Relu),
        (Activation::Erf, InfiniteActivation::Erf),
    ] {
        for bias_std in [0.0, 0.4] {
            let settings = InfiniteSettings {
                activation: own,
                weight_std: 1.3,
                bias_std,
                ..InfiniteSettings::default()
            };
            let limit = to_f64(&infinite_kernels(&x, None, settings)?.ntk)?;
            let size = limit.iter().map(|x| x * x).sum::<f64>().sqrt();
            let (mut distances, mut means) = (Vec::new(), Vec::new());
            for width in [16, 64, 256] {
                let rule = Ntp {
                    weight_std: 1.3,
                    bias_std,
                };
                let seeds: Vec<u64> = (0..24).collect();
                let model = model(perceptron(width, activation), rule, &seeds)?;
                let kernels = to_f64(&ntk(&model, &x)?)?;
                let mut square = 0.0;
                for kernel in kernels.chunks(16) {
                    let pairs = kernel.iter().zip(&limit);
                    square += pairs.map(|(a, b)| (a / 3.0 - b).powi(2)).sum::<f64>();
                }
                distances.push((square / 24.0).sqrt() / size);
                let mean = to_f64(&mean_kernel(&ntk(&model, &x)?)?.kernel)?;
                let pairs = mean.iter().zip(&limit);
                let square: f64 = pairs.map(|(a, b)| (a / 3.0 - b).powi(2)).sum();
                means.push(square.sqrt() / size);
            }
            assert!(
                distances.windows(2).all(|d| d[1] < 0.75 * d[0]),
                "{distances:?}"
            );
            assert!(distances[2] < 0.15, "{distances:?}");
            assert!(means[2] < 0.07, "{means:?}");
        }
    }
    Ok(())
}

#[test]
fn what_is_no_kernel_is_refused_with_its_numbers() -> Result<()> {
    let k = |rows: &[[f64; 2]; 2]| Tensor::new(rows, &CPU).unwrap();
    let good = k(&[[2.0, 1.0], [1.0, 2.0]]);
    let y = |n: usize| Labels::Values(Tensor::ones((n, 1), DType::F64, &CPU).unwrap());
    let spectrum = |k: &Tensor| kernel_spectrum(k, SpectrumSettings::default());
    let (task, plain) = (TaskSettings::default(), KernelSettings::default());
    let flow = |times: &[f64], lr: f64| FlowSettings {
        times: times.to_vec(),
        lr,
        ..FlowSettings::default()
    };
    let zeros = Labels::Values(Tensor::zeros((2, 1), DType::F64, &CPU)?);
    let nan = Labels::Values(Tensor::new(&[[1.0], [f64::NAN]], &CPU)?);
    let ends = [0.5, 0.4, -1e-9, 0.3];
    let errors = [
        (
            spectrum(&k(&[[1.0, 2.0], [2.0, 1.0]])).err(),
            "not positive semi-definite: its smallest eigenvalue is -1e0, below rounding, -6.",
        ),
        (
            spectrum(&k(&[[1.0, 0.5], [0.2, 1.0]])).err(),
            "member 0 is not symmetric: [1, 0] is 2e-1, [0, 1] is 5e-1",
        ),
        (
            spectrum(&k(&[[1.0, f64::NAN], [0.2, 1.0]])).err(),
            "all 1 members have numbers that are not finite",
        ),
        (
            spectrum(&normal("x", &[2, 3])?).err(),
            "as many rows as columns, found [2, 3]",
        ),
        (
            spectrum(&normal("x", &[3])?).err(),
            "expected a kernel of shape",
        ),
        (
            task_power(&good, &y(3), task).err(),
            "2 rows does not fit targets of 3 points",
        ),
        (
            task_power(&good, &zeros, task).err(),
            "all targets are zero",
        ),
        (
            task_power(
                &good,
                &y(2),
                TaskSettings {
                    centred: true,
                    ..task
                },
            )
            .err(),
            "all targets are zero once centred",
        ),
        (
            task_power(&good, &nan, task).err(),
            "the target of point 1 is NaN",
        ),
        (
            eigenspace_overlap(&good, &good, 3, None).err(),
            "k must be between 1 and 2",
        ),
        (
            eigenspace_overlap(&good, &good, 0, None).err(),
            "k must be between 1 and 2",
        ),
        (
            eigenspace_overlap(&good, &Tensor::eye(3, DType::F64, &CPU)?, 1, None).err(),
            "on 2 and on 3 points",
        ),
        (
            eigenspace_overlap(
                &Tensor::stack(&[&good, &good], 0)?,
                &Tensor::stack(&[&good, &good, &good], 0)?,
                1,
                None,
            )
            .err(),
            "2 and 3 members",
        ),
        (
            spectrum_exponent(&ends, 1, None).err(),
            "eigenvalue 3 is -1e-9",
        ),
        (spectrum_exponent(&ends, 0, None).err(), "found 0 and 4"),
        (
            spectrum_exponent(&ends, 1, Some(2)).err(),
            "at least 2 apart",
        ),
        (spectrum_exponent(&ends, 1, Some(9)).err(), "within 1 and 4"),
        (
            kernel_regression(&good, &y(2), &normal("x", &[1, 3])?, None, &[0.1], plain).err(),
            "needs k_test_train of shape [1, test points, 2], found [1, 3]",
        ),
        (
            kernel_regression(&good, &y(2), &good, None, &[], plain).err(),
            "at least one number",
        ),
        (
            kernel_regression(&good, &y(2), &good, None, &[-0.1], plain).err(),
            "from 0 up, found -0.1",
        ),
        (
            kernel_regression(&good, &y(2), &good, Some(&y(3)), &[0.1], plain).err(),
            "test targets: kernel_regression: a kernel of 2 rows",
        ),
        (
            kernel_gradient_flow(&good, &y(2), &good, &flow(&[], 1.0)).err(),
            "times needs at least one",
        ),
        (
            kernel_gradient_flow(&good, &y(2), &good, &flow(&[-1.0], 1.0)).err(),
            "from 0 up, found -1",
        ),
        (
            kernel_gradient_flow(&good, &y(2), &good, &flow(&[1.0], 0.0)).err(),
            "lr must be above 0",
        ),
        (
            infinite_kernels(
                &good,
                Some(&normal("x", &[2, 3])?),
                InfiniteSettings::default(),
            )
            .err(),
            "inputs have 2 features, others 3",
        ),
        (
            infinite_kernels(
                &good,
                None,
                InfiniteSettings {
                    depth: 0,
                    ..Default::default()
                },
            )
            .err(),
            "depth must be at least 1",
        ),
        (
            infinite_kernels(
                &good,
                None,
                InfiniteSettings {
                    bias: false,
                    bias_std: 0.1,
                    ..Default::default()
                },
            )
            .err(),
            "without biases has no bias_std",
        ),
        (
            infinite_kernels(
                &k(&[[1.0, f64::INFINITY], [0.0, 1.0]]),
                None,
                Default::default(),
            )
            .err(),
            "point 0 has inf",
        ),
    ];
    for (error, words) in errors {
        let error = error.expect(words);
        assert!(
            error.message.contains(words),
            "`{words}` is missing in `{error}`"
        );
    }
    Ok(())
}

#[test]
fn a_diverged_member_is_nan_and_left_out_of_means() -> Result<()> {
    let good = Tensor::new(&[[2f64, 1.0], [1.0, 2.0]], &CPU)?;
    let bad = Tensor::new(&[[2.0, f64::NAN], [1.0, 2.0]], &CPU)?;
    let both = Tensor::stack(&[&bad, &good], 0)?;
    let y = Labels::Values(Tensor::new(&[[3f64], [1.0]], &CPU)?);
    let found = kernel_spectrum(&both, SpectrumSettings::default())?;
    assert!(found[0].iter().all(|x| x.is_nan()));
    assert_close("the other", &found[1], &[1.5, 0.5], 1e-14);
    let power = task_power(&both, &y, TaskSettings::default())?;
    assert!(power.cumulative[0].iter().all(|x| x.is_nan()));
    assert_close("the other", &power.cumulative[1], &[0.8, 1.0], 1e-14);
    let overlap = eigenspace_overlap(&both, &good, 1, None)?;
    assert!(overlap[0].is_nan() && (overlap[1] - 1.0).abs() < 1e-14);
    let found = kernel_regression(
        &both,
        &y,
        &both,
        Some(&y),
        &[0.1],
        KernelSettings::default(),
    )?;
    let error = found.test_error.unwrap();
    assert!(error[0][0].is_nan() && error[1][0].is_finite());
    let mean = mean_kernel(&both)?;
    assert_eq!((mean.count, mean.excluded), (1, 1));
    assert_eq!(to_f64(&mean.kernel)?, to_f64(&good)?);
    Ok(())
}
