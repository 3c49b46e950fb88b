//! The decoder transformer.

use serde::Serialize;

use super::layers::{
    Activation, Attention, AttentionScale, Dropout, Embedding, LayerNorm, Linear,
    PositionalEmbedding, Rope,
};
use super::network::{Network, Node, Sizes};
use crate::error::{Error, Result};
use crate::tensor::rope::Pairs;

/// How a [`transformer`] knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector per position is added to the embedding.
    Learned,
    /// Queries and keys turn by their positions, channels i and i + head_size/2 together.
    Rope,
    /// Only through the causal mask.
    None,
}

/// Settings of [`transformer`].
#[derive(Debug, Clone, Serialize)]
pub struct Transformer {
    /// Width of the residual stream, a multiple of `head_size`.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Channels of each head.
    pub head_size: usize,
    /// Positions of each example.
    pub context: usize,
    /// Number of tokens; `None` takes the stream's classes.
    pub vocab: Option<usize>,
    /// Units of the hidden layers after attention, in widths.
    pub mlp_ratio: usize,
    /// Their nonlinearity.
    pub activation: Activation,
    /// Whether linear layers other than the readout have biases.
    pub bias: bool,
    /// How positions are known.
    pub positions: Positions,
    /// Factor of the products of queries and keys.
    pub scale: AttentionScale,
    /// Probability of dropout after the embedding and in each branch.
    pub dropout: f64,
}

impl Default for Transformer {
    fn default() -> Self {
        Self {
            width: 128,
            depth: 4,
            head_size: 64,
            context: 128,
            vocab: None,
            mlp_ratio: 4,
            activation: Activation::GeluTanh,
            bias: true,
            positions: Positions::Learned,
            scale: AttentionScale::InverseSqrt,
            dropout: 0.0,
        }
    }
}

impl Transformer {
    fn linear(&self, outputs: usize) -> Linear {
        Linear {
            outputs,
            bias: self.bias,
        }
    }

    fn dropout(&self, nodes: &mut Vec<Node>) {
        if self.dropout > 0.0 {
            nodes.push(Node::layer("dropout", Dropout { p: self.dropout }));
        }
    }

    fn attention(&self, width: usize) -> Result<Vec<Node>> {
        let mut nodes = vec![
            Node::layer("norm", LayerNorm::default()),
            Node::layer("qkv", self.linear(3 * width)),
        ];
        if self.positions == Positions::Rope {
            let rope = Rope::new(self.head_size, 10_000.0, Pairs::Halves)?;
            nodes.push(Node::layer("rope", rope));
        }
        let heads = Attention {
            head_size: self.head_size,
            causal: true,
            scale: self.scale,
        };
        nodes.push(Node::layer("heads", heads));
        nodes.push(Node::layer("out", self.linear(width)));
        self.dropout(&mut nodes);
        Ok(nodes)
    }

    fn mlp(&self, width: usize) -> Vec<Node> {
        let mut nodes = vec![
            Node::layer("norm", LayerNorm::default()),
            Node::layer("up", self.linear(self.mlp_ratio * width)),
            Node::layer(self.activation.name(), self.activation),
            Node::layer("down", self.linear(width)),
        ];
        self.dropout(&mut nodes);
        nodes
    }

    fn nodes(&self, Sizes { width, outputs }: Sizes) -> Result<Vec<Node>> {
        if self.head_size == 0 || width % self.head_size != 0 {
            return Err(Error::setting(format!(
                "the width of a transformer must be a multiple of head_size {}, got {width}",
                self.head_size
            )));
        }
        let vocab = self.vocab.unwrap_or(outputs);
        let mut nodes = vec![Node::layer("embedding", Embedding { vocab, width })];
        if self.positions == Positions::Learned {
            let context = self.context;
            nodes.push(Node::layer("positions", PositionalEmbedding { context }));
        }
        self.dropout(&mut nodes);
        for i in 0..self.depth {
            for (name, body) in [
                ("attention", self.attention(width)?),
                ("mlp", self.mlp(width)),
            ] {
                nodes.push(Node::Residual {
                    name: format!("blocks.{i}.{name}"),
                    body,
                    shortcut: Vec::new(),
                    multiplier: 1.0,
                });
            }
        }
        nodes.push(Node::layer("norm", LayerNorm::default()));
        let readout = Linear {
            outputs: vocab,
            bias: false,
        };
        nodes.push(Node::layer("readout", readout));
        Ok(nodes)
    }
}

/// A pre-norm decoder transformer (*Attention Is All You Need*, arXiv 1706.03762, with the order of
/// GPT-2): embedding and positions, `depth` times causal attention and a hidden layer in residual
/// branches, layer norm, readout. Inputs `[context]` are tokens, outputs `[context, vocab]`.
/// Paths are `embedding.weight`, `positions.weight`, `blocks.0.attention.norm.weight`,
/// `blocks.0.attention.qkv.weight`, `blocks.0.attention.out.weight`, `blocks.0.mlp.norm.weight`,
/// `blocks.0.mlp.up.weight`, `blocks.0.mlp.down.weight`, …, `norm.weight`, `readout.weight`.
pub fn transformer(settings: Transformer) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let s = settings.clone();
    let width = Some(settings.width);
    let mut network = Network::new("transformer", width, json, move |sizes| s.nodes(sizes));
    network.input = Some(vec![settings.context]);
    network.outputs = settings.vocab;
    network
}
