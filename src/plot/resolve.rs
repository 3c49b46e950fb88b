//! What a figure's data decide before anything is placed: ranges, colours, legend entries and notes
//! about values that cannot be drawn. Pictures and previews share it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::axis::{Axis, Range};
use super::colour::Rgb;
use super::figure::Figure;
use super::palette::Palette;
use super::panel::Panel;
use super::series::{HeatMap, Kind, Series};
use super::style::{Marker, Stroke, Whiskers, repeated};
use crate::error::{Error, Result};

/// A panel with ranges and colours known.
pub(crate) struct Drawn<'a> {
    pub panel: &'a Panel,
    pub x: Range,
    pub y: Range,
    /// Series with their colours, in drawing order.
    pub series: Vec<(&'a Series, Rgb)>,
    /// The heat map, if that is what the panel shows.
    pub heat: Option<&'a HeatMap>,
    /// Whether there is nothing to draw.
    pub empty: bool,
}

/// What stands for a series in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    Line { band: bool },
    Bars,
    Points,
    Area,
}

/// One line of the legend.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub group: Option<String>,
    /// The series' label, and the same with what the reader must know about it.
    pub name: String,
    pub label: String,
    pub colour: Rgb,
    pub stroke: Stroke,
    pub marker: Option<Marker>,
    pub sample: Sample,
    pub thin: bool,
}

/// A figure ready to be laid out.
pub(crate) struct Resolved<'a> {
    pub figure: &'a Figure,
    pub panels: Vec<Drawn<'a>>,
    pub legend: Vec<Entry>,
    pub notes: Vec<String>,
}

/// The least and largest drawable values seen on an axis, and how many could not be drawn.
#[derive(Debug, Clone, Default)]
struct Extent {
    span: Option<(f64, f64)>,
    drawn: usize,
    floor: bool,
    /// Series names and counts of values ≤ 0 on a logarithmic x or y axis, and not finite ones.
    not_positive: [BTreeMap<String, usize>; 2],
    not_finite: BTreeMap<String, usize>,
}

fn widen(span: &mut Option<(f64, f64)>, axis: &Axis, value: f64) {
    if axis.scale.shows(value) {
        let (a, b) = span.unwrap_or((value, value));
        *span = Some((a.min(value), b.max(value)));
    }
}

impl Panel {
    /// Extents of the data along x and y; counts are kept in the second.
    fn extents(&self) -> (Extent, Extent) {
        let (mut ex, mut ey) = (Extent::default(), Extent::default());
        for series in &self.series {
            match &series.kind {
                Kind::Line { x, y, .. } | Kind::Scatter { x, y } => {
                    for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                        if !self.count(series, x, y, &mut ey) {
                            continue;
                        }
                        widen(&mut ex.span, &self.x, x);
                        widen(&mut ey.span, &self.y, y);
                        if let Kind::Line { low, high, .. } = &series.kind {
                            for end in [low, high] {
                                if let Some(v) = end.get(i) {
                                    widen(&mut ey.span, &self.y, *v);
                                }
                            }
                        }
                    }
                }
                Kind::Histogram(h) => {
                    ey.floor = true;
                    for (edges, &height) in h.edges.windows(2).zip(&h.heights) {
                        // An empty bin is nothing to draw, on any scale.
                        if height == 0.0 && self.y.scale.is_log() {
                            continue;
                        }
                        if self.count(series, edges[0], height, &mut ey) {
                            widen(&mut ex.span, &self.x, edges[0]);
                            widen(&mut ex.span, &self.x, edges[1]);
                            widen(&mut ey.span, &self.y, height);
                            let base = if self.y.scale.is_log() {
                                height / 2.0
                            } else {
                                0.0
                            };
                            widen(&mut ey.span, &self.y, base);
                        }
                    }
                }
                Kind::Horizontal { y } => {
                    if self.count(series, 1.0, *y, &mut ey) {
                        widen(&mut ey.span, &self.y, *y);
                    }
                }
                Kind::Vertical { x } => {
                    if self.count(series, *x, 1.0, &mut ey) {
                        widen(&mut ex.span, &self.x, *x);
                    }
                }
                Kind::HeatMap(map) => {
                    for value in map.values.iter().flatten() {
                        self.count(series, 1.0, *value, &mut ey);
                    }
                }
                Kind::Identity => {}
            }
        }
        (ex, ey)
    }

    /// Whether the point can be drawn; if not, says why in `to`.
    fn count(&self, series: &Series, x: f64, y: f64, to: &mut Extent) -> bool {
        let reason = if !x.is_finite() || !y.is_finite() {
            &mut to.not_finite
        } else if !self.x.scale.shows(x) {
            &mut to.not_positive[0]
        } else if !self.y.scale.shows(y) {
            &mut to.not_positive[1]
        } else {
            to.drawn += 1;
            return true;
        };
        *reason.entry(series.name()).or_default() += 1;
        false
    }

    fn heat(&self) -> Result<Option<&HeatMap>> {
        let found = self.series.iter().find_map(|s| match &s.kind {
            Kind::HeatMap(map) => Some(map),
            _ => None,
        });
        if found.is_some() && self.series.len() > 1 {
            return Err(Error::setting(
                "a heat map fills a panel of its own, and this panel has other series",
            ));
        }
        Ok(found)
    }
}

