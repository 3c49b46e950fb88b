//! The stream trait: endless or finite sources of examples.

use std::sync::Arc;

use candle_core::Tensor;

use super::vocabulary::Vocabulary;
use crate::error::Result;

/// What a stream's examples are labelled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// One of this many classes.
    Classes(usize),
    /// This many real numbers.
    Values(usize),
}

impl Targets {
    /// How many outputs a network for these targets has.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classes(n) | Self::Values(n) => n,
        }
    }
}

/// The targets of one batch.
#[derive(Debug, Clone)]
pub enum Labels {
    /// Class numbers, shape `[batch]`, or `[batch, positions]` for a class at each position, `u32`.
    Classes(Tensor),
    /// Real targets, shape `[batch, outputs]`, `f32`.
    Values(Tensor),
}

/// Some examples with their targets, on the CPU.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Inputs, shape `[batch, …]`, `f32`.
    pub inputs: Tensor,
    /// Targets of the same examples.
    pub labels: Labels,
}

impl Batch {
    /// Number of examples.
    pub fn size(&self) -> usize {
        self.inputs.dims().first().copied().unwrap_or(0)
    }

    /// The `size` examples from `start` on.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn narrow(&self, start: usize, size: usize) -> Result<Self> {
        Ok(Self {
            inputs: self.inputs.narrow(0, start, size)?,
            labels: match &self.labels {
                Labels::Classes(t) => Labels::Classes(t.narrow(0, start, size)?),
                Labels::Values(t) => Labels::Values(t.narrow(0, start, size)?),
            },
        })
    }
}

/// A source of examples. Example `position` is a pure function of the stream's settings (its seed
/// among them) and `position`: it depends neither on what was asked for before nor on threads.
// no stream is empty, so `is_empty` would say nothing
#[allow(clippy::len_without_is_empty)]
pub trait Stream: Send + Sync {
    /// Name of the constructor, for instance `synthetic_images`.
    fn name(&self) -> &str;

    /// Shape of one input, without the batch axis.
    fn input_shape(&self) -> &[usize];

    /// What the examples are labelled with.
    fn targets(&self) -> Targets;

    /// Axes of the positions at which an example has targets: none for one target per example,
    /// `[context]` for the next token at each position of a text.
    fn target_positions(&self) -> &[usize] {
        &[]
    }

    /// What tokens stand for, where examples are tokens of a text.
    fn vocabulary(&self) -> Option<&Vocabulary> {
        None
    }

    /// Number of distinct training examples, `None` for an endless stream.
    fn len(&self) -> Option<u64>;

    /// How many positions can be asked for before the stream ends (`len × epochs`), `None` if it
    /// never ends.
    fn positions(&self) -> Option<u64>;

    /// The examples at positions `start .. start + size`. A finite stream goes through its examples
    /// once an epoch, in an order shuffled by (seed, epoch).
    fn batch(&self, start: u64, size: usize) -> Result<Batch>;

    /// The fixed test set, which shares no example with the training positions.
    fn test_set(&self) -> Result<Arc<Batch>>;

    /// The settings that the stream was made with, for the record.
    fn settings(&self) -> serde_json::Value;
}
