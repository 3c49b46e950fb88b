//! Eigenvectors of symmetric matrices, singular values and orthogonal bases, in f64, on the calling thread.

use faer::{Mat, MatRef, Side};

use crate::error::{Error, Result};

/// Eigenvalues of a symmetric matrix in ascending order, and its eigenvectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// The eigenvalues.
    pub values: Vec<f64>,
    /// `[n, n]`, row by row; column `i` is the eigenvector of value `i`.
    pub vectors: Vec<f64>,
}

/// Eigenvalues and eigenvectors of the symmetric matrix `a [n, n]`, of which the lower triangle is read.
///
/// # Errors
/// If there are not `n²` numbers, one is not finite, or the iteration does not converge.
pub fn symmetric_eigen(a: &[f64], n: usize) -> Result<Eigen> {
    let matrix = square(a, n, "eigenvectors")?;
    let found = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|e| Error::other(format!("eigenvectors of a matrix of {n} rows: {e:?}")))?;
    let values = found.S().column_vector();
    Ok(Eigen {
        values: (0..n).map(|i| values[i]).collect(),
        vectors: by_rows(found.U(), n),
    })
}

/// Whether all eigenvalues of the symmetric matrix `a [n, n]`, of which the lower triangle is read, are
/// above `bound`: whether `a` less `bound` times the identity has a Cholesky factor.
///
/// # Errors
/// If there are not `n²` numbers, or one is not finite.
pub fn eigenvalues_are_above(a: &[f64], n: usize, bound: f64) -> Result<bool> {
    let mut shifted = square(a, n, "eigenvalues")?.to_owned();
    for i in 0..n {
        shifted[(i, i)] -= bound;
    }
    Ok(shifted.llt(Side::Lower).is_ok())
}

/// The orthogonal factor `[n, n]` of the QR decomposition of `a [n, n]`: column `i` spans, with those before
/// it, what the first `i` columns of `a` span.
///
/// # Errors
/// If there are not `n²` numbers, or one is not finite.
pub fn orthogonal_basis(a: &[f64], n: usize) -> Result<Vec<f64>> {
    let q: Mat<f64> = square(a, n, "an orthogonal basis")?.qr().compute_thin_Q();
    Ok(by_rows(q.as_ref(), n))
}

/// The singular values of `a [rows, columns]` in descending order.
///
/// # Errors
/// If there are not `rows · columns` numbers, one is not finite, or the iteration does not converge.
pub fn singular_values(a: &[f64], rows: usize, columns: usize) -> Result<Vec<f64>> {
    if a.len() != rows * columns {
        return Err(Error::shape(format!(
            "singular values: {} numbers are no matrix of {rows} rows and {columns} columns",
            a.len()
        )));
    }
    if a.iter().any(|x| !x.is_finite()) {
        return Err(Error::other("singular values: a number is not finite"));
    }
    if a.is_empty() {
        return Ok(Vec::new());
    }
    let found = MatRef::from_row_major_slice(a, rows, columns).singular_values();
    let mut values = found.map_err(|e| {
        Error::other(format!(
            "singular values of a matrix of {rows} rows and {columns} columns: {e:?}"
        ))
    })?;
    values.sort_by(|a, b| b.total_cmp(a));
    Ok(values)
}

fn square<'a>(a: &'a [f64], n: usize, what: &str) -> Result<MatRef<'a, f64>> {
    if a.len() != n * n {
        return Err(Error::shape(format!(
            "{what}: {} numbers are no matrix of {n} rows and columns",
            a.len()
        )));
    }
    if a.iter().any(|x| !x.is_finite()) {
        return Err(Error::other(format!("{what}: a number is not finite")));
    }
    Ok(MatRef::from_row_major_slice(a, n, n))
}

