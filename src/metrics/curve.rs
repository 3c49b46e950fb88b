//! Loss curves of several widths: how far they are apart, and since when.

use crate::error::{Error, Result};

/// Smooths a curve in logarithmic time: each value becomes the mean of the curve around it, weighted
/// by a Gaussian of standard deviation `octaves` in log₂(1 + step).
///
/// `steps` ascending, `values` of the same length. From the first value that is not finite on, the
/// result is NaN, and values before it do not see it. Smooth every curve of a comparison alike.
/// Errors: lengths that differ, steps that do not ascend, `octaves` that is not positive and finite.
pub fn smooth_log_time(steps: &[u64], values: &[f64], octaves: f64) -> Result<Vec<f64>> {
    let what = "smooth_log_time";
    same_length(what, "steps", steps.len(), "values", values.len())?;
    if !(octaves > 0.0 && octaves.is_finite()) {
        return Err(Error::setting(format!(
            "{what}: octaves must be positive, found {octaves}"
        )));
    }
    if let Some(i) = steps.windows(2).position(|w| w[0] >= w[1]) {
        return Err(Error::setting(format!(
            "{what}: steps must ascend, but {} is followed by {}",
            steps[i],
            steps[i + 1]
        )));
    }
    let finite = values.iter().take_while(|v| v.is_finite()).count();
    let time: Vec<f64> = steps.iter().map(|&s| (1.0 + s as f64).log2()).collect();
    let smoothed = |i: usize| {
        let (mut total, mut weights) = (0.0, 0.0);
        for j in 0..finite {
            let distance = (time[j] - time[i]) / octaves;
            let weight = (-0.5 * distance * distance).exp();
            // as offsets, so that a constant curve stays exactly itself
            total += weight * (values[j] - values[i]);
            weights += weight;
        }
        values[i] + total / weights
    };
    let tail = values.len() - finite;
    Ok((0..finite)
        .map(smoothed)
        .chain(std::iter::repeat_n(f64::NAN, tail))
        .collect())
}

/// |L − L_ref| / L_ref at every probe; NaN where one of them is not finite.
///
/// Errors: lengths that differ, a reference loss that is not positive.
pub fn loss_deviation(losses: &[f64], reference: &[f64]) -> Result<Vec<f64>> {
    let what = "loss_deviation";
    same_length(what, "losses", losses.len(), "reference", reference.len())?;
    if let Some(i) = reference.iter().position(|r| *r <= 0.0) {
        return Err(Error::setting(format!(
            "{what}: reference loss {i} is {}, expected a positive one",
            reference[i]
        )));
    }
    let relative = |(l, r): (&f64, &f64)| match l.is_finite() && r.is_finite() {
        true => (l - r).abs() / r,
        false => f64::NAN,
    };
    Ok(losses.iter().zip(reference).map(relative).collect())
}

/// The first step from which the deviation exceeds `threshold` at `consecutive` probes in a row;
/// `None` if there is none. A deviation that is not finite (a diverged run) exceeds every threshold.
///
/// Errors: lengths that differ, `consecutive` of 0, a threshold that is negative or not finite.
pub fn deviation_onset(
    steps: &[u64],
    deviation: &[f64],
    threshold: f64,
    consecutive: usize,
) -> Result<Option<u64>> {
    let what = "deviation_onset";
    same_length(what, "steps", steps.len(), "deviations", deviation.len())?;
    if consecutive == 0 {
        return Err(Error::setting(format!(
            "{what}: consecutive must be at least 1"
        )));
    }
    if !(threshold >= 0.0 && threshold.is_finite()) {
        return Err(Error::setting(format!(
            "{what}: threshold must be 0 or more, found {threshold}"
        )));
    }
    let exceeds = |d: &f64| !d.is_finite() || *d > threshold;
    let start = deviation
        .windows(consecutive)
        .position(|window| window.iter().all(exceeds));
    Ok(start.map(|i| steps[i]))
}

