//! Layers, one file each.

mod activation;
mod attention;
mod batch_norm;
mod class_token;
mod conv2d;
mod dropout;
mod embedding;
mod flatten;
mod global_avg_pool;
mod glu;
mod gpu;
mod group_norm;
mod layer_norm;
mod linear;
mod linear_map;
mod patches;
mod pool;
mod positions;
mod qk_norm;
mod rms_norm;
mod rope;
#[cfg(test)]
mod tests;
mod tied_readout;

pub use crate::tensor::activation::Activation;
pub use crate::tensor::rope::Pairs;
pub use attention::{Attention, AttentionScale};
pub use batch_norm::BatchNorm;
pub use class_token::ClassToken;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use embedding::{Embedding, PositionalEmbedding};
pub use flatten::Flatten;
pub use global_avg_pool::GlobalAvgPool;
pub use glu::Glu;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use patches::Patches;
pub use pool::{Pool2d, Pooling};
pub use positions::PositionPool;
pub use qk_norm::QkNorm;
pub use rms_norm::RmsNorm;
pub use rope::Rope;
pub use tied_readout::TiedReadout;
