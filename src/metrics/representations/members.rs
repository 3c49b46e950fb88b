//! A tensor as the numbers of its members.

use candle_core::Tensor;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::elem::to_f64;

/// The numbers of a tensor `[members, …]`, member by member.
pub(super) struct Members {
    /// How many there are.
    pub count: usize,
    /// Shape of one member's part.
    pub shape: Vec<usize>,
    values: Vec<f64>,
}

impl Members {
    /// Reads a tensor with at least `axes` axes beside that of the members; `what` names the metric,
    /// `expected` the shape in errors.
    pub fn read(what: &str, tensor: &Tensor, axes: usize, expected: &str) -> Result<Self> {
        let dims = tensor.dims();
        if dims.len() < axes + 1 {
            return Err(Error::shape(format!(
                "{what}: expected a tensor of shape {expected}, found {dims:?}"
            ))
            .with_help("the first axis is that of the members: x.unsqueeze(0) adds one"));
        }
        if tensor.elem_count() == 0 {
            return Err(Error::shape(format!(
                "{what}: a tensor of shape {dims:?} holds no number"
            )));
        }
        Ok(Self {
            count: dims[0],
            shape: dims[1..].to_vec(),
            values: to_f64(tensor)?,
        })
    }

    /// Numbers of one member.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The numbers of one member.
    pub fn member(&self, member: usize) -> &[f64] {
        let size = self.size();
        &self.values[member * size..(member + 1) * size]
    }

    /// The numbers of one member, if all of them are finite.
    pub fn finite(&self, member: usize) -> Option<&[f64]> {
        let numbers = self.member(member);
        numbers.iter().all(|x| x.is_finite()).then_some(numbers)
    }

    /// The members that have not diverged; an error where there is none.
    pub fn finite_members(&self, what: &str) -> Result<Vec<usize>> {
        let finite: Vec<usize> = (0..self.count)
            .filter(|&m| self.finite(m).is_some())
            .collect();
        if finite.is_empty() {
            let message = format!(
                "{what}: needs at least one member with finite numbers, but all {} diverged",
                self.count
            );
            return Err(
                Error::new(ErrorKind::Diverged, message).with_help("lower the learning rate")
            );
        }
        Ok(finite)
    }
}

/// An error if there are not two members whose pairs could be looked at.
pub(super) fn two_members(what: &str, members: usize) -> Result<()> {
    if members >= 2 {
        return Ok(());
    }
    Err(
        Error::setting(format!("{what}: needs at least 2 members, found {members}"))
            .with_help("make the model with members: 2 or more"),
    )
}
