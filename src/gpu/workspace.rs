//! Memory that passes need while they run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::address;
use crate::error::Result;
use crate::memory;

/// Memory that a pass needs while it runs, by number. A layer's pass may use any of it, and finds nothing of
/// it left at its next one. What was given out stays where it is for as long as the workspace lives, since
/// work that was kept knows its address.
#[derive(Debug, Default)]
pub struct Workspace {
    parts: Mutex<HashMap<usize, Vec<Tensor>>>,
}

impl Workspace {
    /// The address of part `i`, of at least so many bytes; parts of different numbers do not overlap.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn part(&self, i: usize, bytes: usize, device: &Device) -> Result<u64> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let all = parts.entry(i).or_default();
        let words = bytes.div_ceil(8).max(1);
        if all.last().is_none_or(|t| t.elem_count() < words) {
            all.push(memory::zeros("workspace", &[words], DType::F64, device)?);
        }
        match all.last() {
            Some(tensor) => address(tensor),
            None => Ok(0),
        }
    }

    /// Bytes that were given out.
    pub fn bytes(&self) -> usize {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let tensors = parts.values().flatten();
        tensors.map(|t| 8 * t.elem_count()).sum()
    }
}
