//! Drawing a panel's data: bands, histograms and reference lines below, curves and points above.

use super::clip;
use super::colour::Rgb;
use super::histogram::Histogram;
use super::resolve::Drawn;
use super::scene::{Frame, Item, Point};
use super::series::{Kind, Series};
use super::style::{Marker, Stroke, Whiskers};

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
pub(crate) struct Painter<'a> {
    pub drawn: &'a Drawn<'a>,
    pub plot: Frame,
    pub items: &'a mut Vec<Item>,
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
    pub fn under(&mut self, series: &Series, colour: Rgb, alone: bool) {
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
    pub fn over(&mut self, series: &Series, colour: Rgb) {
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
