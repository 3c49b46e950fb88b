//! How much outputs vary over initialisations.

use candle_core::Tensor;
use serde::Serialize;

use super::outputs::{Outputs, centred, squared_distance};
use crate::error::Result;

/// Variance of outputs over members.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OutputVariance {
    /// Variance over members (with E − 1), the mean over points and outputs.
    pub value: f64,
    /// Its standard error over members, by the jackknife; `None` for two members.
    pub error: Option<f64>,
    /// E: members that have not diverged.
    pub count: usize,
    /// Members left out because they diverged.
    pub excluded: usize,
}

/// The variance of `outputs` `[members, points, outputs]` over members. With `centre` each point's
/// logits are first centred over classes, since a shift of them changes no probability.
///
/// # Errors
/// If fewer than two members are left, or logits are to be centred and there is one output.
pub fn output_variance(outputs: &Tensor, centre: bool) -> Result<OutputVariance> {
    let what = "output_variance";
    let read = Outputs::read(what, outputs)?;
    if centre && read.outputs < 2 {
        return Err(crate::error::Error::setting(format!(
            "{what}: one output cannot be centred over classes"
        ))
        .with_help("leave `centred` out for regression"));
    }
    let members = read.finite_members(what, 2)?;
    let functions: Vec<Vec<f64>> = members
        .iter()
        .map(|&m| match centre {
            true => centred(read.member(m), read.outputs),
            false => read.member(m).to_vec(),
        })
        .collect();
    let count = functions.len() as f64;
    let size = functions[0].len();
    let mut mean = vec![0.0; size];
    for f in &functions {
        mean.iter_mut().zip(f).for_each(|(m, x)| *m += x / count);
    }
    let squares: Vec<f64> = functions
        .iter()
        .map(|f| squared_distance(f, &mean) / size as f64)
        .collect();
    let total: f64 = squares.iter().sum();
    // without member i, the sum of squares about the mean of the others is smaller by this factor
    // times the member's own
    let without = |square: &f64| (total - square * count / (count - 1.0)) / (count - 2.0);
    let error = (functions.len() > 2).then(|| {
        let left: Vec<f64> = squares.iter().map(without).collect();
        let middle = left.iter().sum::<f64>() / count;
        let spread: f64 = left.iter().map(|v| (v - middle) * (v - middle)).sum();
        ((count - 1.0) / count * spread).sqrt()
    });
    Ok(OutputVariance {
        value: total / (count - 1.0),
        error,
        count: functions.len(),
        excluded: read.members - functions.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::metrics::squared_bias;
    use crate::reference::assert_close;

    #[test]
    fn it_is_the_variance_of_numpy_and_the_error_that_of_leaving_members_out() {
        let (fixture, narrow, ..) = testing::fixture("narrow");
        let found = output_variance(&narrow, false).unwrap();
        let expected = fixture.number("/sets/narrow/mse_decomposition/variance");
        assert_close("variance", &[found.value], &[expected], 1e-13);
        let n = found.count;
        let left: Vec<f64> = (0..n)
            .map(|out| {
                let rest: Vec<u32> = (0..n as u32).filter(|&m| m as usize != out).collect();
                let rest = Tensor::new(rest, narrow.device()).unwrap();
                let rest = narrow.index_select(&rest, 0).unwrap();
                output_variance(&rest, false).unwrap().value
            })
            .collect();
        let middle = left.iter().sum::<f64>() / n as f64;
        let spread: f64 = left.iter().map(|v| (v - middle).powi(2)).sum();
        let error = ((n - 1) as f64 / n as f64 * spread).sqrt();
        assert_close("error", &[found.error.unwrap()], &[error], 1e-12);
    }

    #[test]
    fn centring_takes_away_what_the_softmax_does_not_see() {
        let logits = testing::normal(1, &[4, 6, 3], 1.0);
        let shift = testing::normal(2, &[4, 6, 1], 5.0);
        let shifted = logits.broadcast_add(&shift).unwrap();
        let of = |x: &Tensor| output_variance(x, true).unwrap().value;
        assert_close("centred", &[of(&shifted)], &[of(&logits)], 1e-11);
        let plain = output_variance(&logits, false).unwrap().value;
        let bias = squared_bias(&logits, &logits).unwrap();
        assert_close("plain", &[plain], &[bias.variance[0]], 1e-13);
    }

    #[test]
    fn two_members_have_no_error_and_one_no_variance() {
        let two = testing::normal(3, &[2, 5, 3], 1.0);
        assert_eq!(output_variance(&two, false).unwrap().error, None);
        let one = testing::normal(3, &[1, 5, 3], 1.0);
        let error = output_variance(&one, false).unwrap_err();
        assert!(
            error.message.contains("needs at least 2 members"),
            "{error}"
        );
        let values = testing::normal(3, &[3, 5, 1], 1.0);
        let error = output_variance(&values, true).unwrap_err();
        assert!(error.message.contains("one output"), "{error}");
        let spoilt = testing::spoil(&testing::normal(3, &[3, 5, 2], 1.0), 1, f64::INFINITY);
        let found = output_variance(&spoilt, false).unwrap();
        assert_eq!((found.count, found.excluded), (2, 1));
    }
}
