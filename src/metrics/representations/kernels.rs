//! Kernels on the same points, checked before they are compared.

use candle_core::{DType, Device, Tensor};

use super::hsic::{Centred, Form};
use crate::error::{Error, Result};
use crate::tensor::eigen::{eigenvalues_are_above, symmetric_eigen};
use crate::tensor::elem::{read, to_f64};

/// Rows and columns of a tile while entries are compared with those across the diagonal.
const TILE: usize = 64;
/// Points whose kernel is checked by itself: a copy of a larger one may not fit into memory.
const CHECKED: usize = 16_384;
/// Points for which a message has the smallest eigenvalue, which takes long for more.
const NAMED: usize = 2048;

/// Kernels `[members, points, points]`.
pub(super) struct Kernels<'a> {
    pub count: usize,
    pub points: usize,
    values: &'a [f64],
    finite: Vec<bool>,
    /// Relative size of rounding.
    rounding: f64,
}

impl<'a> Kernels<'a> {
    /// Calls `f` with the kernels in a tensor `[points, points]` or `[members, points, points]`, in
    /// place where it is of `f64`; `what` names the metric and the argument.
    ///
    /// # Errors
    /// If the tensor has another shape, or a kernel is not symmetric, has entries that inner products
    /// cannot have, or is not positive semi-definite within rounding on its first 16,384 points, the
    /// next and so on; and those of `f`.
    pub fn with<R>(
        what: &str,
        tensor: &Tensor,
        f: impl FnOnce(&Kernels<'_>) -> Result<R>,
    ) -> Result<R> {
        let (count, points) = match *tensor.dims() {
            [n, m] if n == m && n > 0 => (1, n),
            [members, n, m] if n == m && n * members > 0 => (members, n),
            _ => {
                return Err(Error::shape(format!(
                    "{what}: expected a kernel of shape [points, points] or [members, points, points], \
                     found {:?}",
                    tensor.dims()
                ))
                .with_help("metrics::feature_kernel(features) makes one of features [members, points, …]"));
            }
        };
        // products of f32 numbers are summed over up to thousands of features
        let rounding = match tensor.dtype() {
            DType::F64 => 1e-12,
            DType::BF16 | DType::F16 => 1.0 / 128.0,
            _ => 1e-5,
        };
        let use_them = |values: &[f64]| {
            let mut all = Kernels {
                count,
                points,
                values,
                finite: Vec::new(),
                rounding,
            };
            for member in 0..count {
                let finite = all.kernel(member).iter().all(|x| x.is_finite());
                if finite {
                    all.check(what, member)?;
                }
                all.finite.push(finite);
            }
            f(&all)
        };
        let in_place = matches!(tensor.device(), Device::Cpu) && tensor.is_contiguous();
        match in_place && tensor.dtype() == DType::F64 {
            true => read(tensor, use_them),
            false => use_them(&to_f64(tensor)?),
        }
    }

    fn kernel(&self, member: usize) -> &'a [f64] {
        let size = self.points * self.points;
        &self.values[member * size..(member + 1) * size]
    }

