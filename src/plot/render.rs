//! From a layout to shapes: grid, axes, data, labels.

use super::clip;
use super::colour::{FAINT, GREY, GRID, INK, Rgb};
use super::figure::Figure;
use super::font;
use super::heatmap;
use super::layout::{Cell, LABEL, Layout, NOTE, PANEL_TITLE, TICK, TICK_GAP, TITLE, layout};
use super::resolve::Drawn;
use super::scene::{Anchor, Frame, Item, Point, Scene};
use super::series::{Histogram, Kind, Marker, Series, Stroke, Whiskers};
use crate::error::Result;

/// Width of a curve.
const LINE: f64 = 2.0;

/// Lengths drawn and skipped for a line style.
pub(crate) fn dash(stroke: Stroke) -> &'static [f64] {
    match stroke {
        Stroke::Solid => &[],
        Stroke::Dashed => &[7.0, 4.0],
        Stroke::Dotted => &[2.0, 3.0],
    }
}

/// A marker of the size of a disc with this radius.
pub(crate) fn marker(shape: Marker, at: Point, radius: f64, colour: Rgb, opacity: f64) -> Item {
    let corners: &[Point] = match shape {
        Marker::Circle => {
            return Item::Disc {
                centre: at,
                radius,
                colour,
                opacity,
            };
        }
        Marker::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        Marker::Triangle => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        Marker::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
    };
    let place = |c: &Point| (at.0 + c.0 * radius, at.1 + c.1 * radius);
    Item::Polygon {
        points: corners.iter().map(place).collect(),
        colour,
        opacity,
    }
}

/// A panel's data in its pixels.
struct Painter<'a> {
    drawn: &'a Drawn<'a>,
    plot: Frame,
    items: &'a mut Vec<Item>,
}

