//! The decoder transformer.

use serde::Serialize;

use super::blocks::Blocks;
use super::layers::{Embedding, Linear, TiedReadout};
use super::network::{Network, Sizes};
use super::node::Node;
use crate::error::Result;

/// Positions of a transformer without `context` until a stream says otherwise.
const ASSUMED_CONTEXT: usize = 128;

/// Settings of [`transformer`].
#[derive(Debug, Clone, Serialize)]
pub struct Transformer {
    /// Width of the residual stream.
    pub width: usize,
    /// Positions of each example; `None` takes the stream's.
    pub context: Option<usize>,
    /// Number of tokens; `None` takes the stream's classes.
    pub vocab: Option<usize>,
    /// Whether the readout shares the weight of the embedding.
    pub tied: bool,
    /// The blocks.
    pub blocks: Blocks,
}

impl Default for Transformer {
    fn default() -> Self {
        Self {
            width: 128,
            context: None,
            vocab: None,
            tied: false,
            blocks: Blocks::default(),
        }
    }
}

impl Transformer {
    fn nodes(&self, Sizes { width, outputs }: Sizes) -> Result<Vec<Node>> {
        let vocab = self.vocab.unwrap_or(outputs);
        let mut nodes = vec![Node::layer("embedding", Embedding { vocab, width })];
        nodes.extend(self.blocks.before(self.context));
        nodes.extend(self.blocks.nodes(width)?);
        nodes.push(match self.tied {
            true => Node::layer(
                "readout",
                TiedReadout {
                    to: "embedding".into(),
                    vocab,
                    multiplier: 1.0,
                },
            ),
            false => Node::layer(
                "readout",
                Linear {
                    outputs: vocab,
                    bias: false,
                },
            ),
        });
        Ok(nodes)
    }
}

/// A decoder transformer (*Attention Is All You Need*, arXiv 1706.03762): embedding and positions, `depth`
/// times causal attention and a hidden layer in residual branches, readout. Inputs `[context]` are
/// tokens, outputs `[context, vocab]`.
/// Paths are `embedding.weight`, `positions.weight`, `blocks.0.attention.norm.weight`,
/// `blocks.0.attention.qkv.weight`, `blocks.0.attention.out.weight`, `blocks.0.mlp.norm.weight`,
/// `blocks.0.mlp.up.weight`, `blocks.0.mlp.down.weight`, …, `norm.weight`, `readout.weight`.
pub fn transformer(settings: Transformer) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let s = settings.clone();
    let width = Some(settings.width);
    let mut network = Network::new("transformer", width, json, move |sizes| s.nodes(sizes));
    network.input = settings.context.map(|n| vec![n]);
    network.assumed_input = vec![ASSUMED_CONTEXT];
    network.outputs = settings.vocab;
    network.blocks = Some(settings.blocks.depth);
    network
}
