//! Layers, one file each.

mod activation;
mod flatten;
mod layer_norm;
mod linear;

pub use crate::tensor::activation::Activation;
pub use flatten::Flatten;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
