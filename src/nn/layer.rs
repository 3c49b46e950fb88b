//! The layer trait: shapes, parameters, forward and backward.

use std::fmt::Debug;

use candle_core::Tensor;

use super::param::{ParamKind, ParamSpec};
use crate::error::Result;

/// A parameter's value during a pass.
#[derive(Debug, Clone, Copy)]
pub struct Param<'a> {
    /// Value, `[members, …]`.
    pub value: &'a Tensor,
    /// Forward multiplier: the layer computes with `multiplier · value`.
    pub multiplier: f64,
}

/// A layer: a function from activations to activations with parameters, which owns its backward
/// pass. Shapes given to it and returned by it are those of one example.
///
/// During a pass activations have shape `[members, batch, …]`; those that no parameter has touched
/// yet have one leading entry that all members share, `[1, batch, …]`.
pub trait Layer: Debug + Send + Sync {
    /// Name in scripts and messages, for instance `linear`.
    fn kind(&self) -> &'static str;

    /// Settings for the record.
    fn settings(&self) -> serde_json::Value;

    /// Shape of the output for this input.
    ///
    /// # Errors
    /// If the layer cannot take such an input.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>>;

    /// Parameters, in the order in which the passes receive them.
    fn params(&self, input: &[usize]) -> Vec<ParamSpec>;

    /// Whether the output is the input in another shape, with the same numbers in the same order;
    /// such a layer's passes are never called.
    fn is_reshape(&self) -> bool {
        false
    }

    /// Multiply-adds of the forward pass for one example. By default each weight takes part once at
    /// each position of the output, all axes but the last; a layer that multiplies activations with
    /// each other (attention), or that only looks weights up, counts for itself.
    fn multiply_adds(&self, input: &[usize]) -> u64 {
        let positions = match self.output_shape(input).as_deref() {
            Ok([positions @ .., _]) => positions.iter().map(|&n| n as u64).product(),
            _ => 1,
        };
        let weights = self.params(input);
        let weights = weights.iter().filter(|p| p.kind == ParamKind::Weight);
        let numbers = |p: &ParamSpec| p.shape.iter().map(|&n| n as u64).product::<u64>();
        positions * weights.map(numbers).sum::<u64>()
    }

    /// Writes the output `y` for the input `x`.
    ///
    /// # Errors
    /// If shapes do not fit.
    fn forward(&self, params: &[Param<'_>], x: &Tensor, y: &Tensor) -> Result<()>;

    /// From the gradient `gy` of the output, writes those of the parameters and, if wanted, `gx` of
    /// the input.
    ///
    /// # Errors
    /// If shapes do not fit.
    fn backward(
        &self,
        params: &[Param<'_>],
        x: &Tensor,
        gy: &Tensor,
        grads: &[Tensor],
        gx: Option<&Tensor>,
    ) -> Result<()>;
}
