//! Previews: figures as text, with curves of braille dots, and markers that tell curves apart
//! without colour.

use super::axis::Range;
use super::braille::{Screen, Window};
use super::colour::{GREY, INK, Rgb, WHITE};
use super::figure::{Figure, LegendPlace};
use super::heatmap::DARK;
use super::resolve::{Drawn, Entry, Resolved};
use super::series::{HeatMap, Kind, Series, Stroke, Whiskers};
use super::ticks::{Tick, ticks};
use crate::error::Result;

/// What marks the curves, in the order of the legend.
const SYMBOLS: [char; 12] = ['●', '■', '▲', '◆', '○', '□', '△', '◇', '×', '+', '*', '¤'];
/// Cells of a heat map from low to high.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
const NARROWEST_PANEL: usize = 34;

fn length(text: &str) -> usize {
    text.chars().count()
}

fn shorten(text: &str, room: usize) -> String {
    if length(text) <= room {
        return text.to_string();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Lines of at most `room` characters, broken at spaces.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(shorten(word, room)),
        }
    }
    lines
}

impl Figure {
    /// The figure as text for a terminal, in at most `columns` columns (at least 30) and about
    /// `rows` rows (more if the panels would become too low), with ANSI colours if wanted. Without
    /// colour, curves are told apart by the markers that the legend shows.
    ///
    /// # Errors
    /// As [`Figure::check`].
    pub fn preview(&self, columns: usize, rows: usize, colour: bool) -> Result<String> {
        let resolved = self.resolve()?;
        let columns = columns.clamp(30, 1_000);
        let title = self
            .title
            .as_ref()
            .map_or_else(Vec::new, |t| wrap(t, columns));
        let notes: Vec<String> = resolved
            .notes
            .iter()
            .flat_map(|n| wrap(n, columns))
            .collect();
        let legend = legend(&resolved, columns);
        let across = columns - if legend.right { legend.width + 2 } else { 0 };
        let per_row = self.grid().0.min((across / NARROWEST_PANEL).max(1));
        let grid_rows = self.panels.len().div_ceil(per_row);
        let below = if legend.right { 0 } else { legend.lines.len() };
        let taken = title.len() + notes.len() + below;
        let high = (rows.clamp(1, 1_000).saturating_sub(taken) / grid_rows).max(9);
        let body = (high * grid_rows).max(if legend.right { legend.lines.len() } else { 0 });

        let mut screen = Screen::new(columns, taken + body);
        for (i, line) in title.iter().enumerate() {
            screen.write((columns - length(line)) / 2, i, line, None);
        }
        let wide = (across + 2) / per_row;
        for (i, drawn) in resolved.panels.iter().enumerate() {
            let window = Window {
                column: i % per_row * wide,
                row: title.len() + i / per_row * high,
                columns: wide - if per_row > 1 { 2 } else { 0 },
                rows: high,
            };
            let window = Window {
                columns: window.columns.min(across - window.column.min(across)),
                ..window
            };
            panel(&mut screen, &window, drawn, &resolved.legend, colour);
        }
        let corner = if legend.right {
            (across + 2, title.len() + 1)
        } else {
            (0, title.len() + body)
        };
        for (row, line) in legend.lines.iter().enumerate() {
            for (column, text, ink) in line {
                screen.write(corner.0 + column, corner.1 + row, text, *ink);
            }
        }
        for (i, note) in notes.iter().enumerate() {
            screen.write(0, title.len() + body + below + i, note, Some(GREY));
        }
        Ok(screen.text(colour))
    }
}

/// Pieces of text at columns of a line.
type Line = Vec<(usize, String, Option<Rgb>)>;

struct LegendText {
    lines: Vec<Line>,
    width: usize,
    right: bool,
}

fn legend(resolved: &Resolved, columns: usize) -> LegendText {
    let mut lines: Vec<Line> = Vec::new();
    let mut width = 0;
    let entries = &resolved.legend;
    let mut items: Vec<(Option<&str>, String, Rgb)> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let (a, b) = match entry.stroke {
            _ if !is_curve(entry) => (' ', ' '),
            Stroke::Solid => ('─', '─'),
            Stroke::Dashed => ('╴', '╶'),
            Stroke::Dotted => ('·', '·'),
        };
        let symbol = if entry.thin {
            a
        } else {
            SYMBOLS[i % SYMBOLS.len()]
        };
        let text = format!("{a}{symbol}{b} {}", entry.label);
        width = width.max(length(&text));
        items.push((entry.group.as_deref(), text, entry.colour));
    }
    if resolved.figure.legend == LegendPlace::None {
        items.clear();
        width = 0;
    }
    let headings = entries
        .iter()
        .filter_map(|e| e.group.as_deref())
        .map(length);
    width = width.max(if items.is_empty() {
        0
    } else {
        headings.max().unwrap_or(0)
    });
    let room = columns.saturating_sub(NARROWEST_PANEL * resolved.figure.grid().0.min(2));
    let right = match resolved.figure.legend {
        LegendPlace::Below => false,
        _ => width > 0 && width + 2 <= room && width <= columns * 2 / 5,
    };
    let mut group = None;
    let mut x = 0;
    for (heading, text, colour) in items {
        let text = shorten(&text, columns);
        let new_group = heading != group;
        group = heading;
        if right {
            if let (true, Some(h)) = (new_group, heading) {
                lines.push(vec![(0, h.to_string(), Some(GREY))]);
            }
            lines.push(vec![(0, text, Some(colour))]);
            continue;
        }
        if lines.is_empty() || new_group || x + length(&text) > columns {
            x = 0;
            lines.push(Vec::new());
            if let (true, Some(h)) = (new_group, heading) {
                let h = shorten(&format!("{h}:"), columns / 3);
                x = length(&h) + 1;
                lines.extend(None::<Line>);
                if let Some(line) = lines.last_mut() {
                    line.push((0, h, Some(GREY)));
                }
            }
        }
        let next = x + length(&text) + 3;
        if let Some(line) = lines.last_mut() {
            line.push((x, text, Some(colour)));
        }
        x = next;
    }
    LegendText {
        lines,
        width,
        right,
    }
}

