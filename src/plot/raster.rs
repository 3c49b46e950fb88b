//! Painting a scene into pixels, with the exact share of each pixel that a shape covers.
//!
//! A stroke is the union of one rectangle per segment and one disc per joint, all wound the same
//! way, so that the signed areas of the filler add up to at least one wherever any of them covers.

use ab_glyph_rasterizer::{Rasterizer, point};

use super::colour::Rgb;
use super::font::{self, Piece};
use super::scene::{Anchor, Item, Point, Scene};
use crate::error::{Error, Result};

/// Pixels, three bytes each, row by row.
pub(crate) struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

impl Pixels {
    fn blend(&mut self, x: i64, y: i64, colour: Rgb, share: f64) {
        if share <= 0.0 || x < 0 || y < 0 || x >= self.width as i64 || y >= self.height as i64 {
            return;
        }
        let at = 3 * (y as usize * self.width + x as usize);
        let share = share.min(1.0);
        for (byte, new) in self.rgb[at..at + 3]
            .iter_mut()
            .zip([colour.0, colour.1, colour.2])
        {
            *byte = (f64::from(*byte) + (f64::from(new) - f64::from(*byte)) * share).round() as u8;
        }
    }

    /// Fills the union of outlines.
    fn fill(&mut self, outlines: &[Piece], colour: Rgb, opacity: f64) {
        let mut bounds = [
            f64::INFINITY,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NEG_INFINITY,
        ];
        for piece in outlines {
            let points: &[Point] = match piece {
                Piece::Line(p) => p,
                Piece::Quad(p) => p,
                Piece::Cubic(p) => p,
            };
            for p in points {
                bounds[0] = bounds[0].min(p.0);
                bounds[1] = bounds[1].min(p.1);
                bounds[2] = bounds[2].max(p.0);
                bounds[3] = bounds[3].max(p.1);
            }
        }
        if !bounds.iter().all(|b| b.is_finite()) {
            return;
        }
        let (left, top) = (bounds[0].floor() - 1.0, bounds[1].floor() - 1.0);
        let width = (bounds[2].ceil() + 1.0 - left) as usize + 1;
        let height = (bounds[3].ceil() + 1.0 - top) as usize + 1;
        // Shapes are cut at their panel and texts fit the figure; anything larger is a mistake
        // that must not take the memory.
        if width > 4 * self.width + 64 || height > 4 * self.height + 64 {
            return;
        }
        let mut filler = Rasterizer::new(width, height);
        let at = |p: &Point| point((p.0 - left) as f32, (p.1 - top) as f32);
        for piece in outlines {
            match piece {
                Piece::Line([a, b]) => filler.draw_line(at(a), at(b)),
                Piece::Quad([a, b, c]) => filler.draw_quad(at(a), at(b), at(c)),
                Piece::Cubic([a, b, c, d]) => filler.draw_cubic(at(a), at(b), at(c), at(d)),
            }
        }
        let (left, top) = (left as i64, top as i64);
        filler.for_each_pixel_2d(|x, y, share| {
            if share > 0.002 {
                let share = f64::from(share.min(1.0)) * opacity;
                self.blend(left + i64::from(x), top + i64::from(y), colour, share);
            }
        });
    }
}

fn closed(points: &[Point], out: &mut Vec<Piece>) {
    for i in 0..points.len() {
        out.push(Piece::Line([points[i], points[(i + 1) % points.len()]]));
    }
}

fn disc(centre: Point, radius: f64, out: &mut Vec<Piece>) {
    let corners = ((radius * 4.0) as usize).clamp(8, 48);
    let points: Vec<Point> = (0..corners)
        .map(|i| {
            let (sin, cos) = (i as f64 / corners as f64 * std::f64::consts::TAU).sin_cos();
            (centre.0 + radius * cos, centre.1 + radius * sin)
        })
        .collect();
    closed(&points, out);
}

/// The outline of a line of the given width, with round joints and flat ends.
fn stroke(points: &[Point], width: f64, out: &mut Vec<Piece>) {
    let half = width / 2.0;
    for (i, pair) in points.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = dx.hypot(dy);
        if length == 0.0 {
            continue;
        }
        let (nx, ny) = (-dy / length * half, dx / length * half);
        let corners = [
            (a.0 - nx, a.1 - ny),
            (b.0 - nx, b.1 - ny),
            (b.0 + nx, b.1 + ny),
            (a.0 + nx, a.1 + ny),
        ];
        closed(&corners, out);
        if i > 0 && half > 0.6 {
            disc(a, half, out);
        }
    }
}

/// The drawn parts of a dashed line.
fn dashes(points: &[Point], dash: &[f64], scale: f64) -> Vec<Vec<Point>> {
    let period: f64 = dash.iter().sum();
    if dash.is_empty() || period <= 0.0 {
        return vec![points.to_vec()];
    }
    let (mut index, mut left) = (0, dash[0] * scale);
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut part: Vec<Point> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let (mut a, b) = (pair[0], pair[1]);
        let mut length = (b.0 - a.0).hypot(b.1 - a.1);
        while length > left {
            let t = left / length;
            a = (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1));
            length -= left;
            if index % 2 == 0 {
                part.push(a);
                parts.push(std::mem::take(&mut part));
            } else {
                part = vec![a];
            }
            index += 1;
            left = dash[index % dash.len()] * scale;
        }
        left -= length;
        if index % 2 == 0 {
            part.push(b);
        }
    }
    if index % 2 == 0 && part.len() > 1 {
        parts.push(part);
    }
    parts
}

