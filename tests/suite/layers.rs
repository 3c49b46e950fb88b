//! Layers against PyTorch: forward, and gradients of sum(output · g).

use crate::reference::{Array, Fixture};
use candle_core::{DType, Device, Tensor};
use widthwise::data::Labels;
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::nn::layers::{Activation, LayerNorm, Linear, RmsNorm};
use widthwise::nn::{Gradients, Node, Param, Plan};
use widthwise::tensor::elem::to_f64;
use widthwise::train::Loss;

fn tensor(array: &Array, shape: &[usize]) -> Tensor {
    Tensor::from_slice(&array.values, shape, &Device::Cpu).unwrap()
}

/// PyTorch's parameter with a member axis in front and matrices as `[in, out]`.
fn param(array: Array, members: usize, is_matrix: bool) -> Tensor {
    let array = if is_matrix { array.transposed() } else { array };
    let axes = if is_matrix { 2 } else { 1 };
    let own = array.shape[array.shape.len() - axes..].to_vec();
    tensor(&array, &[&[members], own.as_slice()].concat())
}

fn close(name: &str, ours: &Tensor, wanted: &[f64]) {
    let ours = to_f64(ours).unwrap();
    assert_eq!(ours.len(), wanted.len(), "{name}");
    for (i, (a, b)) in ours.iter().zip(wanted).enumerate() {
        assert!(
            (a - b).abs() <= 1e-10 * (1.0 + b.abs()),
            "{name} [{i}]: {a} {b}"
        );
    }
}

struct Case<'a> {
    fixture: &'a Fixture,
    name: &'a str,
    members: usize,
    /// Fixture names of the parameters, in the order of the plan.
    params: Vec<&'a str>,
}

impl Case<'_> {
    fn get(&self, part: &str) -> Array {
        self.fixture.tensor(&format!("{}.{part}", self.name))
    }

    /// Runs the nodes on the case's input and compares output and gradients. With `check_input`
    /// a first layer `x · 1` is put in front, whose gradient is the input's.
    fn run(&self, nodes: Vec<Node>, check_input: bool) -> Result<()> {
        let x = self.get("x");
        let features = *x.shape.last().unwrap();
        let per_member = check_input && x.shape.len() == 3;
        let batch = if per_member {
            x.shape[1]
        } else {
            x.values.len() / features
        };
        let mut nodes = nodes;
        let mut values: Vec<Tensor> = Vec::new();
        if check_input {
            // x enters as the bias-free product of one-hot rows with a matrix holding x
            let lift = Linear {
                outputs: features,
                bias: false,
            };
            nodes.insert(0, Node::layer("lift", lift));
            let rows = if per_member {
                tensor(&x, &[self.members, batch, features])
            } else {
                tensor(&x, &[1, batch, features])
                    .repeat((self.members, 1, 1))?
                    .contiguous()?
            };
            values.push(rows);
        }
        for name in &self.params {
            let array = self.get(name);
            let is_matrix = !name.contains("bias") && self.members_axes(&array) == 2;
            values.push(param(array, self.members, is_matrix));
        }
        let input = if check_input { batch } else { features };
        let cpu = Device::Cpu;
        let plan = Plan::new(
            &nodes,
            &[input],
            (self.members, batch),
            (DType::F64, &Place::Cpu),
            Gradients::Passing,
        )?;
        let params: Vec<Param<'_>> = values
            .iter()
            .map(|value| Param {
                value,
                multiplier: 1.0,
            })
            .collect();
        let inputs = if check_input {
            Tensor::eye(batch, DType::F64, &cpu)?
        } else {
            tensor(&x, &[batch, features])
        };
        plan.forward(&params, &inputs)?;
        close(self.name, plan.output(), &self.get("output").values);
        let g = self.get("g");
        let gradient = plan.output_gradient().unwrap();
        let g = tensor(&g, gradient.dims());
        widthwise::tensor::elementwise::copy(gradient, &g)?;
        let grads = values
            .iter()
            .map(Tensor::zeros_like)
            .collect::<candle_core::Result<Vec<_>>>()?;
        plan.backward(&params, &grads)?;
        let mut names = self.params.clone();
        if check_input {
            names.insert(0, "x");
        }
        for (name, grad) in names.iter().zip(&grads) {
            let wanted = self.get(&format!("grad.{name}"));
            let label = format!("{} grad.{name}", self.name);
            if *name == "x" {
                let shared = !per_member && self.members > 1;
                let grad = if shared { grad.sum(0)? } else { grad.clone() };
                close(&label, &grad, &wanted.values);
            } else {
                let is_matrix = !name.contains("bias") && self.members_axes(&wanted) == 2;
                close(&label, &(param_of(grad, is_matrix)?), &wanted.values);
            }
        }
        Ok(())
    }

    fn members_axes(&self, array: &Array) -> usize {
        array.shape.len() - usize::from(self.members > 1)
    }
}

/// A gradient in PyTorch's layout.
fn param_of(grad: &Tensor, is_matrix: bool) -> Result<Tensor> {
    Ok(if is_matrix {
        grad.transpose(1, 2)?.contiguous()?
    } else {
        grad.clone()
    })
}

fn members_of(name: &str, shapes: &serde_json::Value) -> usize {
    let members = name.contains("members") || name.contains("shared_input");
    if members {
        shapes["weight"][0].as_u64().unwrap() as usize
    } else {
        1
    }
}

