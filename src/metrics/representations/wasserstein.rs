//! Wasserstein distance of two samples of numbers.

use super::densities::sorted;
use crate::error::Result;

/// The Wasserstein distance W₁ between two samples, `∫ |F_a⁻¹(q) − F_b⁻¹(q)| dq`: for samples of equal
/// size the mean distance of the numbers in order (Villani, *Topics in Optimal Transportation*, 2003,
/// section 2.2). It has the units of the samples.
///
/// # Errors
/// If a sample is empty, or a number is not finite.
pub fn wasserstein(a: &[f64], b: &[f64]) -> Result<f64> {
    Ok(of_sorted(
        &sorted("wasserstein", "a", a)?,
        &sorted("wasserstein", "b", b)?,
    ))
}

/// The distance of samples that are in order.
pub(super) fn of_sorted(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as u128, b.len() as u128);
    let (mut i, mut j) = (0, 0);
    // the quantile reached so far, in units of 1 / (n m)
    let mut at = 0_u128;
    let mut sum = 0.0;
    while i < a.len() && j < b.len() {
        let ends = [(i as u128 + 1) * m, (j as u128 + 1) * n];
        let end = ends[0].min(ends[1]);
        sum += (end - at) as f64 * (a[i] - b[j]).abs();
        i += usize::from(ends[0] == end);
        j += usize::from(ends[1] == end);
        at = end;
    }
    sum / (n * m) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Fixture, assert_close};
    use proptest::prelude::*;

    #[test]
    fn distances_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        for case in fixture.at("/samples").as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let of = |which: &str| fixture.tensor(&format!("samples.{name}.{which}")).values;
            let found = wasserstein(&of("a"), &of("b")).unwrap();
            let expected = case["wasserstein"].as_f64().unwrap();
            assert_close(name, &[found], &[expected], 1e-13);
        }
    }

    proptest! {
        #[test]
        fn a_shift_moves_by_itself(
            sample in prop::collection::vec(-5.0..5.0f64, 1..40), shift in -3.0..3.0f64
        ) {
            let moved: Vec<f64> = sample.iter().map(|x| x + shift).collect();
            let found = wasserstein(&sample, &moved).unwrap();
            prop_assert!((found - shift.abs()).abs() < 1e-12);
            let twice = [sample.clone(), sample.clone()].concat();
            let found = wasserstein(&twice, &moved).unwrap();
            prop_assert!((found - shift.abs()).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        let error = wasserstein(&[], &[1.0]).unwrap_err();
        assert_eq!(error.message, "wasserstein: a has no numbers");
        let error = wasserstein(&[1.0], &[1.0, f64::NAN]).unwrap_err();
        assert!(error.message.contains("b: number 1 of 2 is NaN"), "{error}");
    }
}
