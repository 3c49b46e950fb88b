//! Types in which activations are stored.

use candle_core::DType;

use crate::error::Result;
use crate::tensor::elem::unsupported;

/// The type in which activations are stored. Arithmetic, statistics, parameters and their gradients are in
/// [`Stored::arith`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
    /// 16 bits, eight of them for the exponent; arithmetic in 32.
    Bf16,
}

impl Stored {
    /// The type of a tensor of activations.
    ///
    /// # Errors
    /// If models do not compute in it.
    pub fn of(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::F64 => Ok(Self::F64),
            DType::BF16 => Ok(Self::Bf16),
            other => Err(unsupported(other)),
        }
    }

    /// The type of parameters, gradients of parameters, statistics and sums.
    pub fn arith(self) -> Self {
        match self {
            Self::F64 => Self::F64,
            Self::F32 | Self::Bf16 => Self::F32,
        }
    }

    /// Candle's name for it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        self.dtype().size_in_bytes()
    }

    /// The end of the names of its kernels.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
        }
    }
}
