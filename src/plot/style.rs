//! How a series looks: where its colour comes from, line style, marker, form of its intervals.

use serde::Serialize;

use super::colour::Rgb;
use crate::error::{Error, Result};

/// The choice called `name`; otherwise an error with the accepted names and the nearest.
pub(crate) fn by_name<T: Copy>(what: &str, name: &str, choices: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = choices.iter().find(|(n, _)| *n == name) {
        return Ok(*value);
    }
    let accepted: Vec<String> = choices.iter().map(|(n, _)| format!("\"{n}\"")).collect();
    let closeness = |n: &str| strsim::jaro_winkler(n, name);
    let nearest = choices
        .iter()
        .map(|(n, _)| *n)
        .max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
        .filter(|n| closeness(n) > 0.7);
    let hint = nearest.map_or_else(String::new, |n| format!("did you mean \"{n}\"? "));
    Err(Error::setting(format!("no such {what}: \"{name}\""))
        .with_help(format!("{hint}accepted are {}", accepted.join(", "))))
}

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
        by_name(
            "line style",
            name,
            &[
                ("solid", Self::Solid),
                ("dashed", Self::Dashed),
                ("dotted", Self::Dotted),
            ],
        )
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
        by_name(
            "marker",
            name,
            &[
                ("circle", Self::Circle),
                ("square", Self::Square),
                ("triangle", Self::Triangle),
                ("diamond", Self::Diamond),
            ],
        )
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
