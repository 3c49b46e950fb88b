//! How a quantity approaches its limit as networks get wider: y(N) = y∞ + a N^−p.

use serde::Serialize;

use super::bootstrap::Resampling;
use super::stats;
use crate::error::{Error, ErrorKind, Result};

/// Exponents that are tried; an optimum at an end means that the values tell none.
const EXPONENTS: [f64; 2] = [0.02, 8.0];

/// The fit y(N) = y∞ + a N^−p by least squares. Errors are those of the linearised problem, as
/// `scipy.optimize.curve_fit` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WidthFit {
    /// y∞, the value of endlessly wide networks.
    pub limit: f64,
    /// Its standard error; `None` where there are too few points to tell.
    pub limit_error: Option<f64>,
    /// a.
    pub amplitude: f64,
    /// Its standard error.
    pub amplitude_error: Option<f64>,
    /// p.
    pub exponent: f64,
    /// Its standard error; `None` also where the exponent was given.
    pub exponent_error: Option<f64>,
    /// Ends of the bootstrap interval of p over seeds; `None` where there is one value a width, or the
    /// exponent was given.
    pub exponent_interval: Option<[f64; 2]>,
    /// Square root of the mean squared residual, weighted where errors are known.
    pub residual: f64,
    /// Whether the values determine an exponent; false where the best one is at the end of those
    /// tried (0.02 to 8): numbers are then those of that end.
    pub converged: bool,
    /// How many widths.
    pub count: usize,
}

/// Fits y(N) = y∞ + a N^−p through one value for each width. With `errors`, the values' standard
/// errors, points count by their inverse squares, and the fit's errors follow from them; otherwise
/// from the residuals. With `exponent`, p is that and only y∞ and a are fitted.
///
/// # Errors
/// If lengths differ, there are fewer widths than numbers to fit, a number is not finite, or a width
/// or an error is not positive.
pub fn width_fit(
    widths: &[f64],
    values: &[f64],
    errors: Option<&[f64]>,
    exponent: Option<f64>,
) -> Result<WidthFit> {
    let problem = Problem::new(widths, values, errors, exponent)?;
    let Some(fixed) = exponent else {
        let (exponent, converged) = problem.best_exponent();
        return Ok(problem.at(exponent, true, converged));
    };
    Ok(problem.at(fixed, false, true))
}

/// The same through values of several seeds for each width: their means weighted by their standard
/// errors, and the exponent's interval from drawing seeds of each width with replacement. Values that
/// are not finite are left out.
///
/// # Errors
/// As [`width_fit`]; if a width has fewer than three finite values, or equal ones.
pub fn width_fit_of_members(
    widths: &[f64],
    values: &[Vec<f64>],
    exponent: Option<f64>,
    resampling: Resampling,
) -> Result<WidthFit> {
    let what = "width_fit";
    resampling.check(what)?;
    let finite =
        |row: &Vec<f64>| -> Vec<f64> { row.iter().copied().filter(|x| x.is_finite()).collect() };
    let rows: Vec<Vec<f64>> = values.iter().map(finite).collect();
    let (mut means, mut errors) = (Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        if row.len() < 3 {
            return Err(Error::setting(format!(
                "{what}: row {i} has {} finite values, needs at least 3 to know their error",
                row.len()
            ))
            .with_help("train more members, or give one value for each width"));
        }
        means.push(stats::mean(row)?);
        errors.push(stats::standard_error(row)?);
    }
    let mut fit = width_fit(widths, &means, Some(&errors), exponent)?;
    if exponent.is_none() {
        let mut found = Vec::new();
        for sample in 0..resampling.samples {
            let draw = |(i, row): (usize, &Vec<f64>)| {
                // every width its own draw
                let which = resampling.draw(sample * rows.len() + i, row.len());
                let sum: f64 = which.iter().map(|&j| row[j]).sum();
                sum / row.len() as f64
            };
            let drawn: Vec<f64> = rows.iter().enumerate().map(draw).collect();
            let problem = Problem::new(widths, &drawn, Some(&errors), None)?;
            found.push(problem.best_exponent().0);
        }
        fit.exponent_interval = Some(resampling.interval(&found)?);
    }
    Ok(fit)
}

