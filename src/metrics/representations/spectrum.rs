//! Singular values of weights, features and gradients, and the ranks that follow from them.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::members::Members;
use crate::error::Result;
use crate::memory::{self, Need};
use crate::tensor::eigen;

/// How a tensor's axes behind that of members become rows and columns of a matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flatten {
    /// The first axis has the rows, such as points or inputs; all others are columns.
    #[default]
    Columns,
    /// The last axis has the columns; all others are rows, as of filters `[height, width, in, out]`.
    Rows,
}

/// What is done before singular values are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Rows and columns.
    pub flatten: Flatten,
    /// Whether each column's mean over rows is subtracted.
    pub centred: bool,
}

/// Spectra of all members.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spectrum {
    /// `[member][…]` in descending order, as many as the smaller of rows and columns; NaN where a
    /// member has diverged.
    pub singular_values: Vec<Vec<f64>>,
    /// [`effective_rank`] of each member.
    pub effective_rank: Vec<f64>,
    /// [`stable_rank`] of each member.
    pub stable_rank: Vec<f64>,
    /// [`participation_ratio`] of each member.
    pub participation_ratio: Vec<f64>,
}

/// The matrices of all members.
pub(super) struct Matrices {
    pub set: Members,
    pub rows: usize,
    pub columns: usize,
    centred: bool,
}

impl Matrices {
    /// Reads `x [members, …]` with two axes or more beside that of members.
    pub fn read(what: &str, x: &Tensor, prepare: Preparation) -> Result<Self> {
        let set = Members::read(what, x, 2, "[members, rows, columns, …]")?;
        let size = set.size();
        let rows = match prepare.flatten {
            Flatten::Columns => set.shape[0],
            Flatten::Rows => size / set.shape[set.shape.len() - 1],
        };
        let need = |name: &str, members: usize| Need {
            name: name.into(),
            shape: vec![members, rows, size / rows],
            number: size_of::<f64>(),
        };
        let at_once = set.count.min(rayon::current_num_threads());
        memory::check(what, &[need("reductions of matrices", 3 * at_once)], |_| {
            "take fewer points, or a part of the tensor".to_string()
        })?;
        Ok(Self {
            rows,
            columns: size / rows,
            set,
            centred: prepare.centred,
        })
    }

    /// Singular values of each member in descending order; `None` where it has diverged.
    pub fn singular_values(&self) -> Result<Vec<Option<Vec<f64>>>> {
        let of = |member: usize| {
            let Some(numbers) = self.set.finite(member) else {
                return Ok(None);
            };
            let (rows, columns) = (self.rows, self.columns);
            if !self.centred {
                return eigen::singular_values(numbers, rows, columns).map(Some);
            }
            let mut means = vec![0.0; columns];
            for row in numbers.chunks_exact(columns) {
                means
                    .iter_mut()
                    .zip(row)
                    .for_each(|(m, x)| *m += x / rows as f64);
            }
            let mut centred = numbers.to_vec();
            for row in centred.chunks_exact_mut(columns) {
                row.iter_mut().zip(&means).for_each(|(x, m)| *x -= m);
            }
            eigen::singular_values(&centred, rows, columns).map(Some)
        };
        (0..self.set.count).into_par_iter().map(of).collect()
    }
}

/// Singular values of each member's matrix in `x [members, rows, columns, …]`: weights
/// `[members, in, out]`, features `[members, points, …]`, gradients.
///
/// # Errors
/// If there are fewer than three axes, no number, or too little memory, or the iteration does not
/// converge.
pub fn singular_values(x: &Tensor, prepare: Preparation) -> Result<Vec<Vec<f64>>> {
    Ok(spectrum_of("singular_values", x, prepare)?.singular_values)
}

/// Singular values and the ranks that follow from them.
///
/// # Errors
/// As for [`singular_values`].
pub fn spectrum(x: &Tensor, prepare: Preparation) -> Result<Spectrum> {
    spectrum_of("spectrum", x, prepare)
}

fn spectrum_of(what: &str, x: &Tensor, prepare: Preparation) -> Result<Spectrum> {
    let matrices = Matrices::read(what, x, prepare)?;
    let count = matrices.rows.min(matrices.columns);
    let found = matrices.singular_values()?.into_iter();
    let values: Vec<Vec<f64>> = found
        .map(|v| v.unwrap_or_else(|| vec![f64::NAN; count]))
        .collect();
    let each = |f: fn(&[f64]) -> f64| values.iter().map(|v| f(v)).collect();
    Ok(Spectrum {
        effective_rank: each(effective_rank),
        stable_rank: each(stable_rank),
        participation_ratio: each(participation_ratio),
        singular_values: values,
    })
}

