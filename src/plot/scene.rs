//! A drawing as a list of shapes in pixels, y downwards: what layout leaves and the writers take.

use super::colour::Rgb;

/// A point in pixels.
pub(crate) type Point = (f64, f64);

/// Where a text's position lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// An open line; `dash` holds lengths drawn and skipped in turn, empty for an unbroken line.
    Line {
        points: Vec<Point>,
        colour: Rgb,
        width: f64,
        dash: &'static [f64],
    },
    /// A filled polygon without edge.
    Polygon {
        points: Vec<Point>,
        colour: Rgb,
        opacity: f64,
    },
    /// A filled rectangle from one corner to the other, on whole pixels, so that neighbours meet.
    Rect { from: Point, to: Point, colour: Rgb },
    /// A picture of square pixels, row by row, stretched from one corner to the other.
    Picture {
        from: Point,
        to: Point,
        columns: usize,
        pixels: Vec<Rgb>,
    },
    /// A filled disc.
    Disc {
        centre: Point,
        radius: f64,
        colour: Rgb,
        opacity: f64,
    },
    /// A line of text; `at` is on the baseline. Turned texts read upwards.
    Text {
        at: Point,
        text: String,
        size: f64,
        colour: Rgb,
        anchor: Anchor,
        turned: bool,
    },
}

/// A drawing on white.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    pub width: f64,
    pub height: f64,
    /// What the drawing shows, for readers that cannot see it.
    pub description: String,
    pub items: Vec<Item>,
}

/// An upright box in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Frame {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn centre(&self) -> Point {
        (
            (self.left + self.right) / 2.0,
            (self.top + self.bottom) / 2.0,
        )
    }

    /// Whether the boxes share more than an edge.
    #[cfg(test)]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}
