//! Series: the data of one curve, cloud, histogram, heat map or reference line, and how it looks.

use serde::Serialize;

use super::colour::Rgb;
use super::export::{matrix_or_null, number_or_null, numbers_or_null};
use crate::error::{Error, Result};

/// Where a series' colour comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The next of the palette [`super::CATEGORIES`]; series with the same group and label share
    /// it in all panels.
    #[default]
    Auto,
    /// By width: all widths of the figure, in order, get [`super::width_colours`].
    Width(f64),
    /// This one.
    Fixed(Rgb),
}

/// Line style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stroke {
    /// An unbroken line.
    #[default]
    Solid,
    /// Long dashes.
    Dashed,
    /// Dots.
    Dotted,
}

impl Stroke {
    /// The stroke called `solid`, `dashed` or `dotted`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "solid" => Ok(Self::Solid),
            "dashed" => Ok(Self::Dashed),
            "dotted" => Ok(Self::Dotted),
            _ => Err(Error::setting(format!("no such line style: \"{name}\""))
                .with_help("accepted are \"solid\", \"dashed\" and \"dotted\"")),
        }
    }
}

/// Shape of the points of a scatter, or of the points on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Marker {
    /// A disc.
    #[default]
    Circle,
    /// A square.
    Square,
    /// A triangle.
    Triangle,
    /// A square on its corner.
    Diamond,
}

impl Marker {
    /// The marker called `circle`, `square`, `triangle` or `diamond`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "circle" => Ok(Self::Circle),
            "square" => Ok(Self::Square),
            "triangle" => Ok(Self::Triangle),
            "diamond" => Ok(Self::Diamond),
            _ => Err(Error::setting(format!("no such marker: \"{name}\""))
                .with_help("accepted are \"circle\", \"square\", \"triangle\" and \"diamond\"")),
        }
    }
}

/// How the interval around a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whiskers {
    /// A filled band.
    #[default]
    Band,
    /// An error bar at each point.
    Bars,
}

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

/// A matrix drawn as coloured cells; row 0 is at the top.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeatMap {
    /// `[rows][columns]`; NaN is an empty cell.
    #[serde(serialize_with = "matrix_or_null")]
    pub values: Vec<Vec<f64>>,
    /// One label per column.
    pub x_labels: Vec<String>,
    /// One label per row.
    pub y_labels: Vec<String>,
    /// What the colours mean; stands beside the colour bar.
    pub value_label: Option<String>,
    /// Values of the darkest and the lightest colour; from the data if absent.
    pub limits: Option<(f64, f64)>,
    /// Whether to write the numbers into the cells; if absent, where they fit.
    pub annotate: Option<bool>,
}

/// The data of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Points joined in order, with an optional interval around each.
    Line {
        /// Abscissae.
        #[serde(serialize_with = "numbers_or_null")]
        x: Vec<f64>,
        /// Ordinates; the line has a gap where one is not finite.
        #[serde(serialize_with = "numbers_or_null")]
        y: Vec<f64>,
        /// Lower ends of the intervals; empty if there are none.
        #[serde(serialize_with = "numbers_or_null")]
        low: Vec<f64>,
        /// Upper ends of the intervals; empty if there are none.
        #[serde(serialize_with = "numbers_or_null")]
        high: Vec<f64>,
        /// Band or error bars.
        whiskers: Whiskers,
    },
    /// Points.
    Scatter {
        /// Abscissae.
        #[serde(serialize_with = "numbers_or_null")]
        x: Vec<f64>,
        /// Ordinates.
        #[serde(serialize_with = "numbers_or_null")]
        y: Vec<f64>,
    },
    /// Bars of counts.
    Histogram(Histogram),
    /// A matrix; fills a panel of its own.
    HeatMap(HeatMap),
    /// A line across the panel at this ordinate.
    Horizontal {
        /// Ordinate.
        #[serde(serialize_with = "number_or_null")]
        y: f64,
    },
    /// A line up the panel at this abscissa.
    Vertical {
        /// Abscissa.
        #[serde(serialize_with = "number_or_null")]
        x: f64,
    },
    /// The line y = x.
    Identity,
}

