//! Memory that each thread keeps between operations, so that a step allocates nothing.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    static FREE: RefCell<HashMap<TypeId, Vec<Box<dyn Any>>>> = RefCell::new(HashMap::new());
}

/// A cache line, in bytes.
const LINE: usize = 64;

/// Calls `f` with `len` numbers of scratch memory, aligned to cache lines, with arbitrary contents.
/// The thread keeps the memory for the next call; calls may nest.
pub fn with<T: Copy + Default + 'static, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let kind = TypeId::of::<T>();
    let free = FREE.with(|free| free.borrow_mut().get_mut(&kind).and_then(Vec::pop));
    let mut buffer: Box<Vec<T>> = free.and_then(|b| b.downcast().ok()).unwrap_or_default();
    let spare = LINE / size_of::<T>().max(1);
    if buffer.len() < len + spare {
        // not twice as much as a vector that grows
        buffer.reserve_exact(len + spare - buffer.len());
        buffer.resize(len + spare, T::default());
    }
    let start = buffer.as_ptr().align_offset(LINE).min(spare);
    let result = f(&mut buffer[start..start + len]);
    FREE.with(|free| free.borrow_mut().entry(kind).or_default().push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_calls_get_their_own_memory_and_it_is_used_again() {
        let address = with(100, |outer: &mut [f32]| {
            outer.fill(1.0);
            with(50, |inner: &mut [f32]| inner.fill(2.0));
            with(5, |inner: &mut [f64]| inner.fill(3.0));
            assert!(outer.iter().all(|&x| x == 1.0));
            assert_eq!(outer.as_ptr() as usize % LINE, 0);
            outer.as_ptr() as usize
        });
        assert_eq!(with(80, |s: &mut [f32]| s.as_ptr() as usize), address);
    }
}
