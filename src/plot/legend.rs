//! The legend: measured and drawn outside the panels.

use super::colour::{GREY, INK};
use super::font;
use super::paint::{dash, marker};
use super::resolve::{Entry, Sample};
use super::scene::{Anchor, Frame, Item, Point};
use super::style::Stroke;

const SIZE: f64 = 13.0;
const ROW: f64 = 22.0;
const SAMPLE: f64 = 30.0;
const GAP: f64 = 9.0;
/// Between entries of one row, below the panels.
const BETWEEN: f64 = 24.0;

/// A line of the legend: a group's heading or an entry, with the place of its left end.
struct Row<'a> {
    at: Point,
    /// None for a heading.
    entry: Option<&'a Entry>,
    text: String,
}

impl Row<'_> {
    fn heading(text: &str, y: f64, room: f64) -> Self {
        Self {
            at: (0.0, y),
            entry: None,
            text: font::shorten(text, SIZE, room),
        }
    }
}

/// A legend that knows its size.
pub(crate) struct Legend<'a> {
    rows: Vec<Row<'a>>,
    pub width: f64,
    pub height: f64,
}

fn entry_width(entry: &Entry, room: f64) -> (f64, String) {
    let text = font::shorten(&entry.label, SIZE, room - SAMPLE - GAP);
    (SAMPLE + GAP + font::width(&text, SIZE), text)
}

impl<'a> Legend<'a> {
    /// One entry a line, no wider than `room`.
    pub fn column(entries: &'a [Entry], title: Option<&'a str>, room: f64) -> Self {
        let mut rows = Vec::new();
        let mut width: f64 = 0.0;
        let mut y = 0.0;
        if let Some(title) = title {
            let row = Row::heading(title, y, room);
            width = font::width(&row.text, SIZE);
            rows.push(row);
            y += ROW;
        }
        let mut group = None;
        for entry in entries {
            if entry.group.as_deref() != group {
                group = entry.group.as_deref();
                if rows.len() > usize::from(title.is_some()) {
                    y += 8.0;
                }
                if let Some(heading) = group {
                    let row = Row::heading(heading, y, room);
                    width = width.max(font::width(&row.text, SIZE));
                    rows.push(row);
                    y += ROW;
                }
            }
            let (w, text) = entry_width(entry, room);
            width = width.max(w);
            rows.push(Row {
                at: (0.0, y),
                entry: Some(entry),
                text,
            });
            y += ROW;
        }
        Self {
            rows,
            width,
            height: y,
        }
    }

    /// Entries side by side in lines no wider than `room`; a group starts a new line.
    pub fn lines(entries: &'a [Entry], title: Option<&'a str>, room: f64) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let (mut x, mut y, mut width) = (0.0, 0.0, 0.0f64);
        let mut group = None;
        // Without groups the title stands where a group's heading would.
        let grouped = entries.iter().any(|e| e.group.is_some());
        let heading = |e: &'a Entry| if grouped { e.group.as_deref() } else { title };
        if let (Some(title), true) = (title, grouped) {
            let row = Row::heading(title, y, room);
            width = font::width(&row.text, SIZE);
            rows.push(row);
        }
        let indent = entries
            .iter()
            .filter_map(heading)
            .map(|g| font::width(g, SIZE) + 16.0)
            .fold(0.0, f64::max)
            .min(room / 3.0);
        for entry in entries {
            let new_group = heading(entry) != group;
            let (w, text) = entry_width(entry, room - indent);
            if !rows.is_empty() && (new_group || x + w > room) {
                x = 0.0;
                y += ROW;
            }
            if new_group {
                group = heading(entry);
                if let Some(text) = group {
                    rows.push(Row::heading(text, y, indent - 16.0));
                }
            }
            x = f64::max(x, indent);
            width = width.max(x + w);
            rows.push(Row {
                at: (x, y),
                entry: Some(entry),
                text,
            });
            x += w + BETWEEN;
        }
        Self {
            rows,
            width,
            height: y + ROW,
        }
    }

    /// Draws it with its upper left corner at `corner`; gives its box.
    pub fn draw(&self, corner: Point, items: &mut Vec<Item>) -> Frame {
        for row in &self.rows {
            let (x, y) = (corner.0 + row.at.0, corner.1 + row.at.1 + ROW / 2.0);
            let heading = row.entry.is_none();
            let offset = if heading { 0.0 } else { SAMPLE + GAP };
            if let Some(entry) = row.entry {
                sample(entry, (x, y), items);
            }
            items.push(Item::Text {
                at: (x + offset, y + font::cap_height(SIZE) / 2.0),
                text: row.text.clone(),
                size: SIZE,
                colour: if heading { GREY } else { INK },
                anchor: Anchor::Start,
                turned: false,
            });
        }
        Frame {
            left: corner.0,
            top: corner.1,
            right: corner.0 + self.width,
            bottom: corner.1 + self.height,
        }
    }
}

fn sample(entry: &Entry, (x, y): Point, items: &mut Vec<Item>) {
    let colour = entry.colour;
    let area = |h: f64, opacity: f64| Item::Polygon {
        points: vec![
            (x, y - h),
            (x + SAMPLE, y - h),
            (x + SAMPLE, y + h),
            (x, y + h),
        ],
        colour,
        opacity,
    };
    let width = if entry.thin { 1.3 } else { 2.2 };
    let line = |points: Vec<Point>, width: f64, stroke| Item::Line {
        points,
        colour,
        width,
        dash: dash(stroke),
    };
    let across = line(vec![(x, y), (x + SAMPLE, y)], width, entry.stroke);
    let middle = (x + SAMPLE / 2.0, y);
    match entry.sample {
        Sample::Line { band } => {
            if band {
                items.push(area(6.0, 0.2));
            }
            items.push(across);
        }
        Sample::Bars => {
            items.push(across);
            let bar = vec![(middle.0, y - 8.0), (middle.0, y + 8.0)];
            items.push(line(bar, 1.4, Stroke::Solid));
        }
        Sample::Points => {}
        Sample::Area => {
            items.push(area(6.0, 0.3));
            let corners = [
                (0.0, -6.0),
                (SAMPLE, -6.0),
                (SAMPLE, 6.0),
                (0.0, 6.0),
                (0.0, -6.0),
            ];
            let edge = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
            items.push(line(edge, 1.5, entry.stroke));
        }
    }
    if let Some(shape) = entry.marker {
        items.push(marker(shape, middle, 4.0, colour, 1.0));
    }
}
