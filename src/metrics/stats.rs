//! Small statistics: summaries over members, quantiles, correlation, straight-line fits.
//!
//! Functions on bare slices refuse numbers that are not finite; [`Summary::of`] leaves them out and
//! counts them.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// Some values in short; those that are not finite are left out and counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Mean of the finite values.
    pub mean: f64,
    /// Standard deviation of the finite values, with n − 1; `None` for one value.
    pub std: Option<f64>,
    /// The smallest finite value.
    pub min: f64,
    /// The largest finite value.
    pub max: f64,
    /// How many values are finite.
    pub count: usize,
    /// How many are not: diverged members or undefined numbers.
    pub excluded: usize,
}

impl Summary {
    /// Summarises values, one per member for instance. Errors: none of them is finite.
    pub fn of(values: &[f64]) -> Result<Self> {
        let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        if finite.is_empty() {
            let message = match values.len() {
                0 => "no value to summarise".to_owned(),
                n => format!("none of {n} values is finite: nothing left to summarise"),
            };
            return Err(Error::new(ErrorKind::Diverged, message));
        }
        Ok(Self {
            mean: mean(&finite)?,
            std: std(&finite).ok(),
            min: finite.iter().copied().fold(f64::INFINITY, f64::min),
            max: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count: finite.len(),
            excluded: values.len() - finite.len(),
        })
    }

    /// Standard error of the mean, std / √n; `None` for one value.
    pub fn standard_error(&self) -> Option<f64> {
        self.std.map(|std| std / (self.count as f64).sqrt())
    }
}

/// The mean. Errors: no value, or one that is not finite.
pub fn mean(values: &[f64]) -> Result<f64> {
    checked("mean", values, 1)?;
    // as an offset from the first value, so that equal values give themselves
    let first = values[0];
    let offset = values.iter().map(|x| x - first).sum::<f64>() / values.len() as f64;
    Ok(first + offset)
}

/// The sum. Errors: as [`mean`].
pub fn sum(values: &[f64]) -> Result<f64> {
    checked("sum", values, 1)?;
    Ok(values.iter().sum())
}

/// The smallest value. Errors: as [`mean`].
pub fn min(values: &[f64]) -> Result<f64> {
    checked("min", values, 1)?;
    Ok(values.iter().copied().fold(f64::INFINITY, f64::min))
}

