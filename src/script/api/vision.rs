//! Networks for images.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use super::images::Sides;
use super::transformer::heads_of;
use crate::error::Error;
use crate::nn::layers::{Activation, AttentionScale};
use crate::nn::{
    Blocks, Cnn, Downsample, ImageNorm, Network, NormPosition, Positions, Resnet, RowNorm, Stem,
    Vit, VitPool, cnn, resnet, stages, vit,
};
use crate::script::options::POSITIVE;
use crate::script::{RhaiResultOf, raise};

/// Normalisations of images, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// By groups of channels.
    Group,
    /// By all channels and pixels.
    Layer,
    /// By batches.
    Batch,
    /// None.
    None,
}

crate::choice! { Norm {
    "group" => Norm::Group, "layer" => Norm::Layer, "batch" => Norm::Batch, "none" => Norm::None,
} }
crate::choice! { Stem { "cifar" => Stem::Cifar, "imagenet" => Stem::Imagenet } }
crate::choice! { VitPool { "class_token" => VitPool::ClassToken, "mean" => VitPool::Mean } }
crate::choice! { Downsample {
    "avg_pool" => Downsample::AvgPool, "max_pool" => Downsample::MaxPool,
    "stride" => Downsample::Stride, "none" => Downsample::None,
} }

crate::options! {
    /// Settings of a residual network with 18 layers.
    pub struct Resnet18Options for "resnet18" {
        /// Channels of the first stage; the others have 2, 4 and 8 times as many.
        width: usize = 64, where (1..);
        /// Normalisation after each convolution: `"group"`, `"layer"`, `"batch"` or `"none"`.
        norm: Norm = Norm::Group;
        /// Groups of channels that are normalised together by `"group"`; must divide the width.
        groups: usize = 8, where (1..);
        /// Number of outputs; left out, the stream decides.
        outputs: Option<usize> = None, where (1..);
    }
}

crate::options! {
    /// Settings of a residual network.
    pub struct ResnetOptions for "resnet" {
        /// Channels of the first stage; each further stage has twice as many, and bottleneck blocks four times as
        /// many at their ends.
        width: usize = 64, where (1..);
        /// Layers: 18, 34 (four stages of basic blocks), 50, 101, 152 (of bottlenecks), or any other 6 n + 2 (three
        /// stages of n basic blocks, as on CIFAR-10: 20, 32, 44, 56, 110).
        depth: usize = 18, where (1..=100_000);
        /// Blocks of each stage, in place of those that follow from the depth.
        blocks: Option<Vec<usize>> = None, where (1..);
        /// Whether blocks are bottlenecks; left out, the depth decides.
        bottleneck: Option<bool> = None;
        /// The beginning: `"cifar"` (3 × 3 filters) or `"imagenet"` (7 × 7 filters with stride 2 and pooling).
        stem: Stem = Stem::Cifar;
        /// Normalisation after each convolution: `"group"`, `"layer"`, `"batch"` or `"none"`.
        norm: Norm = Norm::Group;
        /// Groups of channels that are normalised together by `"group"`; must divide the width.
        groups: usize = 8, where (1..);
        /// Factor of each residual branch.
        branch_multiplier: f64 = 1.0;
        /// Number of outputs; left out, the stream decides.
        outputs: Option<usize> = None, where (1..);
    }
}

crate::options! {
    /// Settings of a plain convolutional network. Where a setting is a pair, one number stands for both of height
    /// and width.
    pub struct CnnOptions for "cnn" {
        /// Channels of the first convolution.
        width: usize = 64, where (1..);
        /// Number of weight arrays: `depth - 1` convolutions and the readout.
        depth: usize = 4, where (2..=100);
        /// Height and width of the filters; images keep their size where these are odd.
        kernel: Sides = Sides([3; 2]), where (1..);
        /// Nonlinearity after each convolution.
        activation: Activation = Activation::Relu;
        /// Normalisation between them: `"group"`, `"layer"`, `"batch"` or `"none"`.
        norm: Norm = Norm::None;
        /// Groups of channels that are normalised together by `"group"`; must divide the width.
        groups: usize = 8, where (1..);
        /// Whether convolutions have biases.
        bias: bool = true;
        /// How images become smaller: `"avg_pool"` or `"max_pool"` of 2 × 2 behind each convolution, `"stride"` 2
        /// of all convolutions but the first, or `"none"`.
        downsample: Downsample = Downsample::AvgPool;
        /// Whether each convolution has twice as many channels as the one before it.
        double: bool = true;
        /// Whether the readout sees all pixels rather than their mean.
        flatten: bool = false;
        /// Number of outputs; left out, the stream decides.
        outputs: Option<usize> = None, where (1..);
    }
}

