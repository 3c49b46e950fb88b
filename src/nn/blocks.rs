//! The blocks of transformers: attention and a hidden layer in residual branches.

use serde::Serialize;

use super::layers::{
    Activation, Attention, AttentionScale, Dropout, Glu, LayerNorm, Linear, PositionalEmbedding,
    QkNorm, RmsNorm, Rope,
};
use super::node::Node;
use crate::error::{Error, Result};
use crate::tensor::rope::Pairs;

/// How a transformer knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector per position is added before the blocks.
    Learned,
    /// Queries and keys turn by their positions, channels i and i + head_size/2 together.
    Rope,
    /// Only through the mask, if there is one.
    None,
}

/// How the width of attention is divided into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// Heads of so many channels: a wider network has more of them.
    Size(usize),
    /// So many heads: in a wider network they are larger.
    Count(usize),
}

impl Heads {
    /// Channels of a head.
    ///
    /// # Errors
    /// If heads do not divide the width.
    pub fn size(self, width: usize) -> Result<usize> {
        let (of, name, size) = match self {
            Self::Size(size) => (size, "head_size", size),
            Self::Count(count) => (count, "heads", width / count.max(1)),
        };
        if of == 0 || !width.is_multiple_of(of) {
            return Err(Error::setting(format!(
                "the width of a transformer must be a multiple of {name} {of}, got {width}"
            )));
        }
        Ok(size)
    }
}

/// Normalisation of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowNorm {
    /// Layer normalisation.
    Layer,
    /// RMS normalisation.
    Rms,
}

impl RowNorm {
    /// As a part of a network.
    pub fn node(self, name: impl Into<String>) -> Node {
        match self {
            Self::Layer => Node::layer(name, LayerNorm::default()),
            Self::Rms => Node::layer(name, RmsNorm::default()),
        }
    }
}

/// Where a block's normalisations are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPosition {
    /// First in each branch, and once behind all blocks (GPT-2).
    Pre,
    /// Behind each sum of a branch and its input (Vaswani et al. 2017).
    Post,
}

/// Blocks of a transformer.
#[derive(Debug, Clone, Serialize)]
pub struct Blocks {
    /// Number of blocks.
    pub depth: usize,
    /// How the width is divided into heads.
    pub heads: Heads,
    /// Units of the hidden layers after attention, in widths.
    pub mlp_ratio: f64,
    /// Their nonlinearity.
    pub activation: Activation,
    /// Whether a gate multiplies the hidden layers ([`Glu`]; SwiGLU with silu).
    pub gated: bool,
    /// Whether linear layers have biases.
    pub bias: bool,
    /// Normalisation.
    pub norm: RowNorm,
    /// Where it is.
    pub norm_position: NormPosition,
    /// Whether queries and keys are normalised ([`QkNorm`]).
    pub qk_norm: bool,
    /// How positions are known.
    pub positions: Positions,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// Factor of the products of queries and keys.
    pub scale: AttentionScale,
    /// Probability of dropout in each branch.
    pub dropout: f64,
    /// Factor of each branch.
    pub multiplier: f64,
}

impl Blocks {
    /// The blocks, and the normalisation behind them if they are pre-norm.
    ///
    /// # Errors
    /// If heads do not divide the width, or have an odd size with rotary positions.
    pub fn nodes(&self, width: usize) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        for i in 0..self.depth {
            for (name, body) in [
                ("attention", self.attention(width)?),
                ("mlp", self.mlp(width)),
            ] {
                let path = format!("blocks.{i}.{name}");
                let norm = match self.norm_position {
                    NormPosition::Pre => None,
                    NormPosition::Post => Some(self.norm.node(format!("{path}.norm"))),
                };
                nodes.push(Node::Residual {
                    name: path,
                    body,
                    shortcut: Vec::new(),
                    multiplier: self.multiplier,
                });
                nodes.extend(norm);
            }
        }
        if self.norm_position == NormPosition::Pre {
            nodes.push(self.norm.node("norm"));
        }
        Ok(nodes)
    }

    /// What comes between the embedding and the blocks: learned positions, of which there are at most
    /// `context`, and dropout.
    pub fn before(&self, context: Option<usize>) -> impl Iterator<Item = Node> {
        let learned = (self.positions == Positions::Learned)
            .then(|| Node::layer("positions", PositionalEmbedding { context }));
        learned.into_iter().chain(self.dropout())
    }

    /// Dropout, if there is any.
    fn dropout(&self) -> Option<Node> {
        (self.dropout > 0.0).then(|| Node::layer("dropout", Dropout { p: self.dropout }))
    }

    fn linear(&self, name: &str, outputs: usize) -> Node {
        let bias = self.bias;
        Node::layer(name, Linear { outputs, bias })
    }

    /// The normalisation at the start of a branch.
    fn pre_norm(&self) -> Option<Node> {
        (self.norm_position == NormPosition::Pre).then(|| self.norm.node("norm"))
    }

    fn attention(&self, width: usize) -> Result<Vec<Node>> {
        let head_size = self.heads.size(width)?;
        let mut nodes: Vec<Node> = self.pre_norm().into_iter().collect();
        nodes.push(self.linear("qkv", 3 * width));
        if self.qk_norm {
            let eps = RmsNorm::default().eps;
            nodes.push(Node::layer("qk_norm", QkNorm { head_size, eps }));
        }
        if self.positions == Positions::Rope {
            let rope = Rope::new(head_size, 10_000.0, Pairs::Halves)?;
            nodes.push(Node::layer("rope", rope));
        }
        let heads = Attention {
            head_size,
            causal: self.causal,
            scale: self.scale,
        };
        nodes.push(Node::layer("heads", heads));
        nodes.push(self.linear("out", width));
        nodes.extend(self.dropout());
        Ok(nodes)
    }

    fn mlp(&self, width: usize) -> Vec<Node> {
        let hidden = ((self.mlp_ratio * width as f64).round() as usize).max(1);
        let activation = self.activation;
        let mut nodes: Vec<Node> = self.pre_norm().into_iter().collect();
        if self.gated {
            nodes.push(self.linear("up", 2 * hidden));
            nodes.push(Node::layer("glu", Glu { activation }));
        } else {
            nodes.push(self.linear("up", hidden));
            nodes.push(Node::layer(activation.name(), activation));
        }
        nodes.push(self.linear("down", width));
        nodes.extend(self.dropout());
        nodes
    }
}

impl Default for Blocks {
    /// GPT-2's.
    fn default() -> Self {
        Self {
            depth: 4,
            heads: Heads::Size(64),
            mlp_ratio: 4.0,
            activation: Activation::GeluTanh,
            gated: false,
            bias: true,
            norm: RowNorm::Layer,
            norm_position: NormPosition::Pre,
            qk_norm: false,
            positions: Positions::Learned,
            causal: true,
            scale: AttentionScale::InverseSqrt,
            dropout: 0.0,
            multiplier: 1.0,
        }
    }
}
