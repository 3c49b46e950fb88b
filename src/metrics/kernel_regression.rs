//! Kernel regression, and gradient flow in the space of functions, by one eigendecomposition: what a
//! network would do if its kernel stayed as it is.

use candle_core::{Device, Tensor};

use super::kernel_matrix::{Matrices, Pairs, Targets};
use super::outputs::argmax;
use crate::data::Labels;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::numbers;
use crate::tensor::elem::to_f64;
use crate::tensor::matmul::{Matrix, matmul};

/// Settings that regression and flow share.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelSettings {
    /// Number of classes; `None` takes one more than the largest class.
    pub classes: Option<usize>,
    /// Whether the kernels are traced over outputs: they are then divided by the number of outputs.
    pub traced: bool,
    /// Share of the largest eigenvalue that counts as rounding, see
    /// [`SpectrumSettings`](super::SpectrumSettings).
    pub tolerance: Option<f64>,
}

/// Kernel regression for a path of ridges.
#[derive(Debug, Clone)]
pub struct Regression {
    /// `[members, ridges, test points, outputs]`.
    pub predictions: Tensor,
    /// Mean squared error on the test points, mean over points and outputs, `[members][ridges]`.
    pub test_error: Option<Vec<Vec<f64>>>,
    /// Share of test points whose largest output is that of their class, `[members][ridges]`.
    pub accuracy: Option<Vec<Vec<f64>>>,
    /// Modes that a ridge of 0 leaves out since their eigenvalue is rounding, by member.
    pub left_out: Vec<usize>,
}

/// Kernels on training points, and between test and training points.
struct Problem {
    between: Matrices,
    members: usize,
    pairs: Vec<Option<Pairs>>,
    targets: Targets,
    /// Test points.
    tests: usize,
    /// What kernels are multiplied with.
    factor: f64,
}

impl Problem {
    fn new(
        what: &str,
        train: &Tensor,
        labels: &Labels,
        test_train: &Tensor,
        settings: KernelSettings,
    ) -> Result<Self> {
        let kernels = Matrices::square(what, "k_train", train)?;
        let between = Matrices::read(what, "k_test_train", test_train)?;
        let n = kernels.rows;
        if between.columns != n || between.members != kernels.members {
            return Err(Error::shape(format!(
                "{what}: k_train {:?} needs k_test_train of shape [{}, test points, {n}], found {:?}",
                train.dims(),
                kernels.members,
                test_train.dims()
            ))
            .with_help("rows are test points, columns are training points: metrics::ntk(m, test, train)"));
        }
        let targets = Targets::read(what, labels, n, settings.classes, false)?;
        let rows = n / targets.points;
        if between.rows % rows != 0 {
            return Err(Error::shape(format!(
                "{what}: {} rows of k_test_train are not {} outputs of test points",
                between.rows, targets.outputs
            )));
        }
        if settings.traced && rows > 1 {
            return Err(Error::setting(format!(
                "{what}: a kernel of all pairs of outputs is not traced over them"
            )));
        }
        let factor = match settings.traced {
            true => 1.0 / targets.outputs as f64,
            false => 1.0,
        };
        Ok(Self {
            pairs: kernels.eigen(what, settings.tolerance)?,
            members: kernels.members,
            tests: between.rows / rows,
            between,
            targets,
            factor,
        })
    }

    /// The test kernel times `[n, columns]`, added to `to [test points, outputs]`.
    fn apply(&self, member: usize, dual: &[f64], to: &mut [f64]) {
        let (rows, n, columns) = (
            self.between.rows,
            self.between.columns,
            self.targets.columns,
        );
        let mut product = vec![0.0; rows * columns];
        let (k, d) = (
            Matrix::row_major(self.between.member(member), n),
            Matrix::row_major(dual, columns),
        );
        matmul(&mut product, (rows, columns, n), self.factor, k, d);
        to.iter_mut().zip(&product).for_each(|(t, p)| *t += p);
    }

    /// The combination of eigenvectors whose component along mode `k` is that of `targets` times
    /// `f(eigenvalue)`.
    fn dual(&self, pairs: &Pairs, components: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
        let columns = self.targets.columns;
        let mut scaled = components.to_vec();
        for (c, value) in scaled.chunks_exact_mut(columns).zip(&pairs.values) {
            let factor = f(*value);
            c.iter_mut().for_each(|c| *c *= factor);
        }
        pairs.combine(&scaled, columns)
    }

    fn usable(&self, member: usize) -> Option<&Pairs> {
        let pairs = self.pairs[member].as_ref();
        pairs.filter(|_| self.between.is_finite(member))
    }
}