    /// Every kernel in a form whose inner products are asked for; `None` where a member has diverged.
    pub fn each(&self, form: Form) -> Vec<Option<Centred<'a>>> {
        let kernel = |m: usize| {
            let finite = self.finite[m];
            finite.then(|| form.of(self.kernel(m), self.points, self.rounding))
        };
        (0..self.count).map(kernel).collect()
    }

    /// Whether the kernel is symmetric, every two points' entries are those of a positive semi-definite
    /// matrix, `K[i, i] ≥ 0` and `K[i, j]² ≤ K[i, i] K[j, j]`, and every block on the diagonal is one.
    fn check(&self, what: &str, member: usize) -> Result<()> {
        let (k, n) = (self.kernel(member), self.points);
        let diagonal: Vec<f64> = (0..n).map(|i| k[i * n + i]).collect();
        let largest = k.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let tolerance = self.rounding * largest * 10.0;
        let refused = |text: String| {
            let of = if self.count > 1 {
                format!(" of member {member}")
            } else {
                String::new()
            };
            Err(
                Error::other(format!("{what}: the kernel{of} is {text}")).with_help(
                    "a kernel is a matrix of inner products, such as metrics::feature_kernel or metrics::ntk give it",
                ),
            )
        };
        if let Some(i) = diagonal.iter().position(|d| *d < -tolerance) {
            return refused(format!(
                "not positive semi-definite: entry [{i}, {i}] is {}",
                diagonal[i]
            ));
        }
        let roots: Vec<f64> = diagonal.iter().map(|d| d.max(0.0).sqrt()).collect();
        for rows in (0..n).step_by(TILE) {
            for columns in (0..=rows).step_by(TILE) {
                for i in rows..n.min(rows + TILE) {
                    for j in columns..i.min(columns + TILE) {
                        let (x, y) = (k[i * n + j], k[j * n + i]);
                        if (x - y).abs() > tolerance {
                            return refused(format!(
                                "not symmetric: entry [{i}, {j}] is {x}, entry [{j}, {i}] is {y}"
                            ));
                        }
                        if x.abs() > roots[i] * roots[j] + tolerance {
                            return refused(format!(
                                "not positive semi-definite: entry [{i}, {j}] is {x}, between points \
                                 with {} and {} on the diagonal",
                                diagonal[i], diagonal[j]
                            ));
                        }
                    }
                }
            }
        }
        for start in (0..n).step_by(CHECKED) {
            let end = n.min(start + CHECKED);
            let block: Vec<f64> = (start..end)
                .flat_map(|i| &k[i * n + start..i * n + end])
                .copied()
                .collect();
            let norm = block.iter().map(|x| x * x).sum::<f64>().sqrt();
            let bound = -10.0 * self.rounding * norm;
            if norm > 0.0 && !eigenvalues_are_above(&block, end - start, bound)? {
                let least = match end - start {
                    size @ ..=NAMED => {
                        format!("{:e}, ", symmetric_eigen(&block, size)?.values[0])
                    }
                    _ => String::new(),
                };
                return refused(format!(
                    "not positive semi-definite: on points {start} to {} its smallest eigenvalue is \
                     {least}below rounding, {bound:e}",
                    end - 1
                ));
            }
        }
        Ok(())
    }
}

/// An error where two sets of kernels are on different numbers of points.
pub(super) fn same_points(what: &str, a: &Kernels<'_>, b: &Kernels<'_>) -> Result<()> {
    if a.points == b.points {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{what}: kernels on {} and on {} points",
        a.points, b.points
    ))
    .with_help("make both kernels on the same inputs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rows: &[[f64; 2]; 2]) -> Result<()> {
        let tensor = Tensor::new(rows, &Device::Cpu)?;
        Kernels::with("cka", &tensor, |_| Ok(()))
    }

    #[test]
    fn matrices_that_are_no_kernels_are_refused() {
        assert!(checked(&[[1.0, 0.5], [0.5, 2.0]]).is_ok());
        assert!(checked(&[[1.0, f64::NAN], [0.5, 2.0]]).is_ok());
        for (rows, text) in [
            (
                [[1.0, 0.5], [0.4, 1.0]],
                "not symmetric: entry [1, 0] is 0.4",
            ),
            (
                [[1.0, 0.5], [0.5, -1.0]],
                "semi-definite: entry [1, 1] is -1",
            ),
            (
                [[1.0, 1.5], [1.5, 2.0]],
                "semi-definite: entry [1, 0] is 1.5",
            ),
        ] {
            let error = checked(&rows).unwrap_err();
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn a_matrix_whose_entries_two_by_two_could_be_inner_products_is_refused_by_its_eigenvalues() {
        // two vectors near a third are near each other; eigenvalues are 1.9, 1.9 and -0.8
        let rows = [[1.0, 0.9, 0.9], [0.9, 1.0, -0.9], [0.9, -0.9, 1.0]];
        let tensor = Tensor::new(&rows, &Device::Cpu).unwrap();
        let error = Kernels::with("cka", &tensor, |_| Ok(())).unwrap_err();
        let expected = "cka: the kernel is not positive semi-definite: on points 0 to 2 its smallest eigenvalue is -8";
        assert!(error.message.starts_with(expected), "{error}");
        let zeros = Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(Kernels::with("cka", &zeros, |_| Ok(())).is_ok());
    }

    #[test]
    fn other_shapes_are_refused() {
        let tensor = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap();
        let error = Kernels::with("cka", &tensor, |_| Ok(())).unwrap_err();
        assert!(error.message.ends_with("found [2, 3]"), "{error}");
    }
}
