//! How far networks of one width are from the limit that an ensemble of the widest ones stands for.

use candle_core::Tensor;
use serde::Serialize;

use super::agreement::same_points;
use super::outputs::{Outputs, centred, squared_distance};
use crate::error::{Error, Result};

/// Distances to the limit of a reference ensemble, relative to ‖f̄_ref‖². Noise of finite numbers of
/// members is taken off, so that `distance = bias + variance` exactly.
///
/// Standard errors are jackknife estimates over the members of both sets; they need three in each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LimitDistance {
    /// Of a single network: mean over members of ‖f − f̄_ref‖² − V_ref/E_ref.
    pub distance: f64,
    /// Its standard error.
    pub distance_error: Option<f64>,
    /// Of an endless ensemble: ‖f̄ − f̄_ref‖² − V/E − V_ref/E_ref; it can be negative.
    pub bias: f64,
    /// Its standard error.
    pub bias_error: Option<f64>,
    /// Variance over members (with E − 1).
    pub variance: f64,
    /// Its standard error.
    pub variance_error: Option<f64>,
    /// ‖f̄_ref‖², the mean over points and outputs: the unit of the other numbers.
    pub size: f64,
    /// E and E_ref: members that have not diverged.
    pub count: [usize; 2],
    /// Members left out because they diverged.
    pub excluded: [usize; 2],
}

/// Distance of `outputs` to the limit of `reference`, on the same points; shapes
/// `[members, points, outputs]`. With `centre` each point's logits are first centred over classes.
///
/// # Errors
/// If points or outputs differ in number, fewer than two members are left in either set, the
/// reference's mean is zero everywhere, or there is one output and it is to be centred.
pub fn limit_distance(outputs: &Tensor, reference: &Tensor, centre: bool) -> Result<LimitDistance> {
    let what = "limit_distance";
    let (a, b) = same_points(outputs, reference)?;
    if centre && a.outputs < 2 {
        let message = format!("{what}: one output cannot be centred over classes");
        return Err(Error::setting(message).with_help("set centred: false for regression"));
    }
    let functions = |set: &Outputs, name: &str| -> Result<Vec<Vec<f64>>> {
        let members = set.finite_members(name, 2)?;
        let function = |&m: &usize| match centre {
            true => centred(set.member(m), set.outputs),
            false => set.member(m).to_vec(),
        };
        Ok(members.iter().map(function).collect())
    };
    let (of_a, of_b) = (
        functions(&a, what)?,
        functions(&b, "limit_distance, reference")?,
    );
    let (of_a, of_b): (Vec<&[f64]>, Vec<&[f64]>) = (
        of_a.iter().map(Vec::as_slice).collect(),
        of_b.iter().map(Vec::as_slice).collect(),
    );
    let whole = parts(&of_a, &of_b);
    if whole.size <= 0.0 {
        return Err(Error::setting(format!(
            "{what}: the reference's mean output is zero at every point, so no distance is relative to it"
        )));
    }
    let errors = (of_a.len() > 2 && of_b.len() > 2).then(|| {
        let from_a: Vec<Parts> = (0..of_a.len())
            .map(|i| parts(&without(&of_a, i), &of_b))
            .collect();
        let from_b: Vec<Parts> = (0..of_b.len())
            .map(|i| parts(&of_a, &without(&of_b, i)))
            .collect();
        let error =
            |part: fn(&Parts) -> f64| (jackknife(&from_a, part) + jackknife(&from_b, part)).sqrt();
        [
            error(|p| p.distance / p.size),
            error(|p| p.bias / p.size),
            error(|p| p.variance / p.size),
        ]
    });
    let count = [of_a.len(), of_b.len()];
    Ok(LimitDistance {
        distance: whole.distance / whole.size,
        distance_error: errors.map(|e| e[0]),
        bias: whole.bias / whole.size,
        bias_error: errors.map(|e| e[1]),
        variance: whole.variance / whole.size,
        variance_error: errors.map(|e| e[2]),
        size: whole.size,
        count,
        excluded: [a.members - count[0], b.members - count[1]],
    })
}

struct Parts {
    distance: f64,
    bias: f64,
    variance: f64,
    size: f64,
}

fn parts(a: &[&[f64]], b: &[&[f64]]) -> Parts {
    let (mean_a, variance) = mean_and_variance(a);
    let (mean_b, noise) = mean_and_variance(b);
    let length = mean_a.len() as f64;
    let floor = noise / b.len() as f64;
    let to_mean: f64 = a.iter().map(|f| squared_distance(f, &mean_b)).sum();
    Parts {
        distance: to_mean / length / a.len() as f64 - floor,
        bias: squared_distance(&mean_a, &mean_b) / length - variance / a.len() as f64 - floor,
        variance,
        size: mean_b.iter().map(|x| x * x).sum::<f64>() / length,
    }
}

