//! Spectra of kernels: eigenvalues, their power law, the power of a task in them, overlaps of
//! eigenspaces, and mean kernels.

use candle_core::{Device, Tensor};

use super::kernel_matrix::{Matrices, Pairs, Targets};
use super::stats::{LinearFit, log_log_fit};
use crate::data::Labels;
use crate::error::{Error, Result};
use crate::memory::numbers;
use crate::tensor::matmul::{Matrix, matmul};

/// Settings of a spectrum.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpectrumSettings {
    /// What eigenvalues are divided by; `None` takes the number of rows.
    pub points: Option<usize>,
    /// Share of the largest eigenvalue that counts as rounding; `None` takes ten roundings of the
    /// kernel's element type for each row (at least ten rows).
    pub tolerance: Option<f64>,
}

/// The eigenvalues of `K/P` of each member's kernel `[members, n, n]` (or `[n, n]`) in descending order,
/// `[members][n]`, by faer; NaN for a member whose kernel has a number that is not finite. Eigenvalues
/// that are below zero within rounding stay so.
///
/// # Errors
/// If a kernel is no square matrix, not symmetric or not positive semi-definite within rounding: the
/// smallest eigenvalue and the bound. If no member is finite.
pub fn kernel_spectrum(kernel: &Tensor, settings: SpectrumSettings) -> Result<Vec<Vec<f64>>> {
    let what = "kernel_spectrum";
    let kernels = Matrices::square(what, "kernel", kernel)?;
    let points = match settings.points {
        Some(0) => return Err(Error::setting(format!("{what}: points must be at least 1"))),
        points => points.unwrap_or(kernels.rows) as f64,
    };
    let found = kernels.eigen(what, settings.tolerance)?;
    let spectrum = found.into_iter().map(|pairs| match pairs {
        Some(pairs) => pairs.values.iter().map(|x| x / points).collect(),
        None => vec![f64::NAN; kernels.rows],
    });
    Ok(spectrum.collect())
}

/// How a task lies in the eigenbasis of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPower {
    /// Eigenvalues of `K/P`, descending, `[members][n]`.
    pub eigenvalues: Vec<Vec<f64>>,
    /// Share of the targets' power in each mode, `Σ_c (v_kᵀ y_c)² / Σ_c |y_c|²`, `[members][n]`.
    pub power: Vec<Vec<f64>>,
    /// `C(k)`, the share in the first `k` modes, `[members][n]` for `k = 1 … n`.
    pub cumulative: Vec<Vec<f64>>,
}

/// Settings of [`task_power`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskSettings {
    /// Number of classes; `None` takes one more than the largest class.
    pub classes: Option<usize>,
    /// Whether the mean over points is subtracted from every output's targets.
    pub centred: bool,
    /// As in [`SpectrumSettings::tolerance`].
    pub tolerance: Option<f64>,
}

/// The task-power distribution of targets in each member's kernel (Canatar, Bordelon, Pehlevan 2021):
/// `C(k) = Σ_{j ≤ k} |v_jᵀ y|² / Σ_j |v_jᵀ y|²` for eigenvectors in the order of descending eigenvalues,
/// with several outputs the sum over them. A kernel of points `[members, points, points]` serves every
/// output; one of points and outputs has its rows in the order `point · outputs + output`. Classes
/// become one-hot targets. Members that are not finite have NaN.
///
/// Where the kernel is of lower rank, no eigenvector of its zeros is the first: each has an equal part of the power in
/// their space, the mean over all bases of it.
///
/// # Errors
/// As for [`kernel_spectrum`]; if the targets do not fit the kernel, are not finite, or all are zero.
pub fn task_power(kernel: &Tensor, labels: &Labels, settings: TaskSettings) -> Result<TaskPower> {
    let what = "task_power";
    let kernels = Matrices::square(what, "kernel", kernel)?;
    let n = kernels.rows;
    let targets = Targets::read(what, labels, n, settings.classes, settings.centred)?;
    let total: f64 = targets.values.iter().map(|y| y * y).sum();
    if total <= 0.0 {
        return Err(Error::setting(format!(
            "{what}: all targets are zero{}, so that they have no power to share out",
            if settings.centred {
                " once centred"
            } else {
                ""
            }
        )));
    }
    let columns = targets.columns;
    let mut found = TaskPower {
        eigenvalues: Vec::new(),
        power: Vec::new(),
        cumulative: Vec::new(),
    };
    for pairs in kernels.eigen(what, settings.tolerance)? {
        let Some(pairs) = pairs else {
            let none = || vec![f64::NAN; n];
            found.eigenvalues.push(none());
            found.power.push(none());
            found.cumulative.push(none());
            continue;
        };
        let components = pairs.components(&targets.values, columns);
        let of_mode = |c: &[f64]| c.iter().map(|x| x * x).sum::<f64>();
        let mut power: Vec<f64> = components.chunks_exact(columns).map(of_mode).collect();
        let sum: f64 = power.iter().sum();
        let zeros = &mut power[pairs.rank..];
        let each = zeros.iter().sum::<f64>() / zeros.len().max(1) as f64;
        zeros.fill(each);
        let mut so_far = 0.0;
        let share = |p: &f64| {
            so_far += p;
            so_far / sum
        };
        found.cumulative.push(power.iter().map(share).collect());
        found.power.push(power.iter().map(|p| p / sum).collect());
        let points = targets.points as f64;
        let values = pairs.values.iter().map(|x| x / points);
        found.eigenvalues.push(values.collect());
    }
    Ok(found)
}

