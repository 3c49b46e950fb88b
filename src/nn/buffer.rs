//! Tensors whose members are passed over at the same time.

use candle_core::Tensor;

use crate::error::Result;
use crate::tensor::elem::{Elem, read, write};

/// The numbers of a tensor `[members or 1, …]` on the CPU, reachable member by member. Passes over
/// different members run at once, which borrows of the whole tensor would forbid.
#[derive(Debug, Clone)]
pub struct Buffer<T> {
    tensor: Tensor,
    ptr: *mut T,
    per_member: usize,
    shared: bool,
}

// SAFETY: whoever uses `of_mut` promises that nobody else uses that member meanwhile.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Buffer<T> {}

impl<T: Elem> Buffer<T> {
    /// The numbers of a contiguous tensor, of which the buffer keeps a handle.
    ///
    /// # Errors
    /// If the tensor is not on the CPU, not contiguous, or of another element type.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        let ptr = write(tensor, |numbers: &mut [T]| Ok(numbers.as_mut_ptr()))?;
        Ok(Self::at(tensor, ptr))
    }

    /// The same for a tensor that is only read; [`Buffer::of_mut`] must not be called.
    ///
    /// # Errors
    /// As for [`Buffer::new`].
    pub fn reading(tensor: &Tensor) -> Result<Self> {
        let ptr = read(tensor, |numbers: &[T]| Ok(numbers.as_ptr().cast_mut()))?;
        Ok(Self::at(tensor, ptr))
    }

    fn at(tensor: &Tensor, ptr: *mut T) -> Self {
        let lead = tensor.dims().first().copied().unwrap_or(1).max(1);
        Self {
            tensor: tensor.clone(),
            ptr,
            per_member: tensor.elem_count() / lead,
            shared: lead == 1,
        }
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether all members share one entry.
    pub fn shared(&self) -> bool {
        self.shared
    }

    fn start(&self, member: usize) -> *mut T {
        let member = if self.shared { 0 } else { member };
        debug_assert!((member + 1) * self.per_member <= self.tensor.elem_count());
        // SAFETY: inside the tensor, since callers count members from its shape
        unsafe { self.ptr.add(member * self.per_member) }
    }

    /// One member's numbers.
    ///
    /// # Safety
    /// There is such a member, and nobody writes its numbers meanwhile.
    pub unsafe fn of<'a>(&self, member: usize) -> &'a [T] {
        // SAFETY: the tensor keeps the memory, callers keep to their member
        unsafe { std::slice::from_raw_parts(self.start(member), self.per_member) }
    }

    /// One member's numbers, to be changed.
    ///
    /// # Safety
    /// There is such a member, and nobody else uses its numbers meanwhile.
    pub unsafe fn of_mut<'a>(&self, member: usize) -> &'a mut [T] {
        // SAFETY: as above
        unsafe { std::slice::from_raw_parts_mut(self.start(member), self.per_member) }
    }
}
