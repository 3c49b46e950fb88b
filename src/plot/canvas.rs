//! A strip of samples that plotters can draw on.
//!
//! It is the bitmap backend of plotters but for two things: a wide line is the union of its segments
//! and joints (plotters outlines the whole line, and where it turns within its width the outline
//! crosses itself and leaves holes), and texts have each glyph at its place (plotters leaves out the
//! room before a glyph).

use std::f64::consts::TAU;

use plotters::prelude::{BitMapBackend, DrawingBackend, IntoFont};
use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind,
};

use super::draw::{BASELINE, PER_EM};
use super::font;
use super::scene::Point;

type Failure<'a> = <BitMapBackend<'a> as DrawingBackend>::ErrorType;
type Done<'a> = Result<(), DrawingErrorKind<Failure<'a>>>;

/// Samples along each side of a pixel.
pub(crate) const SAMPLES: usize = 3;

/// Some rows of a drawing.
pub(crate) struct Canvas<'a> {
    rows: BitMapBackend<'a>,
    /// The number of rows above.
    top: i32,
    /// Of the whole drawing: plotters moves what lies outside to the edge.
    size: (u32, u32),
}

impl<'a> Canvas<'a> {
    /// Rows from `top` on of a drawing of this width and height, in a buffer of three bytes a
    /// sample.
    pub fn new(samples: &'a mut [u8], size: (usize, usize), top: usize) -> Self {
        let rows = samples.len() / (3 * size.0);
        let (width, height) = (size.0 as u32, size.1 as u32);
        Self {
            rows: BitMapBackend::with_buffer(samples, (width, rows as u32)),
            top: top as i32,
            size: (width, height),
        }
    }

    /// Where a point of the drawing is in these rows.
    fn shift(&self, (x, y): BackendCoord) -> BackendCoord {
        (x, y - self.top)
    }

    /// Whether nothing is seen of what reaches `margin` beyond these points, in these rows.
    fn misses(&self, points: &[BackendCoord], margin: i32) -> bool {
        let rows = || points.iter().map(|p| p.1);
        let height = self.rows.get_size().1 as i32;
        rows().max().is_none_or(|y| y < -margin) || rows().min().is_none_or(|y| y > height + margin)
    }

    /// Fills a polygon given by the middles of the samples in its corners.
    fn fill(&mut self, corners: &[Point], colour: BackendColor) -> Done<'a> {
        let whole = |p: &Point| (p.0.round() as i32, p.1.round() as i32);
        self.rows.fill_polygon(corners.iter().map(whole), &colour)
    }
}

impl<'a> DrawingBackend for Canvas<'a> {
    type ErrorType = Failure<'a>;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Done<'a> {
        self.rows.ensure_prepared()
    }

    fn present(&mut self) -> Done<'a> {
        self.rows.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Done<'a> {
        self.rows.draw_pixel(self.shift(at), colour)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done<'a> {
        self.rows.draw_line(self.shift(from), self.shift(to), style)
    }

    /// A filled rectangle covers whole pixels, so that its edges are sharp and neighbours meet.
    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Done<'a> {
        let whole = |v: i32| {
            let side = SAMPLES as i32;
            if fill {
                (v + side / 2).div_euclid(side) * side
            } else {
                v
            }
        };
        let corner = |p: BackendCoord| self.shift((whole(p.0), whole(p.1)));
        let (from, to) = (corner(from), corner(to));
        self.rows.draw_rect(from, to, style, fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Done<'a> {
        let points: Vec<BackendCoord> = path.into_iter().map(|p| self.shift(p)).collect();
        let width = style.stroke_width();
        if self.misses(&points, width as i32) {
            return Ok(());
        }
        if width < 3 {
            return self.rows.draw_path(points, style);
        }
        // Both edges belong to a filled polygon, hence one sample less; points lie between samples.
        let half = f64::from(width - 1) / 2.0;
        let middle = |p: BackendCoord| (f64::from(p.0) - 0.5, f64::from(p.1) - 0.5);
        let corners = (width / 2).clamp(8, 32);
        for (i, pair) in points.windows(2).enumerate() {
            if self.misses(pair, width as i32) {
                continue;
            }
            let (a, b) = (middle(pair[0]), middle(pair[1]));
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length = dx.hypot(dy);
            if length == 0.0 {
                continue;
            }
            let (nx, ny) = (-dy / length * half, dx / length * half);
            let sides = [
                (a.0 - nx, a.1 - ny),
                (b.0 - nx, b.1 - ny),
                (b.0 + nx, b.1 + ny),
                (a.0 + nx, a.1 + ny),
            ];
            self.fill(&sides, style.color())?;
            if i > 0 {
                let around = |i| {
                    let (sin, cos) = (f64::from(i) / f64::from(corners) * TAU).sin_cos();
                    (a.0 + half * cos, a.1 + half * sin)
                };
                let disc: Vec<Point> = (0..corners).map(around).collect();
                self.fill(&disc, style.color())?;
            }
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Done<'a> {
        let centre = self.shift(centre);
        if self.misses(&[centre], radius as i32 + 1) {
            return Ok(());
        }
        self.rows.draw_circle(centre, radius, style, fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Done<'a> {
        let corners: Vec<BackendCoord> = corners.into_iter().map(|p| self.shift(p)).collect();
        if self.misses(&corners, 0) {
            return Ok(());
        }
        self.rows.fill_polygon(corners, style)
    }

    /// Texts hang from their upper edge.
    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Done<'a> {
        let (at, turn, colour) = (self.shift(at), style.transform(), style.color());
        let em = style.size() / PER_EM;
        let width = font::width(text, em);
        if self.misses(&[at], (width + 2.0 * em) as i32) {
            return Ok(());
        }
        let back = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => width / 2.0,
            HPos::Right => width,
        };
        let (size, glyphs) = font::glyphs(text, em);
        let down = (BASELINE * em - size / 2.0).round() as i32;
        let font = (style.family(), size).into_font();
        for (glyph, x) in glyphs {
            let start = ((x - back).round() as i32, down);
            let mut name = [0; 4];
            let painted = font.draw(glyph.encode_utf8(&mut name), start, |x, y, share| {
                // Twice the middle of the sample, so that turning keeps it whole.
                let (x, y) = turn.transform(2 * x + 1, 2 * y + 1);
                let place = (at.0 + (x - 1) / 2, at.1 + (y - 1) / 2);
                self.rows.draw_pixel(place, colour.mix(f64::from(share)))
            });
            painted.map_err(|e| DrawingErrorKind::FontError(Box::new(e)))??;
        }
        Ok(())
    }
}
