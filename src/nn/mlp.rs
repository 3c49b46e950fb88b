//! The multilayer perceptron.

use serde::Serialize;

use super::layers::{Activation, Flatten, LayerNorm, Linear};
use super::network::Network;
use super::node::Node;

/// Settings of [`mlp`].
#[derive(Debug, Clone, Serialize)]
pub struct Mlp {
    /// Units of each hidden layer.
    pub width: usize,
    /// Number of weight matrices: `depth − 1` hidden layers and the readout.
    pub depth: usize,
    /// Nonlinearity after each hidden layer.
    pub activation: Activation,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether each hidden layer's preactivations are normalised.
    pub layer_norm: bool,
    /// Number of inputs; `None` takes the stream's.
    pub inputs: Option<usize>,
    /// Number of outputs; `None` takes the stream's.
    pub outputs: Option<usize>,
}

impl Default for Mlp {
    fn default() -> Self {
        Self {
            width: 256,
            depth: 3,
            activation: Activation::Relu,
            bias: true,
            layer_norm: false,
            inputs: None,
            outputs: None,
        }
    }
}

/// A multilayer perceptron: `depth − 1` times linear (→ layer norm) → activation, then a linear
/// readout. Paths are `layers.0.weight`, `layers.0.bias`, `layers.0.norm.weight`, …,
/// `readout.weight`, `readout.bias`.
pub fn mlp(settings: Mlp) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let s = settings.clone();
    let mut network = Network::new("mlp", Some(settings.width), json, move |sizes| {
        let mut nodes = vec![Node::layer("flatten", Flatten)];
        for i in 0..s.depth.saturating_sub(1) {
            let linear = Linear {
                outputs: sizes.width,
                bias: s.bias,
            };
            nodes.push(Node::layer(format!("layers.{i}"), linear));
            if s.layer_norm {
                nodes.push(Node::layer(
                    format!("layers.{i}.norm"),
                    LayerNorm::default(),
                ));
            }
            nodes.push(Node::layer(
                format!("layers.{i}.{}", s.activation.name()),
                s.activation,
            ));
        }
        let readout = Linear {
            outputs: sizes.outputs,
            bias: s.bias,
        };
        nodes.push(Node::layer("readout", readout));
        Ok(nodes)
    });
    network.input = settings.inputs.map(|n| vec![n]);
    network.outputs = settings.outputs;
    network
}
