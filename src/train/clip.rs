//! Gradient clipping.

use candle_core::Tensor;
use serde::Serialize;

use crate::error::Result;
use crate::nn::Buffer;
use crate::tensor::elem::{Elem, dispatch};
use crate::tensor::elementwise::{clamp, scale, squared_norm};

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
    /// If a gradient is not a contiguous f32 or f64 tensor, or they are of several types.
    pub fn apply(self, grads: &[Tensor]) -> Result<()> {
        let Some(first) = grads.first() else {
            return Ok(());
        };
        dispatch!(first, T => {
            let buffers = grads.iter().map(Buffer::<T>::new).collect::<Result<Vec<_>>>()?;
            for member in 0..first.dims()[0] {
                // SAFETY: one member after the other
                unsafe { self.apply_member(&buffers, member) };
            }
            Ok(())
        })
    }

    /// Limits one member's part of the gradients of all parameters in place.
    ///
    /// # Safety
    /// There is such a member, and nobody else uses its gradients meanwhile.
    pub(super) unsafe fn apply_member<T: Elem>(self, grads: &[Buffer<T>], member: usize) {
        // SAFETY: as the caller promises; one gradient at a time
        let of_mut = |grad: &Buffer<T>| unsafe { grad.of_mut(member) };
        match self {
            Self::None => {}
            Self::Value(limit) => grads.iter().for_each(|g| clamp(of_mut(g), limit)),
            Self::Norm(limit) => {
                let square: f64 = grads.iter().map(|g| squared_norm(of_mut(g))).sum();
                let factor = (limit / (square.sqrt() + 1e-6)).min(1.0);
                grads.iter().for_each(|g| scale(of_mut(g), factor));
            }
        }
    }
}
