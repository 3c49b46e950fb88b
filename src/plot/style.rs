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

/// Line style and marker of a series whose colour is taken for the `lap`-th time after the first: what the user
/// gave stays where there is something else to vary.
pub(crate) fn repeated(
    lap: usize,
    points: bool,
    own: (Stroke, Option<Marker>),
) -> (Stroke, Option<Marker>) {
    const STROKES: [Stroke; 3] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
    const MARKERS: [Marker; 4] = [
        Marker::Circle,
        Marker::Square,
        Marker::Triangle,
        Marker::Diamond,
    ];
    let (stroke, shape) = own;
    let after = |laps: usize| {
        let first = shape.map_or(0, |s| MARKERS.iter().position(|m| *m == s).unwrap_or(0));
        Some(MARKERS[(first + laps) % MARKERS.len()])
    };
    match (lap, stroke) {
        (0, _) => own,
        _ if points => (stroke, after(lap)),
        (_, Stroke::Solid) => (
            STROKES[lap % STROKES.len()],
            match lap / STROKES.len() {
                0 => shape,
                more => after(more),
            },
        ),
        _ => (stroke, after(lap)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_repeat_looks_like_another() {
        for own in [(Stroke::Solid, None), (Stroke::Solid, Some(Marker::Square))] {
            let mut seen: Vec<_> = (0..9).map(|lap| repeated(lap, false, own)).collect();
            assert_eq!(seen[0], own);
            seen.dedup();
            let mut each = Vec::new();
            for look in seen {
                assert!(!each.contains(&look), "{look:?}");
                each.push(look);
            }
        }
        let dotted = (Stroke::Dotted, None);
        assert_eq!(
            repeated(1, false, dotted),
            (Stroke::Dotted, Some(Marker::Square))
        );
        let points = (Stroke::Solid, Some(Marker::Triangle));
        assert_eq!(
            repeated(1, true, points),
            (Stroke::Solid, Some(Marker::Diamond))
        );
        assert_eq!(
            repeated(2, true, points),
            (Stroke::Solid, Some(Marker::Circle))
        );
    }
}