/// The largest value. Errors: as [`mean`].
pub fn max(values: &[f64]) -> Result<f64> {
    checked("max", values, 1)?;
    Ok(values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// The middle of the values in order. Errors: as [`mean`].
pub fn median(values: &[f64]) -> Result<f64> {
    checked("median", values, 1)?;
    Ok(below_share(values, 0.5))
}

/// The standard deviation, with n − 1. Errors: fewer than two values, or one that is not finite.
pub fn std(values: &[f64]) -> Result<f64> {
    checked("std", values, 2)?;
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Ok((squares / (values.len() - 1) as f64).sqrt())
}

/// The standard error of the mean, std / √n. Errors: as [`std()`].
pub fn standard_error(values: &[f64]) -> Result<f64> {
    Ok(std(values)? / (values.len() as f64).sqrt())
}

/// The value below which a share `level` of the values lies, linear between neighbours in order (as
/// numpy does by default).
///
/// Errors: no value, one that is not finite, a level outside 0..=1.
pub fn quantile(values: &[f64], level: f64) -> Result<f64> {
    checked("quantile", values, 1)?;
    if !(0.0..=1.0).contains(&level) {
        return Err(Error::setting(format!(
            "quantile: level {level} is outside 0..=1"
        )));
    }
    Ok(below_share(values, level))
}

/// [`quantile`] of what has been checked.
fn below_share(values: &[f64], level: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = level * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

/// Several quantiles; errors as [`quantile`].
pub fn quantiles(values: &[f64], levels: &[f64]) -> Result<Vec<f64>> {
    levels.iter().map(|&l| quantile(values, l)).collect()
}

/// Pearson's correlation coefficient, in −1..=1.
///
/// Errors: lengths that differ, fewer than two values, one that is not finite, all values of `x` or
/// of `y` equal (the correlation is then not defined).
pub fn correlation(x: &[f64], y: &[f64]) -> Result<f64> {
    let moments = Moments::of("correlation", x, y)?;
    for (name, square) in [("x", moments.xx), ("y", moments.yy)] {
        if square <= 0.0 {
            return Err(Error::setting(format!(
                "correlation: all values of {name} are equal, so it is not defined"
            )));
        }
    }
    // two roots: the product of the squares can overflow or underflow
    Ok((moments.xy / moments.xx.sqrt() / moments.yy.sqrt()).clamp(-1.0, 1.0))
}

/// A straight line through points, by least squares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinearFit {
    /// Change of y per unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
    /// Standard error of the slope; `None` for two points.
    pub slope_error: Option<f64>,
    /// Standard error of the intercept; `None` for two points.
    pub intercept_error: Option<f64>,
    /// Share of the variance of y that the line explains, in 0..=1; 1 if y is constant.
    pub r_squared: f64,
    /// How many points.
    pub count: usize,
}

/// Fits y = intercept + slope · x, all points alike.
///
/// Errors: lengths that differ, fewer than two points, a number that is not finite, all x equal.
pub fn linear_fit(x: &[f64], y: &[f64]) -> Result<LinearFit> {
    let m = Moments::of("linear_fit", x, y)?;
    if m.xx <= 0.0 {
        return Err(Error::setting(
            "linear_fit: all values of x are equal, so there is no slope",
        ));
    }
    let slope = m.xy / m.xx;
    let intercept = m.mean_y - slope * m.mean_x;
    let residual: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| (y - m.mean_y - slope * (x - m.mean_x)).powi(2))
        .sum();
    let count = x.len();
    let slope_error = (count > 2).then(|| (residual / (count - 2) as f64 / m.xx).sqrt());
    let lever = (m.xx / count as f64 + m.mean_x * m.mean_x).sqrt();
    Ok(LinearFit {
        slope,
        intercept,
        slope_error,
        intercept_error: slope_error.map(|e| e * lever),
        r_squared: match m.yy > 0.0 {
            true => (1.0 - residual / m.yy).clamp(0.0, 1.0),
            false => 1.0,
        },
        count,
    })
}

/// Fits y = exp(intercept) · x^slope: a line through (ln x, ln y), for power laws in width or time.
///
/// Errors: as [`linear_fit`], and a value that is not positive.
pub fn log_log_fit(x: &[f64], y: &[f64]) -> Result<LinearFit> {
    let logarithms = |name: &str, values: &[f64]| -> Result<Vec<f64>> {
        match values.iter().position(|v| *v <= 0.0) {
            Some(i) => Err(Error::setting(format!(
                "log_log_fit: {name}[{i}] is {}, which has no logarithm",
                values[i]
            ))),
            None => Ok(values.iter().map(|v| v.ln()).collect()),
        }
    };
    linear_fit(&logarithms("x", x)?, &logarithms("y", y)?).map_err(|e| e.at("log_log_fit"))
}

/// Means and sums of squares about them.
struct Moments {
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(what: &str, x: &[f64], y: &[f64]) -> Result<Self> {
        if x.len() != y.len() {
            return Err(Error::shape(format!(
                "{what}: {} values of x and {} of y",
                x.len(),
                y.len()
            )));
        }
        checked(what, x, 2)?;
        checked(what, y, 2)?;
        let (mean_x, mean_y) = (mean(x)?, mean(y)?);
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (x, y) in x.iter().zip(y) {
            let (dx, dy) = (x - mean_x, y - mean_y);
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }
        Ok(Self {
            mean_x,
            mean_y,
            xx,
            yy,
            xy,
        })
    }
}

fn checked(what: &str, values: &[f64], needed: usize) -> Result<()> {
    if values.len() < needed {
        return Err(Error::setting(format!(
            "{what}: needs at least {needed} value{}, found {}",
            if needed == 1 { "" } else { "s" },
            values.len()
        )));
    }
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => {
            let message = format!("{what}: value {i} of {} is {}", values.len(), values[i]);
            Err(Error::new(ErrorKind::Diverged, message)
                .with_help("summary leaves such values out and counts them"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Fixture, assert_close};
    use proptest::prelude::*;

    fn fixture() -> (Fixture, Vec<f64>, Vec<f64>, Vec<f64>) {
        let fixture = Fixture::load("metrics");
        let at = |name: &str| fixture.numbers(&format!("/statistics/{name}"));
        let (sample, x, y) = (at("sample"), at("x"), at("y"));
        (fixture, sample, x, y)
    }

    #[test]
    fn sample_statistics_are_those_of_numpy() {
        let (fixture, sample, x, y) = fixture();
        let at = |name: &str| fixture.number(&format!("/statistics/{name}"));
        for (name, found) in [
            ("mean", mean(&sample)),
            ("std", std(&sample)),
            ("standard_error", standard_error(&sample)),
            ("correlation", correlation(&x, &y)),
        ] {
            assert_close(name, &[found.unwrap()], &[at(name)], 1e-14);
        }
        let levels = fixture.numbers("/statistics/levels");
        let found = quantiles(&sample, &levels).unwrap();
        assert_close(
            "quantiles",
            &found,
            &fixture.numbers("/statistics/quantiles"),
            1e-14,
        );
    }

    #[test]
    fn fits_are_those_of_scipy() {
        let (fixture, _, x, y) = fixture();
        for (name, fit) in [
            ("linear_fit", linear_fit(&x, &y).unwrap()),
            ("log_log_fit", log_log_fit(&x, &y).unwrap()),
        ] {
            let at = |field: &str| fixture.number(&format!("/statistics/{name}/{field}"));
            // relative: these numbers are small
            for (field, found) in [
                ("slope", fit.slope),
                ("intercept", fit.intercept),
                ("slope_error", fit.slope_error.unwrap()),
                ("intercept_error", fit.intercept_error.unwrap()),
            ] {
                assert_close(field, &[found / at(field)], &[1.0], 1e-12);
            }
            let share = at("correlation").powi(2);
            assert_close("r_squared", &[fit.r_squared], &[share], 1e-12);
        }
    }

    #[test]
    fn summary_leaves_out_and_counts_what_is_not_finite() {
        let found = Summary::of(&[1.0, f64::NAN, 3.0, f64::INFINITY]).unwrap();
        let expected = Summary {
            mean: 2.0,
            std: Some(2f64.sqrt()),
            min: 1.0,
            max: 3.0,
            count: 2,
            excluded: 2,
        };
        assert_eq!(found, expected);
        assert_eq!(found.standard_error(), Some(1.0));
        let one = Summary::of(&[f64::NEG_INFINITY, 4.0]).unwrap();
        assert_eq!((one.mean, one.std, one.standard_error()), (4.0, None, None));
        let error = Summary::of(&[f64::NAN; 3]).unwrap_err();
        assert!(
            error.message.contains("none of 3 values is finite"),
            "{error}"
        );
        assert!(Summary::of(&[]).unwrap_err().message.contains("no value"));
    }

    #[test]
    fn bare_statistics_refuse_what_is_not_finite() {
        let bad = [1.0, f64::NAN, 2.0];
        let good = [1.0, 2.0, 4.0];
        for error in [
            mean(&bad).unwrap_err(),
            std(&bad).unwrap_err(),
            quantile(&bad, 0.5).unwrap_err(),
            correlation(&good, &bad).unwrap_err(),
            linear_fit(&bad, &good).unwrap_err(),
            log_log_fit(&good, &bad).unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Diverged);
            assert!(error.message.contains("value 1 of 3 is NaN"), "{error}");
        }
    }

    #[test]
    fn wrong_input_is_named() {
        let cases = [
            (
                mean(&[]).unwrap_err(),
                "mean: needs at least 1 value, found 0",
            ),
            (
                std(&[1.0]).unwrap_err(),
                "std: needs at least 2 values, found 1",
            ),
            (
                quantile(&[1.0], 1.5).unwrap_err(),
                "quantile: level 1.5 is outside 0..=1",
            ),
            (
                quantile(&[1.0], f64::NAN).unwrap_err(),
                "quantile: level NaN is outside 0..=1",
            ),
            (
                correlation(&[1.0, 2.0], &[1.0]).unwrap_err(),
                "correlation: 2 values of x and 1 of y",
            ),
            (
                correlation(&[1.0, 2.0], &[0.1, 0.1]).unwrap_err(),
                "correlation: all values of y are equal, so it is not defined",
            ),
            (
                linear_fit(&[0.3, 0.3, 0.3], &[1.0, 2.0, 3.0]).unwrap_err(),
                "linear_fit: all values of x are equal, so there is no slope",
            ),
            (
                log_log_fit(&[1.0, 2.0], &[1.0, 0.0]).unwrap_err(),
                "log_log_fit: y[1] is 0, which has no logarithm",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.message, message);
        }
    }

    #[test]
    fn two_points_have_a_line_without_errors() {
        let fit = linear_fit(&[1.0, 3.0], &[2.0, 8.0]).unwrap();
        assert_eq!((fit.slope, fit.intercept, fit.count), (3.0, -1.0, 2));
        assert_eq!((fit.slope_error, fit.intercept_error), (None, None));
        let flat = linear_fit(&[1.0, 3.0, 4.0], &[2.0, 2.0, 2.0]).unwrap();
        assert_eq!(
            (flat.slope, flat.r_squared, flat.slope_error),
            (0.0, 1.0, Some(0.0))
        );
    }

    proptest! {
        #[test]
        fn a_power_law_is_found(
            slope in -3.0..3.0f64, factor in 0.01..100.0f64, count in 2..12u32
        ) {
            let x: Vec<f64> = (0..count).map(|i| 2f64.powi(i as i32 + 4)).collect();
            let y: Vec<f64> = x.iter().map(|x| factor * x.powf(slope)).collect();
            let fit = log_log_fit(&x, &y).unwrap();
            prop_assert!((fit.slope - slope).abs() < 1e-12);
            prop_assert!((fit.intercept - factor.ln()).abs() < 1e-11);
        }

        #[test]
        fn correlation_does_not_see_scale_and_offset(
            values in prop::collection::vec((-5.0..5.0f64, -5.0..5.0f64), 3..20),
            scale in 0.1..10.0f64, offset in -10.0..10.0f64,
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
            let moved: Vec<f64> = x.iter().map(|x| scale * x + offset).collect();
            let negated: Vec<f64> = x.iter().map(|x| -x).collect();
            let found = correlation(&x, &y).unwrap();
            prop_assert!((correlation(&moved, &y).unwrap() - found).abs() < 1e-9);
            prop_assert!((correlation(&negated, &y).unwrap() + found).abs() < 1e-12);
            prop_assert!((correlation(&y, &x).unwrap() - found).abs() < 1e-12);
        }

        #[test]
        fn quantiles_ascend_between_the_extremes(
            values in prop::collection::vec(-5.0..5.0f64, 1..20), levels in (0.0..1.0f64, 0.0..1.0f64)
        ) {
            let (low, high) = (levels.0.min(levels.1), levels.0.max(levels.1));
            let found = quantiles(&values, &[0.0, low, high, 1.0]).unwrap();
            prop_assert!(found.windows(2).all(|w| w[0] <= w[1]));
            let summary = Summary::of(&values).unwrap();
            prop_assert_eq!((found[0], found[3]), (summary.min, summary.max));
        }
    }
}