fn mean_and_variance(functions: &[&[f64]]) -> (Vec<f64>, f64) {
    let count = functions.len() as f64;
    let mut mean = vec![0.0; functions[0].len()];
    for f in functions {
        mean.iter_mut().zip(*f).for_each(|(m, x)| *m += x);
    }
    mean.iter_mut().for_each(|m| *m /= count);
    let squares: f64 = functions.iter().map(|f| squared_distance(f, &mean)).sum();
    let variance = squares / (count - 1.0) / mean.len() as f64;
    (mean, variance)
}

fn without<'a>(functions: &[&'a [f64]], out: usize) -> Vec<&'a [f64]> {
    let kept = functions.iter().enumerate().filter(|(i, _)| *i != out);
    kept.map(|(_, f)| *f).collect()
}

/// Jackknife variance of a quantity, from what it is without each of n members.
fn jackknife(left: &[Parts], part: fn(&Parts) -> f64) -> f64 {
    let n = left.len() as f64;
    let values: Vec<f64> = left.iter().map(part).collect();
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (n - 1.0) / n * squares
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::metrics::squared_bias;
    use crate::reference::assert_close;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distance_is_bias_and_variance((members, points, outputs, seed) in testing::shapes(2, 1)) {
            let narrow = testing::normal(seed, &[members, points, outputs], 1.0);
            let wide = testing::normal(seed ^ 3, &[3, points, outputs], 1.0);
            let found = limit_distance(&narrow, &wide, false).unwrap();
            let sum = found.bias + found.variance;
            prop_assert!((found.distance - sum).abs() < 1e-11 * (1.0 + sum.abs()));
            let bias = squared_bias(&narrow, &wide).unwrap();
            let expected = [bias.value / found.size, bias.variance[0] / found.size];
            assert_close("parts", &[found.bias, found.variance], &expected, 1e-10 * (1.0 + found.variance));
        }
    }

    /// Members drawn around known limits: numbers scatter about what is true as their errors say.
    #[test]
    fn errors_are_those_of_repeated_draws() {
        let (points, outputs, spread) = (40, 3, 0.5);
        let limit = testing::normal(1, &[1, points, outputs], 1.0);
        let off = testing::normal(2, &[1, points, outputs], 0.3);
        let centre = limit.broadcast_add(&off).unwrap();
        let draw = |seed: u64, around: &Tensor, members: usize| {
            let noise = testing::normal(seed, &[members, points, outputs], spread);
            noise.broadcast_add(around).unwrap()
        };
        let found: Vec<LimitDistance> = (0..200)
            .map(|i| {
                let (a, b) = (draw(10 + 2 * i, &centre, 5), draw(11 + 2 * i, &limit, 6));
                limit_distance(&a, &b, false).unwrap()
            })
            .collect();
        let squares = |t: &Tensor| -> f64 {
            let numbers: Vec<f64> = t.flatten_all().unwrap().to_vec1().unwrap();
            numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64
        };
        let absolute: Vec<f64> = found.iter().map(|d| d.bias * d.size).collect();
        let mean = super::super::stats::mean(&absolute).unwrap();
        let error = super::super::stats::standard_error(&absolute).unwrap();
        assert!(
            (mean - squares(&off)).abs() < 4.0 * error,
            "{mean} {}",
            squares(&off)
        );
        for (name, value, error) in [
            (
                "bias",
                found.iter().map(|d| d.bias).collect::<Vec<_>>(),
                found[0].bias_error,
            ),
            (
                "distance",
                found.iter().map(|d| d.distance).collect(),
                found[0].distance_error,
            ),
            (
                "variance",
                found.iter().map(|d| d.variance).collect(),
                found[0].variance_error,
            ),
        ] {
            let spread = super::super::stats::std(&value).unwrap();
            let ratio = error.unwrap() / spread;
            assert!((0.5..2.0).contains(&ratio), "{name}: {ratio}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let a = testing::normal(0, &[3, 5, 2], 1.0);
        let one = testing::normal(0, &[1, 5, 2], 1.0);
        let error = limit_distance(&a, &one, false).unwrap_err();
        assert!(
            error
                .message
                .starts_with("limit_distance, reference: needs at least 2")
        );
        let other = testing::normal(0, &[3, 5, 4], 1.0);
        let error = limit_distance(&a, &other, false).unwrap_err();
        assert!(error.message.contains("have 2 outputs, the reference's 4"));
        let zero = Tensor::zeros((2, 5, 2), DType::F64, &Device::Cpu).unwrap();
        let error = limit_distance(&a, &zero, false).unwrap_err();
        assert!(error.message.contains("zero at every point"), "{error}");
        let single = testing::normal(0, &[3, 5, 1], 1.0);
        let error = limit_distance(&single, &single, true).unwrap_err();
        assert!(error.message.contains("one output"), "{error}");
        let two = testing::normal(1, &[2, 5, 2], 1.0);
        assert_eq!(limit_distance(&two, &a, true).unwrap().distance_error, None);
    }
}
