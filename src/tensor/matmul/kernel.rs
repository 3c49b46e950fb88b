//! The inner loop: one tile of the destination in registers.

use pulp::Simd;

use super::vector::Vector;

/// Where a tile reads `a` from: row `i`, step `p` at `ptr + i · row + p · step`.
#[derive(Debug, Clone, Copy)]
pub struct Left<T> {
    /// Row 0, step 0.
    pub ptr: *const T,
    /// Distance between rows.
    pub row: usize,
    /// Distance between steps.
    pub step: usize,
}

/// Where a tile writes to, and how.
#[derive(Debug, Clone, Copy)]
pub struct Target<T> {
    /// Row 0, column 0.
    pub ptr: *mut T,
    /// Distance between rows.
    pub row: usize,
    /// Factor of the product.
    pub alpha: T,
    /// Whether to add to what is there.
    pub accumulate: bool,
}

/// `c[MR × NV·lanes] (+)= alpha · a · b` over `steps` steps; `b` is a packed panel with `panel`
/// numbers a step, of which the first `NV · lanes` are used. `PACKED`: `a` is a packed panel of
/// `MR` rows.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
pub unsafe fn tile<S: Simd, T: Vector, const MR: usize, const NV: usize, const PACKED: bool>(
    simd: S,
    steps: usize,
    a: Left<T>,
    b: *const T,
    panel: usize,
    c: Target<T>,
) {
    let lanes = T::lanes::<S>();
    let zero = T::splat(simd, T::default());
    let mut acc = [[zero; NV]; MR];
    let (row, step) = if PACKED { (1, MR) } else { (a.row, a.step) };
    let (mut left, mut right) = (a.ptr, b);
    // SAFETY: the caller keeps to its buffers
    unsafe {
        for _ in 0..steps {
            let mut columns = [zero; NV];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = right.add(v * lanes).cast::<T::V<S>>().read_unaligned();
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let value = T::splat(simd, *left.add(i * row));
                for (acc, &column) in acc.iter_mut().zip(&columns) {
                    *acc = T::mul_add(simd, value, column, *acc);
                }
            }
            left = left.wrapping_add(step);
            right = right.wrapping_add(panel);
        }
        let alpha = T::splat(simd, c.alpha);
        for (i, acc) in acc.iter().enumerate() {
            for (v, &sum) in acc.iter().enumerate() {
                let at = c.ptr.add(i * c.row + v * lanes).cast::<T::V<S>>();
                at.write_unaligned(if c.accumulate {
                    T::mul_add(simd, alpha, sum, at.read_unaligned())
                } else {
                    T::mul(simd, alpha, sum)
                });
            }
        }
    }
}
