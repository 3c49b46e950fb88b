//! Histograms: counting samples in bins.

use serde::Serialize;

use super::export::numbers_or_null;
use super::series::{Kind, Series};
use crate::error::{Error, Result};

/// How a histogram's bins are chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Bins {
    /// Freedman and Diaconis' width 2·IQR·n^(−1/3), between 5 and 100 bins.
    #[default]
    Auto,
    /// This many bins of equal width from the least to the largest sample.
    Count(usize),
    /// These edges, rising; one more than there are bins. Samples outside are noted.
    Edges(Vec<f64>),
}

/// Counts in bins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// Bin edges, rising; one more than `heights`. The last bin includes its right edge.
    #[serde(serialize_with = "numbers_or_null")]
    pub edges: Vec<f64>,
    /// Counts, or with `density` counts / (number of samples × bin width).
    #[serde(serialize_with = "numbers_or_null")]
    pub heights: Vec<f64>,
    /// Whether the heights integrate to one.
    pub density: bool,
}

impl Series {
    /// A histogram of samples, as counts or, with `density`, so that it integrates to one. Samples
    /// that are not finite or lie outside given edges are left out and noted.
    ///
    /// # Errors
    /// If the number of bins is 0 or above 10,000, or edges are fewer than two or do not rise.
    pub fn histogram(samples: &[f64], bins: &Bins, density: bool) -> Result<Self> {
        let edges = shared_edges(&[samples], bins)?;
        let mut heights = vec![0.0; edges.len() - 1];
        let (mut wild, mut outside) = (0usize, 0usize);
        for &v in samples {
            let i = edges.partition_point(|e| *e <= v);
            if !v.is_finite() {
                wild += 1;
            } else if i > 0 && i < edges.len() {
                heights[i - 1] += 1.0;
            } else if i == edges.len() && v == edges[i - 1] {
                heights[i - 2] += 1.0;
            } else {
                outside += 1;
            }
        }
        if density {
            let total: f64 = heights.iter().sum();
            for (h, e) in heights.iter_mut().zip(edges.windows(2)) {
                *h /= (total * (e[1] - e[0])).max(f64::MIN_POSITIVE);
            }
        }
        let mut series = Self::counts(edges, heights)?;
        if let Kind::Histogram(h) = &mut series.kind {
            h.density = density;
        }
        if wild > 0 {
            series.remark = Some(format!("{wild} of {} not finite", samples.len()));
            // a single set has no legend to say it
            let text = format!("{wild} of {} samples not finite, left out", samples.len());
            series.notes.push(text);
        }
        if outside > 0 {
            let text = format!("{outside} of {} samples outside the bins", samples.len());
            series.notes.push(text);
        }
        Ok(series)
    }

    /// A histogram from given counts: `heights[i]` between `edges[i]` and `edges[i + 1]`.
    ///
    /// # Errors
    /// If there is not one edge more than heights, the edges do not rise, or a height is negative.
    pub fn counts(edges: Vec<f64>, heights: Vec<f64>) -> Result<Self> {
        if edges.len() != heights.len() + 1 {
            return Err(Error::shape(format!(
                "histogram: {} counts need {} edges, got {}",
                heights.len(),
                heights.len() + 1,
                edges.len()
            )));
        }
        check_edges(&edges)?;
        if let Some(h) = heights.iter().find(|h| **h < 0.0) {
            return Err(Error::setting(format!("histogram: a count is {h}")));
        }
        Ok(Self::of(Kind::Histogram(Histogram {
            edges,
            heights,
            density: false,
        })))
    }
}

fn check_edges(edges: &[f64]) -> Result<()> {
    let rising = edges.windows(2).all(|w| w[0] < w[1]) && edges.iter().all(|e| e.is_finite());
    if edges.len() < 2 || !rising {
        return Err(Error::setting(
            "histogram: bin edges must be at least two finite, rising numbers",
        ));
    }
    Ok(())
}