struct Problem<'a> {
    widths: &'a [f64],
    values: &'a [f64],
    /// 1 / error; all 1 where errors are not known.
    weights: Vec<f64>,
    known: bool,
}

impl<'a> Problem<'a> {
    fn new(
        widths: &'a [f64],
        values: &'a [f64],
        errors: Option<&[f64]>,
        exponent: Option<f64>,
    ) -> Result<Self> {
        let what = "width_fit";
        let n = widths.len();
        if values.len() != n || errors.is_some_and(|e| e.len() != n) {
            return Err(Error::shape(format!(
                "{what}: {n} widths, {} values and {} errors",
                values.len(),
                errors.map_or(0, <[f64]>::len)
            )));
        }
        let needed = if exponent.is_some() { 2 } else { 3 };
        if n < needed {
            let error =
                Error::setting(format!("{what}: needs at least {needed} widths, found {n}"));
            return Err(match needed {
                3 => error.with_help("with a given exponent, such as 1, two are enough"),
                _ => error,
            });
        }
        for (name, numbers) in [("value", values), ("width", widths)] {
            if let Some(i) = numbers.iter().position(|x| !x.is_finite()) {
                let message = format!("{what}: {name} {i} of {n} is {}", numbers[i]);
                return Err(Error::new(ErrorKind::Diverged, message));
            }
        }
        let positive = |name: &str, numbers: &[f64]| match numbers
            .iter()
            .position(|x| *x <= 0.0 || x.is_nan())
        {
            Some(i) => Err(Error::setting(format!(
                "{what}: {name} {i} is {}, expected a positive number",
                numbers[i]
            ))),
            None => Ok(()),
        };
        positive("width", widths)?;
        errors.map_or(Ok(()), |e| positive("error", e))?;
        if widths.iter().all(|w| *w == widths[0]) {
            return Err(Error::setting(format!(
                "{what}: all widths are {}",
                widths[0]
            )));
        }
        if let Some(p) = exponent.filter(|p| !(p.is_finite() && *p > 0.0)) {
            return Err(Error::setting(format!(
                "{what}: exponent must be positive, found {p}"
            )));
        }
        Ok(Self {
            widths,
            values,
            weights: match errors {
                Some(errors) => errors.iter().map(|e| 1.0 / e).collect(),
                None => vec![1.0; n],
            },
            known: errors.is_some(),
        })
    }

    /// y∞, a and the weighted sum of squares at an exponent: a straight line in N^−p.
    fn line(&self, exponent: f64) -> (f64, f64, f64) {
        let x: Vec<f64> = self.widths.iter().map(|w| w.powf(-exponent)).collect();
        let squares: Vec<f64> = self.weights.iter().map(|w| w * w).collect();
        let total: f64 = squares.iter().sum();
        let mean = |v: &[f64]| v.iter().zip(&squares).map(|(v, w)| v * w).sum::<f64>() / total;
        let (mean_x, mean_y) = (mean(&x), mean(self.values));
        let (mut xx, mut xy) = (0.0, 0.0);
        for ((x, y), w) in x.iter().zip(self.values).zip(&squares) {
            xx += w * (x - mean_x) * (x - mean_x);
            xy += w * (x - mean_x) * (y - mean_y);
        }
        let amplitude = if xx > 0.0 { xy / xx } else { 0.0 };
        let residual =
            |((x, y), w): ((&f64, &f64), &f64)| w * (y - mean_y - amplitude * (x - mean_x)).powi(2);
        let points = x.iter().zip(self.values).zip(&squares);
        let sum = points.map(residual).sum();
        (mean_y - amplitude * mean_x, amplitude, sum)
    }

