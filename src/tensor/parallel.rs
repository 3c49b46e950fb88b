//! Work on slices in parts with fixed borders: threads decide who runs a part, never where it ends.

use std::ops::Range;

use rayon::prelude::*;

use super::elem::Elem;
use super::scratch;

/// Work on fewer numbers than this runs on the calling thread.
pub const PARALLEL: usize = 1 << 16;

/// Numbers per part of elementwise work.
pub const CHUNK: usize = 1 << 14;

/// Numbers of `y` in front of the first whole cache line. Where memory is the limit, work that
/// starts at a line is a third faster than work whose vectors straddle lines.
pub fn before_line<T>(y: &[T]) -> usize {
    y.as_ptr().align_offset(64).min(y.len())
}

/// Runs `work(start, part)` on parts of `y`, in parallel if there is much of it. For elementwise
/// work only: where parts begin depends on where `y` lies.
pub fn chunks<T: Send>(y: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    if y.len() < PARALLEL {
        return work(0, y);
    }
    let start = before_line(y);
    let (head, body) = y.split_at_mut(start);
    work(0, head);
    body.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(i, part)| work(start + i * CHUNK, part));
}

/// Runs `work(start, part)` on parts of `y [rows, width]` that are whole rows, in parallel if there
/// is much of it.
pub fn row_blocks<T: Send>(y: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if width == 0 || y.is_empty() {
        return;
    }
    if y.len() < PARALLEL {
        return work(0, y);
    }
    let size = (CHUNK / width).max(1) * width;
    let parts = y.par_chunks_mut(size).enumerate();
    parts.for_each(|(i, part)| work(i * size, part));
}

/// The sum of `part(start, numbers of y)` over parts of `size` of `n` numbers, added in order, in
/// parallel if there is much of it; `y`, of length `n`, may be missing.
pub fn sum_of_parts<T: Send>(
    n: usize,
    size: usize,
    y: Option<&mut [T]>,
    part: impl Fn(Range<usize>, Option<&mut [T]>) -> f64 + Sync,
) -> f64 {
    let size = size.max(1);
    let range = |i: usize| i * size..((i + 1) * size).min(n);
    match y {
        Some(y) if n >= PARALLEL => {
            let parts = y.par_chunks_mut(size).enumerate();
            let sums: Vec<f64> = parts.map(|(i, y)| part(range(i), Some(y))).collect();
            sums.into_iter().sum()
        }
        None if n >= PARALLEL => {
            let parts = (0..n.div_ceil(size)).into_par_iter();
            let sums: Vec<f64> = parts.map(|i| part(range(i), None)).collect();
            sums.into_iter().sum()
        }
        Some(y) => {
            let parts = y.chunks_mut(size).enumerate();
            parts.map(|(i, y)| part(range(i), Some(y))).sum()
        }
        None => (0..n.div_ceil(size)).map(|i| part(range(i), None)).sum(),
    }
}

/// Runs `work(rows, part of y, sums)` on blocks of the rows of `y [rows, width]`, which may be
/// missing, in parallel if there is much of it; every block has `count` sums of its own that start
/// at 0. Then hands the sums of every block, in order, to `add`.
pub fn sum_of_blocks<T: Elem>(
    (rows, width): (usize, usize),
    y: Option<&mut [T]>,
    count: usize,
    work: impl Fn(Range<usize>, Option<&mut [T]>, &mut [T]) + Sync,
    mut add: impl FnMut(&[T]),
) {
    if rows == 0 || width == 0 || count == 0 {
        return;
    }
    // sums are to be few in comparison with what is summed
    let size = (CHUNK / width).max(16);
    let blocks = Blocks {
        rows,
        size,
        width,
        count,
        parallel: rows * width >= PARALLEL,
        work: &work,
    };
    scratch::with(rows.div_ceil(size) * count, |sums: &mut [T]| {
        sums.fill(T::zero());
        blocks.run(0, y, sums);
        sums.chunks_exact(count).for_each(&mut add);
    });
}

/// What all blocks of rows have in common.
struct Blocks<'a, W> {
    rows: usize,
    size: usize,
    width: usize,
    count: usize,
    parallel: bool,
    work: &'a W,
}

impl<W> Blocks<'_, W> {
    /// Runs the blocks from `first` on that `sums` belong to.
    fn run<T: Elem>(&self, first: usize, y: Option<&mut [T]>, sums: &mut [T])
    where
        W: Fn(Range<usize>, Option<&mut [T]>, &mut [T]) + Sync,
    {
        let count = sums.len() / self.count;
        let start = first * self.size;
        if count < 2 {
            let end = (start + self.size).min(self.rows);
            return (self.work)(start..end, y, sums);
        }
        let (left_sums, right_sums) = sums.split_at_mut(count / 2 * self.count);
        let (left, right) = match y {
            Some(y) => {
                let (left, right) = y.split_at_mut(count / 2 * self.size * self.width);
                (Some(left), Some(right))
            }
            None => (None, None),
        };
        let left = || self.run(first, left, left_sums);
        let right = || self.run(first + count / 2, right, right_sums);
        if self.parallel {
            rayon::join(left, right);
        } else {
            left();
            right();
        }
    }
}
