//! Eigenvalues that stand out of the bulk of a random matrix.

use std::f64::consts::PI;

use candle_core::Tensor;
use serde::Serialize;

use super::spectrum::{Matrices, Preparation};
use crate::error::{Error, Result};

/// 99th percentile of the Tracy–Widom law for real matrices (Johnstone 2001, table 1).
const TRACY_WIDOM: f64 = 2.0234;
/// Least rows and columns: of fewer eigenvalues the median says little.
const LEAST: usize = 8;

/// The bulk of each member's eigenvalues, and how many lie outside of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bulk {
    /// Variance of the entries of a random matrix with the same median eigenvalue; NaN where that is 0,
    /// or a member has diverged.
    pub variance: Vec<f64>,
    /// Least eigenvalue that counts as bulk.
    pub low: Vec<f64>,
    /// Largest eigenvalue that counts as bulk.
    pub high: Vec<f64>,
    /// Eigenvalues above it; `None` where they are not defined.
    pub above: Vec<Option<usize>>,
    /// Eigenvalues below it; `None` where they are not defined.
    pub below: Vec<Option<usize>>,
    /// Eigenvalues `[member][…]` in descending order; not the one that centring makes 0.
    pub eigenvalues: Vec<Vec<f64>>,
}

/// Outliers of the spectra of matrices `x [members, rows, columns, …]`: eigenvalues `σ² / n`, n the
/// larger of rows and columns and p the smaller, where centring takes one row, outside the bulk that independent
/// entries would have
/// (Marchenko and Pastur 1967), `s² (1 ± √(p/n))²`.
///
/// The variance `s²` is that for which the median eigenvalue is the law's median (Gavish and Donoho
/// 2014), so that outliers hardly move it. An eigenvalue is an outlier above where it exceeds what the
/// largest of a large random matrix of this variance reaches once in a hundred times (the median's own error makes it
/// 2 to 8 in a hundred from 200 by 200 down to 8 by 8), `s² (μ + 2.0234 τ) / n` with
/// `μ = (√(n − 1) + √p)²`, `τ = √μ (1/√(n − 1) + 1/√p)^⅓` (Johnstone 2001), and below where it is less
/// than `s² (μ' − 2.0234 τ') / n` with `μ' = (√(n − ½) − √(p − ½))²`,
/// `τ' = √μ' (1/√(p − ½) − 1/√(n − ½))^⅓` (Ma 2012).
///
/// # Errors
/// As for [`singular_values`](super::singular_values), and if there are fewer than 8 rows or columns.
pub fn spectral_outliers(x: &Tensor, prepare: Preparation) -> Result<Bulk> {
    let matrices = Matrices::read("spectral_outliers", x, prepare)?;
    // the mean takes one row's worth of freedom
    let rows = matrices.rows - usize::from(prepare.centred).min(matrices.rows);
    let (n, p) = (rows.max(matrices.columns), rows.min(matrices.columns));
    if p < LEAST {
        return Err(Error::shape(format!(
            "spectral_outliers: needs at least {LEAST} rows and columns, found a matrix of {} by {}",
            matrices.rows, matrices.columns
        )));
    }
    let middle = marchenko_pastur_median(p as f64 / n as f64);
    let [low, high] = edges(n as f64, p as f64);
    let mut bulk = Bulk {
        variance: Vec::new(),
        low: Vec::new(),
        high: Vec::new(),
        above: Vec::new(),
        below: Vec::new(),
        eigenvalues: Vec::new(),
    };
    for values in matrices.singular_values()? {
        let values = values.unwrap_or_else(|| vec![f64::NAN; p]);
        let values = values[..p].iter().map(|s| s * s / n as f64);
        let values: Vec<f64> = values.collect();
        let median = 0.5 * (values[(p - 1) / 2] + values[p / 2]);
        // of a matrix with less than half its rank there is no bulk
        let known = median > 1e-20 * values[0];
        let variance = if known { median / middle } else { f64::NAN };
        let (from, to) = (variance * low, variance * high);
        let count = |outside: &dyn Fn(f64) -> bool| {
            known.then(|| values.iter().filter(|v| outside(**v)).count())
        };
        bulk.above.push(count(&|v| v > to));
        bulk.below.push(count(&|v| v < from));
        bulk.variance.push(variance);
        bulk.low.push(from);
        bulk.high.push(to);
        bulk.eigenvalues.push(values);
    }
    Ok(bulk)
}

