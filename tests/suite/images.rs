//! Layers for images, and the residual network, against PyTorch; members and threads.

use crate::reference::{Array, Fixture};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use widthwise::error::Result;
use widthwise::gpu::Place;
use widthwise::nn::layers::{BatchNorm, Conv2d, GlobalAvgPool, GroupNorm, Pool2d, Pooling};
use widthwise::nn::{
    Forward, Gradients, ImageNorm, Layer, MemberWork, Mode, Node, Param, ParamKind, ParamSpec,
    Parts, Pass, Passes, Plan, Resnet, Role, Sizes, Tangents, resnet,
};
use widthwise::tensor::elem::{Elem, to_f64};
use widthwise::tensor::rng::Key;

/// A layer that gives its parameter, whatever its input: the parameter's gradient is then that of the
/// next layer's input.
#[derive(Debug)]
struct Given(Vec<usize>);

impl widthwise::nn::GpuPasses for Given {}

impl Layer for Given {
    fn kind(&self) -> &'static str {
        "given"
    }
    fn settings(&self) -> Value {
        json!({})
    }
    fn output_shape(&self, _input: &[usize]) -> Result<Vec<usize>> {
        Ok(self.0[1..].to_vec())
    }
    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        vec![ParamSpec {
            path: "x".into(),
            shape: self.0.clone(),
            kind: ParamKind::Weight,
            fan_in: 1,
            fan_out: 1,
        }]
    }
}

impl<T: Elem> Passes<T> for Given {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        y.copy_from_slice(at.params.value(0));
        Ok(())
    }
    fn backward(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        _gx: Option<&mut [T]>,
    ) -> Result<()> {
        let [g] = grads.take()?;
        g.copy_from_slice(gy);
        Ok(())
    }
    fn tangent(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        _dy: &mut [T],
    ) -> Result<()> {
        unreachable!("not tested")
    }
    fn backward_tangent(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        _gradient: (&[T], &[T]),
        _dgrads: Parts<'_, T>,
        _dgx: Option<&mut [T]>,
    ) -> Result<()> {
        unreachable!("not tested")
    }
}

/// PyTorch's parameter in our layout: filters `[out, in, h, w]` to `[h, w, in, out]`, matrices
/// transposed.
fn ours(array: &Array) -> Tensor {
    let t = array.to_tensor();
    match t.rank() {
        4 => t.permute((2, 3, 1, 0)).unwrap().contiguous().unwrap(),
        2 => t.t().unwrap().contiguous().unwrap(),
        _ => t,
    }
}

fn close(name: &str, found: &Tensor, wanted: &Tensor) {
    let (found, wanted) = (to_f64(found).unwrap(), to_f64(wanted).unwrap());
    crate::reference::assert_close(name, &found, &wanted, 1e-10);
}

/// The loss sum(output · g).
struct Weighted(Vec<f64>);

impl MemberWork<f64> for Weighted {
    fn loss(&self, _member: usize, _outputs: &[f64], gradient: &mut [f64]) -> Result<f64> {
        gradient.copy_from_slice(&self.0);
        Ok(0.0)
    }
    fn update(&self, _member: usize, _loss: f64) -> Result<bool> {
        Ok(true)
    }
}

