//! The legend of a preview.

use super::{NARROWEST_PANEL, SYMBOLS, length, shorten};
use crate::plot::colour::{GREY, Rgb};
use crate::plot::figure::LegendPlace;
use crate::plot::resolve::{Entry, Resolved, Sample};
use crate::plot::style::Stroke;

/// Pieces of text at columns of a line.
pub(super) type Line = Vec<(usize, String, Option<Rgb>)>;

/// A legend in lines of text.
pub(super) struct LegendText {
    pub lines: Vec<Line>,
    /// The longest line.
    pub width: usize,
    /// Whether it stands at the right of the panels, else below.
    pub right: bool,
}

/// The legend at the right where the panels keep enough room, else below.
pub(super) fn lay_out(resolved: &Resolved, columns: usize) -> LegendText {
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
    if let (Some(title_text), false) = (&resolved.figure.legend_title, items.is_empty()) {
        let title = shorten(title_text, columns);
        width = width.max(if right { length(&title) } else { 0 });
        if right || entries.iter().any(|e| e.group.is_some()) {
            lines.push(vec![(0, title, Some(GREY))]);
        } else {
            // Without groups the title stands where a group's heading would.
            items.iter_mut().for_each(|item| item.0 = Some(title_text));
        }
    }
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
    !matches!(entry.sample, Sample::Points)
}
