//! How a product is split into tasks.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::block::{Block, Operand, Packed, STEPS, scratch_len};
use super::kernel::Target;
use super::pack::Source;
use super::{Shared, Vector, pack_all, panel_sizes};
use crate::tensor::scratch;

/// A product whose addresses have been checked.
pub struct Product<T> {
    /// Rows, columns, steps.
    pub shape: (usize, usize, usize),
    /// The left operand.
    pub a: Operand<T>,
    /// The right operand, its columns as the source's rows.
    pub b: Source<T>,
    /// The destination.
    pub c: Shared<T>,
    /// Distance between its rows.
    pub row: usize,
    /// Factor of the product.
    pub alpha: T,
    /// Whether to add to what is there.
    pub accumulate: bool,
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

    /// All of it, or a part, as one task.
    pub fn block(&self, rows: Range<usize>, cols: Range<usize>, steps: Range<usize>) {
        let (a, b) = (self.a, Operand::View(self.b));
        run((rows, cols, steps), a, b, self.target());
    }

    /// Each task sums over some of the steps; the partial sums are added in order.
    pub fn split_sum(&self, tasks: usize) {
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
                let (a, b) = (self.a, Operand::View(self.b));
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
    /// read is packed once before, if it is not packed yet.
    pub fn split_longer_side(&self, tasks: usize) {
        let (m, n, k) = self.shape;
        let (mr, nr) = panel_sizes::<T>();
        let by_cols = n >= m;
        let (long, unit) = if by_cols { (n, nr) } else { (m, mr) };
        let size = long.div_ceil(tasks).next_multiple_of(unit);
        let all = |a: Operand<T>, b: Operand<T>| {
            (0..long.div_ceil(size)).into_par_iter().for_each(|task| {
                let range = task * size..((task + 1) * size).min(long);
                let (rows, cols) = if by_cols {
                    (0..m, range)
                } else {
                    (range, 0..n)
                };
                run((rows, cols, 0..k), a, b, self.target());
            });
        };
        let (shared, short, width) = match (self.a, by_cols) {
            (Operand::View(a), true) => (a, m, mr),
            (Operand::Packed(_), true) => return all(self.a, Operand::View(self.b)),
            (_, false) => (self.b, n, nr),
        };
        let padded = short.next_multiple_of(width);
        scratch::with(padded * k, |packed: &mut [T]| {
            pack_all(shared, (short, k), width, tasks, packed);
            let packed = Operand::Packed(Packed {
                ptr: packed.as_ptr(),
                padded,
                first: 0,
            });
            if by_cols {
                all(packed, Operand::View(self.b));
            } else {
                all(self.a, packed);
            }
        });
    }
}

/// One task: some rows, columns and steps.
pub fn run<T: Vector>(
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