/// The scene in pixels, `ratio` of them per unit.
pub(crate) fn paint(scene: &Scene, ratio: f64) -> Pixels {
    let width = (scene.width * ratio).round().max(1.0) as usize;
    let height = (scene.height * ratio).round().max(1.0) as usize;
    let mut pixels = Pixels {
        width,
        height,
        rgb: vec![255; 3 * width * height],
    };
    let scaled = |points: &[Point]| -> Vec<Point> {
        points.iter().map(|p| (p.0 * ratio, p.1 * ratio)).collect()
    };
    for item in &scene.items {
        let mut outline = Vec::new();
        let (colour, opacity) = match item {
            Item::Line {
                points,
                colour,
                width,
                dash,
            } => {
                for part in dashes(&scaled(points), dash, ratio) {
                    stroke(&part, width * ratio, &mut outline);
                }
                (*colour, 1.0)
            }
            Item::Polygon {
                points,
                colour,
                opacity,
            } => {
                closed(&scaled(points), &mut outline);
                (*colour, *opacity)
            }
            Item::Rect { from, to, colour } => {
                let whole = |v: f64| (v * ratio).round() as i64;
                for y in whole(from.1)..whole(to.1) {
                    for x in whole(from.0)..whole(to.0) {
                        pixels.blend(x, y, *colour, 1.0);
                    }
                }
                continue;
            }
            Item::Disc {
                centre,
                radius,
                colour,
                opacity,
            } => {
                disc(
                    (centre.0 * ratio, centre.1 * ratio),
                    radius * ratio,
                    &mut outline,
                );
                (*colour, *opacity)
            }
            Item::Text {
                at,
                text,
                size,
                colour,
                anchor,
                turned,
            } => {
                let size = size * ratio;
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => font::width(text, size) / 2.0,
                    Anchor::End => font::width(text, size),
                };
                let origin = (at.0 * ratio, at.1 * ratio);
                let place = |p: Point| match turned {
                    false => (origin.0 + p.0 - back, origin.1 + p.1),
                    true => (origin.0 + p.1, origin.1 - (p.0 - back)),
                };
                outline = font::outlines(text, size)
                    .into_iter()
                    .map(|piece| match piece {
                        Piece::Line(p) => Piece::Line(p.map(place)),
                        Piece::Quad(p) => Piece::Quad(p.map(place)),
                        Piece::Cubic(p) => Piece::Cubic(p.map(place)),
                    })
                    .collect();
                (*colour, 1.0)
            }
        };
        pixels.fill(&outline, colour, opacity);
    }
    pixels
}

/// The pixels as a PNG file.
pub(crate) fn encode(pixels: &Pixels, ratio: f64) -> Result<Vec<u8>> {
    let failed = |e: png::EncodingError| Error::other(format!("PNG: {e}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width as u32, pixels.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // 96 units to the inch, as in CSS.
    let per_metre = (96.0 * ratio / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels.rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(items: Vec<Item>) -> Pixels {
        let scene = Scene {
            width: 20.0,
            height: 10.0,
            description: String::new(),
            items,
        };
        paint(&scene, 2.0)
    }

    fn at(p: &Pixels, x: usize, y: usize) -> u8 {
        p.rgb[3 * (y * p.width + x)]
    }

    #[test]
    fn shapes_cover_what_they_should() {
        let black = Rgb(0, 0, 0);
        let p = painted(vec![
            Item::Line {
                points: vec![(2.0, 5.0), (10.0, 5.0), (4.0, 5.0)],
                colour: black,
                width: 2.0,
                dash: &[],
            },
            Item::Polygon {
                points: vec![(12.0, 2.0), (16.0, 2.0), (16.0, 6.0), (12.0, 6.0)],
                colour: black,
                opacity: 0.5,
            },
        ]);
        assert_eq!((p.width, p.height), (40, 20));
        assert_eq!((at(&p, 10, 10), at(&p, 10, 8), at(&p, 10, 7)), (0, 0, 255));
        assert_eq!(at(&p, 26, 6), 128, "half covered");
        assert_eq!(at(&p, 38, 18), 255);
    }

    #[test]
    fn dashes_skip() {
        let parts = dashes(&[(0.0, 0.0), (5.0, 0.0), (10.0, 0.0)], &[3.0, 1.0], 1.0);
        let ends: Vec<(f64, f64)> = parts.iter().map(|p| (p[0].0, p[p.len() - 1].0)).collect();
        assert_eq!(ends, [(0.0, 3.0), (4.0, 7.0), (8.0, 10.0)]);
    }

    #[test]
    fn text_is_painted_where_it_is_anchored() {
        let text = |anchor, turned| {
            painted(vec![Item::Text {
                at: (10.0, 8.0),
                text: "H".into(),
                size: 8.0,
                colour: Rgb(0, 0, 0),
                anchor,
                turned,
            }])
        };
        let dark = |p: &Pixels, right: bool| {
            (0..p.height)
                .flat_map(|y| (0..p.width).map(move |x| (x, y)))
                .filter(|(x, y)| (*x >= 20) == right && at(p, *x, *y) < 128)
                .count()
        };
        let start = text(Anchor::Start, false);
        assert!(dark(&start, true) > 20 && dark(&start, false) == 0);
        let end = text(Anchor::End, false);
        assert!(dark(&end, false) > 20 && dark(&end, true) == 0);
        let turned = text(Anchor::Start, true);
        assert!(dark(&turned, false) > 20 && dark(&turned, true) == 0);
    }
}
