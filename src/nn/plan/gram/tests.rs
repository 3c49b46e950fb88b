//! Kernels do not depend on how the work is parted.

use candle_core::{DType, Device};

use super::*;
use crate::nn::layers::{
    Activation, Conv2d, Embedding, GlobalAvgPool, GroupNorm, Linear, TiedReadout,
};
use crate::nn::plan::{Plan, Typed};
use crate::nn::{Gradients, Node, Param};
use crate::tensor::elem::to_f64;
use crate::tensor::rng::Key;

fn tensor(label: &str, dims: &[usize]) -> Result<Tensor> {
    let mut rng = Key::new(3).label(label).rng();
    let values: Vec<f64> = (0..dims.iter().product()).map(|_| rng.normal()).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// Some outputs after the others give what all give at once, wherever they part.
fn check_parts(nodes: &[Node], input: &[usize], inputs: &Tensor, most: &[usize]) -> Result<()> {
    let points = inputs.dims()[0];
    let (sizes, place) = ((2, points), (DType::F64, &crate::gpu::Place::Cpu));
    let plan = Plan::new(nodes, input, sizes, place, Gradients::None)?;
    let mut values = Vec::new();
    for (i, op) in plan.ops.iter().enumerate() {
        if let OpKind::Layer { layer, input, .. } = &op.kind {
            for (j, param) in layer.params(input).iter().enumerate() {
                let dims = [&[2], param.shape.as_slice()].concat();
                values.push(tensor(&format!("{i} {j}"), &dims)?);
            }
        }
    }
    let multiplier = 0.7;
    let params: Vec<_> = values
        .iter()
        .map(|value| Param { value, multiplier })
        .collect();
    plan.forward(&params, inputs)?;
    let Typed::F64(runner) = &plan.runner else {
        return Err(Error::other("another type"));
    };
    let last = plan.last_inputs()?;
    let run = |most: usize| -> Result<Vec<f64>> {
        let kernel = Tensor::zeros((2, points, points), DType::F64, &Device::Cpu)?;
        let bound = runner.bind(&params, &[], crate::nn::plan::Mode::Evaluation)?;
        let slots = vec![0; params.len()];
        let parts = super::Parts {
            slots: &slots,
            combinations: Combinations::Each,
        };
        let kernels = (std::slice::from_ref(&kernel), parts);
        bound.ntk_within(most, &plan.ops, &last, 2, kernels)?;
        to_f64(&kernel)
    };
    let all = run(SIGNALS)?;
    for most in most {
        for (found, wanted) in run(*most)?.iter().zip(&all) {
            assert!(
                (found - wanted).abs() < 1e-11 * (1.0 + wanted.abs()),
                "{most}: {found} {wanted}"
            );
        }
    }
    assert!(all.iter().all(|x| x.abs() > 1e-3), "{all:?}");
    Ok(())
}

#[test]
fn kernels_do_not_depend_on_how_many_outputs_go_back_at_a_time() -> Result<()> {
    let conv = |stride| Conv2d {
        bias: true,
        ..Conv2d::square(4, 3, stride)
    };
    let (outputs, bias) = (5, true);
    let nodes = [
        Node::layer("a", conv(1)),
        Node::Residual {
            name: "b".into(),
            body: vec![
                Node::layer("norm", GroupNorm::new(2)),
                Node::layer("conv", conv(1)),
            ],
            shortcut: Vec::new(),
            multiplier: 0.5,
        },
        Node::layer("c", Activation::Relu),
        Node::layer("d", conv(2)),
        Node::layer("e", Activation::Tanh),
        Node::layer("f", GlobalAvgPool),
        Node::layer("g", Linear { outputs, bias }),
    ];
    let inputs = tensor("x", &[3, 2, 5, 4])?;
    check_parts(&nodes, &[2, 5, 4], &inputs, &[1, 10, 500, 700, 1200])
}

#[test]
fn neither_do_those_of_a_parameter_that_two_layers_share() -> Result<()> {
    let (vocab, width) = (5, 4);
    let readout = TiedReadout {
        to: "a".into(),
        vocab,
        multiplier: 0.3,
    };
    let linear = Linear {
        outputs: width,
        bias: true,
    };
    let nodes = [
        Node::layer("a", Embedding { vocab, width }),
        Node::layer("b", linear),
        Node::layer("c", Activation::Tanh),
        Node::layer("d", readout),
    ];
    let tokens = Tensor::new(&[[0.0, 1.0, 1.0], [4.0, 2.0, 1.0]], &Device::Cpu)?;
    check_parts(&nodes, &[3], &tokens, &[1, 20, 60, 100, 150])
}