impl Painter<'_> {
    /// Pixels of a point; none if an axis has no place for it. Far away points are brought nearer,
    /// lest cutting them at the panel's edge lose all precision.
    fn place(&self, x: f64, y: f64) -> Option<Point> {
        let (px, py) = (self.drawn.x.place(x), self.drawn.y.place(y));
        if px.is_nan() || py.is_nan() {
            return None;
        }
        let near = |v: f64| v.clamp(-1e4, 1e4);
        Some((
            self.plot.left + near(px) * self.plot.width(),
            self.plot.bottom - near(py) * self.plot.height(),
        ))
    }

    /// As `place`, but a y that the scale cannot show lies below the panel.
    fn place_or_below(&self, x: f64, y: f64) -> Option<Point> {
        let y = if self.drawn.y.scale.is_log() && y <= 0.0 {
            f64::MIN_POSITIVE
        } else {
            y
        };
        self.place(x, y)
    }

    fn stroke(&mut self, points: &[Point], colour: Rgb, width: f64, stroke: Stroke) {
        let mut frame = self.plot;
        // A curve along the edge keeps its full width.
        for (side, sign) in [(&mut frame.left, -1.0), (&mut frame.top, -1.0)] {
            *side += sign * 0.5;
        }
        frame.right += 0.5;
        frame.bottom += 0.5;
        for points in clip::line(points, &frame) {
            self.items.push(Item::Line {
                points,
                colour,
                width,
                dash: dash(stroke),
            });
        }
    }

    fn area(&mut self, points: &[Point], colour: Rgb, opacity: f64) {
        let points = clip::polygon(points, &self.plot);
        if points.len() > 2 {
            self.items.push(Item::Polygon {
                points,
                colour,
                opacity,
            });
        }
    }

    /// Runs of neighbouring points that can all be drawn.
    fn runs(&self, x: &[f64], y: &[f64]) -> Vec<Vec<Point>> {
        let places: Vec<Option<Point>> = x
            .iter()
            .zip(y)
            .map(|(&x, &y)| {
                if y.is_finite() {
                    self.place(x, y)
                } else {
                    None
                }
            })
            .collect();
        places
            .split(Option::is_none)
            .filter(|run| !run.is_empty())
            .map(|run| clip::thin(run.iter().flatten().copied().collect(), 0.5))
            .collect()
    }

    fn band(&mut self, x: &[f64], low: &[f64], high: &[f64], colour: Rgb) {
        let ends: Vec<Option<(Point, Point)>> = x
            .iter()
            .zip(low.iter().zip(high))
            .map(|(&x, (&l, &h))| Some((self.place_or_below(x, l)?, self.place_or_below(x, h)?)))
            .collect();
        for run in ends.split(Option::is_none) {
            let lower = clip::thin(run.iter().flatten().map(|e| e.0).collect(), 0.5);
            let upper = clip::thin(run.iter().flatten().map(|e| e.1).collect(), 0.5);
            let around: Vec<Point> = upper.into_iter().chain(lower.into_iter().rev()).collect();
            self.area(&around, colour, 0.2);
        }
    }

    fn bars(&mut self, x: &[f64], low: &[f64], high: &[f64], colour: Rgb) {
        for (&x, (&l, &h)) in x.iter().zip(low.iter().zip(high)) {
            let (Some(a), Some(b)) = (self.place_or_below(x, l), self.place_or_below(x, h)) else {
                continue;
            };
            self.stroke(&[a, b], colour, 1.4, Stroke::Solid);
            for end in [a, b] {
                if clip::contains(end, &self.plot) {
                    let cap = [(end.0 - 4.0, end.1), (end.0 + 4.0, end.1)];
                    self.stroke(&cap, colour, 1.4, Stroke::Solid);
                }
            }
        }
    }

    fn points(&mut self, points: &[Point], shape: Marker, radius: f64, colour: Rgb, opacity: f64) {
        for &p in points {
            if clip::contains(p, &self.plot) {
                self.items.push(marker(shape, p, radius, colour, opacity));
            }
        }
    }

    fn histogram(&mut self, h: &Histogram, colour: Rgb, stroke: Stroke, alone: bool) {
        let mut steps = Vec::new();
        for (edges, &height) in h.edges.windows(2).zip(&h.heights) {
            for x in edges {
                if let Some(p) = self.place_or_below(*x, height) {
                    steps.push(p);
                }
            }
        }
        let (Some(first), Some(last)) = (steps.first().copied(), steps.last().copied()) else {
            return;
        };
        let floor = self
            .place_or_below(1.0, 0.0)
            .map_or(self.plot.bottom, |p| p.1);
        steps.insert(0, (first.0, floor));
        steps.push((last.0, floor));
        self.area(&steps, colour, if alone { 0.45 } else { 0.2 });
        self.stroke(&steps, colour, 1.7, stroke);
    }

    /// What lies under the curves.
    fn under(&mut self, series: &Series, colour: Rgb, alone: bool) {
        match &series.kind {
            Kind::Line {
                x,
                low,
                high,
                whiskers: Whiskers::Band,
                ..
            } => self.band(x, low, high, colour),
            Kind::Histogram(h) => self.histogram(h, colour, series.stroke, alone),
            Kind::Horizontal { y } => {
                if let Some((_, y)) = self.place(self.drawn.x.value(0.5), *y) {
                    let ends = [(self.plot.left, y), (self.plot.right, y)];
                    self.stroke(&ends, colour, 1.3, series.stroke);
                }
            }
            Kind::Vertical { x } => {
                if let Some((x, _)) = self.place(*x, self.drawn.y.value(0.5)) {
                    let ends = [(x, self.plot.bottom), (x, self.plot.top)];
                    self.stroke(&ends, colour, 1.3, series.stroke);
                }
            }
            Kind::Identity => {
                // Many points, for it bends where one axis is logarithmic.
                let at = |i: i32| self.drawn.x.value(f64::from(i) / 400.0);
                let path: Vec<Point> = (0..=400).filter_map(|i| self.place(at(i), at(i))).collect();
                self.stroke(&path, colour, 1.3, series.stroke);
            }
            _ => {}
        }
    }

    /// Curves and points.
    fn over(&mut self, series: &Series, colour: Rgb) {
        match &series.kind {
            Kind::Line {
                x,
                y,
                low,
                high,
                whiskers,
            } => {
                if *whiskers == Whiskers::Bars {
                    self.bars(x, low, high, colour);
                }
                for run in self.runs(x, y) {
                    self.stroke(&run, colour, LINE, series.stroke);
                    if let Some(shape) = series.marker {
                        self.points(&run, shape, 4.0, colour, 1.0);
                    } else if run.len() == 1 {
                        self.points(&run, Marker::Circle, 2.5, colour, 1.0);
                    }
                }
            }
            Kind::Scatter { x, y } => {
                let (radius, opacity) = match x.len() {
                    0..=300 => (3.4, 0.75),
                    301..=3_000 => (2.6, 0.45),
                    _ => (1.8, 0.3),
                };
                let shape = series.marker.unwrap_or_default();
                let points: Vec<Point> = self.runs(x, y).into_iter().flatten().collect();
                self.points(&points, shape, radius, colour, opacity);
            }
            _ => {}
        }
    }
}

