//! Placing titles, panels, legend and notes; every size comes from measured text.

use super::axis::{Range, Scale};
use super::figure::LegendPlace;
use super::font;
use super::heatmap;
use super::legend::Legend;
use super::resolve::{Drawn, Resolved};
use super::scene::Frame;
use super::ticks::{Tick, ticks};
use crate::error::{Error, Result};

/// Font sizes in pixels.
pub(crate) const TITLE: f64 = 18.0;
pub(crate) const PANEL_TITLE: f64 = 15.0;
pub(crate) const LABEL: f64 = 14.0;
pub(crate) const TICK: f64 = 12.5;
pub(crate) const NOTE: f64 = 11.5;

const MARGIN: f64 = 18.0;
/// Between panels.
const GUTTER: f64 = 26.0;
/// From the axis to its tick labels.
pub(crate) const TICK_GAP: f64 = 7.0;

/// Where one panel's parts are.
pub(crate) struct Cell {
    /// The area inside the axes.
    pub plot: Frame,
    /// The panel with its labels.
    pub outer: Frame,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    /// Whether tick and axis labels of y are written (not for inner panels that share y).
    pub y_texts: bool,
    /// The colour bar, and ticks along it.
    pub bar: Option<(Frame, Vec<Tick>)>,
}

/// Where everything is.
pub(crate) struct Layout<'a> {
    pub width: f64,
    pub height: f64,
    pub title: Vec<String>,
    pub cells: Vec<Cell>,
    pub legend: Option<(Legend<'a>, (f64, f64))>,
    pub notes: Vec<String>,
}

fn widest(ticks: &[Tick]) -> f64 {
    let widths = ticks.iter().filter_map(|t| t.text.as_ref());
    widths.map(|t| font::width(t, TICK)).fold(0.0, f64::max)
}

/// Ticks with as many labels as fit without touching along `length` pixels.
pub(crate) fn fitting(range: &Range, length: f64, upright: bool) -> Vec<Tick> {
    let apart = match (upright, range.scale) {
        (true, _) | (_, Scale::Log2) => 50.0,
        _ => 78.0,
    };
    let most = (length / apart).clamp(2.0, 10.0) as usize;
    for target in (2..=most).rev() {
        let found = ticks(range, target);
        let places: Vec<(f64, f64)> = found
            .iter()
            .filter_map(|t| {
                let text = t.text.as_ref()?;
                let size = if upright {
                    TICK
                } else {
                    font::width(text, TICK)
                };
                Some((range.place(t.value) * length, size))
            })
            .collect();
        let apart = |w: &[(f64, f64)]| w[1].0 - w[0].0 > (w[0].1 + w[1].1) / 2.0 + 6.0;
        if places.windows(2).all(apart) || target == 2 {
            return found;
        }
    }
    Vec::new()
}

