//! Drawing a scene with plotters, on whatever it can draw.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, ShapeStyle};

use super::colour::Rgb;
use super::font;
use super::scene::{Anchor, Item, Point, Scene};
use crate::error::{Error, Result};

/// Size that plotters gives a text, per em.
pub(crate) const PER_EM: f64 = 1.24;

/// How far below its upper edge plotters puts the baseline of a text, in em.
pub(crate) const BASELINE: f64 = 0.76;

/// A colour as plotters has it.
fn mix(colour: Rgb, opacity: f64) -> RGBAColor {
    RGBColor(colour.0, colour.1, colour.2).mix(opacity)
}

/// Who cuts lines into dashes and draws pictures: plotters, or what comes after it, which gets lines and boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dashes {
    Cut,
    Whole,
}

/// From units of the scene to those of the drawing area, which are whole numbers.
#[derive(Clone, Copy)]
struct Ruler(f64);

impl Ruler {
    fn length(self, v: f64) -> i32 {
        (v * self.0).round() as i32
    }

    fn point(self, p: Point) -> (i32, i32) {
        (self.length(p.0), self.length(p.1))
    }

    fn points(self, points: &[Point]) -> Vec<(i32, i32)> {
        points.iter().map(|p| self.point(*p)).collect()
    }
}

/// Draws the scene with `scale` units of the area to one of the scene.
///
/// # Errors
/// What the backend reports.
pub(crate) fn draw<DB: DrawingBackend>(
    scene: &Scene,
    area: &DrawingArea<DB, Shift>,
    scale: f64,
    dashes: Dashes,
) -> Result<()> {
    let ruler = Ruler(scale);
    let drawn = area
        .fill(&WHITE)
        .and_then(|()| {
            scene
                .items
                .iter()
                .try_for_each(|i| item(i, area, ruler, dashes))
        })
        .and_then(|()| area.present());
    drawn.map_err(|e| Error::other(format!("drawing: {e}")))
}

type Drawn<DB> = std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn item<DB: DrawingBackend>(
    item: &Item,
    area: &DrawingArea<DB, Shift>,
    ruler: Ruler,
    dashes: Dashes,
) -> Drawn<DB> {
    match item {
        Item::Line {
            points,
            colour,
            width,
            dash,
        } => {
            let style = ShapeStyle {
                color: mix(*colour, 1.0),
                filled: false,
                stroke_width: ruler.length(*width).max(1) as u32,
            };
            let points = ruler.points(points);
            match *dash {
                [drawn, skipped, ..] if dashes == Dashes::Cut => {
                    let (drawn, skipped) = (ruler.length(*drawn), ruler.length(*skipped));
                    area.draw(&DashedPathElement::new(
                        points,
                        drawn.max(1),
                        skipped.max(1),
                        style,
                    ))
                }
                _ => area.draw(&PathElement::new(points, style)),
            }
        }
        Item::Polygon {
            points,
            colour,
            opacity,
        } => area.draw(&Polygon::new(ruler.points(points), mix(*colour, *opacity))),
        Item::Rect { from, to, colour } => {
            let corners = [ruler.point(*from), ruler.point(*to)];
            area.draw(&Rectangle::new(corners, mix(*colour, 1.0).filled()))
        }
        Item::Picture {
            from,
            to,
            columns,
            pixels,
        } => {
            if dashes == Dashes::Whole {
                let corners = [ruler.point(*from), ruler.point(*to)];
                return area.draw(&Rectangle::new(
                    corners,
                    mix(super::colour::FAINT, 1.0).filled(),
                ));
            }
            let rows = pixels.len() / columns.max(&1);
            let at = |column: usize, row: usize| {
                let part = |a: f64, b: f64, i: usize, n: usize| a + (b - a) * i as f64 / n as f64;
                ruler.point((
                    part(from.0, to.0, column, *columns),
                    part(from.1, to.1, row, rows),
                ))
            };
            pixels.iter().enumerate().try_for_each(|(i, colour)| {
                let (column, row) = (i % columns, i / columns);
                let corners = [at(column, row), at(column + 1, row + 1)];
                area.draw(&Rectangle::new(corners, mix(*colour, 1.0).filled()))
            })
        }
        Item::Disc {
            centre,
            radius,
            colour,
            opacity,
        } => {
            let style = mix(*colour, *opacity).filled();
            area.draw(&Circle::new(
                ruler.point(*centre),
                ruler.length(*radius),
                style,
            ))
        }
        Item::Text {
            at,
            text,
            size,
            colour,
            anchor,
            turned,
        } => {
            let (at, transform) = match turned {
                false => ((at.0, at.1 - BASELINE * size), FontTransform::None),
                true => ((at.0 - BASELINE * size, at.1), FontTransform::Rotate270),
            };
            let place = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let colour = mix(*colour, 1.0);
            let style = TextStyle::from((font::FAMILY, size * ruler.0 * PER_EM).into_font())
                .color(&colour)
                .transform(transform)
                .pos(Pos::new(place, VPos::Top));
            // XML forbids most control characters, and plotters does not look for them.
            let clean = |c: char| match c {
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => ' ',
                c => c,
            };
            let text: String = text.chars().map(clean).collect();
            area.draw(&Text::new(text, ruler.point(at), style))
        }
    }
}
