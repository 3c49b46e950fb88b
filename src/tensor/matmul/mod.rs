//! Matrix products on strided views, split into tasks by shape alone.
//!
//! The inner loop keeps a tile of 8 rows (6 where there are 16 registers) by two vectors in registers; panels of both operands are
//! packed so that it reads them in order, except where reading in place is as fast. That is also
//! why members with a shared input need no common "wide" product: their input is not copied at all.

mod block;
pub(super) mod kernel;
pub(super) mod pack;
mod symmetric;
mod vector;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::scratch;
use block::{Block, Operand, PackAll, Packed, STEPS, panels, scratch_len};
use kernel::Target;
use pack::{Source, side_by_side};
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
pub fn matmul_into<T: Vector>(
    c: Into<'_, T>,
    (m, n, k): (usize, usize, usize),
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
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
        a: source(a),
        b: source(b.transposed()),
        c: Shared::new(c.data),
        row: c.row_stride,
        alpha,
        accumulate: c.accumulate,
    };
    let tasks = (m * n * k / TASK).clamp(1, MAX_TASKS);
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
pub fn matmul_parts<T: Vector>(
    (m, n, k): (usize, usize, usize),
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    then: &(impl Fn(usize, &[T]) + Sync),
) {
    if m == 0 || n == 0 {
        return;
    }
    let (mr, nr) = panel_sizes::<T>();
    let tasks = (m * n * k / TASK).clamp(1, MAX_TASKS);
    // whole lines of `a` where its columns lie side by side
    let unit = mr * side_by_side(mr);
    let rows = (PART / n)
        .clamp(1, m.div_ceil(tasks))
        .next_multiple_of(unit);
    if rows >= m || k == 0 || (tasks > 1 && sums_are_split((m, n, k))) {
        return scratch::with(m * n, |c: &mut [T]| {
            matmul(c, (m, n, k), alpha, a, b);
            then(0, c);
        });
    }
    assert!(
        a.covers(m, k) && b.covers(k, n),
        "matrix product ({m} × {k}) · ({k} × {n}) reaches outside its slices"
    );
    let (a, shared) = (source(a), source(b.transposed()));
    let padded = n.next_multiple_of(nr);
    scratch::with(padded * k, |packed: &mut [T]| {
        pack_all(shared, (n, k), nr, tasks, packed);
        let packed = Shared::new(packed);
        let part = |i: usize| {
            let first = i * rows;
            let packed = Operand::Packed(Packed {
                ptr: packed.ptr().cast_const(),
                padded,
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
                let a = Operand::View(unsafe { a.from(first, 0) });
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

/// A product whose addresses have been checked.
struct Product<T> {
    shape: (usize, usize, usize),
    a: Source<T>,
    b: Source<T>,
    c: Shared<T>,
    row: usize,
    alpha: T,
    accumulate: bool,
}

impl<T: Vector> Product<T> {
    fn target(&self) -> Target<T> {
        Target {
            ptr: self.c.ptr(),
            row: self.row,
            alpha: self.alpha,
            accumulate: self.accumulate,
        }
    }

    fn block(&self, rows: Range<usize>, cols: Range<usize>, steps: Range<usize>) {
        let (a, b) = (Operand::View(self.a), Operand::View(self.b));
        run((rows, cols, steps), a, b, self.target());
    }

    /// Each task sums over some of the steps; the partial sums are added in order.
    fn split_sum(&self, tasks: usize) {
        let (m, n, k) = self.shape;
        let per = k.div_ceil(STEPS).div_ceil(tasks) * STEPS;
        let tasks = k.div_ceil(per);
        scratch::with((tasks - 1) * m * n, |parts: &mut [T]| {
            let others = Shared::new(parts);
            (0..tasks).into_par_iter().for_each(|task| {
                let c = match task.checked_sub(1) {
                    None => self.target(),
                    Some(part) => Target {
                        // SAFETY: task after task has its own m × n numbers
                        ptr: unsafe { others.ptr().add(part * m * n) },
                        row: n,
                        alpha: self.alpha,
                        accumulate: false,
                    },
                };
                let steps = task * per..((task + 1) * per).min(k);
                let (a, b) = (Operand::View(self.a), Operand::View(self.b));
                run((0..m, 0..n, steps), a, b, c);
            });
            for part in parts.chunks_exact(m * n) {
                for (i, from) in part.chunks_exact(n).enumerate() {
                    // SAFETY: row i of the destination; the tasks are done
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(self.c.ptr().add(i * self.row), n)
                    };
                    to.iter_mut()
                        .zip(from)
                        .for_each(|(to, &from)| *to = *to + from);
                }
            }
        });
    }

    /// Each task computes some rows, or some columns, whichever are more. The operand that all tasks
    /// read is packed once before.
    fn split_longer_side(&self, tasks: usize) {
        let (m, n, k) = self.shape;
        let (mr, nr) = panel_sizes::<T>();
        let by_cols = n >= m;
        let (shared, short, width) = if by_cols {
            (self.a, m, mr)
        } else {
            (self.b, n, nr)
        };
        let (long, unit) = if by_cols { (n, nr) } else { (m, mr) };
        let size = long.div_ceil(tasks).next_multiple_of(unit);
        let padded = short.next_multiple_of(width);
        scratch::with(padded * k, |packed: &mut [T]| {
            pack_all(shared, (short, k), width, tasks, packed);
            let dst = Shared::new(packed);
            (0..long.div_ceil(size)).into_par_iter().for_each(|task| {
                let range = task * size..((task + 1) * size).min(long);
                let packed = Operand::Packed(Packed {
                    ptr: dst.ptr().cast_const(),
                    padded,
                });
                if by_cols {
                    let b = Operand::View(self.b);
                    run((0..m, range, 0..k), packed, b, self.target());
                } else {
                    let a = Operand::View(self.a);
                    run((range, 0..n, 0..k), a, packed, self.target());
                }
            });
        });
    }
}

fn run<T: Vector>(
    (rows, cols, steps): (Range<usize>, Range<usize>, Range<usize>),
    a: Operand<T>,
    b: Operand<T>,
    c: Target<T>,
) {
    let len = scratch_len(rows.len(), cols.len(), steps.len());
    scratch::with(len, |scratch: &mut [T]| {
        Arch::new().dispatch(Block {
            rows,
            cols,
            steps,
            a,
            b,
            c,
            scratch,
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::rng::Key;
    use proptest::prelude::*;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    fn check(m: usize, n: usize, k: usize, ta: bool, tb: bool, pad: usize, accumulate: bool) {
        let (a, b) = (numbers(1, m * k), numbers(2, k * n));
        let view = |data, rows, cols, transposed: bool| {
            if transposed {
                Matrix::row_major(data, rows).transposed()
            } else {
                Matrix::row_major(data, cols)
            }
        };
        let (va, vb) = (view(&a, m, k, ta), view(&b, k, n, tb));
        let before = numbers(3, m * (n + pad));
        let mut c = before.clone();
        let into = Into {
            data: &mut c,
            row_stride: n + pad,
            accumulate,
        };
        matmul_into(into, (m, n, k), 0.5, va, vb);
        let at =
            |v: &Matrix<'_, f64>, i: usize, j: usize| v.data[i * v.row_stride + j * v.col_stride];
        for i in 0..m {
            for j in 0..n + pad {
                let place = i * (n + pad) + j;
                let sum: f64 = (0..k)
                    .map(|p| {
                        if j < n {
                            at(&va, i, p) * at(&vb, p, j)
                        } else {
                            0.0
                        }
                    })
                    .sum();
                let kept = accumulate || j >= n;
                let wanted = 0.5 * sum + if kept { before[place] } else { 0.0 };
                assert!(
                    (c[place] - wanted).abs() < 1e-10,
                    "{m} × {n} × {k} {ta} {tb}: ({i}, {j}) {} {wanted}",
                    c[place]
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_definition(
            m in 0usize..40, n in 0usize..40, k in 0usize..40, ta in any::<bool>(), tb in any::<bool>(),
            pad in 0usize..3, accumulate in any::<bool>(),
        ) {
            check(m, n, k, ta, tb, pad, accumulate);
        }
    }

    #[test]
    fn agrees_with_the_definition_where_it_is_split() {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            check(33, 50, 2100, ta, tb, 1, true);
            check(300, 270, 41, ta, tb, 0, false);
            check(75, 300, 300, ta, tb, 2, false);
            check(513, 65, 70, ta, tb, 0, true);
        }
    }

    #[test]
    fn single_precision_agrees_with_double() {
        for (m, n, k) in [
            (128, 64, 700),
            (300, 300, 90),
            (9, 1000, 300),
            (100, 10, 64),
            (31, 47, 17),
        ] {
            let (a, b) = (numbers(1, m * k), numbers(2, k * n));
            let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let (sa, sb) = (single(&a), single(&b));
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let (mut c, mut sc) = (vec![0.0; m * n], vec![0f32; m * n]);
                macro_rules! views {
                    ($a:expr, $b:expr) => {
                        (
                            if ta {
                                Matrix::row_major($a, m).transposed()
                            } else {
                                Matrix::row_major($a, k)
                            },
                            if tb {
                                Matrix::row_major($b, k).transposed()
                            } else {
                                Matrix::row_major($b, n)
                            },
                        )
                    };
                }
                let (va, vb) = views!(&a, &b);
                matmul(&mut c, (m, n, k), 1.0, va, vb);
                let (va, vb) = views!(&sa, &sb);
                matmul(&mut sc, (m, n, k), 1.0, va, vb);
                for (x, y) in c.iter().zip(&sc) {
                    assert!(
                        (x - f64::from(*y)).abs() < 1e-4 * (k as f64).sqrt(),
                        "{m} {n} {k} {x} {y}"
                    );
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        for (m, n, k) in [(128, 300, 257), (40, 30, 4000), (700, 64, 128)] {
            let a: Vec<f32> = numbers(1, m * k).iter().map(|&x| x as f32).collect();
            let b: Vec<f32> = numbers(2, k * n).iter().map(|&x| x as f32).collect();
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let mut c = vec![0f32; m * n];
                let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
                pool.install(|| matmul(&mut c, (m, n, k), 1.0, a, b));
                c
            };
            assert_eq!(run(1), run(3));
        }
    }
}
