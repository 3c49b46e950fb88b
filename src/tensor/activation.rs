//! Elementwise nonlinearities and their derivatives.
//!
//! The functions take slices of the same length.

mod formula;
pub mod gated;
mod pointwise;

use serde::{Deserialize, Serialize};

use self::formula::Formula as _;
use super::elem::Elem;
pub use pointwise::{backward, backward_tangent, forward, tangent};

/// An elementwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0), with derivative 0 at 0 as in PyTorch.
    Relu,
    /// x Φ(x) with the exact normal distribution function, PyTorch's default `gelu`.
    Gelu,
    /// ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), PyTorch's `gelu` with `approximate="tanh"`.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// x σ(x) with the logistic function σ, also called swish.
    Silu,
    /// x, for linear networks.
    Identity,
    /// x².
    Quadratic,
}

impl Activation {
    /// Every activation, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Relu,
        Self::Gelu,
        Self::GeluTanh,
        Self::Tanh,
        Self::Erf,
        Self::Silu,
        Self::Identity,
        Self::Quadratic,
    ];

    /// The name in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Tanh => "tanh",
            Self::Erf => "erf",
            Self::Silu => "silu",
            Self::Identity => "identity",
            Self::Quadratic => "quadratic",
        }
    }

    /// The activation with this name in scripts.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The value at `x`. One number at a time is slow; [`forward`] is for many.
    pub fn value<T: Elem>(self, x: T) -> T {
        pointwise::with_formula!(self, formula => formula.value(x))
    }

    /// The derivative at `x`.
    pub fn derivative<T: Elem>(self, x: T) -> T {
        pointwise::with_formula!(self, formula => formula.first(x))
    }

    /// The second derivative at `x`; 0 for relu, everywhere.
    pub fn second_derivative<T: Elem>(self, x: T) -> T {
        pointwise::with_formula!(self, formula => formula.second(x))
    }
}

#[cfg(test)]
mod tests;