/// Takes a step of the nodes on a case's input, and compares output and gradients; `params` in our
/// order. `get` gives the case's tensors, and the result are the parameters after the step.
fn step(
    name: &str,
    get: impl Fn(&str) -> Array,
    mode: Mode,
    nodes: Vec<Node>,
    params: &[String],
) -> Result<Vec<Tensor>> {
    let x = get("x");
    let mut nodes = nodes;
    nodes.insert(0, Node::layer("input", Given(x.shape.clone())));
    let mut values = vec![x.to_tensor().unsqueeze(0)?];
    for param in params {
        values.push(ours(&get(param)).unsqueeze(0)?);
    }
    let batch = x.shape[0];
    let plan = Plan::new(
        &nodes,
        &[1],
        (1, batch),
        (DType::F64, &Place::Cpu),
        Gradients::Passing,
    )?;
    plan.set_mode(mode);
    let bound: Vec<Param<'_>> = values
        .iter()
        .map(|value| Param {
            value,
            multiplier: 1.0,
        })
        .collect();
    let grads = values
        .iter()
        .map(Tensor::zeros_like)
        .collect::<candle_core::Result<Vec<_>>>()?;
    let inputs = Tensor::zeros((batch, 1), DType::F64, &Device::Cpu)?;
    plan.step(&bound, &inputs, &grads, &Weighted(get("g").values))?;
    close(name, plan.output(), &get("output").to_tensor());
    close(
        &format!("{name} grad.x"),
        &grads[0],
        &get("grad.x").to_tensor(),
    );
    for (param, grad) in params.iter().zip(&grads[1..]) {
        let label = format!("grad.{param}");
        if param.starts_with("running") {
            assert!(to_f64(grad)?.iter().all(|&g| g == 0.0), "{name} {label}");
        } else {
            close(&format!("{name} {label}"), grad, &ours(&get(&label)));
        }
    }
    Ok(values.split_off(1))
}

fn run(fixture: &Fixture, name: &str, nodes: Vec<Node>, params: &[String]) -> Result<()> {
    let get = |part: &str| fixture.tensor(&format!("{name}.{part}"));
    step(name, get, Mode::Evaluation, nodes, params)?;
    Ok(())
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| value[i].as_u64().unwrap() as usize)
}

#[test]
fn layers_and_gradients_follow_pytorch() -> Result<()> {
    let fixture = Fixture::load("conv");
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        let kind = name.split('.').next().unwrap();
        let with = |params: &[&str]| params.iter().map(|p| (*p).to_string()).collect::<Vec<_>>();
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let window = |pooling| Pool2d {
            pooling,
            kernel: pair(&case["kernel"]),
            stride: pair(&case["stride"]),
            padding: pair(&case["padding"]),
        };
        let (node, params) = match kind {
            "conv2d" => {
                let conv = Conv2d {
                    outputs: case["shapes"]["weight"][0].as_u64().unwrap() as usize,
                    kernel: pair(&case["kernel"]),
                    stride: pair(&case["stride"]),
                    padding: pair(&case["padding"]),
                    groups: count("groups"),
                    bias: true,
                };
                (Node::layer("0", conv), with(&["weight", "bias"]))
            }
            "max_pool2d" => (Node::layer("0", window(Pooling::Max)), vec![]),
            "avg_pool2d" => {
                let count_border = case["count_include_pad"].as_bool().unwrap();
                (
                    Node::layer("0", window(Pooling::Average { count_border })),
                    vec![],
                )
            }
            "global_avg_pool" => (Node::layer("0", GlobalAvgPool), vec![]),
            "group_norm" | "group_norm_relu" => {
                let norm = GroupNorm {
                    groups: count("groups"),
                    eps: case["eps"].as_f64().unwrap(),
                    relu: kind == "group_norm_relu",
                };
                (Node::layer("0", norm), with(&["weight", "bias"]))
            }
            _ => continue,
        };
        *seen.entry(kind).or_default() += 1;
        run(&fixture, name, vec![node], &params).map_err(|e| e.at(name))?;
    }
    let kinds = [
        "conv2d",
        "max_pool2d",
        "avg_pool2d",
        "global_avg_pool",
        "group_norm",
        "group_norm_relu",
    ];
    assert!(kinds.iter().all(|kind| seen.contains_key(kind)), "{seen:?}");
    Ok(())
}

#[test]
fn resnet18_follows_pytorch() -> Result<()> {
    let fixture = Fixture::load("conv");
    let network = resnet(Resnet {
        width: 2,
        norm: ImageNorm::Group(2),
        outputs: Some(3),
        ..Resnet::default()
    });
    let sizes = Sizes {
        width: 2,
        outputs: 3,
    };
    let params = network.describe(sizes, &[3, 9, 8])?.params;
    let names: Vec<String> = params.into_iter().map(|p| p.path).collect();
    assert_eq!(names.len(), 62);
    run(&fixture, "resnet18", network.nodes(sizes)?, &names)
}