/// Kernel ridge regression `f(x) = K(x, X) [K(X, X) + ρ]⁻¹ y` for every `ρ` of `ridge`, by one
/// eigendecomposition a member: kernels `k_train [members, n, n]` and `k_test_train [members, m, n]` of
/// points, which every output shares, or of points and outputs (`point · outputs + output`). Classes
/// become one-hot targets. A ridge of 0 leaves out the modes whose eigenvalue is rounding: the solution of
/// least norm. Members that are not finite have NaN.
///
/// # Errors
/// If a kernel is not symmetric or not positive semi-definite, shapes do not fit, a target is not finite, a
/// ridge is negative or not finite, or there is none.
pub fn kernel_regression(
    train: &Tensor,
    labels: &Labels,
    test_train: &Tensor,
    test_labels: Option<&Labels>,
    ridge: &[f64],
    settings: KernelSettings,
) -> Result<Regression> {
    let what = "kernel_regression";
    if ridge.is_empty() {
        return Err(Error::setting(format!(
            "{what}: ridge needs at least one number"
        )));
    }
    if let Some(bad) = ridge.iter().find(|r| !(r.is_finite() && **r >= 0.0)) {
        return Err(Error::setting(format!(
            "{what}: a ridge must be a number from 0 up, found {bad}"
        )));
    }
    let problem = Problem::new(what, train, labels, test_train, settings)?;
    let (tests, outputs) = (problem.tests, problem.targets.outputs);
    let wanted = test_labels.map(|l| Targets::read(what, l, tests, Some(outputs), false));
    let wanted = wanted.transpose().map_err(|e| e.at("test targets"))?;
    if let Some(wanted) = &wanted
        && wanted.outputs != outputs
    {
        return Err(Error::shape(format!(
            "{what}: the training targets have {outputs} outputs, the test targets {}",
            wanted.outputs
        )));
    }
    let size = tests * outputs;
    let shape = [problem.members, ridge.len(), tests, outputs];
    let mut predictions: Vec<f64> = numbers("predictions", &shape)?;
    let mut left_out = Vec::new();
    let members = predictions.chunks_exact_mut((ridge.len() * size).max(1));
    for (member, predictions) in members.enumerate() {
        let Some(pairs) = problem.usable(member) else {
            predictions.fill(f64::NAN);
            left_out.push(0);
            continue;
        };
        let components = pairs.components(&problem.targets.values, problem.targets.columns);
        for (to, rho) in predictions.chunks_exact_mut(size).zip(ridge) {
            let inverse = |value: f64| match *rho {
                0.0 if value <= pairs.bound => 0.0,
                rho => 1.0 / (problem.factor * value.max(0.0) + rho),
            };
            problem.apply(member, &problem.dual(pairs, &components, inverse), to);
        }
        left_out.push(pairs.values.iter().filter(|v| **v <= pairs.bound).count());
    }
    let each = |f: &dyn Fn(&[f64]) -> f64| -> Vec<Vec<f64>> {
        let members = predictions.chunks_exact((ridge.len() * size).max(1));
        members
            .map(|m| {
                let ridges = m.chunks_exact(size);
                ridges
                    .map(|p| if p[0].is_nan() { f64::NAN } else { f(p) })
                    .collect()
            })
            .collect()
    };
    let test_error = wanted.as_ref().map(|w| {
        let square = |p: &[f64]| {
            let pairs = p.iter().zip(&w.values);
            pairs.map(|(p, y)| (p - y) * (p - y)).sum::<f64>() / size as f64
        };
        each(&square)
    });
    let classes = matches!(test_labels, Some(Labels::Classes(_)));
    let accuracy = wanted.as_ref().filter(|_| classes).map(|w| {
        let right = |p: &[f64]| {
            let pairs = p.chunks_exact(outputs).zip(w.values.chunks_exact(outputs));
            pairs.filter(|(p, y)| y[argmax(p)] == 1.0).count() as f64 / tests as f64
        };
        each(&right)
    });
    Ok(Regression {
        test_error,
        accuracy,
        left_out,
        predictions: Tensor::from_vec(predictions, &shape, &Device::Cpu)?,
    })
}

/// Where gradient flow starts, and when it is looked at.
#[derive(Debug, Clone, Default)]
pub struct FlowSettings {
    /// Times in steps of gradient descent.
    pub times: Vec<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Outputs on the training points at time 0, `[members or 1, n, outputs]`; `None` is 0.
    pub initial: Option<Tensor>,
    /// Outputs on the test points at time 0; `None` is 0.
    pub initial_test: Option<Tensor>,
    /// What it shares with regression.
    pub kernel: KernelSettings,
}

/// Predictions of kernel gradient flow.
#[derive(Debug, Clone)]
pub struct Flow {
    /// On the training points, `[members, times, points, outputs]`.
    pub train: Tensor,
    /// On the test points, `[members, times, test points, outputs]`.
    pub test: Tensor,
}

