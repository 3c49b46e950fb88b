//! How a series looks: where its colour comes from, line style, marker, form of its intervals.

use serde::Serialize;

use super::colour::Rgb;
use crate::error::{Error, Result};

/// Where a series' colour comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The next of the palette [`super::CATEGORIES`]; series with the same group and label share
    /// it in all panels.
    #[default]
    Auto,
    /// By width: all widths of the figure, in order, get [`super::width_colours`].
    Width(f64),
    /// This one.
    Fixed(Rgb),
}

/// Line style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stroke {
    /// An unbroken line.
    #[default]
    Solid,
    /// Long dashes.
    Dashed,
    /// Dots.
    Dotted,
}

impl Stroke {
    /// The stroke called `solid`, `dashed` or `dotted`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "solid" => Ok(Self::Solid),
            "dashed" => Ok(Self::Dashed),
            "dotted" => Ok(Self::Dotted),
            _ => Err(Error::setting(format!("no such line style: \"{name}\""))
                .with_help("accepted are \"solid\", \"dashed\" and \"dotted\"")),
        }
    }
}

/// Shape of the points of a scatter, or of the points on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Marker {
    /// A disc.
    #[default]
    Circle,
    /// A square.
    Square,
    /// A triangle.
    Triangle,
    /// A square on its corner.
    Diamond,
}

impl Marker {
    /// The marker called `circle`, `square`, `triangle` or `diamond`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "circle" => Ok(Self::Circle),
            "square" => Ok(Self::Square),
            "triangle" => Ok(Self::Triangle),
            "diamond" => Ok(Self::Diamond),
            _ => Err(Error::setting(format!("no such marker: \"{name}\""))
                .with_help("accepted are \"circle\", \"square\", \"triangle\" and \"diamond\"")),
        }
    }
}

/// How the interval around a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whiskers {
    /// A filled band.
    #[default]
    Band,
    /// An error bar at each point.
    Bars,
}
