//! Work on slices in parts with fixed borders: threads decide who runs a part, never where it ends.

use rayon::prelude::*;

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
