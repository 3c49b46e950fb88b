//! Networks: descriptions of an architecture at a width, holding no numbers.
//!
//! A [`Network`] is a function of width. Described at two widths it shows which dimensions grow,
//! and from that the [`Role`] of every parameter follows. A [`Plan`] is a network compiled for a
//! batch size: the order of operations and the buffers they write to.

mod blocks;
mod buffer;
mod cnn;
mod cost;
mod gpu;
mod kernel;
mod layer;
pub mod layers;
mod mlp;
mod network;
mod node;
mod param;
mod parts;
mod plan;
mod resnet;
mod transformer;
mod vit;

pub use blocks::{Blocks, Heads, NormPosition, Positions, RowNorm};
pub use buffer::Buffer;
pub use cnn::{Cnn, Downsample, cnn};
pub use cost::{Cost, Workload};
pub use gpu::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, param as gpu_param};
pub use kernel::{Combinations, Jacobian, Kernels, ParamAxis, Signals};
pub use layer::{Forward, Layer, LayerElem, Param, Pass, Passes, Tangents, Tied, Weights};
pub use mlp::{Mlp, mlp};
pub use network::{Description, Network, Sizes, reads_by_product};
pub use node::{Node, PREACTIVATION};
pub use param::{ParamInfo, ParamKind, ParamSpec, Role};
pub use parts::{Parts, UpdatePart};
pub use plan::{Curvature, GpuPlan, Gradients, MemberWork, Mode, Plan};
pub use resnet::{ImageNorm, Resnet, Stem, resnet, stages};
pub use transformer::{Transformer, transformer};
pub use vit::{Vit, VitPool, vit};
