//! Heat maps, and several figures as panels of one.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::Registry;
use super::super::values::Table;
use super::settings::{Ends, Size, Text};
use super::{FigureValue, drawable};
use crate::error::{Error, Result};
use crate::options;
use crate::plot::{Axis, Figure, LegendPlace, Panel, Series};
use crate::script::RhaiResultOf;
use crate::script::options::{FromScript, Values};

pub(super) fn register(registry: &mut Registry) {
    registry.options(HeatMapOptions::spec());
    registry.options(PanelsOptions::spec());
    registry.module("plot", rhai::exported_module!(functions));
}

options! {
    /// Settings of a heat map.
    pub struct HeatMapOptions for "plot::heatmap" {
        /// Text above the figure.
        title: Option<String> = None;
        /// What the columns are.
        x_label: Option<String> = None;
        /// What the rows are.
        y_label: Option<String> = None;
        /// One label per column; absent means 0, 1, 2, ….
        x_ticks: Option<Vec<Text>> = None;
        /// One label per row, from the top; absent means 0, 1, 2, ….
        y_ticks: Option<Vec<Text>> = None;
        /// What the colours mean; stands beside the colour bar.
        value_label: Option<String> = None;
        /// Values of the darkest and of the lightest colour; absent means from the data.
        value_limits: Option<Ends> = None;
        /// Whether to write the numbers into the cells; absent means where they fit.
        annotate: Option<bool> = None;
        /// Width and height in SVG pixels; a PNG has twice as many.
        size: Option<Size> = None;
    }
}

options! {
    /// Settings of panels.
    pub struct PanelsOptions for "plot::panels" {
        /// Text above everything.
        title: Option<String> = None;
        /// One text above each panel; absent means the titles of the figures.
        titles: Option<Vec<Text>> = None;
        /// Panels in a row; absent means up to three.
        columns: Option<usize> = None, where (1.0..);
        /// Whether all panels have one range of abscissae.
        share_x: bool = false;
        /// Whether all panels have one range of ordinates.
        share_y: bool = false;
        /// Where the legend stands, always outside the axes.
        legend: LegendPlace = LegendPlace::Auto;
        /// Width and height of the whole in SVG pixels; a PNG has twice as many.
        size: Option<Size> = None;
    }
}

fn heat_map(matrix: &Dynamic, o: HeatMapOptions) -> Result<Figure> {
    let rows = Table::from_script(matrix)
        .map_err(|e| e.at("heatmap: matrix"))?
        .0;
    let ticks = |given: Option<Vec<Text>>, count: usize| match given {
        Some(ticks) => ticks.into_iter().map(|t| t.0).collect(),
        None => (0..count).map(|i| i.to_string()).collect(),
    };
    let columns = rows.first().map_or(0, Vec::len);
    let (x, y) = (ticks(o.x_ticks, columns), ticks(o.y_ticks, rows.len()));
    let mut series = Series::heat_map(rows, x, y)?;
    if let Some(label) = o.value_label {
        series = series.value_label(label);
    }
    match o.value_limits {
        Some(Ends(Some(low), Some(high))) => series = series.value_limits(low, high)?,
        Some(_) => {
            return Err(Error::setting(
                "heatmap: setting `value_limits`: expected two numbers",
            ));
        }
        None => (),
    }
    if let Some(yes) = o.annotate {
        series = series.annotate(yes);
    }
    let axis = |label| Axis {
        label,
        ..Axis::default()
    };
    let mut figure = Figure::new().with(Panel::new(axis(o.x_label), axis(o.y_label)).with(series));
    figure.title = o.title;
    figure.size = o.size.map(|s| (s.0, s.1));
    Ok(figure)
}

fn grid(figures: &[Dynamic], o: PanelsOptions) -> Result<Figure> {
    let mut whole = Figure::new()
        .legend(o.legend)
        .share_x(o.share_x)
        .share_y(o.share_y);
    for (i, value) in figures.iter().enumerate() {
        let figure = value.clone().try_cast::<FigureValue>().ok_or_else(|| {
            Error::setting(format!(
                "panels: element {i}: expected {}, found {}",
                FigureValue::words(),
                Values::describe(value)
            ))
        })?;
        let alone = figure.0.panels.len() == 1;
        for panel in &figure.0.panels {
            let mut panel = panel.clone();
            if alone && panel.title.is_none() {
                panel.title = figure.0.title.clone();
            }
            whole.panels.push(panel);
        }
    }
    if let Some(titles) = o.titles {
        if titles.len() != whole.panels.len() {
            return Err(Error::shape(format!(
                "panels: {} titles for {} panels",
                titles.len(),
                whole.panels.len()
            )));
        }
        for (panel, title) in whole.panels.iter_mut().zip(titles) {
            panel.title = Some(title.0);
        }
    }
    whole.title = o.title;
    whole.columns = o.columns;
    whole.size = o.size.map(|s| (s.0, s.1));
    Ok(whole)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// A matrix, array of rows or tensor with two axes, as coloured cells; row 0 is at the top, and
    /// NaN an empty cell. Of more than 1000 rows or columns the colours are of means of neighbours, with a
    /// note; more than 10 000 cells are a picture within an SVG, and have no numbers written into them.
    ///
    /// ```rhai
    /// let f = plot::heatmap([[1.0, 0.9], [0.9, 1.0]], #{ x_ticks: [64, 128], y_ticks: [64, 128], value_label: "correlation" });
    /// f.csv().split("\n").len()       // → 6
    /// ```
    #[rhai_fn(name = "heatmap", return_raw)]
    pub fn heatmap_with(
        ctx: NativeCallContext,
        matrix: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        let o = HeatMapOptions::from_map(&ctx, &settings)?;
        drawable(&ctx, heat_map(&matrix, o))
    }

    // every setting has a default
    #[rhai_fn(name = "heatmap", return_raw)]
    pub fn heatmap(ctx: NativeCallContext, matrix: Dynamic) -> RhaiResultOf<FigureValue> {
        heatmap_with(ctx, matrix, Map::new())
    }

    /// Several figures as panels of one, with one legend; a figure's title becomes its panel's.
    ///
    /// ```rhai
    /// let sp = plot::line([3.0, 2.0, 1.5], #{ title: "SP" });
    /// let mup = plot::line([3.0, 1.5, 1.0], #{ title: "muP" });
    /// plot::panels([sp, mup], #{ share_y: true }).to_string()        // → "Figure: 2 panels, 2 series"
    /// ```
    #[rhai_fn(name = "panels", return_raw)]
    pub fn panels_with(
        ctx: NativeCallContext,
        figures: Array,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        let o = PanelsOptions::from_map(&ctx, &settings)?;
        drawable(&ctx, grid(&figures, o))
    }

    // every setting has a default
    #[rhai_fn(name = "panels", return_raw)]
    pub fn panels(ctx: NativeCallContext, figures: Array) -> RhaiResultOf<FigureValue> {
        panels_with(ctx, figures, Map::new())
    }
}
