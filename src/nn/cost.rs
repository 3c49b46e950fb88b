//! What a training step costs at least: arithmetic, memory traffic, memory.

use super::network::{Network, Sizes, same_shapes};
use super::node::Node;
use crate::error::{Error, Result};

/// Counts of a network at one width, for one member, from its description alone.
///
/// Only the multiply-adds of [`Layer::multiply_adds`](super::Layer::multiply_adds) are counted,
/// matrix products and convolutions: everything else is small beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Number of trained parameters.
    pub parameters: u64,
    /// Multiply-adds of the forward pass, per example.
    pub forward: u64,
    /// Multiply-adds of the backward pass, per example: as many as forward for the gradients of
    /// weights, and as many again for the gradient of the input where something needs it.
    pub backward: u64,
    /// Numbers of all activations that depend on parameters, per example.
    pub activations: u64,
    /// Numbers of one input.
    pub inputs: u64,
}

/// What is trained how: the factors of a [`Cost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Members.
    pub members: usize,
    /// Examples per step.
    pub batch: usize,
    /// State tensors of the optimizer, each as large as the parameters.
    pub states: usize,
    /// Bytes of a number.
    pub bytes: usize,
}

impl Cost {
    /// The counts of `network` for one input of shape `input`.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn of(network: &Network, outputs: usize, input: &[usize]) -> Result<Self> {
        let width = network.width.unwrap_or(1);
        let nodes = network.nodes(Sizes { width, outputs })?;
        let mut cost = Self {
            inputs: input.iter().map(|&n| n as u64).product(),
            ..Self::default()
        };
        cost.walk(&nodes, input.to_vec(), false)?;
        Ok(cost)
    }

    /// Adds the counts of `nodes`; the shape after them, and whether parameters act on it.
    fn walk(
        &mut self,
        nodes: &[Node],
        mut shape: Vec<usize>,
        mut trained: bool,
    ) -> Result<(Vec<usize>, bool)> {
        let count = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
        for node in nodes {
            let made = match node {
                Node::Layer { layer, .. } => {
                    let output = layer.output_shape(&shape)?;
                    let mut params = layer.params(&shape);
                    params.retain(|p| p.kind.is_trained());
                    let work = layer.multiply_adds(&shape);
                    self.parameters += params.iter().map(|p| count(&p.shape)).sum::<u64>();
                    self.forward += work;
                    self.backward += if trained { 2 * work } else { work };
                    trained |= !params.is_empty();
                    shape = output;
                    !layer.is_reshape()
                }
                Node::Parallel { name, branches } => {
                    let (mut outputs, mut acted) = (Vec::new(), false);
                    for branch in branches {
                        let (output, also) = self.walk(branch, shape.clone(), trained)?;
                        outputs.push(output);
                        acted |= also;
                    }
                    shape = same_shapes(name, &shape, outputs)?;
                    trained = acted;
                    true
                }
                Node::Residual { body, shortcut, .. } => {
                    let (output, acted) = self.walk(body, shape.clone(), trained)?;
                    let (skip, also) = self.walk(shortcut, shape, trained)?;
                    if output != skip {
                        return Err(Error::shape(format!(
                            "a residual branch gives {output:?}, but what it is added to {skip:?}"
                        )));
                    }
                    shape = output;
                    trained = acted || also;
                    true
                }
            };
            if made && trained {
                self.activations += count(&shape);
            }
        }
        Ok((shape, trained))
    }

    /// Floating-point operations of a training step, two per multiply-add.
    pub fn flops(&self, w: Workload) -> f64 {
        2.0 * (self.forward + self.backward) as f64 * w.batch as f64 * w.members as f64
    }

    /// The least bytes that a training step moves: parameters and optimizer states read and
    /// written once, the batch read once.
    pub fn traffic(&self, w: Workload) -> f64 {
        let own = 2.0 * self.parameters as f64 * (1 + w.states) as f64 * w.members as f64;
        (own + self.inputs as f64 * w.batch as f64) * w.bytes as f64
    }

    /// Bytes that training holds: parameters, gradients, optimizer states, activations and their
    /// gradients, the batch.
    pub fn memory(&self, w: Workload) -> f64 {
        let parameters = self.parameters as f64 * (2 + w.states) as f64;
        let activations = 2.0 * self.activations as f64 * w.batch as f64;
        let batch = self.inputs as f64 * w.batch as f64;
        ((parameters + activations) * w.members as f64 + batch) * w.bytes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::{Activation, Flatten, Linear};
    use crate::nn::{Mlp, mlp};
    use serde_json::json;

    const WORK: Workload = Workload {
        members: 16,
        batch: 128,
        states: 1,
        bytes: 4,
    };

    #[test]
    fn an_mlp_counts_as_by_hand() -> Result<()> {
        let network = mlp(Mlp {
            width: 64,
            depth: 4,
            ..Mlp::default()
        });
        let cost = Cost::of(&network, 10, &[3, 32, 32])?;
        let (first, hidden, last) = (3072 * 64, 64 * 64, 64 * 10);
        assert_eq!(cost.parameters, first + 2 * hidden + last + 3 * 64 + 10);
        assert_eq!(cost.forward, first + 2 * hidden + last);
        assert_eq!(cost.backward, first + 4 * hidden + 2 * last);
        // linear and relu, thrice, and the readout
        assert_eq!(cost.activations, 6 * 64 + 10);
        let adds = 2 * first + 6 * hidden + 3 * last;
        assert_eq!(cost.flops(WORK), (2 * adds * 128 * 16) as f64);
        let traffic = 4 * (4 * cost.parameters * 16 + 3072 * 128);
        assert_eq!(cost.traffic(WORK), traffic as f64);
        let memory = (3 * cost.parameters + 2 * 394 * 128) * 16 + 3072 * 128;
        assert_eq!(cost.memory(WORK), (4 * memory) as f64);
        Ok(())
    }

    #[test]
    fn branches_and_rows_count() -> Result<()> {
        let linear = |outputs| Linear {
            outputs,
            bias: false,
        };
        let network = Network::new("rows", Some(8), json!({}), move |sizes| {
            Ok(vec![
                Node::layer("first", linear(sizes.width)),
                Node::Residual {
                    name: "branch".into(),
                    body: vec![
                        Node::layer("relu", Activation::Relu),
                        Node::layer("second", linear(sizes.width)),
                    ],
                    shortcut: Vec::new(),
                    multiplier: 1.0,
                },
                Node::layer("flatten", Flatten),
                Node::layer("readout", linear(sizes.outputs)),
            ])
        });
        // five rows of three numbers: each weight is used five times
        let cost = Cost::of(&network, 2, &[5, 3])?;
        assert_eq!(cost.forward, 5 * 3 * 8 + 5 * 8 * 8 + 40 * 2);
        assert_eq!(cost.backward, 5 * 3 * 8 + 2 * (5 * 8 * 8 + 40 * 2));
        assert_eq!(cost.parameters, 3 * 8 + 8 * 8 + 40 * 2);
        assert_eq!(cost.activations, 40 + 40 + 40 + 40 + 2);
        assert!(Cost::of(&network, 0, &[5, 3]).is_err());
        Ok(())
    }
}
