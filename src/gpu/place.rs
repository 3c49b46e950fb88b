//! Where a model's numbers are.

use std::sync::Arc;

use candle_core::{CpuStorage, Device, Storage, Tensor};

use super::Gpu;
use crate::error::{Error, Result};

/// Where a model's numbers are, and what computes with them.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// The CPU.
    #[default]
    Cpu,
    /// A GPU.
    Gpu(Arc<Gpu>),
}

impl Place {
    /// Where candle keeps the tensors.
    pub fn device(&self) -> &Device {
        match self {
            Self::Cpu => &Device::Cpu,
            Self::Gpu(gpu) => gpu.device(),
        }
    }

    /// The GPU, if it is one.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        match self {
            Self::Cpu => None,
            Self::Gpu(gpu) => Some(gpu),
        }
    }

    /// Memory that can be had there, in bytes; `None` where nobody says.
    pub fn available(&self) -> Option<u128> {
        match self {
            Self::Cpu => crate::memory::available(),
            Self::Gpu(gpu) => gpu.memory().ok().map(|(free, _)| u128::from(free)),
        }
    }

    /// Bytes of a GPU's memory that are in use, by all processes on it, and bytes in all; `None` on the CPU
    /// and where the driver does not say.
    pub fn used(&self) -> Option<(u64, u64)> {
        let (free, all) = self.gpu()?.memory().ok()?;
        Some((all.saturating_sub(free), all))
    }

    /// Its name in records: `cpu`, or `cuda:` with a number and the GPU's name.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "cpu".into(),
            Self::Gpu(gpu) if gpu.tf32() => format!("{}, TF32", gpu.name()),
            Self::Gpu(gpu) => gpu.name(),
        }
    }
}

/// Where the numbers of a contiguous tensor begin, on the device where they are.
///
/// # Errors
/// If the tensor is not contiguous, or of a type that models do not use.
pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        return Err(Error::shape(format!(
            "a contiguous tensor is needed, got {layout:?}"
        )));
    };
    let first = match &*storage {
        Storage::Cpu(storage) => match storage {
            CpuStorage::F32(v) => v.as_ptr() as u64,
            CpuStorage::F64(v) => v.as_ptr() as u64,
            CpuStorage::BF16(v) => v.as_ptr() as u64,
            CpuStorage::U32(v) => v.as_ptr() as u64,
            CpuStorage::I64(v) => v.as_ptr() as u64,
            CpuStorage::U8(v) => v.as_ptr() as u64,
            _ => return Err(crate::tensor::elem::unsupported(tensor.dtype())),
        },
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => super::cuda::address(storage)?,
        _ => {
            return Err(Error::other(
                "a tensor is on a device that is not used here",
            ));
        }
    };
    Ok(first + (start * tensor.dtype().size_in_bytes()) as u64)
}
