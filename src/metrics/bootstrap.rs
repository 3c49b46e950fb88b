//! The bootstrap: how far a number would move if other members, seeds or points had been drawn
//! (Efron 1979).

use serde::Serialize;

use super::stats;
use crate::error::{Error, Result};
use crate::tensor::rng::Key;

/// How a bootstrap draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// How many samples are drawn.
    pub samples: usize,
    /// Share of the samples between the ends of an interval, in 0..1.
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self {
            samples: 200,
            level: 0.95,
            seed: 0,
        }
    }
}

impl Resampling {
    /// Sample number `sample` of `count` things: `count` indices, drawn with replacement. It depends
    /// on the seed and the two numbers alone.
    pub fn draw(&self, sample: usize, count: usize) -> Vec<usize> {
        let key = Key::new(self.seed).label("bootstrap").fold(sample as u64);
        let mut rng = key.fold(count as u64).rng();
        (0..count)
            .map(|_| rng.below(count as u64) as usize)
            .collect()
    }

    /// The ends of the interval that `level` of `values` lie in, the same share being left out on
    /// both sides.
    ///
    /// # Errors
    /// If there is no value, or one is not finite.
    pub fn interval(&self, values: &[f64]) -> Result<[f64; 2]> {
        let tail = (1.0 - self.level) / 2.0;
        Ok([
            stats::quantile(values, tail)?,
            stats::quantile(values, 1.0 - tail)?,
        ])
    }

    /// # Errors
    /// If there are fewer than two samples, or the level is not between 0 and 1.
    pub(super) fn check(&self, what: &str) -> Result<()> {
        if self.samples < 2 {
            return Err(Error::setting(format!(
                "{what}: samples must be at least 2, found {}",
                self.samples
            )));
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::setting(format!(
                "{what}: level must be between 0 and 1, found {}",
                self.level
            )));
        }
        Ok(())
    }
}

/// A number with what resampling says of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// The number itself, of all things once.
    pub value: f64,
    /// Standard deviation over samples: the standard error of the number.
    pub error: f64,
    /// Lower end of the percentile interval.
    pub low: f64,
    /// Upper end of the percentile interval.
    pub high: f64,
    /// Share of samples in the interval.
    pub level: f64,
    /// Samples drawn.
    pub samples: usize,
}

/// A statistic of `count` things, members for instance, and its percentile interval under drawing as
/// many of them with replacement. `statistic` is given the indices of the things to use.
///
/// # Errors
/// If there are fewer than two things, the settings are impossible, or the statistic fails or is not
/// finite.
pub fn bootstrap(
    count: usize,
    resampling: Resampling,
    mut statistic: impl FnMut(&[usize]) -> Result<f64>,
) -> Result<Bootstrap> {
    resampling.check("bootstrap")?;
    if count < 2 {
        return Err(Error::setting(format!(
            "bootstrap: needs at least 2 values to draw from, found {count}"
        )));
    }
    let all: Vec<usize> = (0..count).collect();
    let value = statistic(&all)?;
    let replicates = (0..resampling.samples)
        .map(|sample| {
            let found = statistic(&resampling.draw(sample, count))?;
            match found.is_finite() {
                true => Ok(found),
                false => Err(Error::other(format!(
                    "bootstrap: the statistic of sample {sample} is {found}"
                ))
                .with_help(
                    "it must be finite for every sample, also for one that holds a value several times",
                )),
            }
        })
        .collect::<Result<Vec<f64>>>()?;
    let [low, high] = resampling.interval(&replicates)?;
    Ok(Bootstrap {
        value,
        error: stats::std(&replicates)?,
        low,
        high,
        level: resampling.level,
        samples: resampling.samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_mean(values: &[f64], resampling: Resampling) -> Result<Bootstrap> {
        bootstrap(values.len(), resampling, |which| {
            let drawn: Vec<f64> = which.iter().map(|&i| values[i]).collect();
            stats::mean(&drawn)
        })
    }

    /// The variance of a resampled mean is known: Σ (x − x̄)² / n².
    #[test]
    fn the_error_of_a_mean_is_that_of_the_formula() {
        let mut rng = Key::new(5).rng();
        let values: Vec<f64> = (0..40).map(|_| rng.normal()).collect();
        let resampling = Resampling {
            samples: 20_000,
            ..Resampling::default()
        };
        let found = of_mean(&values, resampling).unwrap();
        let n = values.len() as f64;
        let exact = stats::standard_error(&values).unwrap() * ((n - 1.0) / n).sqrt();
        assert!((found.error / exact - 1.0).abs() < 0.02, "{found:?}");
        // near normal: 1.96 standard errors on both sides
        assert!(((found.high - found.value) / exact - 1.96).abs() < 0.1);
        assert!(((found.value - found.low) / exact - 1.96).abs() < 0.1);
        assert_eq!(found.value, stats::mean(&values).unwrap());
    }

    #[test]
    fn draws_depend_on_the_seed_and_their_number_alone() {
        let one = Resampling::default();
        assert_eq!(one.draw(3, 10), one.draw(3, 10));
        assert_ne!(one.draw(3, 10), one.draw(4, 10));
        let other = Resampling { seed: 1, ..one };
        assert_ne!(one.draw(3, 10), other.draw(3, 10));
        assert!(one.draw(7, 4).iter().all(|&i| i < 4));
    }

    #[test]
    fn wrong_input_is_named() {
        let one = Resampling::default();
        let error = of_mean(&[1.0], one).unwrap_err();
        assert!(error.message.contains("at least 2 values"), "{error}");
        let few = Resampling { samples: 1, ..one };
        let error = of_mean(&[1.0, 2.0], few).unwrap_err();
        assert!(error.message.contains("samples must be"), "{error}");
        let level = Resampling { level: 1.0, ..one };
        let error = of_mean(&[1.0, 2.0], level).unwrap_err();
        assert!(error.message.contains("level must be"), "{error}");
        let error = bootstrap(
            2,
            one,
            |which| Ok(0.0 / (which[0] as f64 - which[1] as f64)),
        );
        assert!(error.unwrap_err().message.contains("is NaN"));
    }
}
