//! From a layout to shapes: titles, grid, axes, labels, and the data through `paint`.

use super::colour::{FAINT, GREY, GRID, INK, Rgb};
use super::figure::Figure;
use super::font;
use super::heatmap;
use super::layout::{Cell, LABEL, Layout, NOTE, PANEL_TITLE, TICK, TICK_GAP, TITLE, layout};
use super::paint::Painter;
use super::resolve::Drawn;
use super::scene::{Anchor, Frame, Item, Point, Scene};
use super::series::Kind;
use crate::error::Result;

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
        let figure = self.told_apart();
        let resolved = figure.resolve()?;
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