/// Gradient flow of the mean squared error at a fixed kernel (Jacot, Gabriel, Hongler 2018), exactly. With
/// this program's loss, `L = 1/(P C) Σ (f − y)²` over `P` points and `C` outputs, functions follow
/// `df/dt = −(2 η/(P C)) K (f − y)`, so that mode `k` has decayed to `exp(−2 η λ_k t/(P C))` at time `t`, with
/// `λ_k` of `K` itself, and
/// `f(x, t) = f(x, 0) + K(x, X) Σ_k v_k (1 − exp(−2 η λ_k t/(P C)))/λ_k v_kᵀ (y − f(X, 0))`.
/// Time `t` is that of `t` small steps of gradient descent with learning rate `η` in the units of the
/// kernel: with a kernel in the units of the learning rates, the learning rate of the optimizer.
///
/// # Errors
/// As for [`kernel_regression`]; if there is no time, one is negative or not finite, the learning rate is
/// not positive, or outputs at time 0 have another shape or are not finite.
pub fn kernel_gradient_flow(
    train: &Tensor,
    labels: &Labels,
    test_train: &Tensor,
    settings: &FlowSettings,
) -> Result<Flow> {
    let what = "kernel_gradient_flow";
    let times = &settings.times;
    if times.is_empty() {
        return Err(Error::setting(format!(
            "{what}: times needs at least one number"
        )));
    }
    if let Some(bad) = times.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
        return Err(Error::setting(format!(
            "{what}: a time must be a number from 0 up, found {bad}"
        )));
    }
    if !(settings.lr.is_finite() && settings.lr > 0.0) {
        return Err(Error::setting(format!(
            "{what}: lr must be above 0, found {}",
            settings.lr
        )));
    }
    let problem = Problem::new(what, train, labels, test_train, settings.kernel)?;
    let targets = &problem.targets;
    let (points, tests, outputs) = (targets.points, problem.tests, targets.outputs);
    let members = problem.members;
    let start = |name: &str, given: &Option<Tensor>, points: usize| -> Result<Vec<f64>> {
        let size = points * outputs;
        let Some(given) = given else {
            return Ok(vec![0.0; members * size]);
        };
        let values = to_f64(given)?;
        let fits = values.len() == size || values.len() == members * size;
        if !fits || given.rank() < 2 {
            return Err(Error::shape(format!(
                "{what}: {name} must have shape [{members}, {points}, {outputs}], found {:?}",
                given.dims()
            )));
        }
        if values.iter().any(|x| !x.is_finite()) {
            let message = format!("{what}: {name} has a number that is not finite");
            return Err(Error::new(ErrorKind::Diverged, message));
        }
        Ok(match values.len() == size {
            true => values.repeat(members),
            false => values,
        })
    };
    let first = start("initial", &settings.initial, points)?;
    let first_test = start("initial_test", &settings.initial_test, tests)?;
    let shape = |points: usize| [members, times.len(), points, outputs];
    let mut on_train: Vec<f64> = numbers("predictions", &shape(points))?;
    let mut on_test: Vec<f64> = numbers("predictions", &shape(tests))?;
    let rate = 2.0 * settings.lr * problem.factor / (points * outputs) as f64;
    for member in 0..members {
        let (n, m) = (points * outputs, tests * outputs);
        let of = |size: usize| member * times.len() * size..(member + 1) * times.len() * size;
        let (train, test) = (&mut on_train[of(n)], &mut on_test[of(m)]);
        let Some(pairs) = problem.usable(member) else {
            train.fill(f64::NAN);
            test.fill(f64::NAN);
            continue;
        };
        let first = &first[member * n..(member + 1) * n];
        let gap: Vec<f64> = (targets.values.iter().zip(first))
            .map(|(y, f)| y - f)
            .collect();
        let components = pairs.components(&gap, targets.columns);
        for (i, t) in times.iter().enumerate() {
            let left = problem.dual(pairs, &components, |v| (-rate * v.max(0.0) * t).exp());
            let to = train[i * n..(i + 1) * n].iter_mut();
            to.zip(targets.values.iter().zip(&left))
                .for_each(|(to, (y, left))| *to = y - left);
            // (1 − exp(−r λ t)) / (factor λ), which is r t / factor where λ is 0
            let gain = |v: f64| match v > pairs.bound {
                true => -(-rate * v * t).exp_m1() / (problem.factor * v),
                false => rate * t / problem.factor,
            };
            let to = &mut test[i * m..(i + 1) * m];
            to.copy_from_slice(&first_test[member * m..(member + 1) * m]);
            problem.apply(member, &problem.dual(pairs, &components, gain), to);
        }
    }
    Ok(Flow {
        train: Tensor::from_vec(on_train, &shape(points), &Device::Cpu)?,
        test: Tensor::from_vec(on_test, &shape(tests), &Device::Cpu)?,
    })
}
