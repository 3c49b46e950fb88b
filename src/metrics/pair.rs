//! How much two functions agree on the same points.

use serde::Serialize;

use crate::error::{Error, Result};

/// How much two functions agree on one set of points; the second is the reference.
///
/// A number that is not defined is NaN: correlations of constant logits, distances relative to a
/// zero reference, everything about a member that diverged, and, for one output, all that only
/// classes have (centred measures, `top1_agreement`, `total_variation`, `kl`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pair {
    /// Mean over points and outputs of (f − f_ref)².
    pub mean_squared_distance: f64,
    /// ‖f − f_ref‖² / ‖f_ref‖².
    pub relative_squared_distance: f64,
    /// As `mean_squared_distance`, of logits centred over classes.
    pub centred_mean_squared_distance: f64,
    /// As `relative_squared_distance`, of logits centred over classes.
    pub centred_relative_squared_distance: f64,
    /// Pearson correlation of all logits.
    pub correlation: f64,
    /// Pearson correlation of logits centred over classes.
    pub centred_correlation: f64,
    /// Share of points with the same first largest logit, in 0..=1.
    pub top1_agreement: f64,
    /// Mean over points of ½ Σ_c |p_c − p_ref,c|, in 0..=1.
    pub total_variation: f64,
    /// Mean over points of KL(p_ref ‖ p), in nats.
    pub kl: f64,
}

/// The measures of a [`Pair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// [`Pair::mean_squared_distance`].
    MeanSquaredDistance,
    /// [`Pair::relative_squared_distance`].
    RelativeSquaredDistance,
    /// [`Pair::centred_mean_squared_distance`].
    CentredMeanSquaredDistance,
    /// [`Pair::centred_relative_squared_distance`].
    CentredRelativeSquaredDistance,
    /// [`Pair::correlation`].
    Correlation,
    /// [`Pair::centred_correlation`].
    CentredCorrelation,
    /// [`Pair::top1_agreement`].
    Top1Agreement,
    /// [`Pair::total_variation`].
    TotalVariation,
    /// [`Pair::kl`].
    Kl,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 9] = [
        Self::MeanSquaredDistance,
        Self::RelativeSquaredDistance,
        Self::CentredMeanSquaredDistance,
        Self::CentredRelativeSquaredDistance,
        Self::Correlation,
        Self::CentredCorrelation,
        Self::Top1Agreement,
        Self::TotalVariation,
        Self::Kl,
    ];

    /// The measure's name, that of the field of [`Pair`].
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanSquaredDistance => "mean_squared_distance",
            Self::RelativeSquaredDistance => "relative_squared_distance",
            Self::CentredMeanSquaredDistance => "centred_mean_squared_distance",
            Self::CentredRelativeSquaredDistance => "centred_relative_squared_distance",
            Self::Correlation => "correlation",
            Self::CentredCorrelation => "centred_correlation",
            Self::Top1Agreement => "top1_agreement",
            Self::TotalVariation => "total_variation",
            Self::Kl => "kl",
        }
    }

    /// The measure called `name`.
    pub fn parse(name: &str) -> Result<Self> {
        let close = |m: &Self| strsim::jaro_winkler(m.name(), name);
        if let Some(found) = Self::ALL.into_iter().find(|m| m.name() == name) {
            return Ok(found);
        }
        let nearest = Self::ALL
            .into_iter()
            .max_by(|a, b| close(a).total_cmp(&close(b)));
        let names: Vec<&str> = Self::ALL.iter().map(|m| m.name()).collect();
        let error = Error::setting(format!(
            "unknown measure `{name}`, expected one of {}",
            names.join(", ")
        ));
        Err(match nearest.filter(|m| close(m) > 0.7) {
            Some(m) => error.with_help(format!("did you mean `{}`?", m.name())),
            None => error,
        })
    }
}

impl Pair {
    /// The value of one measure.
    pub fn get(&self, measure: Measure) -> f64 {
        match measure {
            Measure::MeanSquaredDistance => self.mean_squared_distance,
            Measure::RelativeSquaredDistance => self.relative_squared_distance,
            Measure::CentredMeanSquaredDistance => self.centred_mean_squared_distance,
            Measure::CentredRelativeSquaredDistance => self.centred_relative_squared_distance,
            Measure::Correlation => self.correlation,
            Measure::CentredCorrelation => self.centred_correlation,
            Measure::Top1Agreement => self.top1_agreement,
            Measure::TotalVariation => self.total_variation,
            Measure::Kl => self.kl,
        }
    }

    /// Nothing is known.
    pub(super) fn undefined() -> Self {
        Self {
            mean_squared_distance: f64::NAN,
            relative_squared_distance: f64::NAN,
            centred_mean_squared_distance: f64::NAN,
            centred_relative_squared_distance: f64::NAN,
            correlation: f64::NAN,
            centred_correlation: f64::NAN,
            top1_agreement: f64::NAN,
            total_variation: f64::NAN,
            kl: f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_found_by_their_names() {
        for measure in Measure::ALL {
            assert_eq!(Measure::parse(measure.name()).unwrap(), measure);
        }
    }

    #[test]
    fn measures_are_named_as_in_the_record() {
        let json = serde_json::to_value(Pair::undefined()).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(names, Measure::ALL.map(Measure::name));
    }

    #[test]
    fn a_misspelt_measure_gets_the_nearest_name() {
        let error = Measure::parse("corelation").unwrap_err();
        assert!(
            error
                .message
                .contains("top1_agreement, total_variation, kl"),
            "{error}"
        );
        assert_eq!(error.help.unwrap(), "did you mean `correlation`?");
        assert_eq!(Measure::parse("zzz").unwrap_err().help, None);
    }
}
