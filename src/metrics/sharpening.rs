//! Progressive sharpening: whether the curvature rises to the edge of stability and stays there.

use serde::Serialize;

use super::catapult::ascending;
use super::curve::same_length;
use super::stats;
use crate::error::{Error, ErrorKind, Result};

/// What counts as the edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharpeningSettings {
    /// Share of the threshold from which on the edge is reached.
    pub share: f64,
    /// How far, as a share of the threshold, the plateau's mean may be from it.
    pub within: f64,
}

impl Default for SharpeningSettings {
    fn default() -> Self {
        Self {
            share: 0.9,
            within: 0.15,
        }
    }
}

/// How the sharpness of a run moved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sharpening {
    /// The first value.
    pub initial: f64,
    /// The last finite value.
    pub last: f64,
    /// The greatest finite value.
    pub greatest: f64,
    /// First step at which the sharpness is at least the share of the threshold.
    pub reached_step: Option<u64>,
    /// Mean over the plateau.
    pub plateau: Option<f64>,
    /// Standard deviation over the plateau; `None` for one value.
    pub plateau_std: Option<f64>,
    /// Mean over the plateau, over the threshold.
    pub plateau_share: Option<f64>,
    /// Whether that mean is as close to the threshold as it has to be.
    pub at_edge: bool,
    /// First step at which the value is not finite; values from there on are left out.
    pub diverged_step: Option<u64>,
}

/// How a sharpness moves towards its threshold (Cohen et al. 2021, arXiv 2103.00065): both in the same units.
/// The *plateau* is what follows the first value of at least `share` of the threshold; where these are four
/// values or more, the later half of them, since sharpness first overshoots. The run is at the edge if the
/// plateau has at least two values and their mean is no further than `within` thresholds from it.
///
/// # Errors
/// Lengths that differ, steps that do not ascend, fewer than two values, a first one that is not finite, a
/// threshold that is not positive and finite, a share outside of 0 to 1, a `within` that is negative.
pub fn progressive_sharpening(
    steps: &[u64],
    sharpness: &[f64],
    threshold: f64,
    settings: SharpeningSettings,
) -> Result<Sharpening> {
    let what = "progressive_sharpening";
    same_length(what, "steps", steps.len(), "values", sharpness.len())?;
    ascending(what, "steps", steps)?;
    let wrong = |text: String| Err(Error::setting(format!("{what}: {text}")));
    if !(threshold > 0.0 && threshold.is_finite()) {
        return wrong(format!("the threshold must be positive, found {threshold}"));
    }
    if !(settings.share > 0.0 && settings.share <= 1.0) {
        return wrong(format!("share must be in 0 to 1, found {}", settings.share));
    }
    if !(settings.within >= 0.0 && settings.within.is_finite()) {
        return wrong(format!(
            "within must be 0 or more, found {}",
            settings.within
        ));
    }
    let finite = sharpness.iter().take_while(|v| v.is_finite()).count();
    let (Some(&initial), true) = (sharpness.first(), sharpness.len() > 1) else {
        return wrong(format!(
            "needs at least 2 values, found {}",
            sharpness.len()
        ));
    };
    if finite == 0 {
        return Err(Error::new(
            ErrorKind::Diverged,
            format!("{what}: the first value is {initial}"),
        ));
    }
    let values = &sharpness[..finite];
    let reached = values.iter().position(|v| *v >= settings.share * threshold);
    let plateau = reached.map(|i| match &values[i..] {
        few if few.len() < 4 => few,
        many => &many[many.len() / 2..],
    });
    let mean = plateau.map(stats::mean).transpose()?;
    let near = |mean: f64| (mean / threshold - 1.0).abs() <= settings.within;
    Ok(Sharpening {
        initial,
        last: values[finite - 1],
        greatest: values.iter().copied().fold(initial, f64::max),
        reached_step: reached.map(|i| steps[i]),
        plateau: mean,
        plateau_std: plateau.and_then(|p| stats::std(p).ok()),
        plateau_share: mean.map(|m| m / threshold),
        at_edge: mean.is_some_and(near) && plateau.is_some_and(|p| p.len() > 1),
        diverged_step: steps.get(finite).copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: SharpeningSettings = SharpeningSettings {
        share: 0.9,
        within: 0.15,
    };

    #[test]
    fn a_rise_to_the_edge_is_seen() {
        let values = [0.5, 1.0, 1.9, 2.1, 2.0];
        let found = progressive_sharpening(&[0, 10, 20, 30, 40], &values, 2.0, USUAL).unwrap();
        assert_eq!((found.initial, found.last, found.greatest), (0.5, 2.0, 2.1));
        assert_eq!((found.reached_step, found.plateau), (Some(20), Some(2.0)));
        assert!((found.plateau_std.unwrap() - 0.1).abs() < 1e-12);
        assert!(found.at_edge && found.diverged_step.is_none());
        // an overshoot is not in the plateau
        let values = [1.0, 2.5, 3.5, 2.0, 2.2];
        let over = progressive_sharpening(&[0, 10, 20, 30, 40], &values, 2.0, USUAL).unwrap();
        assert_eq!((over.reached_step, over.plateau), (Some(10), Some(2.1)));
        assert!(over.at_edge);
        // twice as large a threshold is not reached
        let found = progressive_sharpening(&[0, 10, 20, 30, 40], &values, 4.0, USUAL).unwrap();
        assert_eq!(
            (found.reached_step, found.plateau, found.at_edge),
            (None, None, false)
        );
    }

    #[test]
    fn far_above_or_once_only_is_not_at_the_edge() {
        let found = progressive_sharpening(&[0, 1, 2], &[1.0, 6.0, 6.0], 2.0, USUAL).unwrap();
        assert_eq!((found.reached_step, found.at_edge), (Some(1), false));
        let found = progressive_sharpening(&[0, 1], &[1.0, 2.0], 2.0, USUAL).unwrap();
        assert_eq!(
            (found.plateau, found.plateau_std, found.at_edge),
            (Some(2.0), None, false)
        );
        let bad = progressive_sharpening(&[0, 1, 2], &[1.0, 2.0, f64::NAN], 2.0, USUAL).unwrap();
        assert_eq!((bad.last, bad.diverged_step), (2.0, Some(2)));
    }

    #[test]
    fn wrong_input_is_named() {
        let error = |steps: &[u64], values: &[f64], threshold, s| {
            progressive_sharpening(steps, values, threshold, s)
                .unwrap_err()
                .message
        };
        for (found, text) in [
            (error(&[0, 1], &[1.0], 2.0, USUAL), "2 steps and 1 values"),
            (
                error(&[0], &[1.0], 2.0, USUAL),
                "at least 2 values, found 1",
            ),
            (error(&[2, 1], &[1.0, 1.0], 2.0, USUAL), "steps must ascend"),
            (
                error(&[0, 1], &[1.0, 1.0], 0.0, USUAL),
                "threshold must be positive, found 0",
            ),
            (
                error(&[0, 1], &[f64::NAN, 1.0], 2.0, USUAL),
                "the first value is NaN",
            ),
            (
                error(
                    &[0, 1],
                    &[1.0, 1.0],
                    2.0,
                    SharpeningSettings {
                        share: 1.5,
                        ..USUAL
                    },
                ),
                "share must be in 0 to 1, found 1.5",
            ),
            (
                error(
                    &[0, 1],
                    &[1.0, 1.0],
                    2.0,
                    SharpeningSettings {
                        within: -1.0,
                        ..USUAL
                    },
                ),
                "within must be 0 or more",
            ),
        ] {
            assert!(found.contains(text), "{found}");
        }
    }
}
