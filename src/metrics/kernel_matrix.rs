//! Kernels as plain matrices, checked, and their eigenvectors.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::data::Labels;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{self, Need};
use crate::tensor::eigen::symmetric_eigen;
use crate::tensor::elem::to_f64;
use crate::tensor::matmul::{Matrix, matmul};

/// Kernels `[members, rows, columns]` in `f64`; `[rows, columns]` is one member.
pub(super) struct Matrices {
    pub members: usize,
    pub rows: usize,
    pub columns: usize,
    values: Vec<f64>,
    /// Relative rounding of the numbers as they were given.
    rounding: f64,
}

impl Matrices {
    /// Reads a tensor; `what` names the function and `name` the argument in errors.
    pub fn read(what: &str, name: &str, tensor: &Tensor) -> Result<Self> {
        let (members, rows, columns) = match *tensor.dims() {
            [rows, columns] => (1, rows, columns),
            [members, rows, columns] => (members, rows, columns),
            _ => (0, 0, 0),
        };
        if members * rows * columns == 0 {
            return Err(Error::shape(format!(
                "{what}: {name}: expected a kernel of shape [members, points, points] or [points, \
                 points], found {:?}",
                tensor.dims()
            )));
        }
        let rounding = match tensor.dtype() {
            DType::F32 => f64::from(f32::EPSILON),
            DType::F64 => f64::EPSILON,
            DType::BF16 | DType::F16 => 1.0 / 128.0,
            other => {
                return Err(Error::setting(format!(
                    "{what}: {name}: expected a kernel of floating-point numbers, found {}",
                    other.as_str()
                )));
            }
        };
        Ok(Self {
            members,
            rows,
            columns,
            values: to_f64(tensor)?,
            rounding,
        })
    }

    /// Reads square kernels.
    pub fn square(what: &str, name: &str, tensor: &Tensor) -> Result<Self> {
        let read = Self::read(what, name, tensor)?;
        if read.rows != read.columns {
            return Err(Error::shape(format!(
                "{what}: {name}: a kernel has as many rows as columns, found {:?}",
                tensor.dims()
            )));
        }
        Ok(read)
    }

    /// One member's numbers, row by row.
    pub fn member(&self, member: usize) -> &[f64] {
        let size = self.rows * self.columns;
        &self.values[member * size..(member + 1) * size]
    }

    /// Whether all of a member's numbers are finite.
    pub fn is_finite(&self, member: usize) -> bool {
        self.member(member).iter().all(|x| x.is_finite())
    }

    /// The members whose numbers are finite; an error if there is none.
    pub fn finite_members(&self, what: &str) -> Result<Vec<usize>> {
        let finite: Vec<_> = (0..self.members).filter(|&m| self.is_finite(m)).collect();
        if finite.is_empty() {
            let message = format!(
                "{what}: the kernels of all {} members have numbers that are not finite",
                self.members
            );
            return Err(Error::new(ErrorKind::Diverged, message)
                .with_help("the models diverged: lower the learning rate"));
        }
        Ok(finite)
    }

    /// The eigenvectors of each member's kernel, `None` where a number is not finite. `tolerance` is the
    /// share of the largest eigenvalue that counts as rounding; `None` takes ten roundings of the
    /// kernel's type for each row.
    ///
    /// # Errors
    /// If no member is finite, a kernel is not symmetric, or an eigenvalue is below zero by more than
    /// rounding; if the eigenvectors do not fit into memory.
    pub fn eigen(&self, what: &str, tolerance: Option<f64>) -> Result<Vec<Option<Pairs>>> {
        self.finite_members(what)?;
        let n = self.rows;
        let needs = [Need {
            name: "eigenvectors and what their iteration needs".into(),
            shape: vec![
                self.members + 3 * self.members.min(rayon::current_num_threads()),
                n,
                n,
            ],
            number: 8,
        }];
        memory::check(what, &needs, |available| {
            let bytes = |n: usize| Some((needs[0].shape[0] * 8) as u128 * (n * n) as u128);
            format!(
                "kernels on {} points would fit",
                memory::largest(n, available, bytes)
            )
        })?;
        let share = tolerance.unwrap_or(10.0 * self.rounding * n.max(10) as f64);
        (0..self.members)
            .into_par_iter()
            .map(|member| match self.is_finite(member) {
                true => {
                    let (kernel, shares) = (self.member(member), (share, self.rounding));
                    Pairs::of(what, kernel, (member, n), shares).map(Some)
                }
                false => Ok(None),
            })
            .collect()
    }
}

/// Eigenvalues of one kernel in descending order, and its eigenvectors.
pub(super) struct Pairs {
    pub values: Vec<f64>,
    /// `[n, n]`, row by row; row `i` is the eigenvector of value `i`.
    pub vectors: Vec<f64>,
    /// Up to here an eigenvalue is rounding.
    pub bound: f64,
    /// How many eigenvalues are above what the decomposition itself makes of 0, four roundings of the largest times the
    /// root of the rows: the eigenvectors of the others are any of their space.
    pub rank: usize,
}

