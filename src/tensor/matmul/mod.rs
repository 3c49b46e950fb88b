//! Matrix products on strided views, split into tasks by shape alone.
//!
//! The inner loop keeps a tile of 8 rows (6 where there are 16 registers) by two vectors in registers;
//! panels of both operands are packed so that it reads them in order, except where reading in place is
//! as fast. Members with a shared input need no common "wide" product: its panels are made once for all
//! of them, see [`pack_left`].

mod block;
pub(super) mod kernel;
mod left;
pub(super) mod pack;
mod product;
mod symmetric;
#[cfg(test)]
mod tests;
mod vector;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::scratch;
use block::{Operand, PackAll, Packed, panels};
use kernel::Target;
pub use left::{Left, pack_left, panels_len};
use pack::{Source, side_by_side};
use product::{Product, run};
pub use symmetric::gram;
pub use vector::Vector;

/// A matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Distance from one column to the next.
    pub col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix stored row by row.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self {
            data,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transposed matrix.
    pub fn transposed(self) -> Self {
        Self {
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn covers(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// A pointer that tasks may share because each uses its own part of what it points to.
#[derive(Debug)]
pub(super) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

// SAFETY: tasks use disjoint parts, see where it is made.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub(super) fn at(ptr: *mut T) -> Self {
        Self(ptr)
    }

    /// For tasks that only read.
    pub(super) fn new_const(ptr: *const T) -> Self {
        Self(ptr.cast_mut())
    }

    /// The same from a later number on, inside what it points to.
    pub(super) fn offset(self, by: usize) -> Self {
        Self(self.0.wrapping_add(by))
    }

    pub(super) fn ptr(self) -> *mut T {
        self.0
    }
}

/// Multiply-adds for which one more task is made.
const TASK: usize = 1 << 20;
/// Most tasks that one product is split into.
const MAX_TASKS: usize = 8;
/// Numbers in a part of [`matmul_parts`], which stay in the second-level cache.
const PART: usize = 1 << 15;

struct Panels<T>(std::marker::PhantomData<T>);

/// Height of the panels of left operands and width of those of right operands, on this machine.
fn panel_sizes<T: Vector>() -> (usize, usize) {
    Arch::new().dispatch(Panels::<T>(std::marker::PhantomData))
}

impl<T: Vector> WithSimd for Panels<T> {
    type Output = (usize, usize);
    fn with_simd<S: Simd>(self, _simd: S) -> (usize, usize) {
        panels::<S, T>()
    }
}

/// Where a product goes.
#[derive(Debug)]
pub struct Into<'a, T> {
    /// Row-major, `m` rows.
    pub data: &'a mut [T],
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Whether to add to what is there.
    pub accumulate: bool,
}

/// `c = alpha · a · b` with row-major `c [m, n]`, `a [m, k]` and `b [k, n]`.
///
/// # Panics
/// If a slice is too short for the given shape: callers check shapes first.
pub fn matmul<T: Vector>(
    c: &mut [T],
    shape: (usize, usize, usize),
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let c = Into {
        data: c,
        row_stride: shape.1,
        accumulate: false,
    };
    matmul_into(c, shape, alpha, a, b);
}

/// `c (+)= alpha · a · b` for `a [m, k]` and `b [k, n]`.
///
/// # Panics
/// If a slice is too short for the given shape: callers check shapes first.
pub fn matmul_into<'a, T: Vector>(
    c: Into<'_, T>,
    (m, n, k): (usize, usize, usize),
    alpha: T,
    a: impl std::convert::Into<Left<'a, T>>,
    b: Matrix<'_, T>,
) {
    let a = a.into();
    if m == 0 || n == 0 {
        return;
    }
    let fits = (m - 1) * c.row_stride + n <= c.data.len() && c.row_stride >= n.min(c.data.len());
    assert!(
        fits && a.covers(m, k) && b.covers(k, n),
        "matrix product ({m} × {k}) · ({k} × {n}) reaches outside its slices"
    );
    if k == 0 {
        if !c.accumulate {
            c.data
                .chunks_mut(c.row_stride)
                .take(m)
                .for_each(|row| row[..n].fill(T::default()));
        }
        return;
    }
    let product = Product {
        shape: (m, n, k),
        a: a.operand(m),
        b: source(b.transposed()),
        c: Shared::new(c.data),
        row: c.row_stride,
        alpha,
        accumulate: c.accumulate,
    };
    let tasks = tasks(m * n * k);
    if tasks == 1 {
        product.block(0..m, 0..n, 0..k);
    } else if sums_are_split((m, n, k)) {
        product.split_sum(tasks);
    } else {
        product.split_longer_side(tasks);
    }
}