/// `3 values ≤ 0 (SP 64, SP 128) not drawn on the logarithmic y axis`, or nothing.
fn dropped(counts: &BTreeMap<String, usize>, what: &str, end: &str) -> Option<String> {
    let total: usize = counts.values().sum();
    let mut names: Vec<&str> = counts.keys().map(String::as_str).collect();
    let more = names.len().saturating_sub(6);
    names.truncate(6);
    let mut names = names.join(", ");
    if more > 0 {
        names += &format!(" and {more} more");
    }
    let values = if total == 1 { "value" } else { "values" };
    (total > 0).then(|| format!("{total} {values} {what} ({names}) not drawn{end}"))
}

/// One axis for all panels that share it.
fn shared<'a>(
    axes: impl Iterator<Item = (&'a Axis, &'a Extent)>,
    name: &str,
) -> Result<Option<(Axis, Extent)>> {
    let mut all: Option<(Axis, Extent)> = None;
    for (axis, extent) in axes {
        let Some((a, e)) = &mut all else {
            all = Some((axis.clone(), extent.clone()));
            continue;
        };
        if a.scale != axis.scale {
            return Err(Error::setting(format!(
                "share_{name}: the panels' {name} axes have different scales"
            )));
        }
        a.min = [a.min, axis.min].into_iter().flatten().reduce(f64::min);
        a.max = [a.max, axis.max].into_iter().flatten().reduce(f64::max);
        if let Some((low, high)) = extent.span {
            widen(&mut e.span, axis, low);
            widen(&mut e.span, axis, high);
        }
        e.floor |= extent.floor;
    }
    Ok(all)
}

