//! SOAP: Adam in the eigenbases of a gradient's second moments.

use super::blocks::{Block, Blocks};
use super::shampoo::take_moments;
use crate::error::Result;
use crate::tensor::eigen::{orthogonal_basis, symmetric_eigen};
use crate::tensor::elem::Elem;
use crate::tensor::matmul::{Matrix, matmul};
use crate::tensor::scratch;

/// Scalars of one member's SOAP update of one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Soap {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment in the bases.
    pub beta2: f64,
    /// Decay of the second moments whose eigenvectors the bases are.
    pub shampoo_beta: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Whether the sides of the rows and of the columns have bases.
    pub bases: [bool; 2],
    /// Steps between two refreshments of the bases.
    pub frequency: u64,
    /// Number of this update, from 1.
    pub step: u64,
}

/// What SOAP keeps for a matrix. Of the square matrices there is one for each block and side, one after the
/// other; a side without basis may be empty.
#[derive(Debug)]
pub struct SoapState<'a, T> {
    /// First moment of the gradient.
    pub exp_avg: &'a mut [T],
    /// Second moment in the bases.
    pub exp_avg_sq: &'a mut [T],
    /// Second moments, rows and columns.
    pub moments: [&'a mut [T]; 2],
    /// The bases, rows and columns.
    pub bases: [&'a mut [T]; 2],
}

impl Soap {
    /// Numbers that [`Soap::update`] needs room for.
    pub fn scratch(blocks: Blocks) -> usize {
        3 * blocks.largest() + blocks.eigen_room()
    }

    /// Writes the direction of a step and takes the gradient into the state, in the order of the authors' code
    /// (Vyas et al., arXiv 2409.11321): the first step only finds the bases, and gives the direction 0; later ones
    /// refresh them after the step, by one power iteration and a QR decomposition.
    ///
    /// # Errors
    /// If the eigenvectors of a second moment cannot be found.
    pub fn update<T: Elem>(
        &self,
        blocks: Blocks,
        grad: &[T],
        direction: &mut [T],
        state: &mut SoapState<'_, T>,
    ) -> Result<()> {
        let first = self.step <= 1;
        if first {
            direction.fill(T::of(0.0));
        } else {
            super::average(self.beta1, state.exp_avg, grad);
        }
        for block in blocks.iter() {
            scratch::with(block.size(), |g: &mut [T]| {
                block.gather(g, grad, blocks.columns);
                if !first {
                    self.step_of(&block, blocks.columns, g, direction, state);
                }
                self.take(&block, blocks.columns, g, state)
            })?;
        }
        Ok(())
    }

    /// Second moment and direction of a block.
    fn step_of<T: Elem>(
        &self,
        block: &Block,
        columns: usize,
        grad: &[T],
        direction: &mut [T],
        state: &mut SoapState<'_, T>,
    ) {
        let steps = (self.step - 1).min(i32::MAX as u64) as i32;
        let correction = |beta: f64| 1.0 - beta.powi(steps);
        let size = T::of(correction(self.beta2).sqrt() / correction(self.beta1));
        let (beta, rest) = (T::of(self.beta2), T::of(1.0 - self.beta2));
        let eps = T::of(self.eps);
        scratch::with(block.size(), |part: &mut [T]| {
            part.copy_from_slice(grad);
            self.project(block, part, state, true);
            scratch::with(block.size(), |second: &mut [T]| {
                block.gather(second, state.exp_avg_sq, columns);
                for (s, g) in second.iter_mut().zip(&*part) {
                    *s = beta.mul_add(*s, rest * *g * *g);
                }
                block.scatter(state.exp_avg_sq, second, columns);
                block.gather(part, state.exp_avg, columns);
                self.project(block, part, state, true);
                for (p, s) in part.iter_mut().zip(&*second) {
                    *p = size * *p / (s.sqrt() + eps);
                }
            });
            self.project(block, part, state, false);
            block.scatter(direction, part, columns);
        });
    }

    /// `Qᵀ part Q`, or back.
    fn project<T: Elem>(
        &self,
        block: &Block,
        part: &mut [T],
        state: &SoapState<'_, T>,
        forward: bool,
    ) {
        let [rows, columns] = block.sides();
        scratch::with(block.size(), |other: &mut [T]| {
            if self.bases[0] {
                let q = Matrix::row_major(&state.bases[0][block.left.clone()], rows);
                let q = if forward { q.transposed() } else { q };
                matmul(
                    other,
                    (rows, columns, rows),
                    T::of(1.0),
                    q,
                    Matrix::row_major(part, columns),
                );
                part.copy_from_slice(other);
            }
            if self.bases[1] {
                let q = Matrix::row_major(&state.bases[1][block.right.clone()], columns);
                let q = if forward { q } else { q.transposed() };
                matmul(
                    other,
                    (rows, columns, columns),
                    T::of(1.0),
                    Matrix::row_major(part, columns),
                    q,
                );
                part.copy_from_slice(other);
            }
        });
    }

    /// Whether bases are found or refreshed after this step.
    pub fn is_due(&self) -> bool {
        (self.step.max(1) - 1).is_multiple_of(self.frequency.max(1))
    }

    /// Finds the bases of every block after the first step, and refreshes them after later ones.
    ///
    /// # Errors
    /// As for [`Soap::update`].
    pub fn turn_bases<T: Elem>(&self, blocks: Blocks, state: &mut SoapState<'_, T>) -> Result<()> {
        let mut all = blocks.iter();
        all.try_for_each(|block| self.turn_bases_of(&block, blocks.columns, state))
    }

    /// Second moments and, where they are due, bases of a block.
    fn take<T: Elem>(
        &self,
        block: &Block,
        columns: usize,
        grad: &[T],
        state: &mut SoapState<'_, T>,
    ) -> Result<()> {
        for (side, range) in [&block.left, &block.right].into_iter().enumerate() {
            if self.bases[side] {
                let moments = &mut state.moments[side][range.clone()];
                take_moments(moments, self.shampoo_beta, grad, block.sides(), side);
            }
        }
        match self.is_due() {
            true => self.turn_bases_of(block, columns, state),
            false => Ok(()),
        }
    }

    fn turn_bases_of<T: Elem>(
        &self,
        block: &Block,
        columns: usize,
        state: &mut SoapState<'_, T>,
    ) -> Result<()> {
        for (side, range) in [&block.left, &block.right].into_iter().enumerate() {
            if !self.bases[side] {
                continue;
            }
            let moments = &state.moments[side][range.clone()];
            let basis = &mut state.bases[side][range.clone()];
            let n = block.sides()[side];
            if moments.iter().any(|m| !m.f64().is_finite()) {
                // the member has diverged, and its loss is going to say so
                basis.fill(T::of(f64::NAN));
            } else if self.step <= 1 {
                let moments: Vec<f64> = moments.iter().map(|m| m.f64()).collect();
                let eigen = symmetric_eigen(&moments, n)?;
                // the largest first
                for (i, q) in basis.iter_mut().enumerate() {
                    *q = T::of(eigen.vectors[i / n * n + n - 1 - i % n]);
                }
            } else {
                let order = turn(basis, moments, n)?;
                self.reorder(block, columns, side, &order, state.exp_avg_sq);
            }
        }
        Ok(())
    }

    /// Puts the second moment of a block in the order of a new basis.
    fn reorder<T: Elem>(
        &self,
        block: &Block,
        columns: usize,
        side: usize,
        order: &[usize],
        second: &mut [T],
    ) {
        let [_, wide] = block.sides();
        scratch::with(block.size(), |part: &mut [T]| {
            block.gather(part, second, columns);
            scratch::with(block.size(), |other: &mut [T]| {
                for (i, o) in other.iter_mut().enumerate() {
                    let (row, column) = (i / wide, i % wide);
                    *o = match side {
                        0 => part[order[row] * wide + column],
                        _ => part[row * wide + order[column]],
                    };
                }
                block.scatter(second, other, columns);
            });
        });
    }
}

/// One power iteration of a basis, with its vectors in the order of their estimated eigenvalues, the largest
/// first: the order.
fn turn<T: Elem>(basis: &mut [T], moments: &[T], n: usize) -> Result<Vec<usize>> {
    let wide = |x: &[T]| x.iter().map(|v| v.f64()).collect::<Vec<f64>>();
    let (q, m) = (wide(basis), wide(moments));
    let mut product = vec![0.0; n * n];
    matmul(
        &mut product,
        (n, n, n),
        1.0,
        Matrix::row_major(&m, n),
        Matrix::row_major(&q, n),
    );
    let value = |j: usize| {
        (0..n)
            .map(|i| q[i * n + j] * product[i * n + j])
            .sum::<f64>()
    };
    let values: Vec<f64> = (0..n).map(value).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let sorted: Vec<f64> = (0..n * n)
        .map(|i| product[i / n * n + order[i % n]])
        .collect();
    let turned = orthogonal_basis(&sorted, n)?;
    basis
        .iter_mut()
        .zip(turned)
        .for_each(|(q, x)| *q = T::of(x));
    Ok(order)
}