/// The product `alpha · a · b` for `a [m, k]` and `b [k, n]`, handed over in parts and kept nowhere: calls
/// `then(first, rows)` with some whole rows of it, from row `first` on, for every part, from several
/// threads at the same time. The numbers are those of [`matmul`].
///
/// # Panics
/// As for [`matmul_into`].
pub fn matmul_parts<'a, T: Vector>(
    (m, n, k): (usize, usize, usize),
    alpha: T,
    a: impl std::convert::Into<Left<'a, T>>,
    b: Matrix<'_, T>,
    then: &(impl Fn(usize, &[T]) + Sync),
) {
    if m == 0 || n == 0 {
        return;
    }
    let a = a.into();
    let (mr, nr) = panel_sizes::<T>();
    let tasks = tasks(m * n * k);
    // whole lines of `a` where its columns lie side by side
    let unit = mr * side_by_side(mr);
    let rows = (PART / n)
        .clamp(1, m.div_ceil(tasks))
        .next_multiple_of(unit);
    if rows >= m || k == 0 || (tasks > 1 && sums_are_split((m, n, k))) {
        return scratch::with(m * n, |c: &mut [T]| {
            let into = Into {
                data: c,
                row_stride: n,
                accumulate: false,
            };
            matmul_into(into, (m, n, k), alpha, a, b);
            then(0, c);
        });
    }
    assert!(
        a.covers(m, k) && b.covers(k, n),
        "matrix product ({m} × {k}) · ({k} × {n}) reaches outside its slices"
    );
    let (a, shared) = (a.operand(m), source(b.transposed()));
    let padded = n.next_multiple_of(nr);
    scratch::with(padded * k, |packed: &mut [T]| {
        pack_all(shared, (n, k), nr, tasks, packed);
        let packed = Shared::new(packed);
        let part = |i: usize| {
            let first = i * rows;
            let packed = Operand::Packed(Packed {
                ptr: packed.ptr().cast_const(),
                padded,
                first: 0,
            });
            let count = rows.min(m - first);
            scratch::with(count * n, |c: &mut [T]| {
                let target = Target {
                    ptr: c.as_mut_ptr(),
                    row: n,
                    alpha,
                    accumulate: false,
                };
                // SAFETY: row `first` of the operand, whose size was checked
                let a = unsafe { a.starting_at(first) };
                run((0..count, 0..n, 0..k), a, packed, target);
                then(first, c);
            });
        };
        if tasks == 1 {
            (0..m.div_ceil(rows)).for_each(part);
        } else {
            (0..m.div_ceil(rows)).into_par_iter().for_each(part);
        }
    });
}

/// Tasks for so many multiply-adds.
fn tasks(multiply_adds: usize) -> usize {
    (multiply_adds / TASK).clamp(1, MAX_TASKS)
}

/// Whether a product that is split at all is split along the summed dimension.
fn sums_are_split((m, n, k): (usize, usize, usize)) -> bool {
    k >= 4 * m.max(n)
}

/// Packs a whole operand of `size` rows and steps for the tasks of a product.
fn pack_all<T: Vector>(
    source: Source<T>,
    (rows, steps): (usize, usize),
    width: usize,
    tasks: usize,
    packed: &mut [T],
) {
    let dst = Shared::new(packed);
    let part = rows.div_ceil(tasks).next_multiple_of(width);
    let one = |i: usize| {
        Arch::new().dispatch(PackAll {
            dst: dst.ptr(),
            padded: rows.next_multiple_of(width),
            source,
            rows: i * part..((i + 1) * part).min(rows),
            steps,
            width,
        });
    };
    if tasks == 1 {
        one(0);
    } else {
        (0..rows.div_ceil(part)).into_par_iter().for_each(one);
    }
}

fn source<T>(m: Matrix<'_, T>) -> Source<T> {
    Source {
        ptr: m.data.as_ptr(),
        row: m.row_stride,
        step: m.col_stride,
    }
}
