//! Making tensors where memory may run out.

use std::alloc::{Layout, alloc_zeroed};

use candle_core::{DType, Device, Tensor, WithDType};

use super::guard::may_fail;
use super::{Need, available, compare, readable};
use crate::error::{Error, ErrorKind, Result};

/// Numbers whose zero has no bit set.
///
/// # Safety
/// That must be so, and values must have no destructor.
pub unsafe trait Number: Copy {}

// SAFETY: zero has no bit set
unsafe impl Number for f32 {}
// SAFETY: as above
unsafe impl Number for f64 {}
// SAFETY: as above
unsafe impl Number for u32 {}
// SAFETY: as above
unsafe impl Number for u8 {}
// SAFETY: as above
unsafe impl Number for u16 {}
// SAFETY: as above
unsafe impl Number for i64 {}

/// Below this many bytes an operation is not asked whether it fits: asking takes longer than it.
const ASK: u128 = 64 << 20;

/// Zeros for a tensor of this shape, whose pages come when they are first used; `name` says what the
/// tensor is.
///
/// # Errors
/// If the allocator refuses: name, shape and size.
pub fn numbers<T: Number>(name: &str, shape: &[usize]) -> Result<Vec<T>> {
    let need = Need {
        name: name.to_string(),
        shape: shape.to_vec(),
        number: size_of::<T>(),
    };
    if need.bytes() == 0 {
        return Ok(Vec::new());
    }
    let made = usize::try_from(need.bytes() / size_of::<T>() as u128)
        .ok()
        .and_then(|n| Some((n, Layout::array::<T>(n).ok()?)))
        .and_then(|(n, layout)| {
            // SAFETY: the layout has a size
            let start = may_fail(|| unsafe { alloc_zeroed(layout) });
            // SAFETY: allocated as a vector of this capacity is, and all of it is zero
            (!start.is_null()).then(|| unsafe { Vec::from_raw_parts(start.cast(), n, n) })
        });
    made.ok_or_else(|| refused(&need))
}

fn refused(need: &Need) -> Error {
    let error = Error::new(
        ErrorKind::Memory,
        format!(
            "not enough memory: {} {:?}, {}, could not be had",
            need.name,
            need.shape,
            readable(need.bytes())
        ),
    );
    match available() {
        Some(bytes) => error.with_help(format!("{} are available", readable(bytes))),
        None => error,
    }
}

/// The error where a GPU has no memory left.
#[cfg(feature = "cuda")]
fn refused_by_gpu(need: &Need) -> Error {
    let message = format!(
        "not enough memory on the GPU: {} {:?}, {}, could not be had",
        need.name,
        need.shape,
        readable(need.bytes())
    );
    Error::new(ErrorKind::Memory, message)
        .with_help("use fewer members, a smaller batch or width, or dtype: \"bf16\"")
}

/// A tensor of zeros; `name` says what it is.
///
/// # Errors
/// If memory for it cannot be had: name, shape and size.
pub fn zeros(name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    fn make<T: Number + WithDType>(name: &str, shape: &[usize]) -> Result<Tensor> {
        let zeros = numbers::<T>(name, shape)?;
        Ok(Tensor::from_vec(zeros, shape, &Device::Cpu)?)
    }
    match (device, dtype) {
        (Device::Cpu, DType::F32) => make::<f32>(name, shape),
        (Device::Cpu, DType::F64) => make::<f64>(name, shape),
        (Device::Cpu, DType::U32) => make::<u32>(name, shape),
        (Device::Cpu, DType::I64) => make::<i64>(name, shape),
        #[cfg(feature = "cuda")]
        (Device::Cuda(_), _) => Tensor::zeros(shape, dtype, device).map_err(|e| {
            if !crate::gpu::is_out_of_memory(&e) {
                return e.into();
            }
            refused_by_gpu(&Need {
                name: name.to_string(),
                shape: shape.to_vec(),
                number: dtype.size_in_bytes(),
            })
        }),
        _ => Ok(Tensor::zeros(shape, dtype, device)?),
    }
}

/// Zeros of the shape and type of `tensor`.
///
/// # Errors
/// As for [`zeros`].
pub fn zeros_like(name: &str, tensor: &Tensor) -> Result<Tensor> {
    zeros(name, tensor.dims(), tensor.dtype(), tensor.device())
}

/// Checks, where it is much, that an operation of candle that makes a tensor of this shape can have
/// `number` bytes for each of its numbers: candle itself cannot be refused memory.
///
/// # Errors
/// If that does not fit: operation, shape, what is needed and available.
pub fn room(operation: &str, shape: &[usize], number: usize) -> Result<()> {
    let need = Need {
        name: "the result".into(),
        shape: shape.to_vec(),
        number,
    };
    if need.bytes() < ASK {
        return Ok(());
    }
    let needs = [need];
    if let Some(bytes) = available() {
        let parts = |_| "do it in parts, or with a smaller type".to_string();
        compare(operation, &needs, bytes, parts)?;
    }
    // free memory may be in pieces, and limits may be of another kind: what can be had now, and is
    // given back untouched, can be had again
    let [need] = needs;
    let bytes = usize::try_from(need.bytes()).unwrap_or(usize::MAX);
    let mut probe: Vec<u8> = Vec::new();
    may_fail(|| probe.try_reserve_exact(bytes)).map_err(|_| refused(&need).at(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zero_and_of_the_type() -> Result<()> {
        for dtype in [DType::F32, DType::F64, DType::U32, DType::I64, DType::U8] {
            let made = zeros("x", &[3, 0, 2], dtype, &Device::Cpu)?;
            assert_eq!((made.dims(), made.dtype()), (&[3, 0, 2][..], dtype));
            let made = zeros("x", &[3, 2], dtype, &Device::Cpu)?;
            let numbers = made.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            assert_eq!(numbers, [0.0; 6]);
        }
        let one = zeros("x", &[], DType::F32, &Device::Cpu)?;
        assert_eq!(zeros_like("x", &one)?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn what_cannot_be_had_is_an_error_with_its_name() {
        for shape in [
            &[1 << 50, 4][..],
            &[usize::MAX, usize::MAX, 3],
            &[usize::MAX / 2],
        ] {
            let error = zeros("layers.1.weight", shape, DType::F32, &Device::Cpu).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Memory);
            let start = format!("not enough memory: layers.1.weight {shape:?}, ");
            assert!(error.message.starts_with(&start), "{error}");
            let error = room("zeros", shape, 4).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Memory);
            assert!(error.message.contains("zeros"), "{error}");
        }
        assert!(room("zeros", &[1 << 10, 1 << 10], 4).is_ok());
        assert!(room("zeros", &[1 << 10, 1 << 15], 4).is_ok());
    }
}
