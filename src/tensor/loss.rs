//! Losses of one member with their gradient, in one pass, and the tangents of their gradients.

pub mod cross_entropy;
pub mod mse;

#[cfg(test)]
mod tests;
