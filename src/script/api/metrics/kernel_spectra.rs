//! Spectra of kernels: eigenvalues, their power law, the power of a task in them, overlaps of
//! eigenspaces, and mean kernels.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::{entries, per_point};
use crate::error::Result;
use crate::metrics::{self, SpectrumSettings, TaskSettings};
use crate::options;
use crate::script::options::NON_NEGATIVE;
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SpectrumOptions::spec());
    registry.options(OverlapOptions::spec());
    registry.options(TaskOptions::spec());
    registry.options(ExponentOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

options! {
    /// Settings of a kernel's spectrum.
    pub struct SpectrumOptions for "metrics::kernel_spectrum" {
        /// What eigenvalues are divided by; left out, the number of rows.
        points: Option<usize> = None, where (1.0..);
        /// Share of the largest eigenvalue that counts as rounding; left out, ten roundings of the
        /// kernel's element type for each row.
        tolerance: Option<f64> = None, where NON_NEGATIVE;
    }
}

options! {
    /// Settings of the overlap of eigenspaces.
    pub struct OverlapOptions for "metrics::eigenspace_overlap" {
        /// Share of the largest eigenvalue that counts as rounding; left out, ten roundings of the
        /// kernel's element type for each row.
        tolerance: Option<f64> = None, where NON_NEGATIVE;
    }
}

options! {
    /// Settings of the task-power distribution.
    pub struct TaskOptions for "metrics::task_power" {
        /// Number of classes, whose targets are one-hot vectors; left out, one more than the largest.
        classes: Option<usize> = None, where (1.0..);
        /// Whether the mean over points is subtracted from each output's targets, so that the power of
        /// a constant is left out.
        centred: bool = false;
        /// Share of the largest eigenvalue that counts as rounding; left out, ten roundings of the
        /// kernel's element type for each row.
        tolerance: Option<f64> = None, where NON_NEGATIVE;
    }
}

options! {
    /// Settings of the power law of a spectrum.
    pub struct ExponentOptions for "metrics::spectrum_exponent" {
        /// First rank of the fit, counted from 1.
        from: usize = 1, where (1.0..);
        /// Last rank of the fit; left out, that of the last eigenvalue.
        to: Option<usize> = None, where (1.0..);
    }
}

fn tensor(rows: &[Vec<f64>]) -> Result<Dynamic> {
    per_point(rows).map(Dynamic::from)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// The eigenvalues of `K/P` in descending order for kernels `[members, P, P]` (or `[P, P]`, as one
    /// member): a tensor `[members, P]`, `f64`, NaN for a member with a number that is not finite. A
    /// kernel that is not symmetric, or has an eigenvalue below zero by more than rounding, is an error
    /// with the number and the bound. For a kernel of points and outputs, `points` is the number of
    /// points.
    ///
    /// ```rhai
    /// metrics::kernel_spectrum([[2.0, 1.0], [1.0, 2.0]])[0].to_array()     // → [1.5, 0.5]
    /// ```
    #[rhai_fn(name = "kernel_spectrum", return_raw)]
    pub fn kernel_spectrum_with(
        ctx: NativeCallContext,
        kernel: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<TensorValue> {
        let o = SpectrumOptions::read("metrics::kernel_spectrum", &settings).or_raise(&ctx)?;
        let kernel = values::tensor("kernel_spectrum", "kernel", &kernel).or_raise(&ctx)?;
        let settings = SpectrumSettings {
            points: o.points,
            tolerance: o.tolerance,
        };
        metrics::kernel_spectrum(&kernel, settings)
            .and_then(|rows| per_point(&rows))
            .or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "kernel_spectrum", return_raw)]
    pub fn kernel_spectrum(ctx: NativeCallContext, kernel: Dynamic) -> RhaiResultOf<TensorValue> {
        kernel_spectrum_with(ctx, kernel, Map::new())
    }

    /// How the targets lie in the eigenbasis of each member's kernel (Canatar, Bordelon, Pehlevan 2021):
    /// a map with tensors `[members, P]`: `eigenvalues` of `K/P`, descending; `power`, the share
    /// `Σ_c (v_kᵀ y_c)² / Σ_c |y_c|²` of the targets in each mode; `cumulative`, the share
    /// `C(k) = Σ_{j ≤ k} |v_jᵀ y|² / Σ_j |v_jᵀ y|²` in the first `k` modes. At a fixed kernel gradient flow
    /// learns modes of large eigenvalues first, so that `1 − C(k)` is what is left after `k` of them.
    ///
    /// Targets are a batch, classes `[P]` (one-hot vectors) or values `[P, outputs]`. A kernel of points
    /// serves all outputs; one of points and outputs, `metrics::ntk(m, x, #{ outputs: "full" })`, fits
    /// too. Members that are not finite have NaN; targets that are all zero are an error. Behind a kernel's rank each mode
    /// has an equal part of the power that is left, the mean over all bases of its zeros.
    ///
    /// ```rhai
    /// let found = metrics::task_power([[2.0, 1.0], [1.0, 2.0]], [[3.0], [1.0]]);
    /// found.cumulative[0].to_array().map(|c| round_to(c, 6))      // → [0.8, 1.0]
    /// ```
    #[rhai_fn(name = "task_power", return_raw)]
    pub fn task_power_with(
        ctx: NativeCallContext,
        kernel: Dynamic,
        targets: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = TaskOptions::read("metrics::task_power", &settings).or_raise(&ctx)?;
        let kernel = values::tensor("task_power", "kernel", &kernel).or_raise(&ctx)?;
        let targets = values::labels("task_power", &targets).or_raise(&ctx)?;
        let settings = TaskSettings {
            classes: o.classes,
            centred: o.centred,
            tolerance: o.tolerance,
        };
        let found = metrics::task_power(&kernel, &targets, settings).or_raise(&ctx)?;
        Ok(entries([
            ("eigenvalues", tensor(&found.eigenvalues).or_raise(&ctx)?),
            ("power", tensor(&found.power).or_raise(&ctx)?),
            ("cumulative", tensor(&found.cumulative).or_raise(&ctx)?),
        ]))
    }

    // every setting has a default
    #[rhai_fn(name = "task_power", return_raw)]
    pub fn task_power(
        ctx: NativeCallContext,
        kernel: Dynamic,
        targets: Dynamic,
    ) -> RhaiResultOf<Map> {
        task_power_with(ctx, kernel, targets, Map::new())
    }

    /// `‖V_kᵀ V'_k‖²_F / k` of the first `k` eigenvectors of two kernels on the same points: an array with
    /// one number per member, 1 for the same space, `k/P` on average for random ones. Kernels of one
    /// member are compared with every member of the other. Fails where `k` is above a kernel's rank and below P, since no
    /// eigenvectors of zeros are the first.
    ///
    /// ```rhai
    /// let a = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]];
    /// let b = [[2.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]];
    /// metrics::eigenspace_overlap(a, b, 2)        // → [0.5]
    /// ```
    #[rhai_fn(name = "eigenspace_overlap", return_raw)]
    pub fn eigenspace_overlap_with(
        ctx: NativeCallContext,
        kernel: Dynamic,
        other: Dynamic,
        k: i64,
        settings: Map,
    ) -> RhaiResultOf<Array> {
        let what = "eigenspace_overlap";
        let o = OverlapOptions::read("metrics::eigenspace_overlap", &settings).or_raise(&ctx)?;
        let kernel = values::tensor(what, "kernel", &kernel).or_raise(&ctx)?;
        let other = values::tensor(what, "other", &other).or_raise(&ctx)?;
        let k = usize::try_from(k).unwrap_or(0);
        let found = metrics::eigenspace_overlap(&kernel, &other, k, o.tolerance);
        Ok(values::array(found.or_raise(&ctx)?))
    }

    // every setting has a default
    #[rhai_fn(name = "eigenspace_overlap", return_raw)]
    pub fn eigenspace_overlap(
        ctx: NativeCallContext,
        kernel: Dynamic,
        other: Dynamic,
        k: i64,
    ) -> RhaiResultOf<Array> {
        eigenspace_overlap_with(ctx, kernel, other, k, Map::new())
    }

    /// The mean of kernels `[members, rows, columns]` over the members that have not diverged.
    ///
    /// Gives a map: `kernel`, a tensor `[rows, columns]` of the kernels' type, summed in `f64`; `count`,
    /// members in it; `excluded`, members left out because a number is not finite.
    ///
    /// ```rhai
    /// let mean = metrics::mean_kernel([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 2.0], [2.0, 3.0]]]);
    /// mean.kernel.to_array()      // → [[2.0, 1.0], [1.0, 2.0]]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn mean_kernel(ctx: NativeCallContext, kernel: Dynamic) -> RhaiResultOf<Map> {
        let kernel = values::tensor("mean_kernel", "kernel", &kernel).or_raise(&ctx)?;
        let mean = metrics::mean_kernel(&kernel).or_raise(&ctx)?;
        Ok(entries([
            ("kernel", Dynamic::from(TensorValue(mean.kernel))),
            ("count", Dynamic::from(mean.count as i64)),
            ("excluded", Dynamic::from(mean.excluded as i64)),
        ]))
    }

    /// The power law of a spectrum, `λ_k ∝ k^−exponent`, by a line through the logarithms of eigenvalues and
    /// ranks `from` to `to` (counted from 1): a map with `exponent`; `exponent_error`, the standard error
    /// of the line, which takes eigenvalues to be independent; `r_squared`; `count`, eigenvalues in the fit.
    /// Eigenvalues that are not positive are an error.
    ///
    /// ```rhai
    /// let fit = metrics::spectrum_exponent([1.0, 0.25, 1.0 / 9.0, 1.0 / 16.0], #{ from: 1, to: 4 });
    /// (fit.exponent - 2.0).abs() < 1e-12      // → true
    /// ```
    #[rhai_fn(name = "spectrum_exponent", return_raw)]
    pub fn spectrum_exponent_with(
        ctx: NativeCallContext,
        eigenvalues: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = ExponentOptions::read("metrics::spectrum_exponent", &settings).or_raise(&ctx)?;
        let eigenvalues = values::numbers("spectrum_exponent", "eigenvalues", &eigenvalues);
        let eigenvalues = eigenvalues.or_raise(&ctx)?;
        let fit = metrics::spectrum_exponent(&eigenvalues, o.from, o.to).or_raise(&ctx)?;
        let error = fit.slope_error.map_or(Dynamic::UNIT, Dynamic::from);
        Ok(entries([
            ("exponent", Dynamic::from(-fit.slope)),
            ("exponent_error", error),
            ("r_squared", Dynamic::from(fit.r_squared)),
            ("count", Dynamic::from(fit.count as i64)),
        ]))
    }

    // every setting has a default
    #[rhai_fn(name = "spectrum_exponent", return_raw)]
    pub fn spectrum_exponent(ctx: NativeCallContext, eigenvalues: Dynamic) -> RhaiResultOf<Map> {
        spectrum_exponent_with(ctx, eigenvalues, Map::new())
    }
}