pub(super) fn same_length(
    what: &str,
    a: &str,
    a_length: usize,
    b: &str,
    b_length: usize,
) -> Result<()> {
    if a_length == b_length {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{what}: {a_length} {a} and {b_length} {b}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::assert_close;

    #[test]
    fn a_constant_curve_stays_itself() {
        let steps = [0, 1, 2, 5, 10, 100];
        assert_eq!(smooth_log_time(&steps, &[0.1; 6], 0.5).unwrap(), [0.1; 6]);
    }

    #[test]
    fn smoothing_by_hand() {
        // log2(1 + step) is 0, 1, 2: Gaussian weights 1, e^-1/2, e^-2
        let found = smooth_log_time(&[0, 1, 3], &[1.0, 2.0, 6.0], 1.0).unwrap();
        let (near, far) = ((-0.5f64).exp(), (-2f64).exp());
        let expected = [
            (1.0 + 2.0 * near + 6.0 * far) / (1.0 + near + far),
            (near + 2.0 + 6.0 * near) / (1.0 + 2.0 * near),
            (far + 2.0 * near + 6.0) / (1.0 + near + far),
        ];
        assert_close("smoothed", &found, &expected, 1e-14);
    }

    #[test]
    fn what_follows_a_nan_is_nan_and_what_precedes_it_is_clean() {
        let steps = [1, 2, 3, 4];
        let found = smooth_log_time(&steps, &[2.0, 1.0, f64::NAN, 1.0], 1.0).unwrap();
        let expected = smooth_log_time(&steps[..2], &[2.0, 1.0], 1.0).unwrap();
        assert_eq!(found[..2], expected);
        assert!(found[2].is_nan() && found[3].is_nan());
    }

    #[test]
    fn deviation_is_relative_to_the_reference() {
        let found = loss_deviation(&[3.0, 1.0, f64::NAN], &[2.0, 2.0, 2.0]).unwrap();
        assert_eq!(found[..2], [0.5, 0.5]);
        assert!(found[2].is_nan());
    }

    #[test]
    fn onset_needs_several_probes_in_a_row() {
        let steps = [10, 20, 30, 40, 50, 60];
        let deviation = [0.0, 0.3, 0.0, 0.3, 0.4, f64::NAN];
        let onset = |threshold, k| deviation_onset(&steps, &deviation, threshold, k).unwrap();
        assert_eq!(onset(0.1, 1), Some(20));
        assert_eq!(onset(0.1, 2), Some(40));
        assert_eq!(onset(0.35, 2), Some(50), "NaN counts as deviating");
        assert_eq!(onset(0.3, 3), None, "the threshold itself does not exceed");
        assert_eq!(onset(0.1, 7), None);
    }

    #[test]
    fn wrong_input_is_named() {
        let cases = [
            (
                smooth_log_time(&[1, 2], &[1.0], 1.0).unwrap_err(),
                "smooth_log_time: 2 steps and 1 values",
            ),
            (
                smooth_log_time(&[2, 2], &[1.0, 1.0], 1.0).unwrap_err(),
                "smooth_log_time: steps must ascend, but 2 is followed by 2",
            ),
            (
                smooth_log_time(&[1], &[1.0], 0.0).unwrap_err(),
                "smooth_log_time: octaves must be positive, found 0",
            ),
            (
                loss_deviation(&[1.0, 1.0], &[1.0, 0.0]).unwrap_err(),
                "loss_deviation: reference loss 1 is 0, expected a positive one",
            ),
            (
                deviation_onset(&[1], &[1.0], 0.1, 0).unwrap_err(),
                "deviation_onset: consecutive must be at least 1",
            ),
            (
                deviation_onset(&[1], &[1.0], -0.1, 1).unwrap_err(),
                "deviation_onset: threshold must be 0 or more, found -0.1",
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.message, message);
        }
    }
}
