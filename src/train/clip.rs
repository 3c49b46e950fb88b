//! Gradient clipping.

use candle_core::Tensor;
use serde::Serialize;

use crate::error::Result;
use crate::tensor::elementwise::{clamp, scale_members, squared_norms};

/// How gradients are limited before an update; each member by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// Not at all.
    None,
    /// By the norm over all of a member's parameters, as `torch.nn.utils.clip_grad_norm_`: scaled by
    /// `limit / (norm + 1e-6)` where that is below 1.
    Norm(f64),
    /// Every number to [−limit, limit], as `torch.nn.utils.clip_grad_value_`.
    Value(f64),
}

impl Clip {
    /// Limits the gradients `[members, …]` of all parameters in place.
    ///
    /// # Errors
    /// If a gradient is not a float tensor.
    pub fn apply(self, grads: &[Tensor]) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Value(limit) => grads.iter().try_for_each(|g| clamp(g, limit)),
            Self::Norm(limit) => {
                let mut squares: Vec<f64> = Vec::new();
                for grad in grads {
                    let norms = squared_norms(grad)?;
                    squares.resize(norms.len(), 0.0);
                    squares.iter_mut().zip(norms).for_each(|(sum, n)| *sum += n);
                }
                let factor = |square: &f64| (limit / (square.sqrt() + 1e-6)).min(1.0);
                let factors: Vec<f64> = squares.iter().map(factor).collect();
                grads.iter().try_for_each(|g| scale_members(g, &factors))
            }
        }
    }
}
