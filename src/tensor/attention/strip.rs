//! Strips of queries against blocks of keys: the parts that both passes are made of.

use pulp::Simd;

use super::Rows;
use crate::tensor::elem::Elem;
use crate::tensor::math::exp;
use crate::tensor::matmul::kernel::{Left, Target, tile};
use crate::tensor::matmul::pack::{Source, pack};

/// Queries of a strip.
pub const STRIP: usize = 32;
/// Keys of a block: its scores with a strip stay in the caches.
pub const KEYS: usize = 512;
/// Partial maxima and sums of a row, on every instruction set.
const LANES: usize = 16;
/// Columns are padded to this in every buffer: the widest panel of any instruction set.
pub const PANEL: usize = 32;

/// Distance between rows of scores.
pub fn score_row(positions: usize) -> usize {
    positions.min(KEYS).next_multiple_of(PANEL)
}

/// A part of scratch memory of `len` numbers, and the rest.
#[inline(always)]
pub fn cut<'a, T>(scratch: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (part, rest) = std::mem::take(scratch).split_at_mut(len);
    *scratch = rest;
    part
}

/// Copies `factor` times rows to `to [STRIP, size]`; rows that are missing become 0.
///
/// # Safety
/// There are so many rows.
#[inline(always)]
pub unsafe fn copy_rows<T: Elem>(
    rows: Rows<T>,
    first: usize,
    count: usize,
    size: usize,
    factor: T,
    to: &mut [T],
) {
    for (i, to) in to.chunks_exact_mut(size).enumerate() {
        if i < count {
            // SAFETY: as the caller promises
            let row = unsafe {
                std::slice::from_raw_parts(rows.ptr.add((first + i) * rows.stride), size)
            };
            for (to, x) in to.iter_mut().zip(row) {
                *to = factor * *x;
            }
        } else {
            to.fill(T::of(0.0));
        }
    }
}

/// Packs rows as panels with positions along the lanes: for products `… rowsᵀ`.
///
/// # Safety
/// There are `count` rows of `size`; `to` has room for `count` rounded up to `width`, times `size`.
#[inline(always)]
pub unsafe fn pack_positions<T: Elem>(
    rows: Rows<T>,
    count: usize,
    size: usize,
    width: usize,
    to: &mut [T],
) {
    let source = Source {
        ptr: rows.ptr,
        row: rows.stride,
        step: 1,
    };
    // SAFETY: as the caller promises
    unsafe { pack(to.as_mut_ptr(), width, source, count, size) };
}

/// Packs rows as panels with channels along the lanes: for products `… rows`.
///
/// # Safety
/// There are `count` rows of `size`; `to` has room for `size` rounded up to `width`, times `count`.
#[inline(always)]
pub unsafe fn pack_channels<T: Elem>(
    rows: Rows<T>,
    count: usize,
    size: usize,
    width: usize,
    to: &mut [T],
) {
    let source = Source {
        ptr: rows.ptr,
        row: 1,
        step: rows.stride,
    };
    // SAFETY: as the caller promises
    unsafe { pack(to.as_mut_ptr(), width, source, size, count) };
}

/// Keys that a strip or tile of queries ending at `end` sees.
#[inline(always)]
pub fn seen(causal: bool, positions: usize, end: usize) -> usize {
    if causal {
        end.min(positions)
    } else {
        positions
    }
}

/// A strip of queries against a block of keys.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The first query.
    pub first: usize,
    /// Queries; the rest of the strip is padding.
    pub queries: usize,
    /// The keys of the block.
    pub keys: (usize, usize),
    /// Whether later keys are masked.
    pub causal: bool,
    /// Distance between rows of scores.
    pub row: usize,
}

impl Place {
    /// How many keys of the block the queries before `end` of the strip see.
    #[inline(always)]
    pub fn seen(&self, end: usize) -> usize {
        seen(self.causal, self.keys.1, self.first + end).saturating_sub(self.keys.0)
    }
}

