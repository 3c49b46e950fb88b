//! Figures: a title, a grid of panels, and what they share.

use serde::Serialize;

use super::panel::Panel;
use super::style::by_name;
use crate::error::{Error, Result};

/// Where the legend stands; always outside the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LegendPlace {
    /// At the right if it fits there, else below.
    #[default]
    Auto,
    /// At the right of the panels.
    Right,
    /// Under the panels.
    Below,
    /// Nowhere.
    None,
}

impl LegendPlace {
    /// The place called `auto`, `right`, `below` or `none`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        by_name(
            "place for a legend",
            name,
            &[
                ("auto", Self::Auto),
                ("right", Self::Right),
                ("below", Self::Below),
                ("none", Self::None),
            ],
        )
    }
}

/// A figure: panels in a grid under a title. A plain value; nothing is drawn until it is saved,
/// converted or previewed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figure {
    /// Text above everything.
    pub title: Option<String>,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
    /// Panels in a row; up to three by default.
    pub columns: Option<usize>,
    /// Whether all panels span the same abscissae.
    pub share_x: bool,
    /// Whether all panels span the same ordinates.
    pub share_y: bool,
    /// Where the legend stands.
    pub legend: LegendPlace,
    /// What the legend's entries are, such as `width`; stands above them.
    pub legend_title: Option<String>,
    /// Width and height in SVG pixels; by default 900 × 560 for one panel, more for several.
    pub size: Option<(u32, u32)>,
    /// PNG pixels per SVG pixel; 2 by default.
    pub pixel_ratio: Option<f64>,
}

impl Figure {
    /// A figure without title or panels.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same figure with a title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The same figure with one panel more.
    pub fn with(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// The same figure with this many panels in a row.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = Some(columns);
        self
    }

    /// The same figure with one range of abscissae for all panels.
    pub fn share_x(mut self, yes: bool) -> Self {
        self.share_x = yes;
        self
    }

    /// The same figure with one range of ordinates for all panels.
    pub fn share_y(mut self, yes: bool) -> Self {
        self.share_y = yes;
        self
    }

    /// The same figure with its legend elsewhere.
    pub fn legend(mut self, place: LegendPlace) -> Self {
        self.legend = place;
        self
    }

    /// The same figure with a heading above the legend's entries.
    pub fn legend_title(mut self, title: impl Into<String>) -> Self {
        self.legend_title = Some(title.into());
        self
    }

    /// The same figure in another size, in SVG pixels.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// The same figure with another number of PNG pixels per SVG pixel.
    pub fn pixel_ratio(mut self, ratio: f64) -> Self {
        self.pixel_ratio = Some(ratio);
        self
    }

    /// Columns and rows of the grid.
    pub(crate) fn grid(&self) -> (usize, usize) {
        let n = self.panels.len().max(1);
        let columns = self
            .columns
            .unwrap_or(if n == 4 { 2 } else { 3 })
            .clamp(1, n);
        (columns, n.div_ceil(columns))
    }

    /// Width and height in SVG pixels.
    ///
    /// # Errors
    /// If the size or the PNG it leads to is out of bounds.
    pub(crate) fn dimensions(&self) -> Result<(f64, f64)> {
        let (columns, rows) = self.grid();
        let (width, height) = self.size.unwrap_or(match (columns, rows) {
            (1, 1) => (900, 560),
            (c, r) => (120 + 540 * c as u32, 60 + 440 * r as u32),
        });
        let ratio = self.pixel_ratio.unwrap_or(2.0);
        if !(0.25..=8.0).contains(&ratio) {
            return Err(Error::setting(format!(
                "figure: pixel_ratio is {ratio}, expected 0.25 to 8"
            )));
        }
        let (least_w, least_h) = (200 * columns as u32, 140 * rows as u32 + 20);
        if width < least_w || height < least_h {
            return Err(Error::setting(format!(
                "figure: size {width} × {height} is too small for {columns} × {rows} panels, \
                 expected at least {least_w} × {least_h}"
            )));
        }
        let pixels = f64::from(width) * f64::from(height) * ratio * ratio;
        if width > 20_000 || height > 20_000 || pixels > 1e8 {
            return Err(Error::setting(format!(
                "figure: size {width} × {height} at pixel ratio {ratio} is too large, \
                 expected at most 20000 on a side and 10⁸ pixels in all"
            )));
        }
        Ok((f64::from(width), f64::from(height)))
    }
}
