//! Catapults: a loss that first rises at a large learning rate, and comes down where the curvature is less.

use serde::Serialize;

use super::curve::same_length;
use crate::error::{Error, ErrorKind, Result};

/// What counts as a catapult.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CatapultSettings {
    /// The loss must rise above `1 + kappa` times its first value.
    pub kappa: f64,
    /// Number of steps, from the first on, in which it is looked for; 0 for all.
    pub window: u64,
}

impl Default for CatapultSettings {
    fn default() -> Self {
        Self {
            kappa: 0.05,
            window: 0,
        }
    }
}

/// Sharpness over the steps of a run.
#[derive(Debug, Clone, Copy)]
pub struct SharpnessSeries<'a> {
    /// Steps at which it was measured, ascending.
    pub steps: &'a [u64],
    /// Its values, in any units.
    pub values: &'a [f64],
}

/// What the beginning of a run did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Catapult {
    /// Whether it was a catapult.
    pub found: bool,
    /// Step of the greatest loss, if that is a spike.
    pub spike_step: Option<u64>,
    /// The greatest loss over the first, if that is a spike.
    pub spike_height: Option<f64>,
    /// First step after the spike at which the loss is below its first value.
    pub recovered_step: Option<u64>,
    /// First step at which the loss is not finite.
    pub diverged_step: Option<u64>,
    /// First sharpness in the window.
    pub sharpness_start: Option<f64>,
    /// Last sharpness in the window.
    pub sharpness_end: Option<f64>,
    /// Last over first.
    pub sharpness_ratio: Option<f64>,
}

/// Looks for a catapult (Lewkowycz et al. 2020, arXiv 2003.02218) at the beginning of a loss curve. It is one if
/// within the window
/// - the loss rises above `(1 + kappa)` times its first value (its greatest value is then the *spike*),
/// - after the spike it falls below its first value,
/// - it stays finite, and
/// - where sharpness is given, the last one in the window is less than the first.
///
/// After a loss that is not finite nothing is looked at: a run that diverges is no catapult, though it
/// may have a spike.
///
/// # Errors
/// Lengths that differ, steps that do not ascend, fewer than two losses in the window, a first loss that is
/// not positive and finite, a `kappa` that is negative or not finite; fewer than two values of sharpness in the
/// window, or a first one that is not positive and finite.
pub fn catapult(
    steps: &[u64],
    losses: &[f64],
    sharpness: Option<SharpnessSeries<'_>>,
    settings: CatapultSettings,
) -> Result<Catapult> {
    let what = "catapult";
    same_length(what, "steps", steps.len(), "losses", losses.len())?;
    ascending(what, "steps", steps)?;
    if !(settings.kappa >= 0.0 && settings.kappa.is_finite()) {
        return Err(Error::setting(format!(
            "{what}: kappa must be 0 or more, found {}",
            settings.kappa
        )));
    }
    let end = match (settings.window, steps.first()) {
        (0, _) | (_, None) => u64::MAX,
        (window, Some(first)) => first.saturating_add(window),
    };
    let inside = |steps: &[u64]| steps.iter().take_while(|s| **s <= end).count();
    let (steps, losses) = {
        let count = inside(steps);
        (&steps[..count], &losses[..count])
    };
    let [first, _, ..] = *losses else {
        return Err(Error::setting(format!(
            "{what}: needs at least 2 losses in the window, found {}",
            losses.len()
        )));
    };
    if !(first > 0.0 && first.is_finite()) {
        return Err(Error::setting(format!(
            "{what}: the first loss must be positive and finite, found {first}"
        )));
    }
    let finite = losses.iter().take_while(|l| l.is_finite()).count();
    let mut peak = 0;
    for i in 0..finite {
        if losses[i] > losses[peak] {
            peak = i;
        }
    }
    let spike = losses[peak] > (1.0 + settings.kappa) * first;
    let recovered = (peak..finite).find(|&i| spike && losses[i] < first);
    let mut found = Catapult {
        found: recovered.is_some() && finite == losses.len(),
        spike_step: spike.then(|| steps[peak]),
        spike_height: spike.then(|| losses[peak] / first),
        recovered_step: recovered.map(|i| steps[i]),
        diverged_step: steps.get(finite).copied(),
        sharpness_start: None,
        sharpness_end: None,
        sharpness_ratio: None,
    };
    if let Some(series) = sharpness {
        same_length(
            what,
            "steps of sharpness",
            series.steps.len(),
            "values of sharpness",
            series.values.len(),
        )?;
        ascending(what, "steps of sharpness", series.steps)?;
        let values = &series.values[..inside(series.steps)];
        let (Some(&start), Some(&last), true) = (values.first(), values.last(), values.len() > 1)
        else {
            return Err(Error::setting(format!(
                "{what}: needs at least 2 values of sharpness in the window, found {}",
                values.len()
            )));
        };
        if !(start > 0.0 && start.is_finite()) {
            return Err(Error::new(
                ErrorKind::Diverged,
                format!("{what}: the first sharpness must be positive and finite, found {start}"),
            ));
        }
        found.sharpness_start = Some(start);
        found.sharpness_end = Some(last);
        found.sharpness_ratio = Some(last / start);
        // false too for one that is not finite
        found.found &= last < start;
    }
    Ok(found)
}

