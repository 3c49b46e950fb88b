//! Derivatives of both passes in a direction, for Hessian–vector products.
//!
//! With scores s, probabilities p and output gradient g, a dot for the derivative in the direction:
//! ṗ = p ∘ (ṡ − Σ p ṡ), ẏ = ṗ v + p v̇. The backward pass is h = g vᵀ, δ = Σ p h, e = p ∘ (h − δ) and
//! the gradients e k, eᵀ q, pᵀ g; its derivative follows from the product rule. These passes are rare,
//! so they are made of plain products over strips of queries with all keys.

use super::{Destination, Heads, RowsMut, Sizes, Was, each};
use crate::tensor::elem::Elem;
use crate::tensor::math::exp;
use crate::tensor::matmul::{Into, Matrix, matmul_into};
use crate::tensor::scratch;
use crate::tensor::simd::simd;

/// Queries of a strip.
const STRIP: usize = 64;

/// Queries, keys, values of one example and head, or their tangents or gradients, `[positions, size]`
/// each.
#[derive(Clone, Copy)]
struct Parts<'a, T>([Matrix<'a, T>; 3]);

impl<'a, T: Elem> Parts<'a, T> {
    fn new(s: &Sizes, heads: [Heads<'a, T>; 3], pair: usize) -> Self {
        Self(heads.map(|h| matrix(s, h, pair)))
    }
}

fn matrix<'a, T: Elem>(s: &Sizes, heads: Heads<'a, T>, pair: usize) -> Matrix<'a, T> {
    Matrix::row_major(&heads.data[heads.start(s, pair)..], heads.position)
}