    /// The exponent of the least sum of squares, and whether it is not one of the ends.
    fn best_exponent(&self) -> (f64, bool) {
        // the sum may have several minima: the best of a grid, then a golden-section search around it
        const STEPS: usize = 240;
        let [low, high] = EXPONENTS.map(f64::ln);
        let at = |i: usize| low + (high - low) * i as f64 / STEPS as f64;
        let sum = |log: f64| self.line(log.exp()).2;
        let best = (0..=STEPS)
            .min_by(|&a, &b| sum(at(a)).total_cmp(&sum(at(b))))
            .unwrap_or(0);
        if best == 0 || best == STEPS {
            return (at(best).exp(), false);
        }
        let (mut a, mut b) = (at(best - 1), at(best + 1));
        let golden = (5f64.sqrt() - 1.0) / 2.0;
        for _ in 0..80 {
            let (c, d) = (b - golden * (b - a), a + golden * (b - a));
            match sum(c) < sum(d) {
                true => b = d,
                false => a = c,
            }
        }
        (((a + b) / 2.0).exp(), true)
    }

    fn at(&self, exponent: f64, fitted: bool, converged: bool) -> WidthFit {
        let (limit, amplitude, sum) = self.line(exponent);
        let n = self.widths.len();
        let free = if fitted { 3 } else { 2 };
        let variance = match self.known {
            true => Some(1.0),
            false => (n > free).then(|| sum / (n - free) as f64),
        };
        let rows: Vec<[f64; 3]> = self
            .widths
            .iter()
            .zip(&self.weights)
            .map(|(n, w)| {
                let power = n.powf(-exponent);
                [*w, w * power, -w * amplitude * power * n.ln()]
            })
            .collect();
        let covariance = inverse_of_squares(&rows, free);
        let error = |i: usize| {
            let v = covariance.as_ref()?.get(i)? * variance?;
            (converged && i < free && v.is_finite()).then(|| v.sqrt())
        };
        let weight: f64 = self.weights.iter().map(|w| w * w).sum();
        WidthFit {
            limit,
            limit_error: error(0),
            amplitude,
            amplitude_error: error(1),
            exponent,
            exponent_error: error(2),
            exponent_interval: None,
            residual: (sum / weight).sqrt(),
            converged,
            count: n,
        }
    }
}

