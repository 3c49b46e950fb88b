//! What candle lacks or does slowly: fused operations over the member axis, and counter-based
//! random numbers.
//!
//! An operation here is a function over candle tensors that writes into a tensor made beforehand,
//! so that a training step allocates nothing. Every parameter and activation carries a leading
//! member axis; an operation treats members independently and splits its work by shapes alone, so
//! a member's numbers depend neither on the other members nor on the number of threads.
//!
//! Work is split into tasks whose borders depend on the shape of one member's work. Each task
//! computes in a fixed order; threads only decide who runs which task.

pub mod activation;
pub mod array;
pub mod attention;
pub mod batch_norm;
pub mod channel_bias;
pub mod cholesky;
pub mod conv;
pub mod dropout;
pub mod eigen;
pub mod elem;
pub mod elementwise;
pub mod embedding;
pub mod gram;
pub mod group_norm;
pub mod lanes;
pub mod layer_norm;
pub mod linear;
pub mod loss;
pub mod math;
pub mod matmul;
pub mod parallel;
pub mod pool;
pub mod rng;
pub mod rope;
pub mod scratch;
pub mod simd;
pub mod update;
