//! Heat maps: cells, labels and the colour bar.

use super::axis::{Axis, Range};
use super::colour::{FAINT, GREY, INK, Rgb, WHITE, colour_map};
use super::font;
use super::layout::{Cell, LABEL, TICK, TICK_GAP, fitting};
use super::scene::{Anchor, Frame, Item};
use super::series::HeatMap;
use super::ticks::{Tick, short_number};

/// Below this luminance white text reads better than black.
pub(crate) const DARK: f64 = 0.19;

/// More cells than these are a picture instead of shapes: an SVG of so many shapes is large and slow to show, and
/// nobody edits single ones.
const SHAPES: usize = 10_000;

/// More cells in a row or column than these are shown as means of neighbours, since neither a screen nor paper
/// shows as many apart; in every format, so that one figure says the same in all.
const SHOWN: usize = 1_000;

/// Width of the colour bar.
pub(crate) const BAR: f64 = 18.0;

impl HeatMap {
    /// Values of the darkest and the lightest colour.
    pub(crate) fn range(&self) -> Range {
        let finite = self
            .values
            .iter()
            .flatten()
            .copied()
            .filter(|v| v.is_finite());
        let span = finite.fold(None, |span: Option<(f64, f64)>, v| {
            let (a, b) = span.unwrap_or((v, v));
            Some((a.min(v), b.max(v)))
        });
        let (low, high) = match self.limits {
            Some((low, high)) => (Some(low), Some(high)),
            None => (None, None),
        };
        Range::of(&Axis::default().limits(low, high), span, 0.0, false)
    }

    /// The colour of a value; none if it is not finite. Values outside the limits get the end's colour.
    pub(crate) fn colour(&self, range: &Range, value: f64) -> Option<Rgb> {
        value
            .is_finite()
            .then(|| colour_map(range.place(value.clamp(range.low, range.high))))
    }

    /// Columns and rows that are shown.
    fn shown(&self) -> (usize, usize) {
        (
            self.x_labels.len().min(SHOWN),
            self.y_labels.len().min(SHOWN),
        )
    }

    /// What a reader must know of cells that are not shown singly.
    pub(crate) fn note(&self) -> Option<String> {
        let (columns, rows) = (self.x_labels.len(), self.y_labels.len());
        let (across, down) = self.shown();
        ((across, down) != (columns, rows)).then(|| {
            format!("{rows}×{columns} cells, shown as {down}×{across} means of neighbours")
        })
    }

    /// The colours of what is shown, row by row: of the mean of the finite values where several cells are one.
    fn pixels(&self, range: &Range) -> Vec<Rgb> {
        let (across, down) = self.shown();
        let part = |i: usize, shown: usize, all: usize| i * all / shown..(i + 1) * all / shown;
        let mut pixels = Vec::with_capacity(across * down);
        for row in 0..down {
            let rows = &self.values[part(row, down, self.y_labels.len())];
            for column in 0..across {
                let columns = part(column, across, self.x_labels.len());
                let values = rows.iter().flat_map(|r| &r[columns.clone()]);
                let finite: Vec<f64> = values.copied().filter(|v| v.is_finite()).collect();
                let count = finite.len() as f64;
                // divided first, lest the sum of huge values overflow; NaN where there is none
                let mean = match finite.is_empty() {
                    true => f64::NAN,
                    false => finite.iter().map(|v| v / count).sum(),
                };
                pixels.push(self.colour(range, mean).unwrap_or(FAINT));
            }
        }
        pixels
    }

    /// The numbers to write into cells.
    pub(crate) fn texts(&self) -> Vec<Vec<String>> {
        let range = self.range();
        let largest = range.low.abs().max(range.high.abs());
        // Three digits of the difference between cells, as many decimals in all of them.
        let decimals = 2 - (range.high - range.low).log10().floor() as i32;
        let write = |v: &f64| {
            if v.is_finite() && largest < 1e6 && (0..=6).contains(&decimals.max(0)) {
                let decimals = decimals.max(0) as usize;
                format!("{v:.decimals$}").replace('-', "−")
            } else {
                short_number(*v, 3)
            }
        };
        self.values
            .iter()
            .map(|row| row.iter().map(write).collect())
            .collect()
    }
}

/// One tick per label, at its place from 0 to 1 (from the bottom for rows), with texts where they
/// fit along `length` pixels, and without marks between them where these would become a bar.
pub(crate) fn label_ticks(labels: &[String], length: f64, upright: bool) -> Vec<Tick> {
    let n = labels.len() as f64;
    let size = |t: &String| {
        if upright {
            TICK
        } else {
            font::width(t, TICK) + 6.0
        }
    };
    let largest = labels.iter().map(size).fold(1.0, f64::max);
    let stride = (largest * n / length.max(1.0)).ceil().max(1.0) as usize;
    let crowded = length < 4.0 * n;
    labels
        .iter()
        .enumerate()
        .filter(|(i, _)| !crowded || i % stride == 0)
        .map(|(i, text)| {
            let place = (i as f64 + 0.5) / n;
            Tick {
                value: if upright { 1.0 - place } else { place },
                text: (i % stride == 0).then(|| text.clone()),
            }
        })
        .collect()
}

