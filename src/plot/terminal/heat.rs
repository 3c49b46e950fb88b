//! Heat maps in characters.

use super::screen::{Screen, Window};
use super::{length, nearest, shorten};
use crate::plot::colour::{GREY, INK, WHITE, colour_map};
use crate::plot::heatmap::DARK;
use crate::plot::series::HeatMap;
use crate::plot::ticks::short_number;

/// Cells from low to high.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// Draws a heat map: numbers on shades where they fit, else shades; gives the window of its cells.
pub(super) fn draw(screen: &mut Screen, window: &Window, map: &HeatMap, colour: bool) -> Window {
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
        if !v.is_finite() {
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
    let number = |v: f64| short_number(v, 3);
    let name = map.value_label.as_deref().unwrap_or("");
    let (low, high) = (number(range.low), number(range.high));
    let row = cells.row + rows + 2;
    let key: String = match colour {
        true => " ".repeat(SHADES.len()),
        false => SHADES.iter().collect(),
    };
    let text = format!("{low} {key} {high}  {name}");
    screen.write(
        cells.column,
        row,
        &shorten(text.trim_end(), across),
        Some(GREY),
    );
    if colour {
        for i in 0..SHADES.len().min(across.saturating_sub(length(&low) + 1)) {
            let ground = colour_map((i as f64 + 0.5) / SHADES.len() as f64);
            screen.ground(cells.column + length(&low) + 1 + i, row, ground);
        }
    }
    Window { rows, ..cells }
}