fn line(items: &mut Vec<Item>, a: Point, b: Point, colour: Rgb, width: f64) {
    items.push(Item::Line {
        points: vec![a, b],
        colour,
        width,
        dash: &[],
    });
}

fn text(items: &mut Vec<Item>, at: Point, text: &str, size: f64, colour: Rgb, anchor: Anchor) {
    items.push(Item::Text {
        at,
        text: text.to_string(),
        size,
        colour,
        anchor,
        turned: false,
    });
}

/// Grid, tick marks and tick labels.
fn axes(cell: &Cell, drawn: &Drawn, items: &mut Vec<Item>) {
    let plot = cell.plot;
    let heat = drawn.heat.is_some();
    let mut marks = Vec::new();
    for tick in &cell.x_ticks {
        let place = if heat {
            tick.value
        } else {
            drawn.x.place(tick.value)
        };
        let x = plot.left + place * plot.width();
        let grid = if tick.text.is_some() { GRID } else { FAINT };
        if !heat {
            line(items, (x, plot.top), (x, plot.bottom), grid, 1.0);
        }
        let length = if tick.text.is_some() { 4.5 } else { 2.5 };
        line(
            &mut marks,
            (x, plot.bottom),
            (x, plot.bottom + length),
            GREY,
            1.0,
        );
        if let Some(t) = &tick.text {
            let y = plot.bottom + TICK_GAP + TICK * 0.85;
            text(&mut marks, (x, y), t, TICK, INK, Anchor::Middle);
        }
    }
    for tick in &cell.y_ticks {
        let place = if heat {
            tick.value
        } else {
            drawn.y.place(tick.value)
        };
        let y = plot.bottom - place * plot.height();
        let grid = if tick.text.is_some() { GRID } else { FAINT };
        if !heat {
            line(items, (plot.left, y), (plot.right, y), grid, 1.0);
        }
        let length = if tick.text.is_some() { 4.5 } else { 2.5 };
        line(
            &mut marks,
            (plot.left - length, y),
            (plot.left, y),
            GREY,
            1.0,
        );
        if let (Some(t), true) = (&tick.text, cell.y_texts) {
            let at = (plot.left - TICK_GAP, y + font::cap_height(TICK) / 2.0);
            let t = font::shorten(t, TICK, (plot.left - cell.outer.left - TICK_GAP).max(20.0));
            text(&mut marks, at, &t, TICK, INK, Anchor::End);
        }
    }
    items.extend(marks);
}