crate::options! {
    /// Settings of a vision transformer.
    pub struct VitOptions for "vit" {
        /// Width of the residual stream, a multiple of `head_size`, or of `heads`.
        width: usize = 128, where (1..);
        /// Number of blocks.
        depth: usize = 4, where (0..=1000);
        /// Side of a patch, or its height and width; must divide the image's.
        patch: Sides = Sides([4; 2]), where (1..);
        /// What the readout sees: a `"class_token"` before the patches, or their `"mean"`.
        pool: VitPool = VitPool::ClassToken;
        /// Channels of each head, 64 if neither this nor `heads` is given; a wider network has more heads.
        head_size: Option<usize> = None, where (1..);
        /// Number of heads; in a wider network they are larger.
        heads: Option<usize> = None, where (1..);
        /// Units of the hidden layer of each block, in widths.
        mlp_ratio: f64 = 4.0, where POSITIVE;
        /// Nonlinearity of the hidden layers.
        activation: Activation = Activation::Gelu;
        /// Whether a gate multiplies the hidden layers; SwiGLU with `"silu"`.
        gated: bool = false;
        /// Whether the blocks' linear layers have biases.
        bias: bool = true;
        /// Normalisation, `"layer"` or `"rms"`.
        norm: RowNorm = RowNorm::Layer;
        /// Whether normalisation comes first in each branch (`"pre"`), or behind each sum (`"post"`).
        norm_position: NormPosition = NormPosition::Pre;
        /// How positions are known: `"learned"`, `"rope"` (in the order of rows) or `"none"`.
        positions: Positions = Positions::Learned;
        /// Whether each head's queries and keys are normalised.
        qk_norm: bool = false;
        /// Factor of the products of queries and keys for heads of size d.
        scale: AttentionScale = AttentionScale::InverseSqrt;
        /// Factor of each residual branch.
        branch_multiplier: f64 = 1.0;
        /// Probability of dropout after the embedding and in each branch.
        dropout: f64 = 0.0, where (0.0..=0.99);
        /// Number of outputs; left out, the stream decides.
        outputs: Option<usize> = None, where (1..);
    }
}

