//! Attention of queries over keys, per example and head, without the matrix of all scores.
//!
//! The forward pass takes strips of queries against blocks of keys, and keeps for each query the
//! running maximum and sum of its scores (*FlashAttention*, arXiv 2205.14135); the backward pass
//! computes the probabilities again from the log of that sum. Products run on register tiles; under
//! the causal mask tiles above the diagonal are left out.

mod backward;
mod forward;
mod probabilities;
mod strip;
mod tangent;
#[cfg(test)]
mod tests;

use pulp::Arch;
use rayon::prelude::*;

use super::elem::Elem;
use super::matmul::Shared;
use super::scratch;
pub use probabilities::probabilities;
pub use tangent::{backward_tangent, tangent};

/// Sizes and settings of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Examples.
    pub batch: usize,
    /// Positions of each example.
    pub positions: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of each head.
    pub head_size: usize,
    /// Whether a position sees only itself and those before it.
    pub causal: bool,
    /// Factor of the products of queries and keys.
    pub scale: f64,
}

impl Sizes {
    /// Numbers of one of queries, keys, values and output.
    pub fn numbers(&self) -> usize {
        self.batch * self.positions * self.heads * self.head_size
    }

    /// Numbers that the forward pass saves: one per example, head and position.
    pub fn saved(&self) -> usize {
        self.batch * self.heads * self.positions
    }

    fn pairs(&self) -> usize {
        self.batch * self.heads
    }

    /// Multiply-adds of one product of scores.
    fn work(&self) -> usize {
        self.numbers() * self.positions
    }
}

/// Queries, keys or values (or gradients) in a slice: channel `c` of head `h` at position `t` of
/// example `i` is at `offset + i · example + t · position + h · head + c`.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// The first number.
    pub offset: usize,
    /// From one example to the next.
    pub example: usize,
    /// From one position to the next.
    pub position: usize,
    /// From one head to the next.
    pub head: usize,
}

impl<'a, T> Heads<'a, T> {
    /// Part `i` of `parts` that lie side by side: `data [batch, positions, parts · heads · head_size]`.
    pub fn part(s: &Sizes, data: &'a [T], i: usize, parts: usize) -> Self {
        let width = s.heads * s.head_size;
        Self {
            data,
            offset: i * width,
            example: s.positions * parts * width,
            position: parts * width,
            head: s.head_size,
        }
    }

    /// Queries, keys and values that lie side by side, `[batch, positions, 3 · heads · head_size]`.
    pub fn fused(s: &Sizes, data: &'a [T]) -> [Self; 3] {
        [0, 1, 2].map(|i| Self::part(s, data, i, 3))
    }

    fn start(&self, s: &Sizes, pair: usize) -> usize {
        self.offset + pair / s.heads * self.example + pair % s.heads * self.head
    }

    /// The rows of one example and head.
    ///
    /// # Panics
    /// If they reach outside the slice.
    fn rows(&self, s: &Sizes, pair: usize) -> Rows<T> {
        let start = self.start(s, pair);
        let last = (s.positions - 1) * self.position + s.head_size;
        assert!(
            start + last <= self.data.len(),
            "attention: {s:?} reaches outside its slices"
        );
        Rows {
            // SAFETY: inside the slice, as checked
            ptr: unsafe { self.data.as_ptr().add(start) },
            stride: self.position,
        }
    }
}

/// The rows of one example and head, `[positions, head_size]`.
#[derive(Debug, Clone, Copy)]
struct Rows<T> {
    ptr: *const T,
    stride: usize,
}

/// Where the rows of one example and head are written to.
#[derive(Debug, Clone, Copy)]
struct RowsMut<T> {
    ptr: *mut T,
    stride: usize,
}

/// A slice `[batch, positions, parts · heads · head_size]` that tasks write the rows of different
/// examples and heads of.
struct Destination<T> {
    data: Shared<T>,
    parts: usize,
}

