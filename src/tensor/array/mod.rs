//! Tensors as values that people compute with: operations that widen types and shapes as PyTorch
//! does and name themselves and the shapes when they cannot, and their text form.
//!
//! Training does not go through here; see the other files of [`tensor`](crate::tensor).

pub mod index;
pub mod linear_algebra;
pub mod npy;
pub mod operations;
pub mod random;
pub mod reduce;
pub mod show;
