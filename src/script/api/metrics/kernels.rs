//! Spectra of kernels, regression and gradient flow with them, and kernels of infinite width.

use candle_core::Tensor;
use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::data::BatchValue;
use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::per_point;
use crate::error::Result;
use crate::metrics::{
    self, FlowSettings, InfiniteActivation, InfiniteSettings, KernelSettings, SpectrumSettings,
    TaskSettings,
};
use crate::options;
use crate::script::options::{NON_NEGATIVE, POSITIVE};
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SpectrumOptions::spec());
    registry.options(OverlapOptions::spec());
    registry.options(TaskOptions::spec());
    registry.options(RegressionOptions::spec());
    registry.options(FlowOptions::spec());
    registry.options(ExponentOptions::spec());
    registry.options(InfiniteOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
}

crate::choice! { InfiniteActivation {
    "relu" => InfiniteActivation::Relu, "erf" => InfiniteActivation::Erf,
} }

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
    /// Settings of kernel regression.
    pub struct RegressionOptions for "metrics::kernel_regression" {
        /// Ridges, in the units of the kernel; 0 is the solution of least norm.
        ridge: Vec<f64> = vec![0.0], where NON_NEGATIVE;
        /// Number of classes, whose targets are one-hot vectors; left out, one more than the largest.
        classes: Option<usize> = None, where (1.0..);
        /// Whether the kernels are traced over outputs, as those of `metrics::ntk`: they are then
        /// divided by the number of outputs.
        traced: bool = false;
        /// Share of the largest eigenvalue that counts as rounding; left out, ten roundings of the
        /// kernel's element type for each row.
        tolerance: Option<f64> = None, where NON_NEGATIVE;
    }
}

