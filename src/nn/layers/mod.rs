//! Layers, one file each.

mod activation;
mod attention;
mod dropout;
mod embedding;
mod flatten;
mod layer_norm;
mod linear;
mod rope;

pub use crate::tensor::activation::Activation;
pub use crate::tensor::rope::Pairs;
pub use attention::{Attention, AttentionScale};
pub use dropout::Dropout;
pub use embedding::{Embedding, PositionalEmbedding};
pub use flatten::Flatten;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use rope::Rope;