/// `scores [STRIP, keys of the block] = rows · panelsᵀ` where the mask leaves something: `rows
/// [STRIP, size]`, panels of all keys.
///
/// # Safety
/// The buffers have these sizes, padded to whole tiles.
#[inline(always)]
pub unsafe fn scores<S: Simd, T: Elem, const MR: usize>(
    simd: S,
    at: Place,
    rows: &[T],
    size: usize,
    panels: &[T],
    scores: &mut [T],
) {
    let width = 2 * T::lanes::<S>();
    let count = at.queries.next_multiple_of(MR);
    // SAFETY: as the caller promises
    unsafe {
        for j in (0..at.seen(count)).step_by(width) {
            let b = panels.as_ptr().add((at.keys.0 + j) * size);
            let mut i = 0;
            if at.causal {
                // tiles whose last query comes before the first key
                let skipped = (at.keys.0 + j).saturating_sub(at.first);
                i = skipped / MR * MR;
            }
            while i < count {
                let a = Left {
                    ptr: rows.as_ptr().add(i * size),
                    row: size,
                    step: 1,
                };
                let c = Target {
                    ptr: scores.as_mut_ptr().add(i * at.row + j),
                    row: at.row,
                    alpha: T::of(1.0),
                    accumulate: false,
                };
                tile::<S, T, MR, 2, false>(simd, size, a, b, width, c);
                i += MR;
            }
        }
    }
}

/// `c [MR, cols] (+)= a · b` for one row of tiles; `b` in panels with a distance of `panel`.
///
/// # Safety
/// The buffers have these sizes, padded to whole tiles.
#[inline(always)]
pub unsafe fn tiles<S: Simd, T: Elem, const MR: usize>(
    simd: S,
    steps: usize,
    a: Left<T>,
    (b, panel): (*const T, usize),
    cols: usize,
    (c, row): (*mut T, usize),
) {
    let lanes = T::lanes::<S>();
    // SAFETY: as the caller promises
    unsafe {
        for (i, j) in (0..cols).step_by(2 * lanes).enumerate() {
            let b = b.add(i * panel);
            let c = Target {
                ptr: c.add(j),
                row,
                alpha: T::of(1.0),
                accumulate: true,
            };
            if cols - j > lanes {
                tile::<S, T, MR, 2, false>(simd, steps, a, b, 2 * lanes, c);
            } else {
                tile::<S, T, MR, 1, false>(simd, steps, a, b, 2 * lanes, c);
            }
        }
    }
}

/// `x` or `y`, whichever is greater; NaN in `x` is passed over.
#[inline(always)]
fn greater<T: Elem>(x: T, y: T) -> T {
    if x > y { x } else { y }
}

/// The largest number of a row, whose length is a multiple of [`LANES`].
#[inline(always)]
pub fn largest<T: Elem>(row: &[T]) -> T {
    let mut lanes = [T::neg_infinity(); LANES];
    for part in row.chunks_exact(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(part) {
            *lane = greater(x, *lane);
        }
    }
    lanes
        .into_iter()
        .fold(T::neg_infinity(), |a, x| greater(x, a))
}

/// Replaces the numbers of a row by exp(x − shift), and returns their sum.
#[inline(always)]
pub fn exponentials<T: Elem>(row: &mut [T], shift: T) -> T {
    let mut lanes = [T::of(0.0); LANES];
    for part in row.chunks_exact_mut(LANES) {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *x = exp(*x - shift);
            *lane += *x;
        }
    }
    total(lanes)
}

/// Σ x y.
#[inline(always)]
pub fn dot<T: Elem>(x: &[T], y: &[T]) -> T {
    let mut lanes = [T::of(0.0); LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    let rest = rest.fold(T::of(0.0), |sum, (&x, &y)| x.mul_add(y, sum));
    for (x, y) in xs.zip(ys) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane = x.mul_add(y, *lane);
        }
    }
    total(lanes) + rest
}

/// The sum of partial sums, in pairs.
#[inline(always)]
fn total<T: Elem>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let other = lanes[i + half];
            lanes[i] += other;
        }
        half /= 2;
    }
    lanes[0]
}
