//! Muon: momentum, orthogonalised by Newton and Schulz's iteration.

use super::lion::average;
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::copy_scaled;
use crate::tensor::matmul::{Into, Matrix, matmul, matmul_into};
use crate::tensor::parallel::{CHUNK, chunks, sum_of_parts};
use crate::tensor::scratch;
use crate::tensor::simd::simd;

/// Coefficients of the iteration (Jordan 2024): steep at 0, and near 1 within 0.3 from there on.
pub const NEWTON_SCHULZ: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// Scalars of one member's Muon update of one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Muon {
    /// Learning rate, with its factor of the shape.
    pub lr: f64,
    /// Decay of the momentum.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Iterations of Newton and Schulz.
    pub ns_steps: usize,
    /// Least norm that the momentum is divided by.
    pub eps: f64,
    /// What is left of the weight after its decay.
    pub keep: f64,
}

impl Muon {
    /// Numbers that [`Muon::update`] needs room for.
    pub fn scratch([rows, columns]: [usize; 2]) -> usize {
        let side = rows.min(columns);
        2 * (rows * columns + side * side)
    }

    /// Updates one member's matrix of `[rows, columns]` with PyTorch's conventions: `m = momentum · m +
    /// (1 − momentum) · g; o = orthogonal(nesterov ? (1 − momentum) · g + momentum · m : m);
    /// p = keep · p − lr · o`. All slices have the same length.
    pub fn update<T: Elem>(
        &self,
        param: &mut [T],
        grad: &[T],
        momentum: &mut [T],
        [rows, columns]: [usize; 2],
    ) {
        debug_assert_eq!((grad.len(), momentum.len()), (param.len(), param.len()));
        debug_assert_eq!(param.len(), rows * columns);
        average(self.momentum, momentum, grad);
        scratch::with(param.len(), |direction: &mut [T]| {
            direction.copy_from_slice(momentum);
            if self.nesterov {
                average(self.momentum, direction, grad);
            }
            orthogonalise(direction, [rows, columns], self.ns_steps, self.eps);
            let (keep, lr) = (T::of(self.keep), T::of(-self.lr));
            chunks(param, |start, p| {
                let d = &direction[start..][..p.len()];
                simd(
                    #[inline(always)]
                    || combine(p, keep, d, lr),
                );
            });
        });
    }
}

/// `p = keep · p + factor · d`.
#[inline(always)]
fn combine<T: Elem>(p: &mut [T], keep: T, d: &[T], factor: T) {
    for (p, d) in p.iter_mut().zip(d) {
        *p = keep.mul_add(*p, factor * *d);
    }
}

/// Replaces a matrix by one with the same singular vectors and singular values near 1: `steps` times
/// `x = a x + (b g + c g²) x` with `g = x xᵀ`, from `x` over its norm, which is taken to be at least
/// `eps`. `g` has the matrix's shorter side.
fn orthogonalise<T: Elem>(x: &mut [T], [rows, columns]: [usize; 2], steps: usize, eps: f64) {
    let squares = sum_of_parts(x.len(), CHUNK, None::<&mut [T]>, |range, _| {
        x[range].iter().map(|v| v.f64() * v.f64()).sum()
    });
    let norm = T::of(squares.sqrt().max(eps));
    chunks(x, |_, part| part.iter_mut().for_each(|v| *v /= norm));
    let [a, b, c] = NEWTON_SCHULZ;
    let side = rows.min(columns);
    scratch::with(x.len(), |next: &mut [T]| {
        scratch::with(2 * side * side, |squares: &mut [T]| {
            let (gram, sum) = squares.split_at_mut(side * side);
            for _ in 0..steps {
                let old = Matrix::row_major(x, columns);
                let shape = (side, side, rows.max(columns));
                if rows <= columns {
                    matmul(gram, shape, T::of(1.0), old, old.transposed());
                } else {
                    matmul(gram, shape, T::of(1.0), old.transposed(), old);
                }
                let square = Matrix::row_major(gram, side);
                copy_scaled(sum, gram, b);
                matmul_into(
                    added(sum, side),
                    (side, side, side),
                    T::of(c),
                    square,
                    square,
                );
                copy_scaled(next, x, a);
                let sum = Matrix::row_major(sum, side);
                let into = added(next, columns);
                if rows <= columns {
                    matmul_into(into, (rows, columns, side), T::of(1.0), sum, old);
                } else {
                    matmul_into(into, (rows, columns, side), T::of(1.0), old, sum);
                }
                x.copy_from_slice(next);
            }
        });
    });
}

fn added<T>(data: &mut [T], row_stride: usize) -> Into<'_, T> {
    Into {
        data,
        row_stride,
        accumulate: true,
    }
}