/// One series of a panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Its name in the legend; without one it is not listed.
    pub label: Option<String>,
    /// Added to the label in brackets: what the reader must know, such as members left out.
    pub remark: Option<String>,
    /// Heading in the legend under which series with the same group stand together.
    pub group: Option<String>,
    /// Where the colour comes from.
    pub colour: Colour,
    /// Line style.
    pub stroke: Stroke,
    /// Marker at the points; lines have none by default.
    pub marker: Option<Marker>,
    /// Lines under the picture.
    pub notes: Vec<String>,
    /// The data.
    #[serde(flatten)]
    pub kind: Kind,
}

fn same_length(what: &str, lengths: &[(&str, usize)]) -> Result<()> {
    if lengths.windows(2).all(|w| w[0].1 == w[1].1) {
        return Ok(());
    }
    let parts: Vec<String> = lengths
        .iter()
        .map(|(n, l)| format!("{n} has {l}"))
        .collect();
    Err(Error::shape(format!(
        "{what}: lengths differ: {}",
        parts.join(", ")
    )))
}

impl Series {
    fn of(kind: Kind) -> Self {
        Self {
            label: None,
            remark: None,
            group: None,
            colour: Colour::Auto,
            stroke: Stroke::Solid,
            marker: None,
            notes: Vec::new(),
            kind,
        }
    }

    /// A line through the points (x, y), in order.
    ///
    /// # Errors
    /// If `x` and `y` have different lengths.
    pub fn line(x: Vec<f64>, y: Vec<f64>) -> Result<Self> {
        same_length("line", &[("x", x.len()), ("y", y.len())])?;
        Ok(Self::of(Kind::Line {
            x,
            y,
            low: Vec::new(),
            high: Vec::new(),
            whiskers: Whiskers::Band,
        }))
    }

    /// The same line with an interval from `low` to `high` around each point (absolute values, not
    /// distances).
    ///
    /// # Errors
    /// If the lengths differ from the line's, if some `low` is above its `high`, or if the series
    /// is not a line.
    pub fn interval(mut self, low: Vec<f64>, high: Vec<f64>, style: Whiskers) -> Result<Self> {
        let Kind::Line {
            x,
            low: l,
            high: h,
            whiskers,
            ..
        } = &mut self.kind
        else {
            return Err(Error::setting("only a line can have an interval"));
        };
        same_length(
            "interval",
            &[("line", x.len()), ("low", low.len()), ("high", high.len())],
        )?;
        if let Some(i) = (0..low.len()).find(|&i| low[i] > high[i]) {
            return Err(Error::setting(format!(
                "interval: low {} is above high {} at position {i}",
                low[i], high[i]
            )));
        }
        (*l, *h, *whiskers) = (low, high, style);
        Ok(self)
    }

    /// The points (x, y).
    ///
    /// # Errors
    /// If `x` and `y` have different lengths.
    pub fn scatter(x: Vec<f64>, y: Vec<f64>) -> Result<Self> {
        same_length("scatter", &[("x", x.len()), ("y", y.len())])?;
        let mut series = Self::of(Kind::Scatter { x, y });
        series.marker = Some(Marker::Circle);
        Ok(series)
    }

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