#[test]
fn layers_and_gradients_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("layers");
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        let shapes = &case["shapes"];
        let members = members_of(name, shapes);
        let kind = name.split('.').next().unwrap();
        let mut params: Vec<&str> = Vec::new();
        let size = |key: &str, axis: usize| shapes[key][axis].as_u64().unwrap() as usize;
        let nodes = match kind {
            "linear" | "linear_no_bias" | "linear_members" | "linear_shared_input" => {
                let bias = !shapes["bias"].is_null();
                params.push("weight");
                params.extend(bias.then_some("bias"));
                let outputs = size("weight", usize::from(members > 1));
                vec![Node::layer("0", Linear { outputs, bias })]
            }
            "layer_norm" => {
                params.extend(["weight", "bias"]);
                let eps = case["eps"].as_f64().unwrap();
                vec![Node::layer("0", LayerNorm { eps })]
            }
            "rms_norm" => {
                params.push("weight");
                let eps = case["eps"].as_f64().unwrap();
                vec![Node::layer("0", RmsNorm { eps })]
            }
            "residual" => {
                params.extend(["up", "up_bias", "down", "down_bias"]);
                let activation = Activation::from_name(name.split('.').nth(1).unwrap()).unwrap();
                let linear = |key| Linear {
                    outputs: size(key, 0),
                    bias: true,
                };
                let body = vec![
                    Node::layer("up", linear("up")),
                    Node::layer("act", activation),
                    Node::layer("down", linear("down")),
                ];
                vec![Node::Residual {
                    name: "0".into(),
                    body,
                    shortcut: vec![],
                    multiplier: 1.0,
                }]
            }
            _ => {
                let Some(activation) = kind.strip_prefix("linear_").and_then(Activation::from_name)
                else {
                    continue;
                };
                params.extend(["weight", "bias"]);
                let outputs = size("weight", 0);
                vec![
                    Node::layer(
                        "0",
                        Linear {
                            outputs,
                            bias: true,
                        },
                    ),
                    Node::layer("1", activation),
                ]
            }
        };
        *seen.entry(kind).or_default() += 1;
        let case = Case {
            fixture: &fixture,
            name,
            members,
            params,
        };
        case.run(nodes.clone(), true).map_err(|e| e.at(name))?;
        if case.get("x").shape.len() == 2 {
            case.run(nodes, false).map_err(|e| e.at(name))?;
        }
    }
    for kind in [
        "linear",
        "linear_members",
        "linear_shared_input",
        "layer_norm",
        "rms_norm",
        "residual",
        "linear_gelu",
    ] {
        assert!(
            seen.contains_key(kind),
            "no fixture case for {kind}: {seen:?}"
        );
    }
    Ok(())
}

#[test]
fn activations_follow_pytorch_also_at_zero() {
    let fixture = Fixture::load("layers");
    for activation in Activation::ALL {
        for kind in ["activation", "activation_at_zero"] {
            let name = format!("{kind}.{}", activation.name());
            let get = |part: &str| fixture.tensor(&format!("{name}.{part}")).values;
            let (g, grad, output) = (get("g"), get("grad.x"), get("output"));
            for (i, x) in get("x").into_iter().enumerate() {
                assert!(
                    (activation.value(x) - output[i]).abs() < 1e-14,
                    "{name} at {x}"
                );
                let slope = g[i] * activation.derivative(x);
                assert!(
                    (slope - grad[i]).abs() < 1e-13,
                    "{name}' at {x}: {slope} {}",
                    grad[i]
                );
                let in_f32 = f64::from(activation.value(x as f32));
                assert!(
                    (in_f32 - output[i]).abs() < 2e-6 * (1.0 + output[i].abs()),
                    "{name} f32 at {x}"
                );
            }
        }
    }
}

#[test]
fn losses_and_gradients_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("layers");
    let mut checked = 0;
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
        let (loss, outputs, labels, grad) = match name.split('.').next().unwrap() {
            "cross_entropy" => {
                let classes: Vec<u32> = get("classes").values.iter().map(|&c| c as u32).collect();
                let rows = classes.len();
                let classes = Tensor::from_vec(classes, rows, &Device::Cpu)?;
                (
                    Loss::CrossEntropy,
                    get("logits"),
                    Labels::Classes(classes),
                    get("grad.logits"),
                )
            }
            "mse" => {
                let values = get("values");
                let values = tensor(&values, &values.shape);
                (
                    Loss::Mse,
                    get("outputs"),
                    Labels::Values(values),
                    get("grad.outputs"),
                )
            }
            _ => continue,
        };
        let dims = [&[1], outputs.shape.as_slice()].concat();
        // two members with the same outputs: each has the whole loss and the whole gradient
        let outputs = tensor(&outputs, &dims).repeat((2, 1, 1))?.contiguous()?;
        let gradient = outputs.zeros_like()?;
        let ours = loss.evaluate(&outputs, &labels, Some(&gradient))?;
        let wanted = case["loss"].as_f64().unwrap();
        for ours in &ours {
            assert!(
                (ours - wanted).abs() < 1e-12 * (1.0 + wanted.abs()),
                "{name}: {ours} {wanted}"
            );
        }
        assert_eq!(ours, loss.evaluate(&outputs, &labels, None)?);
        close(
            name,
            &gradient,
            &[grad.values.as_slice(), &grad.values].concat(),
        );
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} cases");
    Ok(())
}
