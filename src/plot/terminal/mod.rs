//! Previews: figures as text, with curves of braille dots, and markers that tell curves apart
//! without colour.

mod curves;
mod heat;
mod legend;
mod screen;

use super::colour::GREY;
use super::figure::Figure;
use super::resolve::{Drawn, Entry};
use super::ticks::{Tick, ticks};
use crate::error::Result;
use screen::{Screen, Window};

/// What marks the curves, in the order of the legend.
const SYMBOLS: [char; 12] = ['●', '■', '▲', '◆', '○', '□', '△', '◇', '×', '+', '*', '¤'];
/// Columns that a panel needs, with its labels.
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
        let figure = self.told_apart();
        let resolved = figure.resolve()?;
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
        let legend = legend::lay_out(&resolved, columns);
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
        Some(map) => heat::draw(screen, &inner, map, colour),
        None => {
            let plot = axes(screen, &inner, drawn);
            for (series, ink) in &drawn.series {
                curves::under(screen, &plot, drawn, series, *ink);
            }
            for (i, (series, ink)) in drawn.series.iter().enumerate() {
                curves::over(screen, &plot, drawn, series, *ink, legend, i);
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
