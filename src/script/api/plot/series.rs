//! From a map to a line or a cloud of points.

use rhai::{Dynamic, Map};

use super::super::values::{Numbers, Table, is_table};
use super::settings::{Text, one_colour};
use crate::error::{Error, Result};
use crate::options;
use crate::plot::{Colour, Kind, Marker, Rgb, Series, Spread, Stroke, Whiskers};
use crate::script::options::{FromScript, Values};

/// What the band around a line over members shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// Mean ± standard error.
    StdError,
    /// Mean ± standard deviation.
    Std,
    /// Smallest to largest member.
    MinMax,
    /// Between two quantiles, around the median.
    Quantiles,
    /// Nothing.
    None,
}

crate::choice! { Band {
    "std_error" => Band::StdError,
    "std" => Band::Std,
    "min_max" => Band::MinMax,
    "quantiles" => Band::Quantiles,
    "none" => Band::None,
} }

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// Joined in order.
    Line,
    /// Each on its own.
    Scatter,
}

crate::choice! { Points {
    "line" => Points::Line,
    "scatter" => Points::Scatter,
} }

/// Ordinates: of one curve, or of every member of an ensemble.
#[derive(Debug, Clone, PartialEq)]
pub enum Ordinates {
    /// One number per position.
    One(Vec<f64>),
    /// A table over positions and members.
    Members(Vec<Vec<f64>>),
}

impl FromScript for Ordinates {
    fn words() -> String {
        "array or tensor of numbers, or a table of them over members".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if is_table(value) {
            return Table::from_script(value).map(|t| Self::Members(t.0));
        }
        match value.is_array() || super::super::values::tensor_in(value).is_some() {
            true => Numbers::from_script(value).map(|n| Self::One(n.0)),
            false => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        "[…]".into()
    }
}

options! {
    /// One line, or one cloud of points.
    pub struct SeriesOptions for "plot::line" {
        /// Ordinates. A table over positions and members, such as a training record's series or a
        /// tensor `[positions, members]`, becomes the mean over members with a band.
        y: Ordinates;
        /// Abscissae; absent means 0, 1, 2, ….
        x: Option<Numbers> = None;
        /// Name in the legend; absent means the width, or none.
        label: Option<Text> = None;
        /// Heading in the legend under which series with the same group stand together.
        group: Option<Text> = None;
        /// Width of the networks, which chooses the colour: all widths of a figure share one map
        /// from light (narrow) to dark (wide).
        width: Option<f64> = None;
        /// A colour of its own, by name or `"#rrggbb"`; absent means the next of the palette.
        colour: Option<Rgb> = None;
        /// Line style.
        style: Stroke = Stroke::Solid;
        /// Marker at the points; lines have none by default, points a circle.
        marker: Option<Marker> = None;
        /// What the band over members shows; `"quantiles"` is around the median.
        band: Band = Band::StdError;
        /// The quantiles of the band `"quantiles"`.
        quantiles: Vec<f64> = vec![0.25, 0.75], where (0.0..=1.0);
        /// Which axis of a table counts the members: 1 for `[positions][members]`, as in training
        /// records, or 0 for `[members][positions]`.
        member_axis: usize = 1, where (0.0..=1.0);
        /// Lower ends of an interval around each point (values, not distances), with `high`.
        low: Option<Numbers> = None;
        /// Upper ends of the interval.
        high: Option<Numbers> = None;
        /// How intervals are drawn: as a band, or as error bars.
        whiskers: Whiskers = Whiskers::Band;
        /// Whether the points are joined; the function's name says it by default.
        kind: Option<Points> = None;
    }
}

/// The series of one map; `what` names it in messages.
pub fn read(what: &str, map: &Map, default: Points) -> Result<Series> {
    build(SeriesOptions::read(what, map)?, default).map_err(|e| {
        // the core begins some of its messages with the kind of series
        match e.message.starts_with(what) {
            true => e,
            false => e.at(what),
        }
    })
}

fn build(o: SeriesOptions, default: Points) -> Result<Series> {
    let colour = one_colour(o.width, o.colour)?;
    let spread = spread(o.band, &o.quantiles)?;
    let abscissae = |x: Option<Numbers>, count: usize| match x {
        Some(x) => x.0,
        None => (0..count).map(|i| i as f64).collect(),
    };
    let interval = match (o.low, o.high) {
        (Some(low), Some(high)) => Some((low.0, high.0)),
        (None, None) => None,
        _ => return Err(Error::setting("the settings `low` and `high` go together")),
    };
    let mut series = match (o.kind.unwrap_or(default), o.y) {
        (Points::Line, Ordinates::One(y)) => {
            let line = Series::line(abscissae(o.x, y.len()), y)?;
            match interval {
                Some((low, high)) => line.interval(low, high, o.whiskers)?,
                None => line,
            }
        }
        (Points::Line, Ordinates::Members(table)) => {
            if interval.is_some() {
                return Err(Error::setting(
                    "`low` and `high` are for one curve; a table over members has a `band`",
                ));
            }
            let x = o.x.map(|x| x.0);
            let members = by_member(table, x.as_deref(), o.member_axis)?;
            let count = members.first().map_or(0, Vec::len);
            let x = x.unwrap_or_else(|| (0..count).map(|i| i as f64).collect());
            let mut line = Series::over_members(x, &members, spread)?;
            if let Kind::Line {
                low,
                high,
                whiskers,
                ..
            } = &mut line.kind
            {
                *whiskers = o.whiskers;
                if o.band == Band::None {
                    low.clear();
                    high.clear();
                }
            }
            line
        }
        (Points::Scatter, Ordinates::One(y)) => Series::scatter(abscissae(o.x, y.len()), y)?,
        (Points::Scatter, Ordinates::Members(_)) => {
            return Err(
                Error::shape("setting `y`: points need one number each, found a table")
                    .with_help("`t.flatten()` puts all numbers of a tensor in a row"),
            );
        }
    };
    series.group = o.group.map(|t| t.0);
    series.label = o.label.map(|t| t.0);
    series.stroke = o.style;
    series.marker = o.marker.or(series.marker);
    Ok(match colour {
        Colour::Width(width) => series.width(width),
        colour => series.colour(colour),
    })
}

fn spread(band: Band, quantiles: &[f64]) -> Result<Spread> {
    Ok(match band {
        Band::StdError | Band::None => Spread::StdErr,
        Band::Std => Spread::StdDev,
        Band::MinMax => Spread::MinMax,
        Band::Quantiles => match quantiles {
            [low, high] if low < high => Spread::Quantiles(*low, *high),
            _ => {
                return Err(Error::setting(format!(
                    "setting `quantiles`: expected two rising numbers, found {quantiles:?}"
                )));
            }
        },
    })
}

/// The table as `[member][position]`.
fn by_member(table: Vec<Vec<f64>>, x: Option<&[f64]>, axis: usize) -> Result<Vec<Vec<f64>>> {
    let (rows, columns) = (table.len(), table.first().map_or(0, Vec::len));
    let (positions, other) = if axis == 1 {
        (rows, columns)
    } else {
        (columns, rows)
    };
    if let Some(x) = x
        && x.len() != positions
    {
        let error = Error::shape(format!(
            "a table of {rows} rows and {columns} columns with members along axis {axis} has \
             {positions} positions, but x has {}",
            x.len()
        ));
        return Err(if x.len() == other {
            error.with_help(format!("set member_axis: {}", 1 - axis))
        } else {
            error
        });
    }
    if axis == 0 {
        return Ok(table);
    }
    Ok((0..columns)
        .map(|m| table.iter().map(|row| row[m]).collect())
        .collect())
}
