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

/// Calls `f` with the numbers of a contiguous tensor; those of a GPU are copied to the host, when the work
/// that writes them is done.
pub fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(&storage.as_slice::<T>()?[range(layout)?]),
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => {
            let range = range(layout)?;
            let mut numbers = vec![T::zero(); range.len()];
            gpu::fetch(storage, range.start, &mut numbers)?;
            f(&numbers)
        }
        _ => Err(not_on_cpu()),
    }
}

/// An in-place operation of candle that hands the storage to a closure once.
struct Write<F, G>(RefCell<Option<F>>, RefCell<Option<G>>);

impl<F, G> InplaceOp1 for Write<F, G>
where
    F: FnOnce(&mut CpuStorage, &Layout),
    G: FnOnce(&candle_core::CudaStorage, &Layout),
{
    fn name(&self) -> &'static str {
        "write"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let Some(f) = self.0.borrow_mut().take() {
            f(storage, layout);
        }
        Ok(())
    }
    fn cuda_fwd(
        &self,
        storage: &mut candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        if let Some(f) = self.1.borrow_mut().take() {
            f(storage, layout);
        }
        Ok(())
    }
}

/// Calls `f` with the numbers of a contiguous tensor, to be changed in place; those of a GPU are copied to the
/// host and back.
pub fn write<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> Result<R>) -> Result<R> {
    let result = RefCell::new(Err(not_on_cpu()));
    // one of the two is called, or none
    let f = RefCell::new(Some(f));
    let change = |numbers: &mut [T]| match f.borrow_mut().take() {
        Some(f) => f(numbers),
        None => Err(Error::other("an in-place write ran twice")),
    };
    let on_cpu = |storage: &mut CpuStorage, layout: &Layout| {
        *result.borrow_mut() = slice_mut::<T>(storage)
            .and_then(|slice| Ok(&mut slice[range(layout)?]))
            .and_then(change);
    };
    let on_gpu = |storage: &candle_core::CudaStorage, layout: &Layout| {
        *result.borrow_mut() = gpu::change(storage, layout, change);
    };
    tensor.inplace_op1(&Write(
        RefCell::new(Some(on_cpu)),
        RefCell::new(Some(on_gpu)),
    ))?;
    result.into_inner()
}

#[cfg(feature = "cuda")]
mod gpu {
    use candle_core::{CudaStorage, Layout, WithDType};

    use crate::error::Result;
    use crate::gpu::{fetch as fetch_bytes, store};

    fn bytes<T>(numbers: &mut [T]) -> &mut [u8] {
        // SAFETY: numbers without padding, of which any bits are one
        unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
    }

    /// Copies numbers from `start` on to the host.
    pub fn fetch<T: WithDType>(storage: &CudaStorage, start: usize, to: &mut [T]) -> Result<()> {
        fetch_bytes(storage, start * size_of::<T>(), bytes(to))
    }

    /// Lets `f` change numbers on the host.
    pub fn change<T: WithDType, R>(
        storage: &CudaStorage,
        layout: &Layout,
        f: impl FnOnce(&mut [T]) -> Result<R>,
    ) -> Result<R> {
        let range = super::range(layout)?;
        let mut numbers = vec![T::zero(); range.len()];
        fetch(storage, range.start, &mut numbers)?;
        let result = f(&mut numbers)?;
        store(storage, range.start * size_of::<T>(), bytes(&mut numbers))?;
        Ok(result)
    }
}

#[cfg(not(feature = "cuda"))]
mod gpu {
    use candle_core::{CudaStorage, Layout};

    use crate::error::Result;

    /// There is no such storage in this build.
    pub fn change<T, R>(
        _storage: &CudaStorage,
        _layout: &Layout,
        _f: impl FnOnce(&mut [T]) -> Result<R>,
    ) -> Result<R> {
        Err(super::not_on_cpu())
    }
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