/// Axis lines, axis labels and the panel's title; drawn last.
fn frame(cell: &Cell, drawn: &Drawn, items: &mut Vec<Item>) {
    let plot = cell.plot;
    if drawn.heat.is_none() {
        line(
            items,
            (plot.left, plot.top),
            (plot.left, plot.bottom),
            GREY,
            1.0,
        );
        line(
            items,
            (plot.left - 0.5, plot.bottom),
            (plot.right, plot.bottom),
            GREY,
            1.0,
        );
    }
    if let Some(label) = &drawn.panel.x.label {
        let at = (
            plot.centre().0,
            plot.bottom + TICK_GAP + TICK + 8.0 + LABEL * 0.8,
        );
        let label = font::shorten(label, LABEL, cell.outer.width());
        text(items, at, &label, LABEL, INK, Anchor::Middle);
    }
    if let (Some(label), true) = (&drawn.panel.y.label, cell.y_texts) {
        let widths = cell.y_ticks.iter().filter_map(|t| t.text.as_ref());
        let widest = widths.map(|t| font::width(t, TICK)).fold(0.0, f64::max);
        let x = (plot.left - TICK_GAP - widest - 11.0).max(cell.outer.left + LABEL * 0.8);
        items.push(Item::Text {
            at: (x, plot.centre().1),
            text: font::shorten(label, LABEL, cell.outer.height()),
            size: LABEL,
            colour: INK,
            anchor: Anchor::Middle,
            turned: true,
        });
    }
    if let Some(title) = &drawn.panel.title {
        let title = font::shorten(title, PANEL_TITLE, cell.outer.width());
        let at = (plot.centre().0, plot.top - 10.0);
        text(items, at, &title, PANEL_TITLE, INK, Anchor::Middle);
    }
    if drawn.empty {
        let at = plot.centre();
        text(items, at, "no finite data", LABEL, GREY, Anchor::Middle);
    }
}

fn panel(cell: &Cell, drawn: &Drawn, items: &mut Vec<Item>) {
    axes(cell, drawn, items);
    if let Some(map) = drawn.heat {
        heatmap::draw(map, cell, items);
    }
    let mut painter = Painter {
        drawn,
        plot: cell.plot,
        items,
    };
    let kind = |k: &Kind| matches!(k, Kind::Histogram(_));
    let alone = drawn.series.iter().filter(|(s, _)| kind(&s.kind)).count() == 1;
    for (series, colour) in &drawn.series {
        painter.under(series, *colour, alone);
    }
    for (series, colour) in &drawn.series {
        painter.over(series, *colour);
    }
    frame(cell, drawn, items);
}

/// The laid out figure as shapes, and the legend's box.
fn shapes(layout: &Layout, panels: &[Drawn], items: &mut Vec<Item>) -> Option<Frame> {
    for (i, line) in layout.title.iter().enumerate() {
        let at = (layout.width / 2.0, 18.0 + TITLE * (0.85 + 1.35 * i as f64));
        text(items, at, line, TITLE, INK, Anchor::Middle);
    }
    for (cell, drawn) in layout.cells.iter().zip(panels) {
        panel(cell, drawn, items);
    }
    for (i, note) in layout.notes.iter().enumerate() {
        let up = (layout.notes.len() - i) as f64 * NOTE * 1.4 - NOTE;
        text(
            items,
            (18.0, layout.height - 16.0 - up),
            note,
            NOTE,
            GREY,
            Anchor::Start,
        );
    }
    layout
        .legend
        .as_ref()
        .map(|(legend, corner)| legend.draw(*corner, items))
}

/// Where the parts of a drawn figure are; what tests look at.
pub(crate) struct Geometry {
    #[cfg_attr(not(test), allow(dead_code))]
    pub plots: Vec<Frame>,
    #[cfg_attr(not(test), allow(dead_code))]
    pub legend: Option<Frame>,
}

impl Figure {
    /// The figure as shapes.
    ///
    /// # Errors
    /// What [`Figure::check`] says.
    pub(crate) fn scene(&self) -> Result<(Scene, Geometry)> {
        let resolved = self.resolve()?;
        let layout = layout(&resolved)?;
        let mut items = Vec::new();
        let legend = shapes(&layout, &resolved.panels, &mut items);
        let titles = self
            .title
            .iter()
            .chain(self.panels.iter().filter_map(|p| p.title.as_ref()));
        let description: Vec<&str> = titles.map(String::as_str).collect();
        let geometry = Geometry {
            plots: layout.cells.iter().map(|c| c.plot).collect(),
            legend,
        };
        let scene = Scene {
            width: layout.width,
            height: layout.height,
            description: match description.is_empty() {
                true => "figure".into(),
                false => description.join(" | "),
            },
            items,
        };
        Ok((scene, geometry))
    }
}
