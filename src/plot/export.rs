//! The figure's data as CSV and JSON.

use serde::ser::{SerializeSeq, Serializer};

use super::figure::Figure;
use super::series::Kind;
use crate::error::{Error, Result};

/// JSON has no NaN: a number that is not finite is written as null.
pub(crate) fn number_or_null<S: Serializer>(v: &f64, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_some(&v.is_finite().then_some(*v))
}

/// Numbers, with null for those that are not finite.
pub(crate) fn numbers_or_null<S: Serializer>(
    values: &[f64],
    s: S,
) -> std::result::Result<S::Ok, S::Error> {
    s.collect_seq(values.iter().map(|v| v.is_finite().then_some(*v)))
}

/// Rows of numbers, with null for those that are not finite.
pub(crate) fn matrix_or_null<S: Serializer>(
    rows: &[Vec<f64>],
    s: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut seq = s.serialize_seq(Some(rows.len()))?;
    for row in rows {
        let row: Vec<Option<f64>> = row.iter().map(|v| v.is_finite().then_some(*v)).collect();
        seq.serialize_element(&row)?;
    }
    seq.end()
}

/// Columns of [`Figure::data_csv`].
const COLUMNS: [&str; 10] = [
    "panel", "group", "series", "kind", "x", "x_end", "y", "y_low", "y_high", "value",
];

impl Figure {
    /// Everything drawn, one row a point, in the columns `panel, group, series, kind, x, x_end, y,
    /// y_low, y_high, value`: `x_end` is the right edge of a histogram's bin, `value` a heat map's
    /// cell, whose `x` and `y` are its labels. What a row has not is empty; NaN is `NaN`.
    ///
    /// # Errors
    /// If writing fails.
    pub fn data_csv(&self) -> Result<String> {
        let failed = |e: &dyn std::fmt::Display| Error::other(format!("CSV: {e}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).map_err(|e| failed(&e))?;
        for (i, panel) in self.panels.iter().enumerate() {
            let title = panel.title.clone().unwrap_or_else(|| (i + 1).to_string());
            for series in &panel.series {
                let group = series.group.clone().unwrap_or_default();
                let label = series.legend_label().unwrap_or_default();
                for (kind, cells) in rows(&series.kind) {
                    let mut record = vec![title.as_str(), &group, &label, kind];
                    record.extend(cells.iter().map(String::as_str));
                    writer.write_record(record).map_err(|e| failed(&e))?;
                }
            }
        }
        let bytes = writer.into_inner().map_err(|e| failed(&e))?;
        String::from_utf8(bytes).map_err(|e| failed(&e))
    }

    /// The whole figure, data and settings, as JSON; numbers that are not finite are null.
    ///
    /// # Errors
    /// If writing fails.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::other(format!("JSON: {e}")))
    }
}

/// The cells from `x` on of each row of a series.
fn rows(kind: &Kind) -> Vec<(&'static str, [String; 6])> {
    let none = String::new;
    let at = |v: &[f64], i: usize| v.get(i).map_or_else(none, f64::to_string);
    match kind {
        Kind::Line {
            x, y, low, high, ..
        } => (0..x.len())
            .map(|i| {
                let cells = [at(x, i), none(), at(y, i), at(low, i), at(high, i), none()];
                ("line", cells)
            })
            .collect(),
        Kind::Scatter { x, y } => (0..x.len())
            .map(|i| {
                (
                    "scatter",
                    [at(x, i), none(), at(y, i), none(), none(), none()],
                )
            })
            .collect(),
        Kind::Histogram(h) => (0..h.heights.len())
            .map(|i| {
                let (from, to) = (at(&h.edges, i), at(&h.edges, i + 1));
                (
                    "histogram",
                    [from, to, at(&h.heights, i), none(), none(), none()],
                )
            })
            .collect(),
        Kind::HeatMap(map) => map
            .values
            .iter()
            .zip(&map.y_labels)
            .flat_map(|(row, y)| {
                row.iter().zip(&map.x_labels).map(move |(v, x)| {
                    let cells = [x.clone(), none(), y.clone(), none(), none(), v.to_string()];
                    ("heat_map", cells)
                })
            })
            .collect(),
        Kind::Horizontal { y } => {
            vec![(
                "horizontal",
                [none(), none(), y.to_string(), none(), none(), none()],
            )]
        }
        Kind::Vertical { x } => {
            vec![(
                "vertical",
                [x.to_string(), none(), none(), none(), none(), none()],
            )]
        }
        Kind::Identity => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Axis, Bins, Panel, Series, Whiskers};

    fn figure() -> Figure {
        let line = Series::line(vec![1.0, 2.0], vec![0.5, f64::NAN])
            .unwrap()
            .interval(vec![0.25, f64::NAN], vec![1.0, f64::NAN], Whiskers::Band)
            .unwrap();
        let bins = Bins::Edges(vec![0.0, 1.0, 2.0]);
        let counts = Series::histogram(&[0.5, 0.6, 2.0], &bins, false).unwrap();
        let map = vec![vec![1.0, f64::NAN]];
        let map = Series::heat_map(map, vec!["a".into(), "b".into()], vec!["c".into()]).unwrap();
        let panel = || Panel::new(Axis::new("x"), Axis::new("y"));
        Figure::new()
            .with(
                panel()
                    .title("loss")
                    .with(line.group("SP").label("64, wide")),
            )
            .with(panel().with(counts).with(Series::horizontal(1.5)))
            .with(panel().with(map))
    }

    #[test]
    fn csv_holds_every_point() {
        let expected = "panel,group,series,kind,x,x_end,y,y_low,y_high,value\n\
            loss,SP,\"64, wide\",line,1,,0.5,0.25,1,\n\
            loss,SP,\"64, wide\",line,2,,NaN,NaN,NaN,\n\
            2,,,histogram,0,1,2,,,\n\
            2,,,histogram,1,2,1,,,\n\
            2,,,horizontal,,,1.5,,,\n\
            3,,,heat_map,a,,c,,,1\n\
            3,,,heat_map,b,,c,,,NaN\n";
        assert_eq!(figure().data_csv().unwrap(), expected);
    }

    #[test]
    fn json_holds_settings_and_data() {
        let json: serde_json::Value = serde_json::from_str(&figure().to_json().unwrap()).unwrap();
        let line = &json["panels"][0]["series"][0];
        assert_eq!(line["kind"], "line");
        assert_eq!(line["y"], serde_json::json!([0.5, null]));
        assert_eq!(line["label"], "64, wide");
        assert_eq!(json["panels"][0]["x"]["scale"], "linear");
        let map = &json["panels"][2]["series"][0];
        assert_eq!(map["values"], serde_json::json!([[1.0, null]]));
    }
}
