//! The inner loop: one tile of the destination in registers.

use pulp::Simd;

use super::pack::prefetch;
use super::vector::Vector;

/// Steps from which on a tile's destination is fetched while its products are summed, since it comes
/// late at the end. Measured: 4 to 10 % where two threads use the last-level cache.
const AHEAD: usize = 64;

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
/// `MR` rows; then two steps are taken at a time, which leaves more of the processor's front end to a
/// second thread of the same core (a tile in the caches: 70 or 84 GFLOP/s beside one, 90 alone).
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
    let columns = |b: *const T| std::array::from_fn(|v| b.wrapping_add(v * lanes));
    let rows = |a: *const T| std::array::from_fn(|i| a.wrapping_add(i * row));
    // SAFETY: the caller keeps to its buffers
    unsafe {
        if steps >= AHEAD {
            for i in 0..MR {
                prefetch(c.ptr.wrapping_add(i * c.row).cast_const(), NV * lanes);
            }
        }
        let pairs = if PACKED { steps / 2 } else { 0 };
        for _ in 0..pairs {
            add::<S, T, MR, NV>(simd, &mut acc, rows(left), columns(right));
            let (next, after) = (left.wrapping_add(step), right.wrapping_add(panel));
            add::<S, T, MR, NV>(simd, &mut acc, rows(next), columns(after));
            left = next.wrapping_add(step);
            right = after.wrapping_add(panel);
        }
        for _ in 2 * pairs..steps {
            add::<S, T, MR, NV>(simd, &mut acc, rows(left), columns(right));
            left = left.wrapping_add(step);
            right = right.wrapping_add(panel);
        }
        store::<S, T, MR, NV>(simd, acc, std::array::from_fn(|v| c.ptr.add(v * lanes)), c);
    }
}

/// One step: `acc += left · right`.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
unsafe fn add<S: Simd, T: Vector, const MR: usize, const NV: usize>(
    simd: S,
    acc: &mut [[T::V<S>; NV]; MR],
    left: [*const T; MR],
    right: [*const T; NV],
) {
    // SAFETY: the caller keeps to its buffers
    unsafe {
        let columns = right.map(|p| p.cast::<T::V<S>>().read_unaligned());
        for (acc, value) in acc.iter_mut().zip(left) {
            let value = T::splat(simd, *value);
            for (acc, &column) in acc.iter_mut().zip(&columns) {
                *acc = T::mul_add(simd, value, column, *acc);
            }
        }
    }
}

/// Where a run of steps starts in both operands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// Offset in `a`.
    pub a: usize,
    /// Offset in `b`.
    pub b: usize,
}

/// The right operand of [`tile_runs`]: vector `v` of step `p` at `ptr[v] + p · step`.
#[derive(Debug, Clone, Copy)]
pub struct Right<T, const NV: usize> {
    /// The vectors of step 0.
    pub ptr: [*const T; NV],
    /// Distance between steps.
    pub step: usize,
}

/// The left operand of [`tile_runs`]: row `i` of step `p` at `ptr + rows[i] + p · step`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<T, const MR: usize> {
    /// Step 0.
    pub ptr: *const T,
    /// Offset of each row.
    pub rows: [usize; MR],
    /// Distance between steps.
    pub step: usize,
}

/// A tile `a · b` summed over several runs of `steps` steps each, which lie anywhere in the operands:
/// a convolution's products without a copy of the image in product form. `PACKED`: `a` is a packed
/// panel of `MR` rows.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
pub unsafe fn tile_runs<
    S: Simd,
    T: Vector,
    const MR: usize,
    const NV: usize,
    const PACKED: bool,
>(
    simd: S,
    (runs, steps): (&[Run], usize),
    a: Rows<T, MR>,
    b: Right<T, NV>,
) -> [[T::V<S>; NV]; MR] {
    let zero = T::splat(simd, T::default());
    let mut acc = [[zero; NV]; MR];
    // SAFETY: the caller keeps to its buffers
    unsafe {
        for run in runs {
            let mut left = a.ptr.wrapping_add(run.a);
            let mut right = b.ptr.map(|p| p.wrapping_add(run.b));
            for _ in 0..steps {
                let rows =
                    std::array::from_fn(|i| left.wrapping_add(if PACKED { i } else { a.rows[i] }));
                add::<S, T, MR, NV>(simd, &mut acc, rows, right);
                left = left.wrapping_add(if PACKED { MR } else { a.step });
                right = right.map(|p| p.wrapping_add(b.step));
            }
        }
    }
    acc
}

/// `c (+)= alpha · acc`, with vector `v` of row `i` at `to[v] + i · c.row`.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
pub unsafe fn store<S: Simd, T: Vector, const MR: usize, const NV: usize>(
    simd: S,
    acc: [[T::V<S>; NV]; MR],
    to: [*mut T; NV],
    c: Target<T>,
) {
    let alpha = T::splat(simd, c.alpha);
    for (i, acc) in acc.into_iter().enumerate() {
        for (sum, to) in acc.into_iter().zip(to) {
            // SAFETY: the caller keeps to its buffer
            unsafe {
                let at = to.add(i * c.row).cast::<T::V<S>>();
                at.write_unaligned(if c.accumulate {
                    T::mul_add(simd, alpha, sum, at.read_unaligned())
                } else {
                    T::mul(simd, alpha, sum)
                });
            }
        }
    }
}