    /// A heat map of `values[row][column]`, row 0 at the top, with one label per column (`x_labels`)
    /// and per row (`y_labels`).
    ///
    /// # Errors
    /// If rows differ in length or labels do not fit the matrix.
    pub fn heat_map(
        values: Vec<Vec<f64>>,
        x_labels: Vec<String>,
        y_labels: Vec<String>,
    ) -> Result<Self> {
        if values.is_empty() || values[0].is_empty() {
            return Err(Error::shape("heat map: the matrix is empty"));
        }
        for (i, row) in values.iter().enumerate() {
            if row.len() != x_labels.len() {
                return Err(Error::shape(format!(
                    "heat map: row {i} has {} values and there are {} x labels",
                    row.len(),
                    x_labels.len()
                )));
            }
        }
        same_length(
            "heat map",
            &[
                ("matrix (rows)", values.len()),
                ("y_labels", y_labels.len()),
            ],
        )?;
        Ok(Self::of(Kind::HeatMap(HeatMap {
            values,
            x_labels,
            y_labels,
            value_label: None,
            limits: None,
            annotate: None,
        })))
    }

    /// A thin line across the panel at ordinate `y`.
    pub fn horizontal(y: f64) -> Self {
        Self::reference(Kind::Horizontal { y })
    }

    /// A thin line up the panel at abscissa `x`.
    pub fn vertical(x: f64) -> Self {
        Self::reference(Kind::Vertical { x })
    }

    /// The thin line y = x.
    pub fn identity() -> Self {
        Self::reference(Kind::Identity)
    }

    fn reference(kind: Kind) -> Self {
        let mut series = Self::of(kind);
        series.colour = Colour::Fixed(super::colour::GREY);
        series.stroke = Stroke::Dashed;
        series
    }

    /// The same series with a name in the legend.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same series under a heading in the legend.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// The same series in another colour.
    pub fn colour(mut self, colour: Colour) -> Self {
        self.colour = colour;
        self
    }

    /// The same series in the colour of a width; without a label it is named after it.
    pub fn width(mut self, width: f64) -> Self {
        self.colour = Colour::Width(width);
        self.label.get_or_insert_with(|| width.to_string());
        self
    }

    /// The same series with another line style.
    pub fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self
    }

    /// The same series with a marker at each point.
    pub fn marker(mut self, marker: Marker) -> Self {
        self.marker = Some(marker);
        self
    }

    /// The same heat map with a label beside its colour bar; other series stay as they are.
    pub fn value_label(mut self, label: impl Into<String>) -> Self {
        if let Kind::HeatMap(map) = &mut self.kind {
            map.value_label = Some(label.into());
        }
        self
    }

    /// The same heat map with fixed values of its darkest and lightest colour.
    ///
    /// # Errors
    /// If `low` is not below `high`, one is not finite, or the series is not a heat map.
    pub fn value_limits(mut self, low: f64, high: f64) -> Result<Self> {
        let Kind::HeatMap(map) = &mut self.kind else {
            return Err(Error::setting("only a heat map has value limits"));
        };
        if !(low < high && low.is_finite() && high.is_finite()) {
            return Err(Error::setting(format!(
                "heat map: value limits {low} and {high} are not two rising finite numbers"
            )));
        }
        map.limits = Some((low, high));
        Ok(self)
    }

    /// The same heat map with numbers in its cells or without; by default where they fit.
    pub fn annotate(mut self, yes: bool) -> Self {
        if let Kind::HeatMap(map) = &mut self.kind {
            map.annotate = Some(yes);
        }
        self
    }

    /// The label with its remark, as the legend shows it.
    pub fn legend_label(&self) -> Option<String> {
        let label = self.label.as_ref()?;
        Some(match &self.remark {
            Some(remark) => format!("{label} ({remark})"),
            None => label.clone(),
        })
    }

    /// The name used in notes and errors.
    pub(crate) fn name(&self) -> String {
        match (&self.group, &self.label) {
            (Some(g), Some(l)) => format!("{g} {l}"),
            (None, Some(l)) => l.clone(),
            _ => match self.kind {
                Kind::Line { .. } => "a line",
                Kind::Scatter { .. } => "a scatter",
                Kind::Histogram(_) => "a histogram",
                Kind::HeatMap(_) => "a heat map",
                _ => "a reference line",
            }
            .into(),
        }
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