#[test]
fn roles_of_resnet18() -> Result<()> {
    let network = resnet(Resnet {
        width: 16,
        ..Resnet::default()
    });
    let (infos, output) = network.infos(10, &[3, 32, 32], Some(8))?;
    assert_eq!(output, [10]);
    let role = |path: &str| infos.iter().find(|p| p.path == path).unwrap().role;
    assert_eq!(role("stem.weight"), Role::InputLike);
    assert_eq!(role("stem.norm.weight"), Role::VectorLike);
    assert_eq!(role("stages.0.0.conv1.weight"), Role::Hidden);
    assert_eq!(role("stages.1.0.shortcut.conv.weight"), Role::Hidden);
    assert_eq!(role("readout.weight"), Role::OutputLike);
    let hidden = infos
        .iter()
        .find(|p| p.path == "stages.3.1.conv2.weight")
        .unwrap();
    assert_eq!(
        (hidden.fan_in, hidden.fan_out, hidden.fan_in_mult()),
        (9 * 128, 128, 2.0)
    );
    // as many numbers as PyTorch's network has
    assert_eq!(
        infos
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum::<usize>(),
        701_466
    );
    Ok(())
}

#[test]
fn a_branch_that_changes_the_shape_needs_a_shortcut() {
    let block = |shortcut| Node::Residual {
        name: "block".into(),
        body: vec![Node::layer("conv", Conv2d::square(4, 3, 2))],
        shortcut,
        multiplier: 1.0,
    };
    let build = |node: Node| {
        Plan::new(
            &[node],
            &[3, 8, 8],
            (1, 2),
            (DType::F32, &Place::Cpu),
            Gradients::None,
        )
    };
    let network = |node: Node| {
        widthwise::nn::Network::new("n", None, json!({}), move |_| Ok(vec![node.clone()])).describe(
            Sizes {
                width: 1,
                outputs: 1,
            },
            &[3, 8, 8],
        )
    };
    assert!(network(block(vec![])).is_err());
    let error = network(block(vec![Node::layer("conv", Conv2d::square(5, 1, 2))])).unwrap_err();
    assert!(error.to_string().contains("shortcut"), "{error}");
    let whole = block(vec![Node::layer("conv", Conv2d::square(4, 1, 2))]);
    let found = network(whole.clone()).unwrap();
    assert_eq!(found.output, [4, 4, 4]);
    assert_eq!(found.params[1].path, "block.shortcut.conv.weight");
    assert_eq!(build(whole).unwrap().output().dims(), [1, 2, 4, 4, 4]);
}

/// Output and gradients of a small residual network with `members`, for parameters drawn per member.
fn pass(members: &[u64], batch: usize) -> Result<Vec<Vec<Vec<f64>>>> {
    let network = resnet(Resnet {
        width: 8,
        norm: ImageNorm::Group(4),
        outputs: Some(10),
        ..Resnet::default()
    });
    let sizes = Sizes {
        width: 8,
        outputs: 10,
    };
    let cpu = Device::Cpu;
    let draw = |key: Key, shape: &[usize], scale: f64| -> Result<Tensor> {
        let mut rng = key.rng();
        let numbers: Vec<f32> = (0..shape.iter().product())
            .map(|_| (scale * rng.normal()) as f32)
            .collect();
        Ok(Tensor::from_vec(numbers, shape, &cpu)?)
    };
    let params = network.describe(sizes, &[3, 16, 16])?.params;
    let values = params.iter().map(|p| {
        let own = |&member: &u64| {
            draw(
                Key::new(member).label(&p.path),
                &p.shape,
                (p.fan_in as f64).powf(-0.5),
            )
        };
        Ok(Tensor::stack(
            &members.iter().map(own).collect::<Result<Vec<_>>>()?,
            0,
        )?)
    });
    let values = values.collect::<Result<Vec<Tensor>>>()?;
    let plan = Plan::new(
        &network.nodes(sizes)?,
        &[3, 16, 16],
        (members.len(), batch),
        (DType::F32, &Place::Cpu),
        Gradients::Passing,
    )?;
    let bound: Vec<Param<'_>> = values
        .iter()
        .map(|value| Param {
            value,
            multiplier: 0.5,
        })
        .collect();
    plan.forward(
        &bound,
        &draw(Key::new(1).label("x"), &[batch, 3, 16, 16], 1.0)?,
    )?;
    let gradient = plan.output_gradient().unwrap();
    let g = draw(Key::new(1).label("g"), &[1, batch, 10], 1.0)?
        .broadcast_as(gradient.shape())?
        .contiguous()?;
    widthwise::tensor::elementwise::copy(gradient, &g)?;
    let grads = values
        .iter()
        .map(Tensor::zeros_like)
        .collect::<candle_core::Result<Vec<_>>>()?;
    plan.backward(&bound, &grads)?;
    (0..members.len())
        .map(|i| {
            std::iter::once(plan.output())
                .chain(&grads)
                .map(|t| to_f64(&t.get(i)?))
                .collect()
        })
        .collect()
}