/// The exponential of the entropy of `σ_i / Σ σ` (Roy and Vetterli 2007): n for n equal singular values,
/// 1 for one. NaN where all are 0.
pub fn effective_rank(singular_values: &[f64]) -> f64 {
    let sum: f64 = singular_values.iter().sum();
    if sum <= 0.0 {
        return f64::NAN;
    }
    let shares = singular_values.iter().map(|s| s / sum);
    let terms = shares.map(|p| if p == 0.0 { 0.0 } else { -p * p.ln() });
    terms.sum::<f64>().exp()
}

/// `‖A‖_F² / ‖A‖₂² = Σ σ_i² / σ_1²` (Rudelson and Vershynin 2007). NaN where all are 0.
pub fn stable_rank(singular_values: &[f64]) -> f64 {
    let largest = singular_values.iter().copied().fold(0.0, f64::max);
    let squares: f64 = singular_values.iter().map(|s| s * s).sum();
    squares / (largest * largest)
}

/// `(Σ λ_i)² / Σ λ_i²` of the eigenvalues `λ_i = σ_i²` (Gao et al. 2017). NaN where all are 0.
pub fn participation_ratio(singular_values: &[f64]) -> f64 {
    let squares = singular_values.iter().map(|s| s * s);
    let sum: f64 = squares.clone().sum();
    sum * sum / squares.map(|l| l * l).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};
    use candle_core::{DType, Device};

    #[test]
    fn spectra_are_those_of_numpy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("spectra.{name}"));
        for (name, centred, flatten) in [
            ("plain", false, Flatten::Columns),
            ("centred", true, Flatten::Columns),
            ("rows", false, Flatten::Rows),
        ] {
            let found = spectrum(&of("x").to_tensor(), Preparation { flatten, centred }).unwrap();
            let part = |part: &str| of(&format!("{name}.{part}")).values;
            assert_close(
                name,
                &found.singular_values.concat(),
                &part("singular_values"),
                1e-12,
            );
            assert_close(name, &found.effective_rank, &part("effective_rank"), 1e-12);
            assert_close(name, &found.stable_rank, &part("stable_rank"), 1e-12);
            assert_close(
                name,
                &found.participation_ratio,
                &part("participation_ratio"),
                1e-12,
            );
        }
    }

    #[test]
    fn ranks_of_the_identity_and_of_a_product_of_vectors() {
        let plain = Preparation::default();
        let identity = Tensor::eye(7, DType::F64, &Device::Cpu).unwrap();
        let found = spectrum(&identity.unsqueeze(0).unwrap(), plain).unwrap();
        for rank in [
            found.effective_rank,
            found.stable_rank,
            found.participation_ratio,
        ] {
            assert_close("identity", &rank, &[7.0], 1e-14);
        }
        let (u, v) = (
            testing::normal(1, &[1, 5, 1], 1.0),
            testing::normal(2, &[1, 1, 6], 1.0),
        );
        let found = spectrum(&u.matmul(&v).unwrap(), plain).unwrap();
        assert_close("stable", &found.stable_rank, &[1.0], 1e-12);
        assert_close("participation", &found.participation_ratio, &[1.0], 1e-12);
        assert_close("effective", &found.effective_rank, &[1.0], 1e-10);
    }

    #[test]
    fn what_is_not_defined_is_nan() {
        let x = testing::spoil(&testing::normal(1, &[2, 4, 3], 1.0), 0, f64::NAN);
        let found = spectrum(&x, Preparation::default()).unwrap();
        assert!(
            found.singular_values[0].iter().all(|s| s.is_nan()) && found.stable_rank[0].is_nan()
        );
        assert!(found.effective_rank[1].is_finite() && found.effective_rank[0].is_nan());
        let zero = Tensor::zeros((1, 4, 3), DType::F64, &Device::Cpu).unwrap();
        let found = spectrum(&zero, Preparation::default()).unwrap();
        let ranks = [
            found.effective_rank,
            found.stable_rank,
            found.participation_ratio,
        ];
        assert!(ranks.iter().all(|r| r[0].is_nan()));
        assert!(singular_values(&zero.squeeze(0).unwrap(), Preparation::default()).is_err());
    }
}