impl Pairs {
    fn of(
        what: &str,
        kernel: &[f64],
        (member, n): (usize, usize),
        (share, rounding): (f64, f64),
    ) -> Result<Self> {
        let largest = kernel.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for i in 0..n {
            for j in 0..i {
                let (a, b) = (kernel[i * n + j], kernel[j * n + i]);
                if (a - b).abs() > share * largest {
                    return Err(Error::setting(format!(
                        "{what}: the kernel of member {member} is not symmetric: [{i}, {j}] is {a:e}, \
                         [{j}, {i}] is {b:e}, further apart than rounding, {:e}",
                        share * largest
                    ))
                    .with_help("give a kernel of points with themselves, in the same order"));
                }
            }
        }
        let found = symmetric_eigen(kernel, n).map_err(|e| e.at(what))?;
        let values: Vec<f64> = found.values.iter().rev().copied().collect();
        let top = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let (bound, least) = (share * top, values.last().copied().unwrap_or(0.0));
        if least < -bound {
            return Err(Error::setting(format!(
                "{what}: the kernel of member {member} is not positive semi-definite: its smallest \
                 eigenvalue is {least:e}, below rounding, -{bound:e} ({share:e} of the largest, {top:e})"
            ))
            .with_help("a kernel of inner products is; `tolerance` sets what counts as rounding"));
        }
        let mut vectors = vec![0.0; n * n];
        for (i, row) in vectors.chunks_exact_mut(n).enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                *x = found.vectors[j * n + n - 1 - i];
            }
        }
        let zero = 4.0 * rounding * (n as f64).sqrt() * top;
        let rank = values.iter().filter(|x| **x > zero).count();
        Ok(Self {
            values,
            vectors,
            bound,
            rank,
        })
    }

    /// The components `[n, columns]` of `targets [n, columns]` along the eigenvectors.
    pub fn components(&self, targets: &[f64], columns: usize) -> Vec<f64> {
        let n = self.values.len();
        let mut found = vec![0.0; n * columns];
        let (v, y) = (
            Matrix::row_major(&self.vectors, n),
            Matrix::row_major(targets, columns),
        );
        matmul(&mut found, (n, columns, n), 1.0, v, y);
        found
    }

    /// The combination `[n, columns]` of eigenvectors with these components.
    pub fn combine(&self, components: &[f64], columns: usize) -> Vec<f64> {
        let n = self.values.len();
        let mut found = vec![0.0; n * columns];
        let (v, c) = (
            Matrix::row_major(&self.vectors, n),
            Matrix::row_major(components, columns),
        );
        matmul(&mut found, (n, columns, n), 1.0, v.transposed(), c);
        found
    }
}

/// Targets of the rows of a kernel.
pub(super) struct Targets {
    /// `[rows of the kernel, columns]`.
    pub values: Vec<f64>,
    /// Outputs that share a kernel of points; 1 for a kernel of points and outputs.
    pub columns: usize,
    pub points: usize,
    pub outputs: usize,
}

impl Targets {
    /// Reads labels for a kernel of so many rows: one row for a point, or one for each output of a
    /// point. Classes become one-hot vectors, with `centred` minus their mean over the points.
    pub fn read(
        what: &str,
        labels: &Labels,
        rows: usize,
        classes: Option<usize>,
        centred: bool,
    ) -> Result<Self> {
        let (mut values, points, outputs) = match labels {
            Labels::Classes(tensor) => {
                let found: Vec<i64> = tensor.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
                let most = found.iter().max().map_or(0, |m| (m + 1).max(0) as usize);
                let outputs = classes.unwrap_or(most);
                let mut values = vec![0.0; found.len() * outputs];
                for (i, class) in found.iter().enumerate() {
                    let class = usize::try_from(*class).ok().filter(|c| *c < outputs);
                    let Some(class) = class else {
                        return Err(Error::shape(format!(
                            "{what}: point {i} has class {}, but there are {outputs} classes",
                            found[i]
                        )));
                    };
                    values[i * outputs + class] = 1.0;
                }
                (values, found.len(), outputs)
            }
            Labels::Values(tensor) => {
                let &[points, ref each @ ..] = tensor.dims() else {
                    return Err(Error::shape(format!("{what}: targets have no points")));
                };
                (to_f64(tensor)?, points, each.iter().product::<usize>())
            }
        };
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            let message = format!(
                "{what}: the target of point {} is {}",
                i / outputs.max(1),
                values[i]
            );
            return Err(Error::new(ErrorKind::Diverged, message));
        }
        let columns = match rows {
            rows if rows == points => outputs,
            rows if rows == points * outputs => 1,
            _ => {
                return Err(Error::shape(format!(
                    "{what}: a kernel of {rows} rows does not fit targets of {points} points and \
                     {outputs} outputs"
                ))
                .with_help(format!(
                    "it needs {points} rows, or {} for all outputs; `classes` says how many classes \
                     there are",
                    points * outputs
                )));
            }
        };
        if centred {
            for output in 0..outputs {
                let of = || (0..points).map(|i| i * outputs + output);
                let mean = of().map(|i| values[i]).sum::<f64>() / points as f64;
                of().for_each(|i| values[i] -= mean);
            }
        }
        Ok(Self {
            values,
            columns,
            points,
            outputs,
        })
    }
}