/// `‖V_kᵀ V'_k‖²_F / k` of the first `k` eigenvectors of two kernels on the same points, for every member:
/// 1 for the same space, `k/n` on average for random ones. Kernels of one member are compared with
/// every member of the other. Where eigenvalues `k` and `k + 1` are equal the space is not determined.
/// NaN where a kernel is not finite.
///
/// # Errors
/// As for [`kernel_spectrum`]; if the kernels are of other sizes or numbers of members, if `k` is not in
/// `1 ..= n`, or a kernel's rank is lower and `k` not `n`: its eigenvectors beyond are any.
pub fn eigenspace_overlap(
    kernel: &Tensor,
    other: &Tensor,
    k: usize,
    tolerance: Option<f64>,
) -> Result<Vec<f64>> {
    let what = "eigenspace_overlap";
    let (a, b) = (
        Matrices::square(what, "kernel", kernel)?,
        Matrices::square(what, "other", other)?,
    );
    let n = a.rows;
    if b.rows != n {
        return Err(Error::shape(format!(
            "{what}: the kernels are on {n} and on {} points",
            b.rows
        ))
        .with_help("compare kernels on the same points, in the same order"));
    }
    if a.members != b.members && a.members != 1 && b.members != 1 {
        return Err(Error::shape(format!(
            "{what}: the kernels have {} and {} members; they must be as many, or one",
            a.members, b.members
        )));
    }
    if !(1..=n).contains(&k) {
        return Err(Error::setting(format!(
            "{what}: k must be between 1 and {n}, the number of rows, found {k}"
        )));
    }
    let members = a.members.max(b.members);
    let (a, b) = (a.eigen(what, tolerance)?, b.eigen(what, tolerance)?);
    for (name, all) in [("kernel", &a), ("other", &b)] {
        let low = |pairs: &Option<Pairs>| pairs.as_ref().is_some_and(|p| p.rank < k && k < n);
        if let Some(member) = all.iter().position(low) {
            let rank = all[member].as_ref().map_or(0, |p| p.rank);
            return Err(Error::setting(format!(
                "{what}: {name}: the kernel of member {member} has rank {rank}, so that {k} eigenvectors do not span a \
                 space that is determined"
            ))
            .with_help(match rank {
                0 => "it is a kernel of zeros".to_string(),
                rank => format!("compare the first {rank}"),
            }));
        }
    }
    let mut product = vec![0.0; k * k];
    let overlap = |m: usize| match (&a[m % a.len()], &b[m % b.len()]) {
        (Some(a), Some(b)) => {
            let (a, b) = (
                Matrix::row_major(&a.vectors, n),
                Matrix::row_major(&b.vectors, n),
            );
            matmul(&mut product, (k, k, n), 1.0, a, b.transposed());
            product.iter().map(|x| x * x).sum::<f64>() / k as f64
        }
        _ => f64::NAN,
    };
    Ok((0..members).map(overlap).collect())
}

/// A mean over members.
#[derive(Debug, Clone)]
pub struct MeanKernel {
    /// `[rows, columns]` in the type of the kernels.
    pub kernel: Tensor,
    /// Members in it.
    pub count: usize,
    /// Members left out because a number is not finite.
    pub excluded: usize,
}

/// The mean of the members' kernels `[members, rows, columns]`, summed in `f64` and given in their type.
///
/// # Errors
/// If the tensor is no kernel, or no member is finite.
pub fn mean_kernel(kernel: &Tensor) -> Result<MeanKernel> {
    let kernels = Matrices::read("mean_kernel", "kernel", kernel)?;
    let finite = kernels.finite_members("mean_kernel")?;
    let mut mean = numbers("a mean kernel", &[kernels.rows, kernels.columns])?;
    for &member in &finite {
        let all = mean.iter_mut().zip(kernels.member(member));
        all.for_each(|(sum, x): (&mut f64, &f64)| *sum += x);
    }
    mean.iter_mut().for_each(|x| *x /= finite.len() as f64);
    let shape = (kernels.rows, kernels.columns);
    let mean = Tensor::from_vec(mean, shape, &Device::Cpu)?;
    Ok(MeanKernel {
        kernel: mean.to_dtype(kernel.dtype())?,
        count: finite.len(),
        excluded: kernels.members - finite.len(),
    })
}

/// The power law of a spectrum: `λ_k ∝ k^−α` for `k` in `from ..= to`, counted from 1, by a line through the
/// logarithms: the slope of the fit is `−α`. Neighbouring eigenvalues are not independent, so that the
/// standard error of the line, which takes them to be, is too small.
///
/// # Errors
/// If the range is not in `1 ..= n` or has fewer than three eigenvalues, or one of them is not positive or
/// not finite.
pub fn spectrum_exponent(eigenvalues: &[f64], from: usize, to: Option<usize>) -> Result<LinearFit> {
    let what = "spectrum_exponent";
    let to = to.unwrap_or(eigenvalues.len());
    if from < 1 || to > eigenvalues.len() || to < from + 2 {
        return Err(Error::setting(format!(
            "{what}: from and to must be at least 2 apart and within 1 and {}, the number of \
             eigenvalues; found {from} and {to}",
            eigenvalues.len()
        )));
    }
    let part = &eigenvalues[from - 1..to];
    if let Some(i) = part.iter().position(|x| !(x.is_finite() && *x > 0.0)) {
        return Err(Error::setting(format!(
            "{what}: eigenvalue {} is {:e}, which no power law has",
            from + i,
            part[i]
        ))
        .with_help(format!(
            "end the fit before it: to: {}",
            (from + i).saturating_sub(1)
        )));
    }
    let ranks: Vec<f64> = (from..=to).map(|k| k as f64).collect();
    log_log_fit(&ranks, part).map_err(|e| e.at(what))
}