impl<T> Destination<T> {
    fn new(s: &Sizes, data: &mut [T], parts: usize) -> Self {
        assert!(
            data.len() >= parts * s.numbers(),
            "attention: {s:?} reaches outside its slices"
        );
        Self {
            data: Shared::new(data),
            parts,
        }
    }

    fn rows(&self, s: &Sizes, pair: usize, part: usize) -> RowsMut<T> {
        let at = Heads::<T>::part(s, &[], part, self.parts);
        RowsMut {
            // SAFETY: inside the slice, as checked by `new`
            ptr: unsafe { self.data.ptr().add(at.start(s, pair)) },
            stride: at.position,
        }
    }
}

/// Queries of one task of the forward pass: keys and values are packed once for them.
const QUERIES: usize = 256;
/// Below so many multiply-adds the work stays on the calling thread.
const PARALLEL: usize = 1 << 19;

/// Runs `task` for 0..count, in parallel if there is enough work.
fn each(count: usize, work: usize, task: impl Fn(usize) + Sync + Send) {
    if count <= 1 || work < PARALLEL {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// `y = softmax(scale · q kᵀ) v` for each example and head; `y [batch, positions, heads · head_size]`.
/// `saved [batch, heads, positions]` receives the log of the sum of the exponentials of each
/// query's scores.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn forward<T: Elem>(s: Sizes, [q, k, v]: [Heads<'_, T>; 3], y: &mut [T], saved: &mut [T]) {
    if s.numbers() == 0 {
        return;
    }
    assert!(saved.len() >= s.saved(), "attention: {s:?} needs more room");
    let y = Destination::new(&s, y, 1);
    let logs = Shared::new(saved);
    let chunks = s.positions.div_ceil(QUERIES);
    each(s.pairs() * chunks, s.work(), |task| {
        let (pair, chunk) = (task / chunks, task % chunks);
        let queries = chunk * QUERIES..((chunk + 1) * QUERIES).min(s.positions);
        scratch::with(forward::scratch_len(&s), |scratch: &mut [T]| {
            Arch::new().dispatch(forward::Forward {
                s: &s,
                queries,
                q: q.rows(&s, pair),
                k: k.rows(&s, pair),
                v: v.rows(&s, pair),
                y: y.rows(&s, pair, 0),
                // SAFETY: this pair's part
                logs: unsafe { logs.ptr().add(pair * s.positions) },
                scratch,
            });
        });
    });
}

/// What the forward pass left, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Was<'a, T> {
    /// The output, `[batch, positions, heads · head_size]`.
    pub y: &'a [T],
    /// As [`forward`] left it.
    pub saved: &'a [T],
    /// The gradient of the output.
    pub gy: &'a [T],
}

/// From the gradient of the output, writes those of queries, keys and values side by side: `gx
/// [batch, positions, 3 · heads · head_size]`.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn backward<T: Elem>(s: Sizes, [q, k, v]: [Heads<'_, T>; 3], was: Was<'_, T>, gx: &mut [T]) {
    if s.numbers() == 0 {
        return;
    }
    assert!(
        was.saved.len() >= s.saved(),
        "attention: {s:?} needs more room"
    );
    let [y, gy] = [was.y, was.gy].map(|data| Heads::part(&s, data, 0, 1));
    let gx = Destination::new(&s, gx, 3);
    each(s.pairs(), s.work(), |pair| {
        scratch::with(backward::scratch_len(&s), |scratch: &mut [T]| {
            Arch::new().dispatch(backward::Backward {
                s: &s,
                q: q.rows(&s, pair),
                k: k.rows(&s, pair),
                v: v.rows(&s, pair),
                y: y.rows(&s, pair),
                gy: gy.rows(&s, pair),
                logs: &was.saved[pair * s.positions..][..s.positions],
                gradients: [0, 1, 2].map(|part| gx.rows(&s, pair, part)),
                scratch,
            });
        });
    });
}
