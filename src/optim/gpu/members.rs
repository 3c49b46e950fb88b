//! The members whose parameters are updated, and the GPU that does it.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::gpu::{Gpu, Stored, address};
use crate::memory;

/// Members of a model on a GPU.
#[derive(Debug, Clone)]
pub struct GpuMembers {
    /// The GPU.
    pub gpu: Arc<Gpu>,
    /// The type of parameters, gradients and states.
    pub stored: Stored,
    /// How many there are.
    pub count: usize,
}

impl GpuMembers {
    /// Members of a model whose activations are stored in a type.
    pub fn new(gpu: &Arc<Gpu>, stored: Stored, count: usize) -> Self {
        Self {
            gpu: gpu.clone(),
            stored: stored.arith(),
            count,
        }
    }

    /// Rounding of the type.
    pub fn epsilon(&self) -> f64 {
        match self.stored {
            Stored::F64 => f64::EPSILON,
            Stored::F32 | Stored::Bf16 => f32::EPSILON.into(),
        }
    }

    /// Room for so many numbers of each member.
    pub(super) fn room(&self, name: &str, numbers: usize) -> Result<Tensor> {
        let shape = [self.count, numbers.max(1)];
        memory::zeros(name, &shape, self.stored.dtype(), self.gpu.device())
    }

    /// Room for so many doubles.
    pub(super) fn doubles(&self, name: &str, numbers: usize) -> Result<Tensor> {
        memory::zeros(name, &[numbers.max(1)], DType::F64, self.gpu.device())
    }

    /// Sets room to numbers of the host, rounded to the type.
    pub(super) fn set(&self, room: &Tensor, numbers: &[f64]) -> Result<()> {
        let to = address(room)?;
        match self.stored {
            Stored::F64 => self.gpu.upload(numbers, to),
            Stored::F32 | Stored::Bf16 => {
                let rounded: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
                self.gpu.upload(&rounded, to)
            }
        }
    }
}