/// Bin edges for several sample sets together, so that their histograms can be compared.
///
/// # Errors
/// As [`Series::histogram`].
pub fn shared_edges(sets: &[&[f64]], bins: &Bins) -> Result<Vec<f64>> {
    if let Bins::Edges(edges) = bins {
        check_edges(edges)?;
        return Ok(edges.clone());
    }
    let finite = |set: &[f64]| -> Vec<f64> {
        let mut kept: Vec<f64> = set.iter().copied().filter(|v| v.is_finite()).collect();
        kept.sort_by(f64::total_cmp);
        kept
    };
    let sets: Vec<Vec<f64>> = sets.iter().map(|s| finite(s)).collect();
    let low = sets
        .iter()
        .filter_map(|s| s.first())
        .copied()
        .reduce(f64::min);
    let high = sets
        .iter()
        .filter_map(|s| s.last())
        .copied()
        .reduce(f64::max);
    let (low, high) = match (low, high) {
        (Some(a), Some(b)) if b > a => (a, b),
        (Some(a), _) => (a - 0.5f64.max(a.abs() * 0.1), a + 0.5f64.max(a.abs() * 0.1)),
        _ => (0.0, 1.0),
    };
    let count = match bins {
        Bins::Count(n) if (1..=10_000).contains(n) => *n,
        Bins::Count(n) => {
            return Err(Error::setting(format!(
                "histogram: {n} bins, expected between 1 and 10000"
            )));
        }
        _ => {
            let best = sets.iter().filter(|s| s.len() > 1).map(|s| {
                let quartile = |q: f64| super::members::quantile(s, q);
                let width = 2.0 * (quartile(0.75) - quartile(0.25)) / (s.len() as f64).cbrt();
                (high - low) / width.max(f64::MIN_POSITIVE)
            });
            (best.fold(0.0, f64::max).ceil() as usize).clamp(5, 100)
        }
    };
    let mut edges: Vec<f64> = (0..=count)
        .map(|i| {
            let t = i as f64 / count as f64;
            low * (1.0 - t) + high * t
        })
        .collect();
    edges.dedup();
    check_edges(&edges)?;
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(series: &Series) -> &Histogram {
        match &series.kind {
            Kind::Histogram(h) => h,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn samples_are_counted() {
        let samples = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, f64::NAN, -1.0];
        let bins = Bins::Edges(vec![0.0, 1.0, 2.0]);
        let series = Series::histogram(&samples, &bins, false)
            .unwrap()
            .label("h");
        // numpy.histogram: the last bin includes its right edge.
        assert_eq!(histogram(&series).heights, [2.0, 3.0]);
        assert_eq!(series.legend_label().unwrap(), "h (1 of 8 not finite)");
        assert_eq!(
            series.notes,
            [
                "1 of 8 samples not finite, left out",
                "2 of 8 samples outside the bins"
            ]
        );
        let counted = Series::histogram(&samples, &Bins::Count(7), false).unwrap();
        assert_eq!(histogram(&counted).heights.iter().sum::<f64>(), 7.0);
    }

    #[test]
    fn a_density_integrates_to_one() {
        let samples: Vec<f64> = (0..1000).map(|i| f64::from(i * 37 % 101).sqrt()).collect();
        let series = Series::histogram(&samples, &Bins::Auto, true).unwrap();
        let h = histogram(&series);
        let area: f64 = h
            .heights
            .iter()
            .zip(h.edges.windows(2))
            .map(|(y, e)| y * (e[1] - e[0]))
            .sum();
        assert!((area - 1.0).abs() < 1e-12, "{area}");
        assert!(h.heights.len() >= 5 && h.heights.len() <= 100);
    }

    #[test]
    fn odd_samples_make_histograms() {
        for samples in [
            vec![],
            vec![f64::NAN],
            vec![3.0],
            vec![0.0; 9],
            vec![1e300, -1e300],
            vec![1.0, 1.0 + 1e-15],
        ] {
            for bins in [Bins::Auto, Bins::Count(1), Bins::Count(9)] {
                let series = Series::histogram(&samples, &bins, true).unwrap();
                let finite = samples.iter().filter(|v| v.is_finite()).count();
                let h = histogram(&series);
                assert!(h.heights.iter().all(|v| v.is_finite()), "{samples:?} {h:?}");
                assert_eq!(h.heights.iter().any(|v| *v > 0.0), finite > 0);
            }
        }
    }

    #[test]
    fn wrong_bins_are_refused() {
        let failure = |bins: Bins| Series::histogram(&[1.0], &bins, false).unwrap_err().message;
        assert!(failure(Bins::Count(0)).contains("0 bins"));
        assert!(failure(Bins::Count(1_000_000)).contains("10000"));
        assert!(failure(Bins::Edges(vec![1.0])).contains("at least two"));
        assert!(failure(Bins::Edges(vec![1.0, 1.0])).contains("rising"));
        assert!(failure(Bins::Edges(vec![1.0, f64::NAN])).contains("finite"));
        let counts =
            |e: &[f64], h: &[f64]| Series::counts(e.to_vec(), h.to_vec()).unwrap_err().message;
        assert!(counts(&[0.0, 1.0], &[1.0, 2.0]).contains("need 3 edges"));
        assert!(counts(&[0.0, 1.0], &[-1.0]).contains("-1"));
    }
}
