//! Series: the data of one curve, cloud, histogram, heat map or reference line.

use serde::Serialize;

use super::export::{matrix_or_null, number_or_null, numbers_or_null};
use super::histogram::Histogram;
use super::style::{Colour, Marker, Stroke, Whiskers};
use crate::error::{Error, Result};

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
    pub(crate) fn of(kind: Kind) -> Self {
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
