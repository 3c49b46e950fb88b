//! Arguments of kernels.

/// An argument of a kernel: eight bytes.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    /// An address of the device, or a whole number.
    Bits(u64),
    /// A number, a double in the kernel.
    Number(f64),
}

impl Word {
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Bits(bits) => bits,
            Self::Number(number) => number.to_bits(),
        }
    }
}

impl From<u64> for Word {
    fn from(address: u64) -> Self {
        Self::Bits(address)
    }
}

impl From<usize> for Word {
    fn from(size: usize) -> Self {
        Self::Bits(size as u64)
    }
}

impl From<bool> for Word {
    fn from(on: bool) -> Self {
        Self::Bits(on.into())
    }
}

impl From<f64> for Word {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// The words of a kernel, `words![…]` of addresses, sizes and numbers.
macro_rules! words {
    ($($word:expr),* $(,)?) => {
        &[$($crate::gpu::Word::from($word)),*]
    };
}
pub(crate) use words;
