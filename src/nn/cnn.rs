//! Plain convolutional networks.

use serde::Serialize;

use super::layers::{Activation, Conv2d, Flatten, GlobalAvgPool, Linear, Pool2d, Pooling};
use super::network::{Network, Sizes};
use super::node::Node;
use super::resnet::ImageNorm;

/// How the image becomes smaller behind a convolution of a [`cnn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Downsample {
    /// The mean of windows of 2 × 2.
    AvgPool,
    /// The largest number of windows of 2 × 2.
    MaxPool,
    /// Convolutions behind the first have stride 2.
    Stride,
    /// It does not.
    None,
}

/// Settings of [`cnn`].
#[derive(Debug, Clone, Serialize)]
pub struct Cnn {
    /// Channels of the first convolution.
    pub width: usize,
    /// Number of weight arrays: `depth − 1` convolutions and the readout.
    pub depth: usize,
    /// Height and width of the filters; images keep their size.
    pub kernel: [usize; 2],
    /// Nonlinearity after each convolution.
    pub activation: Activation,
    /// Normalisation between them.
    pub norm: ImageNorm,
    /// Whether convolutions have biases.
    pub bias: bool,
    /// How images become smaller.
    pub downsample: Downsample,
    /// Whether each convolution has twice as many channels as the one before it.
    pub double: bool,
    /// Whether the readout sees all pixels rather than their mean.
    pub flatten: bool,
    /// Number of outputs; `None` takes the stream's.
    pub outputs: Option<usize>,
}

impl Default for Cnn {
    fn default() -> Self {
        Self {
            width: 64,
            depth: 4,
            kernel: [3, 3],
            activation: Activation::Relu,
            norm: ImageNorm::None,
            bias: true,
            downsample: Downsample::AvgPool,
            double: true,
            flatten: false,
            outputs: None,
        }
    }
}

impl Cnn {
    fn nodes(&self, sizes: Sizes) -> Vec<Node> {
        let mut nodes = Vec::new();
        let pool = |pooling| Pool2d {
            pooling,
            kernel: [2, 2],
            stride: [2, 2],
            padding: [0, 0],
        };
        for i in 0..self.depth - 1 {
            let name = format!("layers.{i}");
            let stride = match self.downsample {
                Downsample::Stride if i > 0 => [2, 2],
                _ => [1, 1],
            };
            let channels = if self.double {
                sizes.width << i
            } else {
                sizes.width
            };
            let conv = Conv2d {
                kernel: self.kernel,
                stride,
                padding: self.kernel.map(|side| side / 2),
                bias: self.bias,
                ..Conv2d::square(channels, 1, 1)
            };
            nodes.push(Node::layer(&*name, conv));
            nodes.extend(self.norm.node(format!("{name}.norm"), self.activation));
            let pooling = match self.downsample {
                Downsample::AvgPool => Pooling::Average { count_border: true },
                Downsample::MaxPool => Pooling::Max,
                Downsample::Stride | Downsample::None => continue,
            };
            nodes.push(Node::layer(format!("{name}.pool"), pool(pooling)));
        }
        nodes.push(match self.flatten {
            true => Node::layer("flatten", Flatten),
            false => Node::layer("pool", GlobalAvgPool),
        });
        let readout = Linear {
            outputs: sizes.outputs,
            bias: true,
        };
        nodes.push(Node::layer("readout", readout));
        nodes
    }
}

/// A plain stack of convolutions: `depth − 1` times convolution (→ normalisation) → activation (→ pooling),
/// then the mean over pixels, or all of them, and a linear readout. As it stands by default it is the
/// network of *The Optimization Landscape of SGD Across the Feature Learning Strength* (arXiv 2410.04642)
/// with a mean in place of its linear layer.
/// Paths are `layers.0.weight`, `layers.0.bias`, `layers.0.norm.weight`, …, `readout.weight`,
/// `readout.bias`.
pub fn cnn(settings: Cnn) -> Network {
    let json = serde_json::to_value(&settings).unwrap_or_default();
    let (width, outputs) = (Some(settings.width), settings.outputs);
    let mut network = Network::new("cnn", width, json, move |sizes| Ok(settings.nodes(sizes)));
    network.outputs = outputs;
    network
}