options! {
    /// Settings of kernel gradient flow.
    pub struct FlowOptions for "metrics::kernel_gradient_flow" {
        /// Times, in steps of gradient descent.
        times: Vec<f64>, where NON_NEGATIVE;
        /// Learning rate.
        lr: f64, where POSITIVE;
        /// Outputs on the training points at time 0, `[members, points, outputs]` or the same for all
        /// members; left out, 0.
        initial: Option<TensorValue> = None;
        /// Outputs on the test points at time 0; left out, 0.
        initial_test: Option<TensorValue> = None;
        /// Number of classes, whose targets are one-hot vectors; left out, one more than the largest.
        classes: Option<usize> = None, where (1.0..);
        /// Whether the kernels are traced over outputs, as those of `metrics::ntk`: they are then
        /// divided by the number of outputs.
        traced: bool = false;
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

options! {
    /// Settings of the infinitely wide perceptron, as of `mlp` and `ntp`.
    pub struct InfiniteOptions for "metrics::infinite_kernels" {
        /// Number of weight matrices.
        depth: usize = 3, where (1.0..);
        /// Nonlinearity after each hidden layer.
        activation: InfiniteActivation = InfiniteActivation::Relu;
        /// Spread of the weights.
        weight_std: f64 = 1.0, where NON_NEGATIVE;
        /// Spread of the biases.
        bias_std: f64 = 0.0, where NON_NEGATIVE;
        /// Whether layers have biases; with `bias_std: 0` they are in the tangent kernel alone.
        bias: bool = true;
    }
}

/// Inputs of a batch, a tensor or nested arrays.
fn inputs(what: &str, name: &str, value: &Dynamic) -> Result<Tensor> {
    match value.clone().try_cast::<BatchValue>() {
        Some(batch) => Ok(batch.0.inputs.clone()),
        None => values::tensor(what, name, value),
    }
}

/// Entries of a map.
fn map(entries: impl IntoIterator<Item = (&'static str, Dynamic)>) -> Map {
    let entries = entries.into_iter();
    entries.map(|(name, value)| (name.into(), value)).collect()
}

fn tensor(rows: &[Vec<f64>]) -> Result<Dynamic> {
    per_point(rows).map(Dynamic::from)
}

fn regress(
    what: &str,
    [train, targets, test_train, test_targets]: [&Dynamic; 4],
    o: &RegressionOptions,
) -> Result<Map> {
    let train = values::tensor(what, "k_train", train)?;
    let between = values::tensor(what, "k_test_train", test_train)?;
    let targets = values::labels(what, targets)?;
    let wanted = match test_targets.is_unit() {
        true => None,
        false => Some(values::labels(what, test_targets)?),
    };
    let settings = KernelSettings {
        classes: o.classes,
        traced: o.traced,
        tolerance: o.tolerance,
    };
    let found = metrics::kernel_regression(
        &train,
        &targets,
        &between,
        wanted.as_ref(),
        &o.ridge,
        settings,
    )?;
    let some = |rows: Option<Vec<Vec<f64>>>| match rows {
        Some(rows) => tensor(&rows),
        None => Ok(Dynamic::UNIT),
    };
    let left_out = found.left_out.iter().map(|n| Dynamic::from(*n as i64));
    Ok(map([
        ("ridge", values::array(o.ridge.iter().copied()).into()),
        ("predictions", Dynamic::from(TensorValue(found.predictions))),
        ("test_error", some(found.test_error)?),
        ("accuracy", some(found.accuracy)?),
        ("left_out", left_out.collect::<Array>().into()),
    ]))
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
    /// too. Members that are not finite have NaN; targets that are all zero are an error.
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
        Ok(map([
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
    /// member are compared with every member of the other.
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
        Ok(map([
            ("kernel", Dynamic::from(TensorValue(mean.kernel))),
            ("count", Dynamic::from(mean.count as i64)),
            ("excluded", Dynamic::from(mean.excluded as i64)),
        ]))
    }

    /// Kernel ridge regression `f(x) = K(x, X) [K(X, X) + ρ]⁻¹ y` for a path of ridges `ρ`, by one
    /// eigendecomposition a member.
    ///
    /// `k_train` `[members, P, P]`; `k_test_train` `[members, test points, P]`; targets are a batch,
    /// classes (one-hot vectors) or values `[P, outputs]`; test targets too, or `()`. Kernels of points
    /// serve all outputs; kernels of points and outputs fit too. Gives a map: `ridge`; `predictions`,
    /// a tensor `[members, ridges, test points, outputs]`; `test_error`, the mean squared error over
    /// points and outputs, `[members, ridges]`; `accuracy` `[members, ridges]` where test targets are
    /// classes; `left_out`, for each member how many modes a ridge of 0 leaves out because their
    /// eigenvalue is rounding. What was not asked for is `()`. Members that are not finite have NaN.
    ///
    /// ```rhai
    /// let k = [[2.0, 0.0], [0.0, 1.0]];
    /// let found = metrics::kernel_regression(k, [[2.0], [1.0]], [[1.0, 1.0]], [[2.0]], #{ ridge: [0.0, 1.0] });
    /// found.predictions[0].reshape([2]).to_array().map(|x| round_to(x, 3))        // → [2.0, 1.167]
    /// ```
    #[rhai_fn(name = "kernel_regression", return_raw)]
    pub fn kernel_regression_with(
        ctx: NativeCallContext,
        k_train: Dynamic,
        targets: Dynamic,
        k_test_train: Dynamic,
        test_targets: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let o = RegressionOptions::read("metrics::kernel_regression", &settings).or_raise(&ctx)?;
        let given = [&k_train, &targets, &k_test_train, &test_targets];
        regress("kernel_regression", given, &o).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "kernel_regression", return_raw)]
    pub fn kernel_regression(
        ctx: NativeCallContext,
        k_train: Dynamic,
        targets: Dynamic,
        k_test_train: Dynamic,
        test_targets: Dynamic,
    ) -> RhaiResultOf<Map> {
        kernel_regression_with(
            ctx,
            k_train,
            targets,
            k_test_train,
            test_targets,
            Map::new(),
        )
    }

    /// Gradient flow of the mean squared error at a fixed kernel (Jacot, Gabriel, Hongler 2018), exactly,
    /// by one eigendecomposition a member: with the mean over `P` points and `C` outputs as the loss,
    /// `df/dt = −(2 lr/(P C)) K (f − y)`, so that mode `k` of the training error decays as
    /// `exp(−2 lr λ_k t/(P C))` for eigenvalues `λ_k` of `K`. Time is that of so many small steps of gradient
    /// descent, if the kernel is in the units of the learning rates.
    ///
    /// Kernels and targets are those of `metrics::kernel_regression`. Gives a map: `times`; `train`, outputs
    /// on the training points, a tensor `[members, times, P, outputs]`; `test`, those on the test points.
    ///
    /// ```rhai
    /// // one point: y (1 − exp(−2 lr K t))
    /// let flow = metrics::kernel_gradient_flow([[2.0]], [[3.0]], [[1.0]], #{ times: [0, 5], lr: 0.1 });
    /// let wanted = 3.0 * (1.0 - (-2.0).exp());
    /// (flow.train[0][1].item() - wanted).abs() < 1e-12       // → true
    /// (flow.test[0][1].item() - wanted / 2.0).abs() < 1e-12  // → true
    /// ```
    #[rhai_fn(return_raw)]
    pub fn kernel_gradient_flow(
        ctx: NativeCallContext,
        k_train: Dynamic,
        targets: Dynamic,
        k_test_train: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let what = "kernel_gradient_flow";
        let o = FlowOptions::read("metrics::kernel_gradient_flow", &settings).or_raise(&ctx)?;
        let train = values::tensor(what, "k_train", &k_train).or_raise(&ctx)?;
        let between = values::tensor(what, "k_test_train", &k_test_train).or_raise(&ctx)?;
        let targets = values::labels(what, &targets).or_raise(&ctx)?;
        let settings = FlowSettings {
            times: o.times.clone(),
            lr: o.lr,
            initial: o.initial.map(|t| t.0),
            initial_test: o.initial_test.map(|t| t.0),
            kernel: KernelSettings {
                classes: o.classes,
                traced: o.traced,
                tolerance: o.tolerance,
            },
        };
        let found = metrics::kernel_gradient_flow(&train, &targets, &between, &settings);
        let found = found.or_raise(&ctx)?;
        Ok(map([
            ("times", values::array(o.times).into()),
            ("train", Dynamic::from(TensorValue(found.train))),
            ("test", Dynamic::from(TensorValue(found.test))),
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
        Ok(map([
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

    /// Kernels of one output of an infinitely wide `mlp` under `ntp` in closed form, on inputs
    /// `[points, …]` or a batch, or between them and others: a map with tensors `[points, others]`, `f64`:
    /// `nngp`, the covariance of the outputs at initialisation (Lee et al. 2018), and `ntk`, the neural
    /// tangent kernel (Jacot, Gabriel, Hongler 2018). `metrics::ntk` of a finite network is traced over
    /// outputs: as many times as large.
    ///
    /// ```rhai
    /// let x = [[1.0, 0.0], [0.0, 2.0]];
    /// let found = metrics::infinite_kernels(x, (), #{ depth: 2, bias: false });
    /// found.nngp.to_array().map(|row| row.map(|k| round_to(k, 4)))        // → [[0.25, 0.1592], [0.1592, 1.0]]
    /// found.ntk.to_array().map(|row| row.map(|k| round_to(k, 4)))         // → [[0.5, 0.1592], [0.1592, 2.0]]
    /// ```
    #[rhai_fn(name = "infinite_kernels", return_raw)]
    pub fn infinite_kernels_with(
        ctx: NativeCallContext,
        inputs: Dynamic,
        others: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<Map> {
        let what = "infinite_kernels";
        let o = InfiniteOptions::read("metrics::infinite_kernels", &settings).or_raise(&ctx)?;
        let inputs = super::inputs(what, "inputs", &inputs).or_raise(&ctx)?;
        let others = match others.is_unit() {
            true => None,
            false => Some(super::inputs(what, "others", &others).or_raise(&ctx)?),
        };
        let settings = InfiniteSettings {
            depth: o.depth,
            activation: o.activation,
            weight_std: o.weight_std,
            bias_std: o.bias_std,
            bias: o.bias,
        };
        let found = metrics::infinite_kernels(&inputs, others.as_ref(), settings);
        let found = found.or_raise(&ctx)?;
        Ok(map([
            ("nngp", Dynamic::from(TensorValue(found.nngp))),
            ("ntk", Dynamic::from(TensorValue(found.ntk))),
        ]))
    }

    // every setting has a default
    #[rhai_fn(name = "infinite_kernels", return_raw)]
    pub fn infinite_kernels(ctx: NativeCallContext, inputs: Dynamic) -> RhaiResultOf<Map> {
        infinite_kernels_with(ctx, inputs, Dynamic::UNIT, Map::new())
    }
}
