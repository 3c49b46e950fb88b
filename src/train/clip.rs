//! Gradient clipping.

use serde::Serialize;

use crate::nn::Buffer;
use crate::tensor::elem::Elem;
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
    /// Limits one member's part of the gradients of all parameters in place.
    ///
    /// # Safety
    /// There is such a member, and nobody else uses its gradients meanwhile.
    pub unsafe fn apply<T: Elem>(self, grads: &[Buffer<T>], member: usize) {
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
