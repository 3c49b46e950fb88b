//! Curves, bands, points and histograms in braille dots.

use super::SYMBOLS;
use super::screen::{Screen, Window};
use crate::plot::axis::Range;
use crate::plot::clip;
use crate::plot::colour::Rgb;
use crate::plot::resolve::{Drawn, Entry};
use crate::plot::scene::Frame;
use crate::plot::series::{Kind, Series};
use crate::plot::style::{Stroke, Whiskers};

/// The dot of a place from 0 to 1 among `count`; far off if it is outside.
fn dot(place: f64, count: usize) -> f64 {
    (place * (count as f64 - 1.0)).clamp(-1e5, 1e5)
}

struct Dots<'a> {
    plot: &'a Window,
    x: &'a Range,
    y: &'a Range,
}

impl Dots<'_> {
    /// The dot of a point, as real numbers; NaN if it has none.
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            dot(self.x.place(x), 2 * self.plot.columns),
            dot(1.0 - self.y.place(y), 4 * self.plot.rows),
        )
    }

    /// As `at`, but what a logarithmic scale cannot show lies at the bottom.
    fn at_or_below(&self, x: f64, y: f64) -> (f64, f64) {
        let y = if self.y.scale.is_log() && y <= 0.0 {
            self.y.low
        } else {
            y
        };
        self.at(x, y)
    }

    /// The dots from a to b that lie inside.
    fn between(&self, a: (f64, f64), b: (f64, f64)) -> Vec<(i64, i64)> {
        let frame = Frame {
            left: -0.5,
            top: -0.5,
            right: 2.0 * self.plot.columns as f64 - 0.5,
            bottom: 4.0 * self.plot.rows as f64 - 0.5,
        };
        let parts = clip::line(&[a, b], &frame);
        let Some(part) = parts.first() else {
            return Vec::new();
        };
        let (a, b) = (part[0], part[1]);
        let steps = (b.0 - a.0).abs().max((b.1 - a.1).abs()).ceil().max(1.0);
        (0..=steps as i64)
            .map(|i| {
                let t = i as f64 / steps;
                let x = (a.0 + t * (b.0 - a.0)).round();
                (x as i64, (a.1 + t * (b.1 - a.1)).round() as i64)
            })
            .collect()
    }
}

/// Bands as sparse dots, and reference lines.
pub(super) fn under(screen: &mut Screen, plot: &Window, drawn: &Drawn, series: &Series, ink: Rgb) {
    let dots = Dots {
        plot,
        x: &drawn.x,
        y: &drawn.y,
    };
    let (right, bottom) = (2.0 * plot.columns as f64, 4.0 * plot.rows as f64);
    let (a, b) = match &series.kind {
        Kind::Line {
            x,
            low,
            high,
            whiskers,
            ..
        } => {
            let bars = *whiskers == Whiskers::Bars;
            for i in 0..low.len() {
                let (l, h) = (
                    dots.at_or_below(x[i], low[i]),
                    dots.at_or_below(x[i], high[i]),
                );
                if bars {
                    for (x, y) in dots.between(l, h) {
                        screen.dot(plot, x, y, ink);
                    }
                } else if i > 0 {
                    let (l0, h0) = (
                        dots.at_or_below(x[i - 1], low[i - 1]),
                        dots.at_or_below(x[i - 1], high[i - 1]),
                    );
                    band(screen, plot, [l0, l], [h0, h], ink);
                }
            }
            return;
        }
        Kind::Horizontal { y } => {
            let y = dots.at(drawn.x.value(0.5), *y).1;
            ((0.0, y), (right, y))
        }
        Kind::Vertical { x } => {
            let x = dots.at(*x, drawn.y.value(0.5)).0;
            ((x, bottom), (x, 0.0))
        }
        Kind::Identity => {
            for i in 0..2 * plot.columns {
                let v = drawn.x.value(i as f64 / (2 * plot.columns) as f64);
                let (x, y) = dots.at(v, v);
                if i % 4 < 2 {
                    screen.dot(plot, x.round() as i64, y.round() as i64, ink);
                }
            }
            return;
        }
        _ => return,
    };
    if [a.0, a.1, b.0, b.1].iter().all(|v| v.is_finite()) {
        for (i, (x, y)) in dots.between(a, b).into_iter().enumerate() {
            if i % 4 < 2 || series.stroke == Stroke::Solid {
                screen.dot(plot, x, y, ink);
            }
        }
    }
}

