//! Panels: one pair of axes and the series drawn on it.

use serde::Serialize;

use super::axis::Axis;
use super::series::Series;

/// One pair of axes with series.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Panel {
    /// Text above the panel.
    pub title: Option<String>,
    /// Abscissa.
    pub x: Axis,
    /// Ordinate.
    pub y: Axis,
    /// What is drawn, first at the bottom.
    pub series: Vec<Series>,
}

impl Panel {
    /// An empty panel with two axes.
    pub fn new(x: Axis, y: Axis) -> Self {
        Self {
            title: None,
            x,
            y,
            series: Vec::new(),
        }
    }

    /// The same panel with a title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The same panel with one series more.
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }
}