/// Ticks of the colour bar of this height, and the room it takes beside the cells.
pub(crate) fn bar_room(map: &HeatMap, height: f64) -> (Vec<Tick>, f64) {
    let ticks = fitting(&map.range(), height, true);
    let texts = ticks.iter().filter_map(|t| t.text.as_ref());
    let widest = texts.map(|t| font::width(t, TICK)).fold(0.0, f64::max);
    let label = if map.value_label.is_some() {
        LABEL + 12.0
    } else {
        0.0
    };
    (ticks, 16.0 + BAR + TICK_GAP + widest + label)
}

/// Narrows the plot so that cells are not much longer than high, or higher than long.
pub(crate) fn square(plot: &mut Frame, map: &HeatMap) {
    const LONGEST: f64 = 1.2;
    let (nx, ny) = (map.x_labels.len() as f64, map.y_labels.len() as f64);
    let (w, h) = (plot.width() / nx, plot.height() / ny);
    if w > LONGEST * h {
        let spare = plot.width() - LONGEST * h * nx;
        plot.left += spare / 2.0;
        plot.right -= spare / 2.0;
    } else if h > LONGEST * w {
        plot.top += plot.height() - LONGEST * w * ny;
    }
}

/// Draws cells, numbers and the colour bar.
pub(crate) fn draw(map: &HeatMap, cell: &Cell, items: &mut Vec<Item>) {
    let plot = cell.plot;
    let range = map.range();
    let (w, h) = (
        plot.width() / map.x_labels.len() as f64,
        plot.height() / map.y_labels.len() as f64,
    );
    let many = map.x_labels.len() * map.y_labels.len() > SHAPES;
    if many {
        items.push(Item::Picture {
            from: (plot.left, plot.top),
            to: (plot.right, plot.bottom),
            columns: map.shown().0,
            pixels: map.pixels(&range),
        });
    }
    let texts = if many { Vec::new() } else { map.texts() };
    let widest = texts
        .iter()
        .flatten()
        .map(|t| font::width(t, TICK))
        .fold(0.0, f64::max);
    let write = map.annotate.unwrap_or(widest + 8.0 <= w && TICK + 6.0 <= h);
    let size = if widest + 4.0 > w {
        TICK * (w - 4.0).max(1.0) / widest.max(1.0)
    } else {
        TICK
    };
    let cells = if many { &[][..] } else { &map.values[..] };
    for (row, values) in cells.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            let from = (plot.left + column as f64 * w, plot.top + row as f64 * h);
            let colour = map.colour(&range, value);
            items.push(Item::Rect {
                from,
                to: (from.0 + w, from.1 + h),
                colour: colour.unwrap_or(FAINT),
            });
            if write {
                let ink = match colour {
                    None => GREY,
                    Some(c) if c.luminance() < DARK => WHITE,
                    Some(_) => INK,
                };
                items.push(Item::Text {
                    at: (
                        from.0 + w / 2.0,
                        from.1 + h / 2.0 + font::cap_height(size) / 2.0,
                    ),
                    text: texts[row][column].clone(),
                    size,
                    colour: ink,
                    anchor: Anchor::Middle,
                    turned: false,
                });
            }
        }
    }
    let Some((bar, ticks)) = &cell.bar else {
        return;
    };
    const STEPS: usize = 128;
    for i in 0..STEPS {
        let at = |i: usize| bar.bottom - bar.height() * i as f64 / STEPS as f64;
        items.push(Item::Rect {
            from: (bar.left, at(i + 1)),
            to: (bar.right, at(i)),
            colour: colour_map((i as f64 + 0.5) / STEPS as f64),
        });
    }
    let mut widest: f64 = 0.0;
    for tick in ticks {
        let y = bar.bottom - range.place(tick.value) * bar.height();
        let Some(text) = &tick.text else { continue };
        widest = widest.max(font::width(text, TICK));
        items.push(Item::Line {
            points: vec![(bar.right, y), (bar.right + 4.0, y)],
            colour: GREY,
            width: 1.0,
            dash: &[],
        });
        items.push(Item::Text {
            at: (bar.right + TICK_GAP, y + font::cap_height(TICK) / 2.0),
            text: text.clone(),
            size: TICK,
            colour: INK,
            anchor: Anchor::Start,
            turned: false,
        });
    }
    if let Some(label) = &map.value_label {
        items.push(Item::Text {
            at: (bar.right + TICK_GAP + widest + LABEL + 8.0, bar.centre().1),
            text: font::shorten(label, LABEL, bar.height()),
            size: LABEL,
            colour: INK,
            anchor: Anchor::Middle,
            turned: true,
        });
    }
}
