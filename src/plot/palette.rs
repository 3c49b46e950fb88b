//! Which colour each series has.

use super::colour::{CATEGORIES, Rgb, width_colours};
use super::figure::Figure;
use super::series::Series;
use super::style::Colour;

/// Colours of a whole figure, so that one width or one name has one colour in all panels.
pub(super) struct Palette {
    widths: Vec<f64>,
    colours: Vec<Rgb>,
    names: Vec<(Option<String>, String)>,
}

impl Palette {
    pub fn of(figure: &Figure) -> Self {
        let mut widths = Vec::new();
        let mut names: Vec<(Option<String>, String)> = Vec::new();
        for series in figure.panels.iter().flat_map(|p| &p.series) {
            match (&series.colour, &series.label) {
                (Colour::Width(w), _) => widths.push(*w),
                (Colour::Auto, Some(label)) => {
                    let name = (series.group.clone(), label.clone());
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                _ => {}
            }
        }
        widths.sort_by(f64::total_cmp);
        widths.dedup();
        let colours = width_colours(widths.len());
        Self {
            widths,
            colours,
            names,
        }
    }

    /// The colour, and how often the palette was used up before it.
    pub fn pick(&self, series: &Series, position: usize) -> (Rgb, usize) {
        let index = match (&series.colour, &series.label) {
            (Colour::Fixed(colour), _) => return (*colour, 0),
            (Colour::Width(w), _) => {
                let rank = self.widths.iter().position(|v| v.total_cmp(w).is_eq());
                return (rank.map_or(CATEGORIES[0], |i| self.colours[i]), 0);
            }
            (Colour::Auto, Some(label)) => {
                let name = (series.group.clone(), label.clone());
                self.names.iter().position(|n| *n == name).unwrap_or(0)
            }
            (Colour::Auto, None) => self.names.len() + position,
        };
        let count = CATEGORIES.len();
        (CATEGORIES[index % count], index / count)
    }
}
