//! Figures that know their data.
//!
//! A [`Figure`] is a title and a grid of [`Panel`]s; a panel is two [`Axis`] descriptions and a
//! list of [`Series`] (lines with bands, scatter, histograms, a heat map, reference lines). The
//! value holds numbers and labels only. From it come the picture ([`Figure::to_svg`],
//! [`Figure::to_png`], [`Figure::save`]), the data ([`Figure::data_csv`], [`Figure::to_json`]) and
//! a preview made of text ([`Figure::preview`]).
//!
//! Drawing goes through three steps: `resolve` finds ranges, colours, legend and notes; `layout`
//! places boxes; `render` turns both into a `scene` of lines, polygons and text. `draw` draws that
//! with plotters: `svg` on its SVG backend, `bitmap` on its bitmap backend (by way of `canvas`, with
//! more samples than pixels, for smooth edges). The font comes with the program, so pictures need no
//! font library and look the same everywhere. Values that cannot be drawn (NaN, numbers
//! ≤ 0 on a logarithmic axis) are counted in a note under the picture, never dropped silently.

mod axis;
mod bitmap;
mod canvas;
mod clip;
mod colour;
mod draw;
mod export;
mod figure;
mod font;
mod heatmap;
mod histogram;
mod layout;
mod legend;
mod members;
mod paint;
mod palette;
mod panel;
mod render;
mod resolve;
mod save;
mod scene;
mod series;
mod style;
mod svg;
mod terminal;
mod ticks;

#[cfg(test)]
mod gallery;
#[cfg(test)]
mod tests;

pub use axis::{Axis, Scale};
pub use colour::{CATEGORIES, Rgb, colour_map, width_colours};
pub use figure::{Figure, LegendPlace};
pub use histogram::{Bins, Histogram, shared_edges};
pub use members::Spread;
pub use panel::Panel;
pub use series::{HeatMap, Kind, Series};
pub use style::{Colour, Marker, Stroke, Whiskers};