/// The rows of a matrix from `first` on.
fn from<T>(m: Matrix<'_, T>, first: usize) -> Matrix<'_, T> {
    Matrix {
        data: &m.data[first * m.row_stride..],
        ..m
    }
}

/// `c (+)= factor · a · b` for contiguous `c [m, n]`.
fn product<T: Elem>(
    c: &mut [T],
    (m, n, k): (usize, usize, usize),
    factor: T,
    (a, b): (Matrix<'_, T>, Matrix<'_, T>),
    accumulate: bool,
) {
    let into = Into {
        data: c,
        row_stride: n,
        accumulate,
    };
    matmul_into(into, (m, n, k), factor, a, b);
}

/// Some queries of one example and head.
#[derive(Clone, Copy)]
struct Strip {
    first: usize,
    queries: usize,
    /// Keys that any of them sees.
    keys: usize,
}

impl Strip {
    fn all(s: &Sizes) -> impl Iterator<Item = Self> {
        let s = *s;
        (0..s.positions).step_by(STRIP).map(move |first| {
            let queries = STRIP.min(s.positions - first);
            let end = first + queries;
            Self {
                first,
                queries,
                keys: if s.causal { end } else { s.positions },
            }
        })
    }

    fn shape(self, k: usize) -> (usize, usize, usize) {
        (self.queries, self.keys, k)
    }

    /// Probabilities and the tangents of the scores, both `[queries, keys]`.
    fn scores<T: Elem>(
        self,
        s: &Sizes,
        (x, dx): (Parts<'_, T>, Parts<'_, T>),
        logs: &[T],
        [p, ds]: [&mut [T]; 2],
    ) {
        let scale = T::of(s.scale);
        let shape = self.shape(s.head_size);
        let ([q, k, _], [dq, dk, _]) = (x.0, dx.0);
        let [q, dq] = [q, dq].map(|m| from(m, self.first));
        product(p, shape, scale, (q, k.transposed()), false);
        product(ds, shape, scale, (dq, k.transposed()), false);
        product(ds, shape, scale, (q, dk.transposed()), true);
        for (i, p) in p.chunks_exact_mut(self.keys).enumerate() {
            let query = self.first + i;
            if s.causal {
                p[query + 1..].fill(T::neg_infinity());
            }
            simd(
                #[inline(always)]
                || p.iter_mut().for_each(|p| *p = exp(*p - logs[query])),
            );
        }
        for (p, ds) in p
            .chunks_exact(self.keys)
            .zip(ds.chunks_exact_mut(self.keys))
        {
            slope(p, ds);
        }
    }
}

/// `x = p (x − Σ p x)`.
fn slope<T: Elem>(p: &[T], x: &mut [T]) {
    let mean = sum_of_products(p, x);
    for (x, &p) in x.iter_mut().zip(p) {
        *x = p * (*x - mean);
    }
}

fn sum_of_products<T: Elem>(x: &[T], y: &[T]) -> T {
    x.iter().zip(y).map(|(&x, &y)| x * y).sum()
}

/// The tangent of [`super::forward`]: writes `dy` for the tangents `dx` of queries, keys and values.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn tangent<T: Elem>(
    s: Sizes,
    x: [Heads<'_, T>; 3],
    dx: [Heads<'_, T>; 3],
    saved: &[T],
    dy: &mut [T],
) {
    if s.numbers() == 0 {
        return;
    }
    let dy = Destination::new(&s, dy, 1);
    each(s.pairs(), s.work(), |pair| {
        let (x, dx) = (Parts::new(&s, x, pair), Parts::new(&s, dx, pair));
        let logs = &saved[pair * s.positions..][..s.positions];
        let (block, size) = (STRIP * s.positions, s.head_size);
        scratch::with(2 * block + STRIP * size, |scratch: &mut [T]| {
            let (p, rest) = scratch.split_at_mut(block);
            let (dp, y) = rest.split_at_mut(block);
            for strip in Strip::all(&s) {
                let scores = strip.queries * strip.keys;
                let (p, dp) = (&mut p[..scores], &mut dp[..scores]);
                strip.scores(&s, (x, dx), logs, [&mut *p, &mut *dp]);
                let shape = (strip.queries, size, strip.keys);
                let [p, dp] = [&*p, &*dp].map(|m| Matrix::row_major(m, strip.keys));
                product(y, shape, T::of(1.0), (dp, x.0[2]), false);
                product(y, shape, T::of(1.0), (p, dx.0[2]), true);
                write(dy.rows(&s, pair, 0), (strip.first, strip.queries), y, size);
            }
        });
    });
}

/// The tangent of [`super::backward`]: for the tangents `dx` of queries, keys and values and `dgy` of
/// the output's gradient, writes those of the gradients of queries, keys and values side by side.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn backward_tangent<T: Elem>(
    s: Sizes,
    x: [Heads<'_, T>; 3],
    dx: [Heads<'_, T>; 3],
    was: Was<'_, T>,
    dgy: &[T],
    dgx: &mut [T],
) {
    if s.numbers() == 0 {
        return;
    }
    let to = Destination::new(&s, dgx, 3);
    let [g, dg] = [was.gy, dgy].map(|data| Heads::part(&s, data, 0, 1));
    each(s.pairs(), s.work(), |pair| {
        let (block, size) = (STRIP * s.positions, s.head_size);
        let rows = s.positions * size;
        scratch::with(
            4 * block + 2 * rows + STRIP * size,
            |scratch: &mut [T]| {
                let work = PairBackward {
                    s: &s,
                    x: Parts::new(&s, x, pair),
                    dx: Parts::new(&s, dx, pair),
                    g: matrix(&s, g, pair),
                    dg: matrix(&s, dg, pair),
                    logs: &was.saved[pair * s.positions..][..s.positions],
                };
                work.run(scratch, [0, 1, 2].map(|part| to.rows(&s, pair, part)));
            },
        );
    });
}

struct PairBackward<'a, T> {
    s: &'a Sizes,
    x: Parts<'a, T>,
    dx: Parts<'a, T>,
    g: Matrix<'a, T>,
    dg: Matrix<'a, T>,
    logs: &'a [T],
}

impl<T: Elem> PairBackward<'_, T> {
    fn run(&self, scratch: &mut [T], to: [RowsMut<T>; 3]) {
        let (s, size) = (self.s, self.s.head_size);
        let (rows, block) = (s.positions * size, STRIP * s.positions);
        let (dgk, rest) = scratch.split_at_mut(rows);
        let (dgv, rest) = rest.split_at_mut(rows);
        let (dgq, blocks) = rest.split_at_mut(STRIP * size);
        dgk.fill(T::of(0.0));
        dgv.fill(T::of(0.0));
        let ([q, k, v], [dq, dk, dv]) = (self.x.0, self.dx.0);
        let (one, scale) = (T::of(1.0), T::of(s.scale));
        for strip in Strip::all(s) {
            let Strip {
                first,
                queries,
                keys,
            } = strip;
            let mut parts = blocks
                .chunks_exact_mut(block)
                .map(|b| &mut b[..queries * keys]);
            let (Some(p), Some(dp), Some(h), Some(dh)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return;
            };
            strip.scores(s, (self.x, self.dx), self.logs, [&mut *p, &mut *dp]);
            let [q, dq, g, dg] = [q, dq, self.g, self.dg].map(|m| from(m, first));
            let shape = strip.shape(size);
            product(h, shape, one, (g, v.transposed()), false);
            product(dh, shape, one, (dg, v.transposed()), false);
            product(dh, shape, one, (g, dv.transposed()), true);
            let scores = p.chunks_exact(keys).zip(dp.chunks_exact(keys));
            let gradients = h.chunks_exact_mut(keys).zip(dh.chunks_exact_mut(keys));
            for ((p, dp), (h, dh)) in scores.zip(gradients) {
                let delta = sum_of_products(p, h);
                let ddelta = sum_of_products(dp, h) + sum_of_products(p, dh);
                for (((&p, &dp), h), dh) in p.iter().zip(dp).zip(h).zip(dh) {
                    *dh = dp * (*h - delta) + p * (*dh - ddelta);
                    *h = p * (*h - delta);
                }
            }
            let [p, dp, e, de] = [&*p, &*dp, &*h, &*dh].map(|m| Matrix::row_major(m, keys));
            let shape = (queries, size, keys);
            product(dgq, shape, scale, (de, k), false);
            product(dgq, shape, scale, (e, dk), true);
            write(to[0], (first, queries), dgq, size);
            let shape = (keys, size, queries);
            product(dgk, shape, scale, (de.transposed(), q), true);
            product(dgk, shape, scale, (e.transposed(), dq), true);
            product(dgv, shape, one, (dp.transposed(), g), true);
            product(dgv, shape, one, (p.transposed(), dg), true);
        }
        write(to[1], (0, s.positions), dgk, size);
        write(to[2], (0, s.positions), dgv, size);
    }
}

/// Writes `from [count, size]` to rows of a destination.
fn write<T: Elem>(to: RowsMut<T>, (first, count): (usize, usize), from: &[T], size: usize) {
    for (i, from) in from.chunks_exact(size).take(count).enumerate() {
        // SAFETY: inside the destination; other tasks write other rows
        let to =
            unsafe { std::slice::from_raw_parts_mut(to.ptr.add((first + i) * to.stride), size) };
        to.copy_from_slice(from);
    }
}