/// The diagonal of (JᵀJ)⁻¹ over the first `free` columns, by orthogonalising them; `None` where they
/// depend on each other.
fn inverse_of_squares(rows: &[[f64; 3]], free: usize) -> Option<Vec<f64>> {
    let mut columns: Vec<Vec<f64>> = (0..free)
        .map(|j| rows.iter().map(|r| r[j]).collect())
        .collect();
    // J = Q R by modified Gram–Schmidt; (JᵀJ)⁻¹ = R⁻¹ R⁻ᵀ
    let mut r = vec![vec![0.0; free]; free];
    for j in 0..free {
        let before: f64 = columns[j].iter().map(|x| x * x).sum::<f64>().sqrt();
        for i in 0..j {
            let (done, rest) = columns.split_at_mut(j);
            let product: f64 = done[i].iter().zip(&rest[0]).map(|(a, b)| a * b).sum();
            r[i][j] = product;
            for (x, q) in rest[0].iter_mut().zip(&done[i]) {
                *x -= product * q;
            }
        }
        let norm: f64 = columns[j].iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm <= 1e-12 * before || !norm.is_finite() {
            return None;
        }
        r[j][j] = norm;
        columns[j].iter_mut().for_each(|x| *x /= norm);
    }
    // columns of R⁻¹ by back substitution
    let solve = |j: usize| {
        let mut x = vec![0.0; free];
        for i in (0..=j).rev() {
            let known: f64 = (i + 1..=j).map(|k| r[i][k] * x[k]).sum();
            x[i] = (f64::from(u8::from(i == j)) - known) / r[i][i];
        }
        x
    };
    let inverse: Vec<Vec<f64>> = (0..free).map(solve).collect();
    let square = |i: usize| inverse.iter().map(|column| column[i] * column[i]).sum();
    Some((0..free).map(square).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Fixture, assert_close};
    use crate::tensor::rng::Key;

    const WIDTHS: [f64; 5] = [32.0, 64.0, 128.0, 256.0, 512.0];

    #[test]
    fn an_exact_law_is_found() {
        for exponent in [0.5, 1.0, 2.3] {
            let values = WIDTHS.map(|n| 0.25 + 3.0 * n.powf(-exponent));
            let fit = width_fit(&WIDTHS, &values, None, None).unwrap();
            assert!(fit.converged);
            assert_close("limit", &[fit.limit], &[0.25], 1e-7);
            assert_close("amplitude", &[fit.amplitude / 3.0], &[1.0], 1e-5);
            assert_close("exponent", &[fit.exponent], &[exponent], 1e-6);
            let fixed = width_fit(&WIDTHS, &values, None, Some(exponent)).unwrap();
            assert_close("limit", &[fixed.limit], &[0.25], 1e-12);
            assert_eq!(fixed.exponent_error, None);
        }
    }

    #[test]
    fn fits_are_those_of_scipy() {
        let fixture = Fixture::load("metrics");
        let at = |name: &str| fixture.numbers(&format!("/width_fit/{name}"));
        let (x, y, errors) = (at("widths"), at("values"), at("errors"));
        for (name, errors, exponent) in [
            ("free", None, None),
            ("free_with_errors", Some(&errors[..]), None),
            ("inverse", None, Some(1.0)),
            ("inverse_with_errors", Some(&errors[..]), Some(1.0)),
        ] {
            let fit = width_fit(&x, &y, errors, exponent).unwrap();
            let mut found = vec![fit.limit, fit.amplitude];
            let mut found_errors = vec![fit.limit_error.unwrap(), fit.amplitude_error.unwrap()];
            if exponent.is_none() {
                found.push(fit.exponent);
                found_errors.push(fit.exponent_error.unwrap());
            }
            let expected = at(&format!("{name}/values"));
            let expected_errors = at(&format!("{name}/errors"));
            for (f, e) in found
                .iter()
                .chain(&found_errors)
                .zip(expected.iter().chain(&expected_errors))
            {
                assert!((f / e - 1.0).abs() < 1e-5, "{name}: {f} {e}");
            }
        }
    }

    #[test]
    fn the_interval_of_seeds_holds_the_exponent_and_narrows() {
        let mut rng = Key::new(3).rng();
        let mut rows = |members: usize| -> Vec<Vec<f64>> {
            let row = |n: &f64| {
                let value = 0.1 + 4.0 / n;
                (0..members)
                    .map(|_| value * (1.0 + 0.05 * rng.normal()))
                    .collect()
            };
            WIDTHS.iter().map(row).collect()
        };
        let fit = |rows: &[Vec<f64>]| {
            width_fit_of_members(&WIDTHS, rows, None, Resampling::default()).unwrap()
        };
        let (few, many) = (fit(&rows(4)), fit(&rows(64)));
        let [low, high] = many.exponent_interval.unwrap();
        assert!(low < 1.0 && 1.0 < high, "{many:?}");
        let [wide_low, wide_high] = few.exponent_interval.unwrap();
        assert!(high - low < wide_high - wide_low, "{few:?} {many:?}");
    }

    #[test]
    fn noise_has_no_exponent() {
        let values = [1.0, 1.3, 0.9, 1.4, 1.9];
        let fit = width_fit(&WIDTHS, &values, None, None).unwrap();
        assert!(!fit.converged, "{fit:?}");
        assert_eq!(fit.exponent_error, None);
    }

    #[test]
    fn wrong_input_is_named() {
        let y = [1.0, 0.5, 0.3, 0.2, 0.1];
        let cases = [
            (
                width_fit(&WIDTHS[..2], &y[..2], None, None),
                "needs at least 3 widths",
            ),
            (
                width_fit(&WIDTHS, &y[..4], None, None),
                "5 widths, 4 values",
            ),
            (
                width_fit(&WIDTHS, &[f64::NAN; 5], None, None),
                "value 0 of 5 is NaN",
            ),
            (width_fit(&[64.0; 5], &y, None, None), "all widths are 64"),
            (
                width_fit(&WIDTHS, &y, Some(&[0.0; 5]), None),
                "error 0 is 0",
            ),
            (
                width_fit(&WIDTHS, &y, None, Some(-1.0)),
                "exponent must be positive",
            ),
            (
                width_fit_of_members(
                    &WIDTHS[..1],
                    &[vec![1.0, f64::NAN, 2.0]],
                    None,
                    Resampling::default(),
                ),
                "row 0 has 2 finite values",
            ),
        ];
        for (found, message) in cases {
            let error = found.unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
    }
}
