//! Moments of each member's activations, and how many of its units are dead.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use super::members::Members;
use crate::error::Result;

/// What counts as a unit among the axes behind those of members and points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Every entry.
    All,
    /// The first of them, the channels of images.
    First,
    /// The last of them, the channels at positions.
    Last,
}

/// Moments, one number per member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MomentsOf {
    /// Mean.
    pub mean: Vec<f64>,
    /// Mean square of the distance from the mean.
    pub variance: Vec<f64>,
    /// Third moment about the mean, in units of the standard deviation; NaN without variance.
    pub skewness: Vec<f64>,
    /// Fourth moment about the mean, in units of the squared variance: 3 for a normal density; NaN
    /// without variance.
    pub kurtosis: Vec<f64>,
    /// Share of units that are positive at no point (and no position), in 0..=1.
    pub dead: Vec<f64>,
}

/// Moments of each member's numbers in `x [members, points, …]`, and the share of its units that are
/// never positive: behind a relu these are 0 and get no gradient. Moments divide by the number of
/// numbers. A member that has diverged has NaN.
///
/// # Errors
/// If there are fewer than two axes, or no number.
pub fn moments(x: &Tensor, units: Units) -> Result<MomentsOf> {
    let set = Members::read("moments", x, 1, "[members, points, …]")?;
    let members = (0..set.count).into_par_iter();
    let all: Vec<[f64; 5]> = members
        .map(|m| match set.finite(m) {
            Some(numbers) => of_member(numbers, &set.shape, units),
            None => [f64::NAN; 5],
        })
        .collect();
    let column = |i: usize| all.iter().map(|row| row[i]).collect();
    Ok(MomentsOf {
        mean: column(0),
        variance: column(1),
        skewness: column(2),
        kurtosis: column(3),
        dead: column(4),
    })
}

fn of_member(x: &[f64], shape: &[usize], units: Units) -> [f64; 5] {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let mut powers = [0.0; 3];
    for x in x {
        let d = x - mean;
        let square = d * d;
        powers[0] += square;
        powers[1] += square * d;
        powers[2] += square * square;
    }
    let [m2, m3, m4] = powers.map(|sum| sum / n);
    let (skewness, kurtosis) = match m2 > 0.0 {
        true => (m3 / m2 / m2.sqrt(), m4 / m2 / m2),
        false => (f64::NAN, f64::NAN),
    };
    [mean, m2, skewness, kurtosis, dead(x, shape, units)]
}

/// Share of units that are never positive in `x`, of shape `[points, …]`.
fn dead(x: &[f64], shape: &[usize], units: Units) -> f64 {
    let axes = &shape[1..];
    let size: usize = axes.iter().product();
    let count = match (units, axes) {
        (Units::All, _) | (_, []) => size,
        (Units::First, [first, ..]) => *first,
        (Units::Last, [.., last]) => *last,
    };
    let unit = |i: usize| match units {
        Units::First => i % size / (size / count),
        Units::All | Units::Last => i % count,
    };
    let mut alive = vec![false; count];
    for (i, _) in x.iter().enumerate().filter(|(_, x)| **x > 0.0) {
        alive[unit(i)] = true;
    }
    alive.iter().filter(|alive| !**alive).count() as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};
    use candle_core::Device;

    #[test]
    fn moments_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("moments.{name}"));
        let found = moments(&of("x").to_tensor(), Units::All).unwrap();
        assert_close("mean", &found.mean, &of("mean").values, 1e-13);
        assert_close("variance", &found.variance, &of("variance").values, 1e-13);
        assert_close("skewness", &found.skewness, &of("skewness").values, 1e-12);
        assert_close("kurtosis", &found.kurtosis, &of("kurtosis").values, 1e-12);
    }

    #[test]
    fn dead_units_are_positive_nowhere() {
        // two points, two channels of three places
        let x = [[[0., 1., 0.], [0., -1., 0.]], [[0., 0., 0.], [0., 0., 0.]]];
        let x = Tensor::new(&[x], &Device::Cpu).unwrap();
        let share = |units| moments(&x, units).unwrap().dead[0];
        assert_eq!(share(Units::First), 0.5);
        assert_eq!(share(Units::Last), 2.0 / 3.0);
        assert_eq!(share(Units::All), 5.0 / 6.0);
        let flat = Tensor::new(&[[0.0, -1.0]], &Device::Cpu).unwrap();
        assert_eq!(moments(&flat, Units::Last).unwrap().dead, [1.0]);
    }

    #[test]
    fn what_is_not_defined_is_nan() {
        let x = testing::spoil(&testing::normal(1, &[2, 3, 4], 1.0), 1, f64::NAN);
        let found = moments(&x, Units::All).unwrap();
        assert!(found.mean[0].is_finite() && found.mean[1].is_nan() && found.dead[1].is_nan());
        let constant = Tensor::new(&[[2.0, 2.0]], &Device::Cpu).unwrap();
        let found = moments(&constant, Units::All).unwrap();
        assert_eq!((found.mean[0], found.variance[0]), (2.0, 0.0));
        assert!(found.kurtosis[0].is_nan() && found.skewness[0].is_nan());
        assert!(moments(&constant.flatten_all().unwrap(), Units::All).is_err());
    }
}