/// Registers networks for images.
pub fn register(registry: &mut Registry) {
    registry.options(Resnet18Options::spec());
    registry.options(ResnetOptions::spec());
    registry.options(CnnOptions::spec());
    registry.options(VitOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

fn image_norm(
    ctx: &NativeCallContext,
    norm: Norm,
    groups: usize,
    width: usize,
) -> RhaiResultOf<ImageNorm> {
    match norm {
        Norm::Group if !width.is_multiple_of(groups) => Err(raise(
            ctx,
            Error::setting(format!(
                "groups must divide the width, found {groups} groups of {width} channels"
            )),
        )),
        Norm::Group => Ok(ImageNorm::Group(groups)),
        Norm::Layer => Ok(ImageNorm::Layer),
        Norm::Batch => Ok(ImageNorm::Batch),
        Norm::None => Ok(ImageNorm::None),
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A residual network with 18 layers (He, Zhang, Ren, Sun 2016) in its form for small images, as used
    /// on CIFAR-10: a stem of 3 × 3 filters, four stages of two blocks with `width`, `2 width`, `4 width`
    /// and `8 width` channels, the mean over pixels and a linear readout. Parameters are called
    /// `stem.weight`, `stem.norm.weight`, `stages.0.0.conv1.weight`, `stages.0.0.norm1.weight`, …,
    /// `stages.1.0.shortcut.conv.weight`, …, `readout.weight`, `readout.bias`. [`resnet`] makes others.
    ///
    /// ```rhai
    /// let model = init(resnet18(#{ width: 16 }), mup(#{ base_width: 8 }));
    /// model.param("stages.3.0.shortcut.conv.weight").shape     // → [1, 1, 1, 64, 128]
    /// let plain = init(resnet18(#{ width: 4, norm: "batch" }), sp());
    /// plain.param("stem.norm.running_mean").shape     // → [1, 4]
    /// ```
    #[rhai_fn(name = "resnet18", return_raw)]
    pub fn resnet18_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = Resnet18Options::from_map(&ctx, &settings)?;
        let mut network = resnet(Resnet {
            width: o.width,
            norm: image_norm(&ctx, o.norm, o.groups, o.width)?,
            outputs: o.outputs,
            ..Resnet::default()
        });
        network.name = "resnet18".into();
        Ok(network)
    }
    #[rhai_fn(name = "resnet18", return_raw)]
    pub fn resnet18_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        resnet18_with(ctx, Map::new())
    }

    /// A residual network (He, Zhang, Ren, Sun 2016) of any depth, in the form for CIFAR (the default: a stem of
    /// 3 × 3 filters) or for ImageNet, with basic or bottleneck blocks; each stage but the first halves the image.
    /// Bottlenecks have their stride at the 3 × 3 filters, as PyTorch's do. Parameters are called as
    /// those of [`resnet18`], with `conv3` and `norm3` in bottlenecks.
    ///
    /// ```rhai
    /// let model = init(resnet(#{ depth: 20, width: 16 }), sp());
    /// model.param("stages.2.2.conv2.weight").shape     // → [1, 3, 3, 64, 64]
    /// let large = resnet(#{ depth: 50, stem: "imagenet", norm: "batch", width: 8 });
    /// init(large, sp()).param("readout.weight").shape     // → [1, 256, 10]
    /// ```
    #[rhai_fn(name = "resnet", return_raw)]
    pub fn resnet_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = ResnetOptions::from_map(&ctx, &settings)?;
        let (blocks, bottleneck) = match (o.blocks, stages(o.depth)) {
            (Some(blocks), _) => (blocks, false),
            (None, Some(stages)) => stages,
            (None, None) => {
                let error = Error::setting(format!(
                    "there is no residual network with {} layers",
                    o.depth
                ))
                .with_help("depth is 18, 34, 50, 101, 152 or 6 n + 2; or give the `blocks` of each stage, such as [2, 2, 2]");
                return Err(raise(&ctx, error));
            }
        };
        Ok(resnet(Resnet {
            width: o.width,
            blocks,
            bottleneck: o.bottleneck.unwrap_or(bottleneck),
            stem: o.stem,
            norm: image_norm(&ctx, o.norm, o.groups, o.width)?,
            multiplier: o.branch_multiplier,
            outputs: o.outputs,
        }))
    }
    #[rhai_fn(name = "resnet", return_raw)]
    pub fn resnet_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        resnet_with(ctx, Map::new())
    }

    /// A plain convolutional network: `depth - 1` times convolution, (normalisation,) activation, (pooling), then the
    /// mean over pixels and a linear readout. Parameters are called `layers.0.weight`, `layers.0.bias`,
    /// `layers.0.norm.weight`, …, `readout.weight`, `readout.bias`.
    ///
    /// ```rhai
    /// let model = init(cnn(#{ width: 16, depth: 3, norm: "group" }), mup(#{ base_width: 8 }));
    /// model.param("layers.1.weight").shape     // → [1, 3, 3, 16, 32]
    /// ```
    #[rhai_fn(name = "cnn", return_raw)]
    pub fn cnn_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = CnnOptions::from_map(&ctx, &settings)?;
        Ok(cnn(Cnn {
            width: o.width,
            depth: o.depth,
            kernel: o.kernel.0,
            activation: o.activation,
            norm: image_norm(&ctx, o.norm, o.groups, o.width)?,
            bias: o.bias,
            downsample: o.downsample,
            double: o.double,
            flatten: o.flatten,
            outputs: o.outputs,
        }))
    }
    #[rhai_fn(name = "cnn", return_raw)]
    pub fn cnn_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        cnn_with(ctx, Map::new())
    }

    /// A vision transformer (Dosovitskiy et al., arXiv 2010.11929): the image's patches through a linear layer, a class
    /// token, learned positions, `depth` blocks of attention without a mask and a hidden layer, and a linear
    /// readout of the class token's row, or of the mean. Parameters are called `embedding.weight`,
    /// `embedding.bias`, `class_token.weight`, `positions.weight`, `blocks.0.attention.norm.weight`, … as in
    /// [`transformer`], `norm.weight`, `readout.weight`, `readout.bias`.
    ///
    /// ```rhai
    /// let model = init(vit(#{ width: 32, depth: 1, heads: 2, patch: 8 }), sp());
    /// model.param("positions.weight").shape     // → [1, 17, 32]
    /// ```
    #[rhai_fn(name = "vit", return_raw)]
    pub fn vit_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = VitOptions::from_map(&ctx, &settings)?;
        Ok(vit(Vit {
            width: o.width,
            patch: o.patch.0,
            pool: o.pool,
            blocks: Blocks {
                depth: o.depth,
                heads: heads_of(&ctx, o.head_size, o.heads)?,
                mlp_ratio: o.mlp_ratio,
                activation: o.activation,
                gated: o.gated,
                bias: o.bias,
                norm: o.norm,
                norm_position: o.norm_position,
                qk_norm: o.qk_norm,
                positions: o.positions,
                causal: false,
                scale: o.scale,
                dropout: o.dropout,
                multiplier: o.branch_multiplier,
            },
            outputs: o.outputs,
        }))
    }
    #[rhai_fn(name = "vit", return_raw)]
    pub fn vit_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        vit_with(ctx, Map::new())
    }
}
