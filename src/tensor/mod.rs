//! What candle lacks or does slowly: fused operations over the member axis, and counter-based
//! random numbers.

pub mod rng;
