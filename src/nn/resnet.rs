//! Residual networks of convolutions.

use serde::Serialize;

use super::layers::{
    Activation, BatchNorm, Conv2d, GlobalAvgPool, GroupNorm, Linear, Pool2d, Pooling,
};
use super::network::{Network, Sizes};
use super::node::Node;

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageNorm {
    /// Group normalisation with this many groups of channels: examples do not depend on each other.
    Group(usize),
    /// Layer normalisation of all channels and pixels: group normalisation with one group.
    Layer,
    /// Batch normalisation, as in the original residual network.
    Batch,
    /// No normalisation.
    None,
}

impl ImageNorm {
    /// A normalisation and the activation after it; with relu both are one layer.
    pub(super) fn node(self, name: impl Into<String>, activation: Activation) -> Vec<Node> {
        let name = name.into();
        let relu = activation == Activation::Relu;
        let mut nodes = Vec::new();
        nodes.extend(match self {
            Self::None => None,
            Self::Group(_) | Self::Layer => Some(Node::layer(
                &*name,
                GroupNorm {
                    relu,
                    ..GroupNorm::new(self.groups())
                },
            )),
            Self::Batch => Some(Node::layer(
                &*name,
                BatchNorm {
                    relu,
                    ..BatchNorm::default()
                },
            )),
        });
        let fused = relu && self != Self::None;
        if activation != Activation::Identity && !fused {
            nodes.push(Node::layer(
                format!("{name}.{}", activation.name()),
                activation,
            ));
        }
        nodes
    }

    fn groups(self) -> usize {
        match self {
            Self::Group(groups) => groups,
            _ => 1,
        }
    }
}

/// The beginning of a [`resnet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// Filters of 3 × 3, for images of 32 × 32.
    Cifar,
    /// Filters of 7 × 7 with stride 2 and the largest of windows of 3 × 3 with stride 2, for
    /// images of 224 × 224.
    Imagenet,
}

/// Settings of [`resnet`].
#[derive(Debug, Clone, Serialize)]
pub struct Resnet {
    /// Channels of the first stage; each further stage has twice as many (and four times as many at the
    /// ends of bottleneck blocks).
    pub width: usize,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Whether blocks are 1 × 1, 3 × 3, 1 × 1 filters rather than two of 3 × 3.
    pub bottleneck: bool,
    /// The beginning.
    pub stem: Stem,
    /// Normalisation after each convolution.
    pub norm: ImageNorm,
    /// Factor of each block's branch.
    pub multiplier: f64,
    /// Number of outputs; `None` takes the stream's.
    pub outputs: Option<usize>,
}

impl Default for Resnet {
    fn default() -> Self {
        Self {
            width: 64,
            blocks: vec![2; 4],
            bottleneck: false,
            stem: Stem::Cifar,
            norm: ImageNorm::Group(8),
            multiplier: 1.0,
            outputs: None,
        }
    }
}

/// Blocks of each stage, and whether they are bottlenecks, for a depth of He et al.: with four stages
/// for 18, 34, 50, 101, 152 (their Table 1), else with three for 6 n + 2, as they use on CIFAR-10.
pub fn stages(depth: usize) -> Option<(Vec<usize>, bool)> {
    Some(match depth {
        18 => (vec![2, 2, 2, 2], false),
        34 => (vec![3, 4, 6, 3], false),
        50 => (vec![3, 4, 6, 3], true),
        101 => (vec![3, 4, 23, 3], true),
        152 => (vec![3, 8, 36, 3], true),
        8.. if depth % 6 == 2 => (vec![(depth - 2) / 6; 3], false),
        _ => return None,
    })
}

/// A residual network (He, Zhang, Ren, Sun 2016, arXiv 1512.03385): a stem, stages of residual blocks of
/// which each but the first halves the image, the mean over pixels and a linear readout. Bottleneck
/// blocks have their stride at the 3 × 3 filters, as PyTorch's do. Normalisation is by groups unless
/// asked otherwise, since examples then do not depend on each other.
///
/// Paths are `stem.weight`, `stem.norm.weight`, `stages.0.0.conv1.weight`, `….norm1.weight`, …,
/// `stages.1.0.shortcut.conv.weight`, …, `readout.weight`, `readout.bias`.
pub fn resnet(settings: Resnet) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let (width, outputs) = (Some(settings.width), settings.outputs);
    let mut network = Network::new(
        "resnet",
        width,
        json,
        move |sizes| Ok(settings.nodes(sizes)),
    );
    network.outputs = outputs;
    network
}

impl Resnet {
    fn nodes(&self, sizes: Sizes) -> Vec<Node> {
        let (width, relu) = (sizes.width, Activation::Relu);
        let mut nodes = match self.stem {
            Stem::Cifar => vec![Node::layer("stem", Conv2d::square(width, 3, 1))],
            Stem::Imagenet => vec![Node::layer("stem", Conv2d::square(width, 7, 2))],
        };
        nodes.extend(self.norm.node("stem.norm", relu));
        if self.stem == Stem::Imagenet {
            let pool = Pool2d {
                pooling: Pooling::Max,
                kernel: [3, 3],
                stride: [2, 2],
                padding: [1, 1],
            };
            nodes.push(Node::layer("stem.pool", pool));
        }
        let mut channels = width;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            let inner = width << stage;
            for i in 0..blocks {
                let path = format!("stages.{stage}.{i}");
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let (block, next) = self.block(path.clone(), (channels, inner), stride);
                nodes.push(block);
                nodes.push(Node::layer(format!("{path}.relu"), relu));
                channels = next;
            }
        }
        nodes.push(Node::layer("pool", GlobalAvgPool));
        let readout = Linear {
            outputs: sizes.outputs,
            bias: true,
        };
        nodes.push(Node::layer("readout", readout));
        nodes
    }

    /// Convolutions beside the identity or, where the shape changes, a convolution of single pixels; and
    /// how many channels they have in the end.
    fn block(
        &self,
        name: String,
        (channels, inner): (usize, usize),
        stride: usize,
    ) -> (Node, usize) {
        let next = if self.bottleneck { 4 * inner } else { inner };
        let convs = if self.bottleneck {
            vec![(inner, 1, 1), (inner, 3, stride), (next, 1, 1)]
        } else {
            vec![(inner, 3, stride), (next, 3, 1)]
        };
        let mut body = Vec::new();
        for (i, &(outputs, kernel, stride)) in convs.iter().enumerate() {
            let last = i + 1 == convs.len();
            let conv = Conv2d::square(outputs, kernel, stride);
            body.push(Node::layer(format!("conv{}", i + 1), conv));
            // the last one's comes after the sum
            let activation = match last {
                true => Activation::Identity,
                false => Activation::Relu,
            };
            body.extend(self.norm.node(format!("norm{}", i + 1), activation));
        }
        let mut shortcut = Vec::new();
        if stride != 1 || channels != next {
            shortcut.push(Node::layer("conv", Conv2d::square(next, 1, stride)));
            shortcut.extend(self.norm.node("norm", Activation::Identity));
        }
        let node = Node::Residual {
            name,
            body,
            shortcut,
            multiplier: self.multiplier,
        };
        (node, next)
    }
}