#[test]
fn members_and_threads_do_not_change_bits() -> Result<()> {
    let with = |threads: usize, members: &[u64], batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| pass(members, batch))
    };
    for batch in [1, 32] {
        let together = with(3, &[4, 7, 9], batch)?;
        assert!(together[1] == with(1, &[7], batch)?[0], "batch {batch}");
        assert!(together[2] == with(3, &[9], batch)?[0], "batch {batch}");
        assert!(together.iter().flatten().flatten().all(|x| x.is_finite()));
    }
    Ok(())
}

/// One pass of batch normalisation: output, gradients, and the running estimates after it.
fn check_batch_norm(
    name: &str,
    get: impl Fn(&str) -> Array,
    layer: BatchNorm,
    training: bool,
    after: [Vec<f64>; 2],
) -> Result<()> {
    let mode = match training {
        true => Mode::Training(Vec::new()),
        false => Mode::Evaluation,
    };
    let params = ["weight", "bias", "running_mean", "running_var"].map(str::to_string);
    let nodes = vec![Node::layer("0", layer)];
    let found = step(name, get, mode, nodes, &params)?;
    for ((param, found), after) in params.iter().zip(&found).skip(2).zip(after) {
        let name = format!("{name} {param}");
        crate::reference::assert_close(&name, &to_f64(found)?, &after, 1e-12);
    }
    Ok(())
}

#[test]
fn batch_norm_follows_pytorch() -> Result<()> {
    let mut checked = 0;
    let layer = |case: &Value| BatchNorm {
        eps: case["eps"].as_f64().unwrap(),
        momentum: case["momentum"].as_f64().unwrap(),
        relu: false,
    };
    let fixture = Fixture::load("conv");
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        if !name.starts_with("batch_norm.") {
            continue;
        }
        let get = |part: &str| {
            let part = part.strip_prefix("running_").unwrap_or(part);
            fixture.tensor(&format!("{name}.{part}"))
        };
        let training = case["training"].as_bool().unwrap();
        let after = ["new_mean", "new_var"].map(|part| get(part).values);
        check_batch_norm(name, get, layer(case), training, after)?;
        checked += 1;
    }
    let fixture = Fixture::load("layers");
    for (name, case) in fixture.json["cases"].as_object().unwrap() {
        if !name.starts_with("batch_norm_") {
            continue;
        }
        let numbers = |list: &Value| serde_json::from_value::<Vec<f64>>(list.clone()).unwrap();
        let before = |i: usize| {
            let values = numbers(&case["before"][i]);
            Array {
                shape: vec![values.len()],
                values,
            }
        };
        let get = |part: &str| match part {
            "running_mean" => before(0),
            "running_var" => before(1),
            part => {
                let array = fixture.tensor(&format!("{name}.{part}"));
                // [batch, positions, channels] there
                match array.shape.len() {
                    3 => array.transposed(),
                    _ => array,
                }
            }
        };
        let training = name.starts_with("batch_norm_training");
        let after = [0, 1].map(|i| numbers(&case["after"][i]));
        check_batch_norm(name, get, layer(case), training, after)?;
        checked += 1;
    }
    assert_eq!(checked, 12);
    Ok(())
}
