//! What an optimizer keeps for a parameter.

use crate::nn::ParamInfo;

/// A state tensor of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its name, for instance `momentum`.
    pub name: &'static str,
    /// Its shape, without the member axis.
    pub shape: Vec<usize>,
}

impl State {
    /// A state of this shape.
    pub fn of(name: &'static str, shape: Vec<usize>) -> Self {
        Self { name, shape }
    }

    /// A state of the parameter's own shape.
    pub fn like(name: &'static str, param: &ParamInfo) -> Self {
        Self {
            name,
            shape: param.shape.clone(),
        }
    }
}