fn is_curve(entry: &Entry) -> bool {
    use super::resolve::Sample;
    !matches!(entry.sample, Sample::Points)
}

/// Draws a panel into a window.
fn panel(screen: &mut Screen, window: &Window, drawn: &Drawn, legend: &[Entry], colour: bool) {
    let mut top = window.row;
    if let Some(title) = &drawn.panel.title {
        let title = shorten(title, window.columns);
        screen.write(
            window.column + (window.columns - length(&title)) / 2,
            top,
            &title,
            None,
        );
        top += 1;
    }
    if let Some(label) = &drawn.panel.y.label {
        screen.write(
            window.column,
            top,
            &shorten(label, window.columns),
            Some(GREY),
        );
        top += 1;
    }
    let labelled = usize::from(drawn.panel.x.label.is_some());
    let bottom = (window.row + window.rows).saturating_sub(2 + labelled);
    let rows = bottom.saturating_sub(top).max(1);
    let inner = Window {
        row: top,
        rows,
        ..*window
    };
    let plot = match drawn.heat {
        Some(map) => heat_map(screen, &inner, map, colour),
        None => {
            let plot = axes(screen, &inner, drawn);
            for (series, ink) in &drawn.series {
                under(screen, &plot, drawn, series, *ink);
            }
            for (i, (series, ink)) in drawn.series.iter().enumerate() {
                curve(screen, &plot, drawn, series, *ink, legend, i);
            }
            if drawn.empty {
                let text = "no finite data";
                let column = plot.column + plot.columns.saturating_sub(length(text)) / 2;
                screen.write(column, plot.row + plot.rows / 2, text, Some(GREY));
            }
            plot
        }
    };
    if let Some(label) = &drawn.panel.x.label {
        let label = shorten(label, window.columns);
        let middle = plot.column + plot.columns / 2;
        let column = middle.saturating_sub(length(&label) / 2).max(window.column);
        screen.write(
            column,
            plot.row + plot.rows + 2 - usize::from(drawn.heat.is_some()),
            &label,
            Some(GREY),
        );
    }
}

/// Draws axes with ticks and labels; gives the window inside them.
fn axes(screen: &mut Screen, window: &Window, drawn: &Drawn) -> Window {
    let text = |t: &Tick| t.text.as_ref().map_or(0, |t| length(t));
    let y_ticks = ticks(&drawn.y, (window.rows / 3).clamp(2, 7));
    let left = y_ticks
        .iter()
        .map(text)
        .max()
        .unwrap_or(0)
        .min(window.columns / 3);
    let plot = Window {
        column: window.column + left + 1,
        row: window.row,
        columns: window.columns.saturating_sub(left + 1).max(1),
        rows: window.rows,
    };
    for row in 0..plot.rows {
        screen.write(plot.column - 1, plot.row + row, "│", Some(GREY));
    }
    screen.write(plot.column - 1, plot.row + plot.rows, "└", Some(GREY));
    for column in 0..plot.columns {
        screen.write(plot.column + column, plot.row + plot.rows, "─", Some(GREY));
    }
    let mut free = 0;
    for tick in y_ticks.iter().rev() {
        let Some(t) = &tick.text else { continue };
        let row = nearest(1.0 - drawn.y.place(tick.value), plot.rows);
        if row < free {
            continue;
        }
        free = row + 1;
        let t = shorten(t, left);
        let column = window.column + left - length(&t);
        screen.write(column, plot.row + row, &t, None);
        screen.write(plot.column - 1, plot.row + row, "┤", Some(GREY));
    }
    // The fullest set of x labels that do not touch.
    for target in (2..=(plot.columns / 9).clamp(2, 9)).rev() {
        let found: Vec<(usize, usize, String)> = ticks(&drawn.x, target)
            .into_iter()
            .filter_map(|t| {
                let column = plot.column + nearest(drawn.x.place(t.value), plot.columns);
                let text = t.text?;
                let last = (window.column + window.columns).saturating_sub(length(&text));
                Some((
                    column,
                    column.saturating_sub(length(&text) / 2).min(last),
                    text,
                ))
            })
            .collect();
        let apart = found.windows(2).all(|w| w[0].1 + length(&w[0].2) < w[1].1);
        if !apart && target > 2 {
            continue;
        }
        let mut free = 0;
        for (mark, column, text) in found {
            if column >= free {
                screen.write(mark, plot.row + plot.rows, "┴", Some(GREY));
                screen.write(column, plot.row + plot.rows + 1, &text, None);
                free = column + length(&text) + 1;
            }
        }
        break;
    }
    plot
}

