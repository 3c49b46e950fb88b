//! Painting a scene into pixels, and those as a PNG file.
//!
//! The bitmap backend of plotters does not smooth wide lines. The scene is drawn with [`SAMPLES`]
//! times as many pixels in each direction, of which the mean is taken; in strips, so that large
//! pictures need little memory.

use plotters::prelude::IntoDrawingArea;
use rayon::prelude::*;

use super::canvas::{Canvas, SAMPLES};
use super::draw::{self, Dashes};
use super::font;
use super::scene::Scene;
use crate::error::{Error, Result};

/// Rows of pixels painted at a time.
const STRIP: usize = 192;

/// Pixels, three bytes each, row by row.
pub(crate) struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// Writes the means of squares of samples into `pixels`, rows of `width` pixels.
fn average(samples: &[u8], width: usize, pixels: &mut [u8]) {
    const AREA: u32 = (SAMPLES * SAMPLES) as u32;
    let rows = samples.chunks_exact(3 * width * SAMPLES * SAMPLES);
    let mut sums = vec![0; 3 * width];
    for (rows, pixels) in rows.zip(pixels.chunks_exact_mut(3 * width)) {
        sums.fill(AREA / 2);
        for row in rows.chunks_exact(3 * width * SAMPLES) {
            for (sum, row) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * SAMPLES)) {
                for sample in row.chunks_exact(3) {
                    for (sum, byte) in sum.iter_mut().zip(sample) {
                        *sum += u32::from(*byte);
                    }
                }
            }
        }
        for (pixel, sum) in pixels.iter_mut().zip(&sums) {
            *pixel = (sum / AREA) as u8;
        }
    }
}

