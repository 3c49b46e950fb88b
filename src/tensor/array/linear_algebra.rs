//! Eigenvectors and solutions of systems of equations, by faer, matrix by matrix in f64.

use candle_core::{DType, Device, Tensor};
use faer::MatRef;
use faer::prelude::Solve;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tensor::eigen::symmetric_eigen;
use crate::tensor::elem::to_f64;

/// Matrices `[…, rows, columns]` as plain numbers.
struct Matrices {
    leading: Vec<usize>,
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrices {
    fn read(what: &str, tensor: &Tensor) -> Result<Self> {
        let &[ref leading @ .., rows, columns] = tensor.dims() else {
            return Err(Error::shape(format!(
                "{what}: expected a matrix [rows, columns] or several, found {:?}",
                tensor.dims()
            )));
        };
        Ok(Self {
            leading: leading.to_vec(),
            rows,
            columns,
            values: to_f64(&tensor.to_device(&Device::Cpu)?)?,
        })
    }

    fn square(what: &str, tensor: &Tensor) -> Result<Self> {
        let read = Self::read(what, tensor)?;
        match read.rows == read.columns && read.rows > 0 {
            true => Ok(read),
            false => Err(Error::shape(format!(
                "{what}: expected square matrices, found {:?}",
                tensor.dims()
            ))),
        }
    }

    fn each(&self) -> impl IndexedParallelIterator<Item = &[f64]> {
        self.values
            .par_chunks_exact((self.rows * self.columns).max(1))
    }
}

/// In f32 or f64, as it was given; integers become f64.
fn of_type(values: Vec<f64>, dims: &[usize], like: &Tensor) -> Result<Tensor> {
    let dtype = match like.dtype() {
        DType::F32 => DType::F32,
        _ => DType::F64,
    };
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

/// Eigenvalues `[…, n]` in ascending order and eigenvectors `[…, n, n]`, as columns, of symmetric matrices
/// `[…, n, n]`: `a = V diag(w) Vᵀ`. A matrix with a number that is not finite has NaN.
///
/// # Errors
/// If the matrices are not square, or one is not symmetric within a relative 10⁻⁵ of its largest number (10⁻¹⁰ in f64).
pub fn eigh(a: &Tensor) -> Result<[Tensor; 2]> {
    let what = "eigh";
    let matrices = Matrices::square(what, a)?;
    let n = matrices.rows;
    let rounding = match a.dtype() {
        DType::F64 => 1e-10,
        _ => 1e-5,
    };
    let found = matrices.each().enumerate().map(|(i, matrix)| {
        if matrix.iter().any(|x| !x.is_finite()) {
            return Ok((vec![f64::NAN; n], vec![f64::NAN; n * n]));
        }
        let largest = matrix.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        for row in 0..n {
            for column in 0..row {
                let (x, y) = (matrix[row * n + column], matrix[column * n + row]);
                if (x - y).abs() > rounding * largest {
                    let which = match matrices.leading.is_empty() {
                        true => "the matrix".to_string(),
                        false => format!("matrix {i}"),
                    };
                    return Err(Error::setting(format!(
                        "{what}: {which} is not symmetric: entry [{row}, {column}] is {x}, entry [{column}, {row}] is {y}"
                    )));
                }
            }
        }
        let eigen = symmetric_eigen(matrix, n).map_err(|e| e.at(what))?;
        Ok((eigen.values, eigen.vectors))
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    let (values, vectors): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let dims = |more: &[usize]| [&matrices.leading, more].concat();
    Ok([
        of_type(values.concat(), &dims(&[n]), a)?,
        of_type(vectors.concat(), &dims(&[n, n]), a)?,
    ])
}

/// The solution `x [n]` or `[…, n, columns]` of `a x = b`, by an LU decomposition with partial pivoting.
///
/// # Errors
/// If `a [n, n]` or `[…, n, n]` is not square or does not fit `b`; if a matrix is singular: a pivot is 0 within n
/// roundings of the largest.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let what = "solve";
    let matrices = Matrices::square(what, a)?;
    let n = matrices.rows;
    let single = b.rank() == 1;
    let right = match single {
        true => Matrices::read(what, &b.unsqueeze(1)?)?,
        false => Matrices::read(what, b)?,
    };
    if right.rows != n || right.leading != matrices.leading {
        return Err(Error::shape(format!(
            "{what}: matrices {:?} do not fit right-hand sides {:?}",
            a.dims(),
            b.dims()
        ))
        .with_help("b is [n], [n, columns], or has as many matrices as a"));
    }
    let columns = right.columns;
    let solved = matrices.each().zip(right.each()).enumerate();
    let solved = solved.map(|(i, (a, b))| {
        let lu = MatRef::from_row_major_slice(a, n, n).partial_piv_lu();
        let pivots = (0..n).map(|k| lu.U()[(k, k)].abs());
        let (least, most) = pivots.fold((f64::INFINITY, 0.0_f64), |(low, high), p| {
            (low.min(p), high.max(p))
        });
        let found = lu.solve(MatRef::from_row_major_slice(b, n, columns));
        let x = (0..n * columns).map(|k| found[(k / columns, k % columns)]);
        let x: Vec<f64> = x.collect();
        let given = a.iter().chain(b).all(|x| x.is_finite());
        // a pivot of the size of rounding is a 0
        let singular = least <= n as f64 * f64::EPSILON * most;
        match given && (singular || x.iter().any(|x| !x.is_finite())) {
            true => Err(Error::setting(format!(
                "{what}: matrix {i} is singular within rounding, so that there is no solution"
            ))),
            false => Ok(x),
        }
    });
    let solved = solved.collect::<Result<Vec<_>>>()?;
    of_type(solved.concat(), b.dims(), b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f64], dims: &[usize]) -> Tensor {
        Tensor::from_slice(values, dims, &Device::Cpu).unwrap()
    }

    fn random(dims: &[usize], seed: u64) -> Tensor {
        let mut rng = crate::tensor::rng::Key::new(seed).rng();
        let values: Vec<f64> = (0..dims.iter().product()).map(|_| rng.normal()).collect();
        tensor(&values, dims)
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        let pairs = to_f64(a).unwrap().into_iter().zip(to_f64(b).unwrap());
        pairs.fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()))
    }