/// Where eigenvalues of a random matrix with entries of variance 1 end.
fn edges(n: f64, p: f64) -> [f64; 2] {
    let (a, b) = ((n - 1.0).sqrt(), p.sqrt());
    let high = (a + b).powi(2) + TRACY_WIDOM * (a + b) * (1.0 / a + 1.0 / b).cbrt();
    let (a, b) = ((n - 0.5).sqrt(), (p - 0.5).sqrt());
    let low = (a - b).powi(2) - TRACY_WIDOM * (a - b) * (1.0 / b - 1.0 / a).cbrt();
    [low.max(0.0) / n, high / n]
}

/// The median of the Marchenko–Pastur law with variance 1 and a ratio of columns to rows in 0..=1.
pub fn marchenko_pastur_median(ratio: f64) -> f64 {
    // x = 1 + ratio + 2 √ratio cos θ makes the density smooth: 2 sin² θ / (π x) dθ
    const STEPS: usize = 20_000;
    let at = |step: usize| {
        let theta = PI * (step as f64 + 0.5) / STEPS as f64;
        (
            1.0 + ratio + 2.0 * ratio.sqrt() * theta.cos(),
            theta.sin().powi(2),
        )
    };
    let (mut share, step) = (0.0, PI / STEPS as f64);
    for i in 0..STEPS {
        let (x, square) = at(i);
        let part = 2.0 * square / (PI * x) * step;
        if share + part >= 0.5 {
            let theta = step * (i as f64 + (0.5 - share) / part);
            return 1.0 + ratio + 2.0 * ratio.sqrt() * theta.cos();
        }
        share += part;
    }
    1.0 - ratio.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn medians_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        let ratios = fixture.numbers("/marchenko_pastur/ratio");
        let found: Vec<f64> = ratios.iter().map(|&r| marchenko_pastur_median(r)).collect();
        let expected = fixture.numbers("/marchenko_pastur/median");
        assert_close("median", &found, &expected, 1e-8);
    }

    #[test]
    fn a_random_matrix_has_none_and_a_spike_is_one() {
        for shape in [[4, 60, 60], [4, 200, 50], [4, 50, 300]] {
            let noise = testing::normal(1, &shape, 0.3);
            let found = spectral_outliers(&noise, Preparation::default()).unwrap();
            let many = found.above.iter().chain(&found.below).flatten();
            assert!(many.sum::<usize>() <= 1, "{found:?}");
            for s in &found.variance {
                assert!((s / 0.09 - 1.0).abs() < 0.2, "{s}");
            }
            let (u, v) = (
                testing::normal(2, &[4, shape[1], 1], 1.0),
                testing::normal(3, &[4, 1, shape[2]], 1.0),
            );
            let spiked = (noise + u.matmul(&v).unwrap()).unwrap();
            let found = spectral_outliers(&spiked, Preparation::default()).unwrap();
            assert!(
                found
                    .above
                    .iter()
                    .all(|n| n.is_some_and(|n| (1..=2).contains(&n))),
                "{found:?}"
            );
        }
    }

    /// The eigenvalue that centring makes 0 is none of the matrix.
    #[test]
    fn centred_noise_has_nothing_below() {
        let centred = Preparation {
            centred: true,
            ..Preparation::default()
        };
        for shape in [[4, 40, 90], [4, 90, 40]] {
            let noise = testing::normal(7, &shape, 1.0);
            let found = spectral_outliers(&noise, centred).unwrap();
            assert!(found.below.iter().all(|n| *n == Some(0)), "{found:?}");
            assert!(found.eigenvalues.iter().flatten().all(|v| *v > 1e-6));
            assert_eq!(
                found.eigenvalues[0].len(),
                shape[1].min(40 - usize::from(shape[1] == 40))
            );
        }
    }

    #[test]
    fn what_has_no_bulk_is_flagged() {
        let (u, v) = (
            testing::normal(2, &[1, 9, 1], 1.0),
            testing::normal(3, &[1, 1, 12], 1.0),
        );
        let found = spectral_outliers(&u.matmul(&v).unwrap(), Preparation::default()).unwrap();
        assert!(found.variance[0].is_nan() && found.above[0].is_none());
        let small = testing::normal(2, &[1, 7, 20], 1.0);
        let error = spectral_outliers(&small, Preparation::default()).unwrap_err();
        assert!(
            error.message.ends_with("found a matrix of 7 by 20"),
            "{error}"
        );
        let spoilt = testing::spoil(&testing::normal(2, &[2, 9, 9], 1.0), 1, f64::NAN);
        let found = spectral_outliers(&spoilt, Preparation::default()).unwrap();
        assert!(found.above[0].is_some() && found.above[1].is_none());
    }
}
