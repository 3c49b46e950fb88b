//! The Kolmogorov–Smirnov test of two samples of numbers.

use serde::Serialize;

use super::densities::sorted;
use crate::error::Result;

/// Up to so many pairs of sizes the probability is exact.
const EXACT: usize = 1_000_000;

/// How far two samples' distribution functions are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KolmogorovSmirnov {
    /// The largest difference of the two empirical distribution functions, in 0..=1.
    pub statistic: f64,
    /// Probability of such a difference or a larger one where both samples come from one distribution.
    pub p_value: f64,
}

/// The two-sided Kolmogorov–Smirnov test of two samples.
///
/// The p-value holds for independent numbers from a continuous distribution. It is exact, from counted
/// paths (Hodges, *Ark. Mat.* 3, 1958), where the product of the sizes is at most a million; above it
/// is Kolmogorov's limit `2 Σ_k (−1)^(k−1) exp(−2 k² λ²)` at `λ = D √(n m / (n + m))`.
///
/// # Errors
/// If a sample is empty, or a number is not finite.
pub fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> Result<KolmogorovSmirnov> {
    Ok(of_sorted(
        &sorted("kolmogorov_smirnov", "a", a)?,
        &sorted("kolmogorov_smirnov", "b", b)?,
    ))
}

/// The test of samples that are in order.
pub(super) fn of_sorted(a: &[f64], b: &[f64]) -> KolmogorovSmirnov {
    let (n, m) = (a.len(), b.len());
    let steps = largest_difference(a, b);
    let product = n as f64 * m as f64;
    let statistic = steps as f64 / product;
    let p_value = if n.saturating_mul(m) <= EXACT {
        exact(n, m, steps)
    } else {
        limit(statistic * (product / (n + m) as f64).sqrt())
    };
    KolmogorovSmirnov { statistic, p_value }
}

/// The statistic alone.
pub(super) fn statistic(a: &[f64], b: &[f64]) -> f64 {
    largest_difference(a, b) as f64 / (a.len() as f64 * b.len() as f64)
}

/// The largest difference of the distribution functions, times both sizes.
fn largest_difference(a: &[f64], b: &[f64]) -> u128 {
    let (n, m) = (a.len() as u128, b.len() as u128);
    let (mut i, mut j, mut largest) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] <= at {
            i += 1;
        }
        while j < b.len() && b[j] <= at {
            j += 1;
        }
        largest = largest.max((i as u128 * m).abs_diff(j as u128 * n));
    }
    largest
}

/// The share of paths from (0, 0) to (n, m) that come as far as `steps` from the diagonal.
fn exact(n: usize, m: usize, steps: u128) -> f64 {
    let outside =
        |i: usize, j: usize| (i as u128 * m as u128).abs_diff(j as u128 * n as u128) >= steps;
    // of the paths to (i, j): the share that has been outside, for all j
    let mut share = vec![0.0_f64; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            share[j] = match (i, j) {
                _ if outside(i, j) => 1.0,
                (0, 0) => 0.0,
                (0, _) => share[j - 1],
                (_, 0) => share[0],
                _ => {
                    let from_i = i as f64 / (i + j) as f64;
                    from_i * share[j] + (1.0 - from_i) * share[j - 1]
                }
            };
        }
    }
    share[m].clamp(0.0, 1.0)
}

/// Kolmogorov's limit of the probability.
fn limit(lambda: f64) -> f64 {
    if lambda < 0.1 {
        // 1 to all digits, where the series converges slowly
        return 1.0;
    }
    let mut sum = 0.0;
    for k in 1..=100 {
        let k = f64::from(k);
        let term = (-2.0 * k * k * lambda * lambda).exp();
        sum += if k % 2.0 == 1.0 { term } else { -term };
        if term < 1e-18 {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn statistics_and_probabilities_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        for case in fixture.at("/samples").as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let of = |which: &str| fixture.tensor(&format!("samples.{name}.{which}")).values;
            let found = kolmogorov_smirnov(&of("a"), &of("b")).unwrap();
            let at = |key: &str| case[key].as_f64().unwrap();
            assert_close(name, &[found.statistic], &[at("statistic")], 1e-14);
            let expected = at("p_value");
            assert!(
                (found.p_value / expected - 1.0).abs() < 1e-9,
                "{name}: {} {expected}",
                found.p_value
            );
        }
        let lambdas = fixture.numbers("/kolmogorov/lambda");
        let found: Vec<f64> = lambdas.iter().map(|&l| limit(l)).collect();
        assert_close(
            "limit",
            &found,
            &fixture.numbers("/kolmogorov/p_value"),
            1e-13,
        );
    }

    #[test]
    fn extremes_are_known() {
        let same = kolmogorov_smirnov(&[1.0, 2.0], &[2.0, 1.0]).unwrap();
        assert_eq!((same.statistic, same.p_value), (0.0, 1.0));
        // the samples lie apart: two of the 20 orders of 3 and 3 numbers do
        let apart = kolmogorov_smirnov(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        assert_eq!(apart.statistic, 1.0);
        assert!((apart.p_value - 0.1).abs() < 1e-15);
    }

    #[test]
    fn large_samples_take_the_limit() {
        let n = 2000;
        let a: Vec<f64> = (0..n).map(f64::from).collect();
        let b: Vec<f64> = (0..n).map(|i| f64::from(i) + 60.5).collect();
        let found = kolmogorov_smirnov(&a, &b).unwrap();
        let exact = exact(2000, 2000, (found.statistic * 4e6).round() as u128);
        assert!(
            (found.p_value / exact - 1.0).abs() < 0.05,
            "{found:?} {exact}"
        );
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        assert!(kolmogorov_smirnov(&[], &[1.0]).is_err());
        let error = kolmogorov_smirnov(&[f64::INFINITY], &[1.0]).unwrap_err();
        assert!(error.message.contains("a: number 0 of 1 is inf"), "{error}");
    }
}