    #[test]
    fn eigenvectors_make_the_matrices_again() -> Result<()> {
        let half = random(&[3, 5, 5], 1);
        let a = (&half + half.t()?)?;
        let [values, vectors] = eigh(&a)?;
        let scaled = vectors.broadcast_mul(&values.unsqueeze(1)?)?;
        let again = scaled.matmul(&vectors.t()?.contiguous()?)?;
        assert!(distance(&again, &a) < 1e-12);
        for values in to_f64(&values)?.chunks(5) {
            assert!(values.is_sorted(), "{values:?}");
        }
        let [values, _] = eigh(&tensor(&[2.0, 1.0, 1.0, 2.0], &[2, 2]).to_dtype(DType::F32)?)?;
        assert_eq!(values.to_vec1::<f32>()?, [1.0, 3.0]);
        let [spoilt, _] = eigh(&tensor(&[f64::NAN, 0.0, 0.0, 1.0], &[2, 2]))?;
        assert!(spoilt.to_vec1::<f64>()?.iter().all(|x| x.is_nan()));
        Ok(())
    }

    #[test]
    fn solutions_solve() -> Result<()> {
        let (a, x) = (random(&[4, 6, 6], 2), random(&[4, 6, 2], 3));
        assert!(distance(&solve(&a, &a.matmul(&x)?)?, &x) < 1e-10);
        let (a, x) = (
            tensor(&[0.0, 2.0, 1.0, 0.0], &[2, 2]),
            tensor(&[4.0, 3.0], &[2]),
        );
        assert_eq!(solve(&a, &x)?.to_vec1::<f64>()?, [3.0, 2.0]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let skew = tensor(&[0.0, 1.0, -1.0, 0.0], &[2, 2]);
        let error = |r: Result<Tensor>| r.unwrap_err().message;
        let of = |a: &Tensor| error(eigh(a).map(|[values, _]| values));
        assert!(of(&skew).contains("not symmetric: entry [1, 0] is -1"));
        assert!(of(&random(&[2, 3], 1)).contains("square"));
        let b = tensor(&[1.0, 1.0], &[2]);
        for singular in [[1.0, 2.0, 2.0, 4.0], [0.1, 0.2, 0.3, 0.6], [0.0; 4]] {
            let singular = tensor(&singular, &[2, 2]);
            assert!(error(solve(&singular, &b)).contains("singular"));
        }
        assert!(error(solve(&skew, &random(&[3], 1))).contains("do not fit"));
    }
}
