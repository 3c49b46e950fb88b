//! Streams: sources of batches that are pure functions of (seed, position).

mod stream;

pub use stream::{Batch, Labels, Stream, Targets};
