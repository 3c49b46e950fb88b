//! The vision transformer.

use serde::Serialize;

use super::blocks::Blocks;
use super::layers::{Activation, ClassToken, Linear, Patches, PositionPool};
use super::network::{Network, Sizes};
use super::node::Node;
use crate::error::Result;

/// What the readout of a [`vit`] sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VitPool {
    /// A learned class token before the patches.
    ClassToken,
    /// The mean over patches.
    Mean,
}

/// Settings of [`vit`].
#[derive(Debug, Clone, Serialize)]
pub struct Vit {
    /// Width of the residual stream.
    pub width: usize,
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// What the readout sees.
    pub pool: VitPool,
    /// The blocks; not causal.
    pub blocks: Blocks,
    /// Number of outputs; `None` takes the stream's.
    pub outputs: Option<usize>,
}

impl Default for Vit {
    fn default() -> Self {
        Self {
            width: 128,
            patch: [4, 4],
            pool: VitPool::ClassToken,
            blocks: Blocks {
                activation: Activation::Gelu,
                causal: false,
                ..Blocks::default()
            },
            outputs: None,
        }
    }
}

impl Vit {
    fn nodes(&self, Sizes { width, outputs }: Sizes) -> Result<Vec<Node>> {
        let linear = |outputs: usize| Linear {
            outputs,
            bias: true,
        };
        let mut nodes = vec![
            Node::layer("patches", Patches { size: self.patch }),
            Node::layer("embedding", linear(width)),
        ];
        let pool = match self.pool {
            VitPool::ClassToken => {
                nodes.push(Node::layer("class_token", ClassToken));
                PositionPool::First
            }
            VitPool::Mean => PositionPool::Mean,
        };
        nodes.extend(self.blocks.before(None));
        nodes.extend(self.blocks.nodes(width)?);
        nodes.push(Node::layer("pool", pool));
        let outputs = self.outputs.unwrap_or(outputs);
        nodes.push(Node::layer("readout", linear(outputs)));
        Ok(nodes)
    }
}

/// A vision transformer (Dosovitskiy et al., arXiv 2010.11929): the image's patches through a linear
/// layer, a class token or none, positions, blocks of attention without a mask and a hidden layer, the
/// class token's row or the mean over patches, readout.
/// Paths are `embedding.weight`, `class_token.weight`, `positions.weight`,
/// `blocks.0.attention.norm.weight`, …, `norm.weight`, `readout.weight`, `readout.bias`.
pub fn vit(settings: Vit) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let (width, outputs) = (Some(settings.width), settings.outputs);
    let blocks = settings.blocks.depth;
    let mut network = Network::new("vit", width, json, move |sizes| settings.nodes(sizes));
    network.outputs = outputs;
    network.blocks = Some(blocks);
    network
}