/// The scene in pixels, `ratio` of them per unit.
///
/// # Errors
/// If it cannot be drawn.
pub(crate) fn paint(scene: &Scene, ratio: f64) -> Result<Pixels> {
    let width = (scene.width * ratio).round().max(1.0) as usize;
    let height = (scene.height * ratio).round().max(1.0) as usize;
    let mut rgb = vec![0; 3 * width * height];
    font::register()?;
    rgb.par_chunks_mut(3 * width * STRIP)
        .enumerate()
        .try_for_each(|(i, pixels)| {
            let mut samples = vec![0; pixels.len() * SAMPLES * SAMPLES];
            let size = (width * SAMPLES, height * SAMPLES);
            let canvas = Canvas::new(&mut samples, size, i * STRIP * SAMPLES);
            let area = canvas.into_drawing_area();
            draw::draw(scene, &area, ratio * SAMPLES as f64, Dashes::Cut)?;
            drop(area);
            average(&samples, width, pixels);
            Ok::<(), Error>(())
        })?;
    Ok(Pixels { width, height, rgb })
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
    use crate::plot::colour::Rgb;
    use crate::plot::scene::{Anchor, Item};

    const BLACK: Rgb = Rgb(0, 0, 0);

    fn painted(items: Vec<Item>) -> Pixels {
        let scene = Scene {
            width: 20.0,
            height: 10.0,
            description: String::new(),
            items,
        };
        paint(&scene, 2.0).unwrap()
    }

    fn at(p: &Pixels, x: usize, y: usize) -> u8 {
        p.rgb[3 * (y * p.width + x)]
    }

    #[test]
    fn shapes_cover_what_they_should() {
        let p = painted(vec![
            Item::Line {
                points: vec![(2.0, 5.0), (10.0, 5.0), (4.0, 5.0)],
                colour: BLACK,
                width: 2.0,
                dash: &[],
            },
            Item::Polygon {
                points: vec![(12.0, 2.0), (16.0, 2.0), (16.0, 6.0), (12.0, 6.0)],
                colour: BLACK,
                opacity: 0.5,
            },
            Item::Rect {
                from: (-0.2, 0.0),
                to: (3.2, 1.4),
                colour: BLACK,
            },
        ]);
        assert_eq!((p.width, p.height), (40, 20));
        let column: Vec<u8> = (6..14).map(|y| at(&p, 10, y)).collect();
        assert_eq!(column, [255, 255, 0, 0, 0, 0, 255, 255]);
        assert!((126..=129).contains(&at(&p, 26, 6)), "half covered");
        assert_eq!((at(&p, 5, 2), at(&p, 6, 2), at(&p, 5, 3)), (0, 255, 255));
        assert_eq!(at(&p, 38, 18), 255);
    }

    #[test]
    fn a_wide_turning_line_has_no_holes() {
        // Many turns closer together than the line is wide.
        let turn = |i: i32| {
            (
                3.0 + 0.05 * f64::from(i),
                5.0 + f64::from(i % 3) * 0.4 - 0.4,
            )
        };
        let p = painted(vec![Item::Line {
            points: (0..280).map(turn).collect(),
            colour: BLACK,
            width: 3.0,
            dash: &[],
        }]);
        for x in 8..32 {
            for y in 9..11 {
                assert_eq!(at(&p, x, y), 0, "{x} {y}");
            }
            assert_eq!((at(&p, x, 4), at(&p, x, 15)), (255, 255));
        }
    }

    #[test]
    fn dashes_skip() {
        let p = painted(vec![Item::Line {
            points: vec![(0.0, 5.0), (10.0, 5.0), (20.0, 5.0)],
            colour: BLACK,
            width: 2.0,
            dash: &[6.0, 3.0],
        }]);
        let dark: Vec<bool> = (0..20).map(|x| at(&p, 2 * x + 1, 10) < 128).collect();
        let wanted: Vec<bool> = (0..20).map(|x| x % 9 < 6).collect();
        assert_eq!(dark, wanted);
    }

    #[test]
    fn slanted_lines_and_discs_are_smooth() {
        let p = painted(vec![
            Item::Line {
                points: vec![(0.0, 0.0), (10.0, 9.0)],
                colour: BLACK,
                width: 1.0,
                dash: &[],
            },
            Item::Disc {
                centre: (15.0, 5.0),
                radius: 3.0,
                colour: BLACK,
                opacity: 1.0,
            },
        ]);
        let greys = |from: usize, to: usize| -> usize {
            let places = (0..p.height).flat_map(|y| (from..to).map(move |x| (x, y)));
            places
                .filter(|(x, y)| (30..225).contains(&at(&p, *x, *y)))
                .count()
        };
        assert!(greys(0, 20) > 15 && greys(22, 40) > 8);
        let share: f64 = (0..p.height)
            .flat_map(|y| (22..40).map(move |x| (x, y)))
            .map(|(x, y)| 1.0 - f64::from(at(&p, x, y)) / 255.0)
            .sum();
        let area = 36.0 * std::f64::consts::PI;
        assert!((share / area - 1.0).abs() < 0.08, "{share} {area}");
    }

    #[test]
    fn text_is_painted_where_it_is_anchored() {
        // The bounds of the ink of a text 24 pixels high.
        let ink = |text: &str, anchor, turned| {
            let p = painted(vec![Item::Text {
                at: (10.0, 9.0),
                text: text.into(),
                size: 8.0,
                colour: BLACK,
                anchor,
                turned,
            }]);
            let places = (0..p.height).flat_map(|y| (0..p.width).map(move |x| (x, y)));
            places
                .filter(|(x, y)| at(&p, *x, *y) < 128)
                .fold((99, 99, 0, 0), |(l, t, r, b), (x, y)| {
                    (x.min(l), y.min(t), x.max(r), y.max(b))
                })
        };
        // DejaVu Sans: "H" is inked from 0.098 to 0.654 em of its advance of 0.752, 0.729 em high.
        assert_eq!(ink("H", Anchor::Start, false), (22, 6, 29, 17));
        let (left, top, right, bottom) = ink("H", Anchor::End, false);
        assert_eq!((left, top, right, bottom), (10, 6, 17, 17));
        let (left, _, right, _) = ink("H", Anchor::Middle, false);
        assert_eq!((left, right), (16, 23));
        // Turned, the baseline is upright and the text reads upwards from the anchor.
        let (left, top, right, bottom) = ink("H", Anchor::Start, true);
        assert_eq!((left, right), (8, 19));
        assert_eq!((top, bottom), (8, 15));
        // A descender reaches below the baseline.
        assert!(ink("g", Anchor::Start, false).3 > 18);
    }

    #[test]
    fn strips_meet() {
        let scene = |items| Scene {
            width: 30.0,
            height: 500.0,
            description: String::new(),
            items,
        };
        let line = |x: f64| Item::Line {
            points: vec![(x, 10.0), (x + 8.0, 250.0), (x, 490.0)],
            colour: BLACK,
            width: 4.0,
            dash: &[],
        };
        let p = paint(&scene(vec![line(10.0)]), 1.0).unwrap();
        assert!(p.height > 2 * STRIP);
        for y in 12..488 {
            let dark = (0..30).filter(|x| at(&p, *x, y) < 64).count();
            assert!((3..=5).contains(&dark), "row {y}: {dark}");
        }
    }
}
