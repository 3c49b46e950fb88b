//! The Cholesky factor of a positive semi-definite matrix, and solutions by it.
//!
//! Blocks of columns are made by matrix products (left-looking; Golub, Van Loan, *Matrix
//! Computations*, 4.2).

use rayon::prelude::*;

use super::matmul::{Into, Matrix, matmul, matmul_into};
use super::scratch;

/// Columns of a block.
const BLOCK: usize = 64;
/// Rows of a task.
const ROWS: usize = 64;
/// A pivot below this share of its diagonal entry is rounding.
const ROUNDING: f64 = 1e-12;

/// Replaces `a [n, n]`, of which only the lower triangle is read, by the lower triangular `L` with
/// `a = L Lᵀ`; the upper triangle becomes 0. A row that depends on those before it within rounding gets
/// a column of zeros.
///
/// # Panics
/// If there are not `n²` numbers.
pub fn cholesky(a: &mut [f64], n: usize) {
    assert_eq!(a.len(), n * n, "cholesky: not {n} × {n} numbers");
    let diagonal: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (rows, cols) = (n - start, end - start);
        scratch::with(rows * cols, |products: &mut [f64]| {
            let below = Matrix::row_major(&a[start * n..], n);
            matmul(
                products,
                (rows, cols, start),
                1.0,
                below,
                below.transposed(),
            );
            for (row, product) in a[start * n..]
                .chunks_exact_mut(n)
                .zip(products.chunks(cols))
            {
                for (a, p) in row[start..end].iter_mut().zip(product) {
                    *a -= p;
                }
            }
        });
        let (block, below) = a[start * n..].split_at_mut(cols * n);
        let factor = Factor::of(block, (start, cols, n), &diagonal[start..end]);
        below.par_chunks_mut(ROWS * n).for_each(|rows| {
            rows.chunks_exact_mut(n)
                .for_each(|row| factor.solve(&mut row[start..end]))
        });
    }
    for i in 0..n {
        a[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
}

/// The factor of a block on the diagonal.
struct Factor {
    cols: usize,
    /// Its transpose: entry (c, i) is that of row i, column c.
    columns: Vec<f64>,
    /// One over the diagonal, 0 for a row that depends on those before it.
    inverse: Vec<f64>,
}

impl Factor {
    /// Factors the columns `start .. start + cols` of `rows [cols, n]`, in place.
    fn of(rows: &mut [f64], (start, cols, n): (usize, usize, usize), diagonal: &[f64]) -> Self {
        let mut factor = Self {
            cols,
            columns: vec![0.0; cols * cols],
            inverse: vec![0.0; cols],
        };
        for (i, row) in rows.chunks_exact_mut(n).enumerate() {
            let row = &mut row[start..start + cols];
            factor.solve(&mut row[..i]);
            let pivot = row[i] - row[..i].iter().map(|x| x * x).sum::<f64>();
            let independent = pivot > ROUNDING * diagonal[i];
            let root = pivot.max(0.0).sqrt();
            row[i] = if independent { root } else { 0.0 };
            factor.inverse[i] = if independent { 1.0 / root } else { 0.0 };
            for (c, x) in row[..=i].iter().enumerate() {
                factor.columns[c * cols + i] = *x;
            }
        }
        factor
    }

    /// Turns the first entries of a row of the matrix into those of the factor.
    fn solve(&self, row: &mut [f64]) {
        for c in 0..row.len() {
            let x = row[c] * self.inverse[c];
            row[c] = x;
            let column = &self.columns[c * self.cols..][c + 1..row.len()];
            row[c + 1..]
                .iter_mut()
                .zip(column)
                .for_each(|(r, l)| *r -= x * l);
        }
    }
}

/// Replaces `b [n, columns]` by the solution of `l x = b` for a lower triangular `l [n, n]`, with 0 where
/// the diagonal is 0.
///
/// # Panics
/// If a slice is too short.
pub fn solve_lower(l: &[f64], n: usize, b: &mut [f64], columns: usize) {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (known, rest) = b.split_at_mut(start * columns);
        let into = Into {
            data: &mut rest[..(end - start) * columns],
            row_stride: columns,
            accumulate: true,
        };
        let left = Matrix::row_major(&l[start * n..], n);
        let known = Matrix::row_major(known, columns);
        matmul_into(into, (end - start, columns, start), -1.0, left, known);
        for i in start..end {
            let (solved, now) = b.split_at_mut(i * columns);
            let now = &mut now[..columns];
            for (j, x) in (start..i).zip(solved[start * columns..].chunks_exact(columns.max(1))) {
                let factor = l[i * n + j];
                now.iter_mut().zip(x).for_each(|(b, x)| *b -= factor * x);
            }
            let pivot = l[i * n + i];
            let scale = if pivot > 0.0 { 1.0 / pivot } else { 0.0 };
            now.iter_mut().for_each(|b| *b *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::gram::{add_gram, mirror};
    use crate::tensor::rng::Key;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    fn gram(x: &[f64], n: usize) -> Vec<f64> {
        let mut g = vec![0.0; n * n];
        add_gram(&mut g, n, x, 1.0);
        mirror(&mut g, n);
        g
    }

    #[test]
    fn the_factor_gives_the_matrix_back_and_solves() {
        for (n, features, repeated) in [
            (1, 3, 0),
            (5, 9, 2),
            (70, 80, 0),
            (150, 200, 30),
            (90, 20, 0),
        ] {
            let mut x = numbers(n as u64, n * features);
            for i in 0..repeated {
                // a row that depends on two others
                let at = |j: usize, k: usize| x[j * features + k];
                let row: Vec<f64> = (0..features)
                    .map(|k| 2.0 * at(i, k) - at(i + 1, k))
                    .collect();
                x[(n - 1 - i) * features..][..features].copy_from_slice(&row);
            }
            let a = gram(&x, n);
            let mut l = a.clone();
            cholesky(&mut l, n);
            let mut back = vec![0.0; n * n];
            let l_matrix = Matrix::row_major(&l, n);
            matmul(&mut back, (n, n, n), 1.0, l_matrix, l_matrix.transposed());
            let worst = back
                .iter()
                .zip(&a)
                .map(|(b, a)| (b - a).abs())
                .fold(0.0, f64::max);
            assert!(worst < 1e-9 * features as f64, "{n} {features}: {worst}");

            // a right side in the span of the rows, as x w is
            let columns = 3;
            let w = numbers(7, features * columns);
            let mut b = vec![0.0; n * columns];
            let (x, w) = (
                Matrix::row_major(&x, features),
                Matrix::row_major(&w, columns),
            );
            matmul(&mut b, (n, columns, features), 1.0, x, w);
            let mut solution = b.clone();
            solve_lower(&l, n, &mut solution, columns);
            let mut again = vec![0.0; n * columns];
            let solved = Matrix::row_major(&solution, columns);
            matmul(&mut again, (n, columns, n), 1.0, l_matrix, solved);
            for (a, b) in again.iter().zip(&b) {
                assert!((a - b).abs() < 1e-6, "{n} {features}: {a} {b}");
            }
        }
    }
}