impl Figure {
    /// The figure in which series whose colour comes again, since there are more of them than colours, have
    /// other line styles or markers.
    pub(crate) fn told_apart(&self) -> Cow<'_, Self> {
        let palette = Palette::of(self);
        let mut figure = Cow::Borrowed(self);
        for (i, panel) in self.panels.iter().enumerate() {
            for (j, series) in panel.series.iter().enumerate() {
                let (_, lap) = palette.pick(series, j);
                if lap > 0 {
                    let points = matches!(series.kind, Kind::Scatter { .. });
                    let own = (series.stroke, series.marker);
                    let series = &mut figure.to_mut().panels[i].series[j];
                    (series.stroke, series.marker) = repeated(lap, points, own);
                }
            }
        }
        figure
    }

    /// Finds ranges, colours, legend and notes.
    ///
    /// # Errors
    /// If there is no panel, limits are wrong, a heat map is not alone, shared axes differ in
    /// scale, or a logarithmic axis leaves nothing of a panel's data.
    pub(crate) fn resolve(&self) -> Result<Resolved<'_>> {
        if self.panels.is_empty() {
            return Err(Error::setting("figure: there is no panel to draw"));
        }
        let mut notes: Vec<String> = Vec::new();
        let mut extents = Vec::new();
        let mut heats = Vec::new();
        for (i, panel) in self.panels.iter().enumerate() {
            let name = panel
                .title
                .clone()
                .unwrap_or_else(|| format!("panel {}", i + 1));
            let place = |e: Error| e.at(&name);
            panel.x.check("x").map_err(place)?;
            panel.y.check("y").map_err(place)?;
            heats.push(panel.heat().map_err(place)?);
            let (ex, ey) = panel.extents();
            let axis_names = ["x", "y"];
            if ey.drawn == 0 && ey.not_positive.iter().any(|m| !m.is_empty()) {
                let which = axis_names[usize::from(ey.not_positive[0].is_empty())];
                return Err(Error::setting(format!(
                    "{name}: nothing can be drawn on the logarithmic {which} axis: no value is > 0"
                ))
                .with_help("use a linear axis"));
            }
            let mut found = Vec::new();
            for (counts, axis) in ey.not_positive.iter().zip(axis_names) {
                let end = format!(" on the logarithmic {axis} axis");
                found.extend(dropped(counts, "≤ 0", &end));
            }
            found.extend(dropped(&ey.not_finite, "not finite", ""));
            for series in &panel.series {
                let text = |n: &String| format!("{}: {n}", series.name());
                found.extend(series.notes.iter().map(text));
                if let Kind::HeatMap(map) = &series.kind {
                    found.extend(map.note());
                }
            }
            if self.panels.len() > 1 {
                found.iter_mut().for_each(|n| *n = format!("{name}: {n}"));
            }
            notes.extend(found);
            extents.push((ex, ey));
        }
        let axes = || {
            let pairs = self.panels.iter().zip(&extents).zip(&heats);
            pairs
                .filter(|(_, heat)| heat.is_none())
                .map(|(pair, _)| pair)
        };
        let all_x = shared(axes().map(|(p, e)| (&p.x, &e.0)), "x");
        let all_x = if self.share_x { all_x? } else { None };
        let all_y = shared(axes().map(|(p, e)| (&p.y, &e.1)), "y");
        let all_y = if self.share_y { all_y? } else { None };

        let palette = Palette::of(self);
        let mut panels = Vec::new();
        let mut legend = Vec::new();
        for ((panel, (ex, ey)), heat) in self.panels.iter().zip(&extents).zip(heats) {
            let (x_axis, ex) = all_x.as_ref().map_or((&panel.x, ex), |(a, e)| (a, e));
            let (y_axis, ey_range) = all_y.as_ref().map_or((&panel.y, ey), |(a, e)| (a, e));
            let series: Vec<(&Series, Rgb)> = panel
                .series
                .iter()
                .enumerate()
                .map(|(i, s)| (s, palette.pick(s, i).0))
                .collect();
            for (series, colour) in &series {
                if let Some(entry) = entry(series, *colour) {
                    let remark = match (&series.remark, &panel.title) {
                        (Some(r), Some(t)) if self.panels.len() > 1 => Some(format!("{t}: {r}")),
                        (remark, _) => remark.clone(),
                    };
                    add_entry(&mut legend, entry, remark);
                }
            }
            panels.push(Drawn {
                panel,
                x: Range::of(x_axis, ex.span, 0.025, false),
                y: Range::of(y_axis, ey_range.span, 0.05, ey_range.floor),
                series,
                heat,
                empty: heat.is_none() && ey.drawn == 0,
            });
        }
        let mut legend: Vec<Entry> = legend
            .into_iter()
            .map(|(mut entry, remarks): (Entry, Vec<String>)| {
                if !remarks.is_empty() {
                    entry.label = format!("{} ({})", entry.name, remarks.join("; "));
                }
                entry
            })
            .collect();
        // Entries of a group stand together, in the order in which groups first appear.
        let mut groups: Vec<Option<String>> = Vec::new();
        for entry in &legend {
            if !groups.contains(&entry.group) {
                groups.push(entry.group.clone());
            }
        }
        legend.sort_by_key(|e| groups.iter().position(|g| *g == e.group));
        Ok(Resolved {
            figure: self,
            panels,
            legend,
            notes,
        })
    }
}

/// Adds what stands for a series unless the same is there; its remark goes into the label. A line that has a band
/// in one panel and, for want of members, none in another is the same.
fn add_entry(legend: &mut Vec<(Entry, Vec<String>)>, entry: Entry, remark: Option<String>) {
    let banded = |sample| match sample {
        Sample::Line { .. } => Sample::Line { band: true },
        other => other,
    };
    let same = |e: &Entry| {
        banded(e.sample) == banded(entry.sample)
            && *e
                == Entry {
                    sample: e.sample,
                    ..entry.clone()
                }
    };
    match legend.iter_mut().find(|(e, _)| same(e)) {
        Some((e, remarks)) => {
            if entry.sample == banded(entry.sample) {
                e.sample = entry.sample;
            }
            remarks.extend(remark.filter(|r| !remarks.contains(r)));
        }
        None => legend.push((entry, remark.into_iter().collect())),
    }
}

fn entry(series: &Series, colour: Rgb) -> Option<Entry> {
    let (sample, thin) = match &series.kind {
        Kind::Line { low, whiskers, .. } => match whiskers {
            Whiskers::Bars if !low.is_empty() => (Sample::Bars, false),
            _ => (
                Sample::Line {
                    band: !low.is_empty(),
                },
                false,
            ),
        },
        Kind::Scatter { .. } => (Sample::Points, false),
        Kind::Histogram(_) => (Sample::Area, false),
        Kind::HeatMap(_) => return None,
        _ => (Sample::Line { band: false }, true),
    };
    Some(Entry {
        group: series.group.clone(),
        name: series.label.clone()?,
        label: series.label.clone()?,
        colour,
        stroke: series.stroke,
        marker: series.marker,
        sample,
        thin,
    })
}