/// Checks that steps ascend.
pub(super) fn ascending(what: &str, name: &str, steps: &[u64]) -> Result<()> {
    match steps.windows(2).position(|w| w[0] >= w[1]) {
        None => Ok(()),
        Some(i) => Err(Error::setting(format!(
            "{what}: {name} must ascend, but {} is followed by {}",
            steps[i],
            steps[i + 1]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [u64; 6] = [0, 1, 2, 5, 10, 20];

    fn of(losses: &[f64]) -> Catapult {
        let steps = &STEPS[..losses.len()];
        catapult(steps, losses, None, CatapultSettings::default()).unwrap()
    }

    #[test]
    fn a_spike_that_comes_down_is_one() {
        let found = of(&[2.0, 3.0, 8.0, 4.0, 1.9, 0.5]);
        assert!(found.found);
        assert_eq!((found.spike_step, found.spike_height), (Some(2), Some(4.0)));
        assert_eq!(
            (found.recovered_step, found.diverged_step),
            (Some(10), None)
        );
        // 4 % up is no spike
        let low = of(&[2.0, 2.08, 1.0]);
        assert_eq!(
            (
                low.found,
                low.spike_step,
                low.spike_height,
                low.recovered_step
            ),
            (false, None, None, None)
        );
        let still_up = of(&[2.0, 3.0, 8.0, 4.0, 2.0]);
        assert_eq!(
            (still_up.found, still_up.spike_step, still_up.recovered_step),
            (false, Some(2), None)
        );
    }

    #[test]
    fn a_run_that_diverges_is_none() {
        for bad in [f64::NAN, f64::INFINITY] {
            let found = of(&[2.0, 3.0, bad, 1.0]);
            assert_eq!(
                (found.found, found.spike_step, found.diverged_step),
                (false, Some(1), Some(2))
            );
            assert_eq!(found.recovered_step, None);
            let later = of(&[2.0, 3.0, 1.0, bad]);
            assert_eq!(
                (later.found, later.recovered_step, later.diverged_step),
                (false, Some(2), Some(5))
            );
        }
    }

    #[test]
    fn the_window_counts_steps_and_the_sharpness_must_fall() {
        let losses = [2.0, 3.0, 1.0, 9.0, 1.0, 1.0];
        let window = |window| CatapultSettings {
            window,
            ..CatapultSettings::default()
        };
        let found = catapult(&STEPS, &losses, None, window(4)).unwrap();
        assert_eq!((found.spike_step, found.spike_height), (Some(1), Some(1.5)));
        let series = |values| SharpnessSeries {
            steps: &[0, 4, 20],
            values,
        };
        let of = |values, w| catapult(&STEPS, &losses, Some(series(values)), window(w));
        let found = of(&[4.0, 1.0, 5.0], 4).unwrap();
        assert!(found.found);
        assert_eq!(
            (found.sharpness_end, found.sharpness_ratio),
            (Some(1.0), Some(0.25))
        );
        let found = of(&[4.0, 1.0, 5.0], 0).unwrap();
        assert!(!found.found && found.recovered_step.is_some());
        assert!(!of(&[4.0, f64::NAN, 1.0], 4).unwrap().found);
        let error = of(&[f64::NAN, 1.0, 1.0], 0).unwrap_err();
        assert!(
            error
                .message
                .contains("first sharpness must be positive and finite, found NaN")
        );
        let error = of(&[4.0, 1.0, 1.0], 1).unwrap_err();
        assert!(
            error
                .message
                .contains("at least 2 values of sharpness in the window, found 1")
        );
    }

    #[test]
    fn wrong_input_is_named() {
        let usual = CatapultSettings::default();
        let error = |steps: &[u64], losses: &[f64], s| {
            catapult(steps, losses, None, s).unwrap_err().message
        };
        for (found, text) in [
            (error(&[0, 1], &[1.0], usual), "2 steps and 1 losses"),
            (
                error(&[0], &[1.0], usual),
                "at least 2 losses in the window, found 1",
            ),
            (
                error(&[1, 1], &[1.0, 2.0], usual),
                "steps must ascend, but 1 is followed by 1",
            ),
            (
                error(&[0, 1], &[0.0, 2.0], usual),
                "first loss must be positive and finite, found 0",
            ),
            (
                error(&[0, 1], &[f64::NAN, 2.0], usual),
                "positive and finite, found NaN",
            ),
            (
                error(
                    &[0, 1],
                    &[1.0, 2.0],
                    CatapultSettings {
                        kappa: -1.0,
                        ..usual
                    },
                ),
                "kappa must be 0 or more, found -1",
            ),
        ] {
            assert!(found.contains(text), "{found}");
        }
    }
}
