//! The residual network with 18 layers, in its form for small images.

use serde::Serialize;

use super::layers::{Activation, BatchNorm, Conv2d, GlobalAvgPool, GroupNorm, Linear};
use super::network::{Network, Node};

/// What follows each convolution of a [`resnet18`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageNorm {
    /// Group normalisation with this many groups of channels: examples do not depend on each other.
    Group(usize),
    /// Batch normalisation, as in the original network.
    Batch,
    /// No normalisation.
    None,
}

/// Settings of [`resnet18`].
#[derive(Debug, Clone, Serialize)]
pub struct Resnet18 {
    /// Channels of the first stage; the four stages have `width`, `2 width`, `4 width`, `8 width`.
    pub width: usize,
    /// Normalisation after each convolution.
    pub norm: ImageNorm,
    /// Number of outputs; `None` takes the stream's.
    pub outputs: Option<usize>,
}

impl Default for Resnet18 {
    fn default() -> Self {
        Self {
            width: 64,
            norm: ImageNorm::Group(8),
            outputs: None,
        }
    }
}

/// A residual network with 18 layers (He, Zhang, Ren, Sun 2016, arXiv 1512.03385) as used on CIFAR-10:
/// a stem of 3 × 3 filters instead of 7 × 7 with pooling, four stages of two blocks, the mean over pixels
/// and a linear readout. Normalisation is by groups unless asked otherwise, since examples then do not
/// depend on each other.
///
/// Paths are `stem.weight`, `stem.norm.weight`, `stages.0.0.conv1.weight`, `….norm1.weight`, …,
/// `stages.1.0.shortcut.conv.weight`, …, `readout.weight`, `readout.bias`.
pub fn resnet18(settings: Resnet18) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let (kind, outputs) = (settings.norm, settings.outputs);
    let mut network = Network::new("resnet18", Some(settings.width), json, move |sizes| {
        let mut nodes = vec![Node::layer("stem", Conv2d::square(sizes.width, 3, 1))];
        nodes.extend(norm("stem.norm", kind, true));
        let mut channels = sizes.width;
        for stage in 0..4 {
            let next = sizes.width << stage;
            for (i, stride) in [if stage == 0 { 1 } else { 2 }, 1].into_iter().enumerate() {
                let path = format!("stages.{stage}.{i}");
                nodes.push(block(path.clone(), (channels, next), stride, kind));
                nodes.push(Node::layer(format!("{path}.relu"), Activation::Relu));
                channels = next;
            }
        }
        nodes.push(Node::layer("pool", GlobalAvgPool));
        nodes.push(Node::layer(
            "readout",
            Linear {
                outputs: sizes.outputs,
                bias: true,
            },
        ));
        Ok(nodes)
    });
    network.outputs = outputs;
    network
}

/// A normalisation, and the relu after it.
fn norm(name: &str, kind: ImageNorm, relu: bool) -> Option<Node> {
    match (kind, relu) {
        (ImageNorm::None, true) => Some(Node::layer(name, Activation::Relu)),
        (ImageNorm::None, false) => None,
        (ImageNorm::Group(groups), relu) => Some(Node::layer(
            name,
            GroupNorm {
                relu,
                ..GroupNorm::new(groups)
            },
        )),
        (ImageNorm::Batch, relu) => Some(Node::layer(
            name,
            BatchNorm {
                relu,
                ..BatchNorm::default()
            },
        )),
    }
}

/// Two convolutions beside the identity or, where the shape changes, a convolution of single pixels.
fn block(name: String, (channels, next): (usize, usize), stride: usize, kind: ImageNorm) -> Node {
    let mut body = vec![Node::layer("conv1", Conv2d::square(next, 3, stride))];
    body.extend(norm("norm1", kind, true));
    body.push(Node::layer("conv2", Conv2d::square(next, 3, 1)));
    body.extend(norm("norm2", kind, false));
    let mut shortcut = Vec::new();
    if stride != 1 || channels != next {
        shortcut.push(Node::layer("conv", Conv2d::square(next, 1, stride)));
        shortcut.extend(norm("norm", kind, false));
    }
    Node::Residual {
        name,
        body,
        shortcut,
        multiplier: 1.0,
    }
}