/// Places all parts of a resolved figure.
///
/// # Errors
/// If the figure's size is out of bounds or too small for its texts.
pub(crate) fn layout<'a>(resolved: &'a Resolved<'_>) -> Result<Layout<'a>> {
    let figure = resolved.figure;
    let (width, height) = figure.dimensions()?;
    let (columns, rows) = figure.grid();
    let inner = width - 2.0 * MARGIN;

    let title = match &figure.title {
        Some(title) => font::wrap(title, TITLE, inner),
        None => Vec::new(),
    };
    let mut notes: Vec<String> = resolved
        .notes
        .iter()
        .flat_map(|n| font::wrap(n, NOTE, inner))
        .collect();
    let most = (height * 0.2 / (NOTE * 1.4)) as usize;
    if notes.len() > most.max(1) {
        let more = notes.len() - most.max(1);
        notes.truncate(most.max(1));
        if let Some(last) = notes.last_mut() {
            *last += &format!(" … and {more} more lines");
        }
    }
    let mut area = Frame {
        left: MARGIN,
        top: MARGIN + title.len() as f64 * TITLE * 1.35 + if title.is_empty() { 0.0 } else { 6.0 },
        right: width - MARGIN,
        bottom: height - MARGIN - notes.len() as f64 * NOTE * 1.4,
    };
    if !notes.is_empty() {
        area.bottom -= 8.0;
    }

    let mut legend = None;
    if !resolved.legend.is_empty() && figure.legend != LegendPlace::None {
        let heading = figure.legend_title.as_deref();
        let column = Legend::column(&resolved.legend, heading, inner * 0.4);
        let lines = Legend::lines(&resolved.legend, heading, inner);
        let right = match figure.legend {
            LegendPlace::Right => true,
            LegendPlace::Below => false,
            _ => {
                let narrow = inner * if columns == 1 { 0.34 } else { 0.22 };
                let full = Legend::column(&resolved.legend, heading, f64::INFINITY);
                (full.width <= narrow && full.height <= area.height())
                    || lines.height > area.height() * 0.45
            }
        };
        if right {
            area.right -= column.width + 22.0;
            legend = Some((column, (area.right + 22.0, area.top)));
        } else {
            area.bottom -= lines.height + 12.0;
            let left = area.left + ((inner - lines.width) / 2.0).max(0.0);
            legend = Some((lines, (left, area.bottom + 12.0)));
        }
    }

    let cell_width = (area.width() - GUTTER * (columns - 1) as f64) / columns as f64;
    let cell_height = (area.height() - GUTTER * (rows - 1) as f64) / rows as f64;
    let mut cells: Vec<Cell> = Vec::new();
    let inner_shared = |i: usize| {
        let left = i % columns;
        figure.share_y
            && left > 0
            && (resolved.panels[i - left..=i].iter())
                .all(|p| p.heat.is_none() && p.panel.y.label == resolved.panels[i].panel.y.label)
    };
    // Rows are equal in their top and bottom margins, so that axes are on one line.
    let mut lefts = Vec::new();
    for (i, drawn) in resolved.panels.iter().enumerate() {
        let (column, row) = (i % columns, i / columns);
        let in_row =
            &resolved.panels[row * columns..resolved.panels.len().min((row + 1) * columns)];
        let titled = in_row.iter().any(|p| p.panel.title.is_some());
        let labelled = in_row.iter().any(|p| p.panel.x.label.is_some());
        let outer = Frame {
            left: area.left + column as f64 * (cell_width + GUTTER),
            top: area.top + row as f64 * (cell_height + GUTTER),
            right: area.left + column as f64 * (cell_width + GUTTER) + cell_width,
            bottom: area.top + row as f64 * (cell_height + GUTTER) + cell_height,
        };
        let top = outer.top + if titled { PANEL_TITLE * 1.8 } else { 8.0 };
        let label = if labelled { LABEL + 10.0 } else { 0.0 };
        let bottom = outer.bottom - TICK_GAP - TICK - 4.0 - label;
        let y_texts = !inner_shared(i);
        let y_ticks = match drawn.heat {
            Some(map) => heatmap::label_ticks(&map.y_labels, bottom - top, true),
            None => fitting(&drawn.y, bottom - top, true),
        };
        let mut left = 4.0;
        if y_texts {
            left = widest(&y_ticks).min(cell_width * 0.35) + TICK_GAP + 4.0;
            if drawn.panel.y.label.is_some() {
                left += LABEL + 10.0;
            }
        }
        lefts.push(left);
        cells.push(Cell {
            plot: Frame {
                left: outer.left,
                top,
                right: outer.right,
                bottom,
            },
            outer,
            x_ticks: Vec::new(),
            y_ticks,
            y_texts,
            bar: None,
        });
    }
    if figure.share_y {
        // Panels of one row are equally wide: the room for labels is shared out.
        for row in 0..rows {
            let end = cells.len().min((row + 1) * columns);
            even_out(&mut cells[row * columns..end], &lefts[row * columns..end]);
        }
    } else {
        for (i, cell) in cells.iter_mut().enumerate() {
            let column = (i % columns..lefts.len()).step_by(columns);
            cell.plot.left += column.map(|j| lefts[j]).fold(0.0, f64::max);
        }
    }
    for (cell, drawn) in cells.iter_mut().zip(&resolved.panels) {
        finish(cell, drawn);
        if cell.plot.width() < 40.0 || cell.plot.height() < 30.0 {
            return Err(Error::setting(format!(
                "figure: size {width} × {height} leaves no room for the data beside titles, \
                 labels and legend"
            )));
        }
    }
    // A legend at the right starts where the axes do.
    if let Some((legend, corner)) = &mut legend
        && corner.0 > area.right
    {
        let top = cells.first().map_or(area.top, |c| c.plot.top);
        corner.1 = top.min((area.bottom - legend.height).max(area.top));
    }
    Ok(Layout {
        width,
        height,
        title,
        cells,
        legend,
        notes,
    })
}

/// Gives the cells of a row plots of one width.
fn even_out(cells: &mut [Cell], lefts: &[f64]) {
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
        return;
    };
    let start = first.outer.left;
    let total = last.outer.right - start;
    let gaps = GUTTER * (cells.len() - 1) as f64;
    let each = (total - gaps - lefts.iter().sum::<f64>()) / cells.len() as f64;
    let mut x = start;
    for (cell, left) in cells.iter_mut().zip(lefts) {
        cell.outer.left = x;
        cell.plot.left = x + left;
        cell.plot.right = cell.plot.left + each;
        cell.outer.right = cell.plot.right;
        x = cell.plot.right + GUTTER;
    }
}

/// Places the ticks of x, once the width is known, and the colour bar.
fn finish(cell: &mut Cell, drawn: &Drawn) {
    if let Some(map) = drawn.heat {
        let (bar_ticks, room) = heatmap::bar_room(map, cell.plot.height());
        cell.plot.right -= room;
        heatmap::square(&mut cell.plot, map);
        let left = cell.plot.right + 16.0;
        let bar = Frame {
            left,
            top: cell.plot.top,
            right: left + heatmap::BAR,
            bottom: cell.plot.bottom,
        };
        cell.bar = Some((bar, bar_ticks));
        cell.x_ticks = heatmap::label_ticks(&map.x_labels, cell.plot.width(), false);
        cell.y_ticks = heatmap::label_ticks(&map.y_labels, cell.plot.height(), true);
        return;
    }
    cell.x_ticks = fitting(&drawn.x, cell.plot.width(), false);
    // The last label must not stick out at the right.
    let overhang = cell.x_ticks.iter().filter_map(|t| {
        let half = font::width(t.text.as_ref()?, TICK) / 2.0;
        Some(cell.plot.left + drawn.x.place(t.value) * cell.plot.width() + half - cell.outer.right)
    });
    let overhang = overhang.fold(0.0, f64::max);
    if overhang > GUTTER / 2.0 - 4.0 {
        cell.plot.right -= overhang;
    }
}
