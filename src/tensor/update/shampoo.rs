//! Shampoo: a gradient between inverse powers of its own second moments.

use super::blocks::{Block, Blocks};
use crate::error::{Error, Result};
use crate::tensor::eigen::symmetric_eigen;
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::scale;
use crate::tensor::matmul::{Into, Matrix, matmul, matmul_into};
use crate::tensor::scratch;

/// Scalars of one member's Shampoo update of one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Shampoo {
    /// Decay of the second moments.
    pub beta2: f64,
    /// Added to the second moments, in units of their largest eigenvalue.
    pub eps: f64,
    /// Powers on the side of the rows and of the columns; 0 leaves a side as it is.
    pub exponents: [f64; 2],
    /// Whether the powers are taken afresh.
    pub refresh: bool,
    /// Number of this update, from 1.
    pub step: u64,
}

/// What Shampoo keeps for a matrix: one square matrix for each block and side, one after the other. A side
/// that is left as it is may be empty.
#[derive(Debug)]
pub struct ShampooState<'a, T> {
    /// Second moments, rows and columns.
    pub moments: [&'a mut [T]; 2],
    /// Their inverse powers.
    pub powers: [&'a mut [T]; 2],
}

impl Shampoo {
    /// Numbers that [`Shampoo::update`] needs room for.
    pub fn scratch(blocks: Blocks) -> usize {
        2 * blocks.largest() + blocks.eigen_room()
    }

    /// Takes a gradient into the second moments of every block, `beta2 · L + (1 − beta2) · G Gᵀ` and
    /// `beta2 · R + (1 − beta2) · Gᵀ G`, and replaces `direction` by `L⁻ᵉ · direction · R⁻ᵉ` with the powers as
    /// last refreshed (Gupta, Koren, Singer 2018; Anil et al. 2020, arXiv 2002.09018; the mean's bias is
    /// corrected as in Shi et al., arXiv 2309.06497). While a second moment is 0, so is the direction.
    ///
    /// # Errors
    /// If the eigenvectors of a second moment cannot be found.
    pub fn update<T: Elem>(
        &self,
        blocks: Blocks,
        grad: &[T],
        direction: &mut [T],
        state: &mut ShampooState<'_, T>,
    ) -> Result<()> {
        for block in blocks.iter() {
            scratch::with(block.size(), |part: &mut [T]| {
                block.gather(part, grad, blocks.columns);
                self.take(&block, part, state)?;
                block.gather(part, direction, blocks.columns);
                scratch::with(block.size(), |other: &mut [T]| {
                    self.precondition(&block, part, other, state);
                });
                block.scatter(direction, part, blocks.columns);
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }

    /// Takes the powers of every block afresh.
    ///
    /// # Errors
    /// As for [`Shampoo::update`].
    pub fn take_powers<T: Elem>(
        &self,
        blocks: Blocks,
        state: &mut ShampooState<'_, T>,
    ) -> Result<()> {
        let mut all = blocks.iter();
        all.try_for_each(|block| self.take_powers_of(&block, state))
    }

    /// Second moments and, where they are due, powers of a block.
    fn take<T: Elem>(
        &self,
        block: &Block,
        grad: &[T],
        state: &mut ShampooState<'_, T>,
    ) -> Result<()> {
        for (side, range) in [&block.left, &block.right].into_iter().enumerate() {
            if self.exponents[side] != 0.0 {
                let moments = &mut state.moments[side][range.clone()];
                take_moments(moments, self.beta2, grad, block.sides(), side);
            }
        }
        match self.refresh {
            true => self.take_powers_of(block, state),
            false => Ok(()),
        }
    }

    fn take_powers_of<T: Elem>(
        &self,
        block: &Block,
        state: &mut ShampooState<'_, T>,
    ) -> Result<()> {
        for (side, range) in [&block.left, &block.right].into_iter().enumerate() {
            let (n, exponent) = (block.sides()[side], self.exponents[side]);
            if exponent != 0.0 {
                let moments = &state.moments[side][range.clone()];
                let powers = &mut state.powers[side][range.clone()];
                self.inverse_power(powers, moments, n, exponent)?;
            }
        }
        Ok(())
    }

    fn precondition<T: Elem>(
        &self,
        block: &Block,
        part: &mut [T],
        other: &mut [T],
        state: &ShampooState<'_, T>,
    ) {
        let [rows, columns] = block.sides();
        if self.exponents[0] != 0.0 {
            let power = Matrix::row_major(&state.powers[0][block.left.clone()], rows);
            let m = Matrix::row_major(part, columns);
            matmul(other, (rows, columns, rows), T::of(1.0), power, m);
            part.copy_from_slice(other);
        }
        if self.exponents[1] != 0.0 {
            let power = Matrix::row_major(&state.powers[1][block.right.clone()], columns);
            let m = Matrix::row_major(part, columns);
            matmul(other, (rows, columns, columns), T::of(1.0), m, power);
            part.copy_from_slice(other);
        }
    }

    /// `(moments + eps · λ)^(−exponent)` with the largest eigenvalue λ, of moments without bias.
    fn inverse_power<T: Elem>(
        &self,
        power: &mut [T],
        moments: &[T],
        n: usize,
        exponent: f64,
    ) -> Result<()> {
        let steps = self.step.min(i32::MAX as u64) as i32;
        let correction = 1.0 - self.beta2.powi(steps);
        let unbiased: Vec<f64> = moments.iter().map(|m| m.f64() / correction).collect();
        if unbiased.iter().any(|m| !m.is_finite()) {
            // the member has diverged, and its loss is going to say so
            power.fill(T::of(f64::NAN));
            return Ok(());
        }
        let eigen = symmetric_eigen(&unbiased, n)?;
        let largest = eigen.values.last().copied().unwrap_or(0.0);
        if largest <= 0.0 {
            power.fill(T::of(0.0));
            return Ok(());
        }
        let root = |value: f64| (value.max(0.0) + self.eps * largest).powf(-exponent);
        let roots: Vec<f64> = eigen.values.iter().map(|&v| root(v)).collect();
        let scaled: Vec<f64> = eigen
            .vectors
            .iter()
            .enumerate()
            .map(|(i, v)| v * roots[i % n])
            .collect();
        let mut product = vec![0.0; n * n];
        let vectors = Matrix::row_major(&eigen.vectors, n);
        let scaled = Matrix::row_major(&scaled, n);
        matmul(&mut product, (n, n, n), 1.0, scaled, vectors.transposed());
        power
            .iter_mut()
            .zip(product)
            .for_each(|(p, x)| *p = T::of(x));
        Ok(())
    }
}

/// `moments = beta · moments + (1 − beta) · g gᵀ` (side 0) or `gᵀ g` (side 1).
pub(super) fn take_moments<T: Elem>(
    moments: &mut [T],
    beta: f64,
    grad: &[T],
    [rows, columns]: [usize; 2],
    side: usize,
) {
    scale(moments, beta);
    let g = Matrix::row_major(grad, columns);
    let (n, inner, left, right) = match side {
        0 => (rows, columns, g, g.transposed()),
        _ => (columns, rows, g.transposed(), g),
    };
    let into = Into {
        data: moments,
        row_stride: n,
        accumulate: true,
    };
    matmul_into(into, (n, n, inner), T::of(1.0 - beta), left, right);
}