/// Sparse dots between two neighbouring points of a band.
fn band(screen: &mut Screen, plot: &Window, low: [(f64, f64); 2], high: [(f64, f64); 2], ink: Rgb) {
    let (from, to) = (low[0].0, low[1].0);
    let limit = 2.0 * plot.columns as f64;
    if !(from.is_finite() && to.is_finite()) || from > limit || to < 0.0 {
        return;
    }
    for x in from.max(0.0).ceil() as i64..=to.min(limit).floor() as i64 {
        let t = if to > from {
            (x as f64 - from) / (to - from)
        } else {
            0.0
        };
        let at = |ends: [(f64, f64); 2]| ends[0].1 + t * (ends[1].1 - ends[0].1);
        let (top, bottom) = (at(high).max(0.0), at(low).min(4.0 * plot.rows as f64));
        // A narrow band would only blur its line.
        if bottom - top < 8.0 || x % 4 != 0 {
            continue;
        }
        for y in top.ceil() as i64..=bottom.floor() as i64 {
            if (y + x / 2) % 4 == 0 {
                screen.dot(plot, x, y, ink);
            }
        }
    }
}

/// Curves, points and histograms, with their markers.
pub(super) fn over(
    screen: &mut Screen,
    plot: &Window,
    drawn: &Drawn,
    series: &Series,
    ink: Rgb,
    legend: &[Entry],
    position: usize,
) {
    let dots = Dots {
        plot,
        x: &drawn.x,
        y: &drawn.y,
    };
    let index = legend.iter().position(|e| {
        Some(&e.name) == series.label.as_ref()
            && e.group == series.group
            && e.colour == ink
            && e.stroke == series.stroke
    });
    let symbol = index.map(|i| SYMBOLS[i % SYMBOLS.len()]);
    let mut path: Vec<(f64, f64)> = Vec::new();
    match &series.kind {
        Kind::Scatter { x, y } => {
            let alone = drawn
                .series
                .iter()
                .filter(|(s, _)| matches!(s.kind, Kind::Scatter { .. }))
                .count()
                == 1;
            for (&x, &y) in x.iter().zip(y) {
                let (px, py) = dots.at(x, y);
                if !(px.is_finite() && py.is_finite()) {
                    continue;
                }
                let (px, py) = (px.round() as i64, py.round() as i64);
                match symbol {
                    Some(c) if !alone => mark(screen, plot, (px, py), c, ink),
                    _ => screen.dot(plot, px, py, ink),
                }
            }
            return;
        }
        Kind::Line { x, y, .. } => path.extend(x.iter().zip(y).map(|(&x, &y)| dots.at(x, y))),
        Kind::Histogram(h) => {
            let (left, right) = (h.edges[0], h.edges[h.edges.len() - 1]);
            path.push(dots.at_or_below(left, 0.0));
            for (edges, &height) in h.edges.windows(2).zip(&h.heights) {
                path.extend(edges.iter().map(|x| dots.at_or_below(*x, height)));
            }
            path.push(dots.at_or_below(right, 0.0));
        }
        _ => return,
    }
    let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let mut drawn_dots: Vec<(i64, i64)> = Vec::new();
    for run in path.split(|p| !finite(p)) {
        if let [single] = run {
            drawn_dots.extend(dots.between(*single, *single));
        }
        for pair in run.windows(2) {
            drawn_dots.extend(dots.between(pair[0], pair[1]));
        }
    }
    let mut travelled = 0;
    for (i, &(x, y)) in drawn_dots.iter().enumerate() {
        if i > 0 && drawn_dots[i - 1] != (x, y) {
            travelled += 1;
        }
        let on = match series.stroke {
            Stroke::Solid => true,
            Stroke::Dashed => travelled % 6 < 4,
            Stroke::Dotted => travelled % 3 == 0,
        };
        if on {
            screen.dot(plot, x, y, ink);
        }
    }
    let Some(symbol) = symbol else { return };
    let points: Vec<(i64, i64)> = path
        .iter()
        .filter(|p| finite(p))
        .map(|p| (p.0.round() as i64, p.1.round() as i64))
        .collect();
    let line = matches!(series.kind, Kind::Line { .. });
    if line && points.len() <= (plot.columns / 6).max(1) {
        points
            .iter()
            .for_each(|p| mark(screen, plot, *p, symbol, ink));
        return;
    }
    // Markers now and then, each curve's in columns of its own.
    let count = drawn.series.len().max(1);
    let period = (plot.columns / 4).max(count + 1).max(6);
    let offset = (position * period / count + period / 2) % period;
    let mut last = None;
    for (x, y) in drawn_dots {
        let column = x / 2;
        if column as usize % period == offset && last != Some(column) {
            last = Some(column);
            mark(screen, plot, (x, y), symbol, ink);
        }
    }
}

/// A marker at a dot, unless another one stands there or it is outside.
fn mark(screen: &mut Screen, plot: &Window, dot: (i64, i64), symbol: char, ink: Rgb) {
    let (column, row) = (dot.0.div_euclid(2), dot.1.div_euclid(4));
    if column < 0 || row < 0 || column >= plot.columns as i64 || row >= plot.rows as i64 {
        return;
    }
    let (column, row) = (plot.column + column as usize, plot.row + row as usize);
    if !screen.is_written(column, row) {
        screen.write(column, row, &symbol.to_string(), Some(ink));
    }
}
