//! Element types of the compute path, and access to a tensor's numbers as slices.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, WithDType};
use std::cell::RefCell;

use super::math::Real;
use super::matmul::Vector;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{self, Number};

/// A floating-point type that models compute in.
pub trait Elem: WithDType + Number + Real + Vector + std::iter::Sum {
    /// The number nearest to `x`.
    fn of(x: f64) -> Self;
    /// The number as f64.
    fn f64(self) -> f64;
    /// The error function.
    fn erf(self) -> Self;
}

impl Elem for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    fn erf(self) -> Self {
        libm::erff(self)
    }
}

impl Elem for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
}

/// Runs a generic block with the type alias `$T` set to the tensor's element type.
macro_rules! dispatch {
    ($tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::tensor::elem::unsupported(other)),
        }
    };
}
pub(crate) use dispatch;

/// The error for an element type that models do not compute in.
pub fn unsupported(dtype: DType) -> Error {
    Error::setting(format!(
        "element type {} is not supported here: use f32 or f64",
        dtype.as_str()
    ))
}

fn not_on_cpu() -> Error {
    Error::new(
        ErrorKind::Device,
        "this operation is only available on the CPU in this build",
    )
}

fn range(layout: &Layout) -> Result<std::ops::Range<usize>> {
    layout
        .contiguous_offsets()
        .map(|(start, end)| start..end)
        .ok_or_else(|| Error::shape(format!("a contiguous tensor is needed, got {layout:?}")))
}

/// Calls `f` with the numbers of a contiguous tensor.
pub fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(not_on_cpu());
    };
    f(&storage.as_slice::<T>()?[range(layout)?])
}

/// An in-place operation of candle that hands the storage to a closure once.
struct Write<F>(RefCell<Option<F>>);

impl<F: FnOnce(&mut CpuStorage, &Layout)> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let Some(f) = self.0.borrow_mut().take() {
            f(storage, layout);
        }
        Ok(())
    }
}

/// Calls `f` with the numbers of a contiguous tensor, to be changed in place.
pub fn write<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> Result<R>) -> Result<R> {
    if !matches!(tensor.device(), Device::Cpu) {
        return Err(not_on_cpu());
    }
    let mut result = Err(Error::other("an in-place write did not run"));
    let slot = &mut result;
    tensor.inplace_op1(&Write(RefCell::new(Some(
        move |storage: &mut CpuStorage, layout: &Layout| {
            *slot = slice_mut::<T>(storage)
                .and_then(|slice| Ok(&mut slice[range(layout)?]))
                .and_then(f);
        },
    ))))?;
    result
}

fn slice_mut<T: WithDType>(storage: &mut CpuStorage) -> Result<&mut [T]> {
    let found = storage_dtype(storage);
    let any: &mut dyn std::any::Any = match storage {
        CpuStorage::F32(v) => v,
        CpuStorage::F64(v) => v,
        CpuStorage::U32(v) => v,
        CpuStorage::U8(v) => v,
        _ => return Err(unsupported(found)),
    };
    match any.downcast_mut::<Vec<T>>() {
        Some(v) => Ok(v),
        None => Err(Error::other(format!(
            "element type {} was expected, found {}",
            T::DTYPE.as_str(),
            found.as_str()
        ))),
    }
}

fn storage_dtype(storage: &CpuStorage) -> DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// Calls `f` with every number of a contiguous tensor as f64, in row-major order, without a copy.
///
/// # Errors
/// If the tensor is not a contiguous f32 or f64 tensor.
pub fn each_f64(tensor: &Tensor, mut f: impl FnMut(f64)) -> Result<()> {
    dispatch!(tensor, T => read(tensor, |numbers: &[T]| {
        numbers.iter().for_each(|x| f((*x).f64()));
        Ok(())
    }))
}

/// A tensor's numbers in row-major order as f64, whatever its layout and float type.
///
/// # Errors
/// If the numbers cannot be copied to the host, or memory for the copy cannot be had.
pub fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    let name = "a copy of a tensor as f64";
    let straight = matches!(tensor.device(), Device::Cpu) && tensor.is_contiguous();
    if straight && let DType::F32 | DType::F64 = tensor.dtype() {
        return dispatch!(tensor, T => read(tensor, |from: &[T]| {
            let mut to = memory::numbers::<f64>(name, tensor.dims())?;
            to.iter_mut().zip(from).for_each(|(to, x)| *to = (*x).f64());
            Ok(to)
        }));
    }
    // another type, another layout, and the vector itself
    memory::room(name, tensor.dims(), 3 * size_of::<f64>())?;
    Ok(tensor
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_changes_what_read_sees() -> Result<()> {
        let t = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        write(&t, |s: &mut [f32]| {
            s[4] = 7.0;
            Ok(())
        })?;
        assert_eq!(read(&t, |s: &[f32]| Ok(s[4]))?, 7.0);
        Ok(())
    }

    #[test]
    fn wrong_type_and_layout_are_errors() -> Result<()> {
        let t = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        assert!(write(&t, |_: &mut [f64]| Ok(())).is_err());
        assert!(read(&t.t()?, |_: &[f32]| Ok(())).is_err());
        Ok(())
    }
}
