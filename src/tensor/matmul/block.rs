//! One thread's part of a product: panels packed into the caches, tiles in registers.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::kernel::{Left, Target, tile};
use super::pack::{Source, pack};
use super::vector::Vector;

/// Steps of the summed dimension that are packed at a time: a panel of `b` then stays in the
/// first-level cache.
pub const STEPS: usize = 256;
/// Rows packed at a time, rounded down to whole panels: with [`STEPS`] they stay in the second-level
/// cache.
const ROWS: usize = 128;
/// Columns packed at a time.
const COLS: usize = 512;
/// Up to so many columns, rows of `a` are read where they are: a copy would not be read often enough
/// to pay for itself. Measured: 128 × 64 × 3072 reaches 90 % of the peak instead of 78 %.
const DIRECT: usize = 256;
/// The same where rows are whole pages apart: they then share a few places of the first-level cache,
/// and are soon pushed out by each other. Measured at 256 columns: 10 % faster with a copy.
const DIRECT_PAGES: usize = 64;
/// The same for an `a` that is stored column by column, whose reads touch more cache lines.
const DIRECT_COLUMNS: usize = 64;
/// The same where its columns are a page or more apart, so that every read is in another page: a copy is
/// read in order. Measured at 64 columns: 3072 × 64 × 128 is 30 % faster with a copy.
const DIRECT_FAR_COLUMNS: usize = 32;

/// One operand.
#[derive(Debug, Clone, Copy)]
pub enum Operand<T> {
    /// To be packed on the way, or read in place.
    View(Source<T>),
    /// All of its rows, packed by [`PackAll`].
    Packed(Packed<T>),
}

/// A whole operand in panels, in blocks of [`STEPS`] steps.
#[derive(Debug, Clone, Copy)]
pub struct Packed<T> {
    /// The panels.
    pub ptr: *const T,
    /// Number of rows rounded up to whole panels.
    pub padded: usize,
    /// The operand's first row, at a panel's border.
    pub first: usize,
}

// SAFETY: tasks only read through it, while the slice it came from is borrowed.
unsafe impl<T: Sync> Send for Packed<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Packed<T> {}

impl<T: Copy> Operand<T> {
    /// The same from a later row on, at a panel's border.
    ///
    /// # Safety
    /// The operand has that row.
    pub unsafe fn starting_at(self, row: usize) -> Self {
        match self {
            // SAFETY: the caller keeps to its rows
            Self::View(source) => Self::View(unsafe { source.from(row, 0) }),
            Self::Packed(packed) => Self::Packed(Packed {
                first: packed.first + row,
                ..packed
            }),
        }
    }
}

/// `c (+)= alpha · a · b` for some rows, columns and steps of a product.
pub struct Block<'a, T> {
    /// Rows of `a`.
    pub rows: Range<usize>,
    /// Columns of `b`.
    pub cols: Range<usize>,
    /// Steps of the summed dimension.
    pub steps: Range<usize>,
    /// The left operand.
    pub a: Operand<T>,
    /// The right operand, its columns as the source's rows.
    pub b: Operand<T>,
    /// The whole destination.
    pub c: Target<T>,
    /// At least [`scratch_len`] numbers.
    pub scratch: &'a mut [T],
}

/// Height of a tile where there are 32 vector registers: 16 sums, 2 columns and a number of `a`.
const TALL: usize = 8;
/// Height of a tile where there are 16: 12 sums, which keep two multiply-adds a cycle busy; with 4
/// rows, 8 sums wait for each other.
const LOW: usize = 6;

/// Height and width of the panels of `a` and `b` for an instruction set.
pub fn panels<S: Simd, T: Vector>() -> (usize, usize) {
    (
        if S::REGISTER_COUNT >= 32 { TALL } else { LOW },
        2 * T::lanes::<S>(),
    )
}

/// Largest panels of any instruction set.
const MAX_PANELS: (usize, usize) = (8, 32);

/// Numbers of scratch that a block needs.
pub fn scratch_len(rows: usize, cols: usize, steps: usize) -> usize {
    let (height, width) = MAX_PANELS;
    let packed = rows.min(ROWS) + height + cols.min(COLS).next_multiple_of(width);
    packed * steps.min(STEPS) + height * width
}

impl<T: Vector> WithSimd for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `super::matmul` checked the slices, and blocks keep to their part.
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.run::<S, TALL>(simd);
            } else {
                self.run::<S, LOW>(simd);
            }
        }
    }
}

