//! Work on slices in parts with fixed borders: threads decide who runs a part, never where it ends.

use rayon::prelude::*;

/// Work on fewer numbers than this runs on the calling thread.
pub const PARALLEL: usize = 1 << 16;

/// Numbers per part of elementwise work.
pub const CHUNK: usize = 1 << 14;

/// Runs `work(start, part)` on parts of `y`, in parallel if there is much of it.
pub fn chunks<T: Send>(y: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    if y.len() < PARALLEL {
        work(0, y);
    } else {
        y.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(i, part)| work(i * CHUNK, part));
    }
}
