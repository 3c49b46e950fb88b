//! The layers' passes on GPUs.

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
#[cfg(all(test, feature = "emulator"))]
mod tests;
mod tied_readout;