/// The index of `count` equal parts in which a place from 0 to 1 lies.
fn nearest(place: f64, count: usize) -> usize {
    ((place * count as f64) as usize).min(count.saturating_sub(1))
}

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
        let frame = super::scene::Frame {
            left: -0.5,
            top: -0.5,
            right: 2.0 * self.plot.columns as f64 - 0.5,
            bottom: 4.0 * self.plot.rows as f64 - 0.5,
        };
        let parts = super::clip::line(&[a, b], &frame);
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
fn under(screen: &mut Screen, plot: &Window, drawn: &Drawn, series: &Series, ink: Rgb) {
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
        if bottom - top < 8.0 || x % 2 != 0 {
            continue;
        }
        for y in top.ceil() as i64..=bottom.floor() as i64 {
            if (y + x / 2 * 2) % 4 == 0 {
                screen.dot(plot, x, y, ink);
            }
        }
    }
}

/// Curves, points and histograms, with their markers.
fn curve(
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

/// Draws a heat map: numbers on shades where they fit, else shades; gives the window of its cells.
fn heat_map(screen: &mut Screen, window: &Window, map: &HeatMap, colour: bool) -> Window {
    let range = map.range();
    let left = map.y_labels.iter().map(|l| length(l)).max().unwrap_or(0);
    let left = left.min(window.columns / 3) + 1;
    let (nx, ny) = (map.x_labels.len(), map.y_labels.len());
    // The last row holds the key to the shades.
    let (across, down) = (window.columns - left, window.rows.saturating_sub(1).max(1));
    let (wide, high) = ((across / nx).clamp(1, 12), (down / ny).clamp(1, 3));
    let (columns, rows) = ((wide * nx).min(across), (high * ny).min(down));
    let cells = Window {
        column: window.column + left,
        row: window.row,
        columns,
        rows,
    };
    let texts = map.texts();
    let widest = texts.iter().flatten().map(|t| length(t)).max().unwrap_or(0);
    let numbers = map.annotate.unwrap_or(true) && widest + 3 <= wide && high * ny <= down;
    let shade = |v: f64| {
        if v.is_nan() {
            return ' ';
        }
        SHADES[nearest(range.place(v).clamp(0.0, 1.0), SHADES.len())]
    };
    for row in 0..rows {
        let j = (row * ny / rows).min(ny - 1);
        let centre = row == j * high + (high - 1) / 2 || high * ny > down;
        if centre {
            let label = shorten(&map.y_labels[j], left - 1);
            let column = window.column + left - 1 - length(&label);
            screen.write(column, cells.row + row, &label, None);
        }
        for column in 0..columns {
            let i = (column * nx / columns).min(nx - 1);
            let value = map.values[j][i];
            let at = (cells.column + column, cells.row + row);
            let ground = map.colour(&range, value);
            if let (true, Some(ground)) = (colour, ground) {
                screen.ground(at.0, at.1, ground);
            } else if !numbers || column % wide == 0 {
                screen.write(at.0, at.1, &shade(value).to_string(), None);
            }
            if numbers && centre && column % wide == 2 {
                let ink = match ground {
                    Some(g) if colour && g.luminance() < DARK => Some(WHITE),
                    Some(_) if colour => Some(INK),
                    _ => None,
                };
                screen.write(at.0, at.1, &texts[j][i], ink);
            }
        }
    }
    let mut free = 0;
    for (i, label) in map.x_labels.iter().enumerate() {
        let middle = cells.column + (2 * i + 1) * columns / (2 * nx);
        let column = middle.saturating_sub(length(label) / 2).max(cells.column);
        if column >= free && column + length(label) <= window.column + window.columns {
            screen.write(column, cells.row + rows, label, None);
            free = column + length(label) + 1;
        }
    }
    let number = |v: f64| super::ticks::short_number(v, 3);
    let name = map.value_label.as_deref().unwrap_or("");
    let key: String = SHADES.iter().collect();
    let key = format!("{} {key} {}  {name}", number(range.low), number(range.high));
    screen.write(
        cells.column,
        cells.row + rows + 2,
        &shorten(key.trim_end(), across),
        Some(GREY),
    );
    Window { rows, ..cells }
}