fn by_rows(m: MatRef<'_, f64>, n: usize) -> Vec<f64> {
    (0..n * n).map(|i| m[(i / n, i % n)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
        let entry = |i: usize| (0..n).map(|k| a[i / n * n + k] * b[k * n + i % n]).sum();
        (0..n * n).map(entry).collect()
    }

    fn transposed(a: &[f64], n: usize) -> Vec<f64> {
        (0..n * n).map(|i| a[i % n * n + i / n]).collect()
    }

    fn numbers(n: usize) -> Vec<f64> {
        let mut rng = crate::tensor::rng::Key::new(n as u64).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn a_symmetric_matrix_is_its_eigenvectors_times_its_eigenvalues() {
        for n in [1, 2, 7, 40] {
            let half = numbers(n * n);
            let a = product(&half, &transposed(&half, n), n);
            let found = symmetric_eigen(&a, n).unwrap();
            assert!(found.values.is_sorted(), "{:?}", found.values);
            let v = &found.vectors;
            let scaled: Vec<f64> = (0..n * n).map(|i| v[i] * found.values[i % n]).collect();
            assert!(distance(&product(&scaled, &transposed(v, n), n), &a) < 1e-11);
        }
        let found = symmetric_eigen(&[2.0, 9.0, 1.0, 2.0], 2).unwrap();
        assert!(
            distance(&found.values, &[1.0, 3.0]) < 1e-14,
            "the lower triangle is read"
        );
    }

    #[test]
    fn a_bound_of_the_eigenvalues_is_told_on_both_sides() {
        let half = numbers(30 * 30);
        let a = product(&half, &transposed(&half, 30), 30);
        let least = symmetric_eigen(&a, 30).unwrap().values[0];
        assert!(eigenvalues_are_above(&a, 30, least - 1e-9).unwrap());
        assert!(!eigenvalues_are_above(&a, 30, least + 1e-9).unwrap());
        assert!(eigenvalues_are_above(&[f64::NAN], 1, 0.0).is_err());
    }

    #[test]
    fn a_basis_is_orthogonal_and_spans_the_columns_in_order() {
        for n in [1, 3, 20] {
            let a = numbers(n * n);
            let q = orthogonal_basis(&a, n).unwrap();
            let unit: Vec<f64> = (0..n * n)
                .map(|i| f64::from(u8::from(i / n == i % n)))
                .collect();
            assert!(distance(&product(&transposed(&q, n), &q, n), &unit) < 1e-13);
            let r = product(&transposed(&q, n), &a, n);
            let below = (0..n * n).filter(|i| i / n > i % n).map(|i| r[i].abs());
            assert!(below.fold(0.0, f64::max) < 1e-13);
        }
    }

    #[test]
    fn singular_values_are_roots_of_eigenvalues() {
        for (rows, columns) in [(1, 1), (3, 7), (20, 4), (30, 30)] {
            let a = numbers(rows * columns);
            let found = singular_values(&a, rows, columns).unwrap();
            assert_eq!(found.len(), rows.min(columns));
            let entry = |i: usize| {
                let (i, j) = (i / rows, i % rows);
                (0..columns)
                    .map(|k| a[i * columns + k] * a[j * columns + k])
                    .sum()
            };
            let gram: Vec<f64> = (0..rows * rows).map(entry).collect();
            let values = symmetric_eigen(&gram, rows).unwrap().values;
            let squares: Vec<f64> = found.iter().map(|s| s * s).collect();
            let largest: Vec<f64> = values.iter().rev().take(found.len()).copied().collect();
            assert!(distance(&squares, &largest) < 1e-10);
        }
        assert!(singular_values(&[1.0; 3], 2, 2).is_err());
        assert!(singular_values(&[f64::NAN], 1, 1).is_err());
    }

    #[test]
    fn what_is_no_finite_square_matrix_is_refused() {
        assert!(symmetric_eigen(&[1.0; 3], 2).is_err());
        assert!(symmetric_eigen(&[1.0, f64::NAN, 0.0, 1.0], 2).is_err());
        assert!(orthogonal_basis(&[f64::INFINITY], 1).is_err());
    }
}
