//! Regression and gradient flow with kernels.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::tensor::TensorValue;
use super::super::{Registry, values};
use super::{entries, per_point};
use crate::error::Result;
use crate::metrics::{self, FlowSettings, KernelSettings};
use crate::options;
use crate::script::options::{NON_NEGATIVE, POSITIVE};
use crate::script::{OrRaise, RhaiResultOf};

pub(super) fn register(registry: &mut Registry) {
    registry.options(RegressionOptions::spec());
    registry.options(FlowOptions::spec());
    registry.module("metrics", rhai::exported_module!(functions));
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
        Some(rows) => per_point(&rows).map(Dynamic::from),
        None => Ok(Dynamic::UNIT),
    };
    let left_out = found.left_out.iter().map(|n| Dynamic::from(*n as i64));
    Ok(entries([
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
        Ok(entries([
            ("times", values::array(o.times).into()),
            ("train", Dynamic::from(TensorValue(found.train))),
            ("test", Dynamic::from(TensorValue(found.test))),
        ]))
    }
}