impl<T: Vector> Block<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let nr = 2 * lanes;
        let (edge, scratch) = self.scratch.split_at_mut(MR * nr);
        let first_step = self.steps.start;
        // SAFETY: as for `with_simd`
        unsafe {
            for col in self.cols.clone().step_by(COLS) {
                let nc = COLS.min(self.cols.end - col);
                for step in self.steps.clone().step_by(STEPS) {
                    let kc = STEPS.min(self.steps.end - step);
                    let accumulate = self.c.accumulate || step > first_step;
                    let (right, left) = scratch.split_at_mut(nc.next_multiple_of(nr) * kc);
                    let b = match self.b {
                        Operand::Packed(p) => p.ptr.add(step * p.padded + (p.first + col) * kc),
                        Operand::View(source) => {
                            pack(right.as_mut_ptr(), nr, source.from(col, step), nc, kc);
                            right.as_ptr()
                        }
                    };
                    for row in self.rows.clone().step_by(ROWS / MR * MR) {
                        let mc = (ROWS / MR * MR).min(self.rows.end - row);
                        let (a, direct) = left_operand::<T, MR>(
                            self.a,
                            left.as_mut_ptr(),
                            (row, mc),
                            (step, kc),
                            nc,
                        );
                        for j in (0..nc).step_by(nr) {
                            let width = nr.min(nc - j);
                            for i in (0..mc).step_by(MR) {
                                let height = MR.min(mc - i);
                                let to = self.c.ptr.add((row + i) * self.c.row + col + j);
                                let whole = height == MR && (width == nr || width == lanes);
                                let c = if whole {
                                    Target {
                                        ptr: to,
                                        accumulate,
                                        ..self.c
                                    }
                                } else {
                                    let ptr = edge.as_mut_ptr();
                                    Target {
                                        ptr,
                                        row: nr,
                                        accumulate: false,
                                        ..self.c
                                    }
                                };
                                let b = b.add(j * kc);
                                let packed = Left {
                                    ptr: a.add(i * kc),
                                    row: 1,
                                    step: MR,
                                };
                                match (direct, width > lanes) {
                                    (Some(s), true) if height == MR => {
                                        let a = s.from(i, 0);
                                        let a = Left {
                                            ptr: a.ptr,
                                            row: a.row,
                                            step: a.step,
                                        };
                                        tile::<S, T, MR, 2, false>(simd, kc, a, b, nr, c);
                                    }
                                    (Some(s), false) if height == MR => {
                                        let a = s.from(i, 0);
                                        let a = Left {
                                            ptr: a.ptr,
                                            row: a.row,
                                            step: a.step,
                                        };
                                        tile::<S, T, MR, 1, false>(simd, kc, a, b, nr, c);
                                    }
                                    (_, true) => {
                                        tile::<S, T, MR, 2, true>(simd, kc, packed, b, nr, c)
                                    }
                                    (_, false) => {
                                        tile::<S, T, MR, 1, true>(simd, kc, packed, b, nr, c)
                                    }
                                }
                                if !whole {
                                    let to = Target {
                                        ptr: to,
                                        accumulate,
                                        ..self.c
                                    };
                                    copy_edge(edge.as_ptr(), nr, to, height, width);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The rows of `a` for one block: packed, and where they can be read in place instead, the source;
/// then only the rows that fill no panel are packed.
#[inline(always)]
unsafe fn left_operand<T: Vector, const MR: usize>(
    a: Operand<T>,
    scratch: *mut T,
    (row, mc): (usize, usize),
    (step, kc): (usize, usize),
    cols: usize,
) -> (*const T, Option<Source<T>>) {
    // SAFETY: as for `with_simd`
    unsafe {
        match a {
            Operand::Packed(p) => (p.ptr.add(step * p.padded + (p.first + row) * kc), None),
            Operand::View(source) => {
                let from = source.from(row, step);
                let pages = (from.row * size_of::<T>()).is_multiple_of(4096);
                let rows = if pages { DIRECT_PAGES } else { DIRECT };
                let far = from.step * size_of::<T>() >= 4096;
                let columns = if far {
                    DIRECT_FAR_COLUMNS
                } else {
                    DIRECT_COLUMNS
                };
                let in_place =
                    (from.step == 1 && cols <= rows) || (from.row == 1 && cols <= columns);
                let first = if in_place { mc / MR * MR } else { 0 };
                if first < mc {
                    let rest = from.from(first, 0);
                    pack(scratch.add(first * kc), MR, rest, mc - first, kc);
                }
                (scratch, in_place.then_some(from))
            }
        }
    }
}

#[inline(always)]
unsafe fn copy_edge<T: Vector>(
    from: *const T,
    from_row: usize,
    to: Target<T>,
    height: usize,
    width: usize,
) {
    for i in 0..height {
        for j in 0..width {
            // SAFETY: height × width lies inside both
            unsafe {
                let (from, accumulate) = (*from.add(i * from_row + j), to.accumulate);
                let to = to.ptr.add(i * to.row + j);
                *to = if accumulate { *to + from } else { from };
            }
        }
    }
}

/// Packs some rows of an operand for all steps.
pub struct PackAll<T> {
    /// Start of the whole operand's panels.
    pub dst: *mut T,
    /// Number of rows rounded up to whole panels.
    pub padded: usize,
    /// The operand.
    pub source: Source<T>,
    /// Rows to pack, from a panel's border on.
    pub rows: Range<usize>,
    /// All steps.
    pub steps: usize,
    /// Height or width of the panels.
    pub width: usize,
}

impl<T: Vector> WithSimd for PackAll<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for step in (0..self.steps).step_by(STEPS) {
            let kc = STEPS.min(self.steps - step);
            // SAFETY: as for `Block`
            unsafe {
                let from = self.source.from(self.rows.start, step);
                let dst = self.dst.add(step * self.padded + self.rows.start * kc);
                pack(dst, self.width, from, self.rows.len(), kc);
            }
        }
    }
}
