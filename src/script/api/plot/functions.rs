//! Lines and clouds of points.

use std::sync::OnceLock;

use rhai::plugin::*;
use rhai::{Array, Map};

use super::super::Registry;
use super::series::{self, Points, SeriesOptions};
use super::settings::FigureOptions;
use super::{FigureValue, both, drawable, split};
use crate::error::{Error, Result};
use crate::plot::Figure;
use crate::script::RhaiResultOf;
use crate::script::options::{OptionsSpec, Values};

pub(super) fn register(registry: &mut Registry) {
    registry.options(FigureOptions::spec());
    registry.options(one_series());
    registry.module("plot", rhai::exported_module!(functions));
}

/// What a map takes that holds one series and the figure's settings.
fn one_series() -> &'static OptionsSpec {
    static SPEC: OnceLock<OptionsSpec> = OnceLock::new();
    SPEC.get_or_init(|| {
        both(
            vec!["plot::line", "plot::scatter"],
            "One line, or one cloud of points, and the figure around it.",
            SeriesOptions::spec(),
            FigureOptions::spec(),
            &[],
        )
    })
}

fn single(what: &str, map: &Map, points: Points) -> Result<Figure> {
    let (series, rest) = split(what, map, one_series(), SeriesOptions::spec())?;
    let series = series::read(what, &series, points)?;
    Ok(FigureOptions::read(what, &rest)?.figure(vec![series]))
}

fn several(what: &str, maps: &[Dynamic], settings: &Map, points: Points) -> Result<Figure> {
    let options = FigureOptions::read(what, settings)?;
    let read = |(i, value): (usize, &Dynamic)| match value.as_map_ref() {
        Ok(map) => series::read(&format!("{what}: series {i}"), &map, points),
        Err(_) => Err(Error::setting(format!(
            "{what}: series {i}: expected a map such as #{{ x: [1, 2], y: [3, 4] }}, found {}",
            Values::describe(value)
        ))),
    };
    if maps.is_empty() {
        return Err(Error::setting(format!(
            "{what}: there is no series to draw"
        )));
    }
    let series = maps.iter().enumerate().map(read).collect::<Result<_>>()?;
    Ok(options.figure(series))
}

fn with_data(mut settings: Map, x: Option<Dynamic>, y: Dynamic) -> Map {
    if let Some(x) = x {
        settings.insert("x".into(), x);
    }
    settings.insert("y".into(), y);
    settings
}

/// Whether the array holds series rather than numbers.
fn holds_maps(array: &Array) -> bool {
    array.first().is_some_and(Dynamic::is_map)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// A line through points: `plot::line(y)`, `plot::line(x, y)`, or with settings in a map, of the
    /// line and of the figure around it. `x` and `y` are arrays or tensors; `y` may be a table over
    /// positions and members, `[x][member]`, which is drawn as the mean over members with a band.
    ///
    /// ```rhai
    /// plot::line([64, 128, 256], [0.9, 0.5, 0.3], #{ x_scale: "log2", y_label: "loss" });
    /// let f = plot::line(#{ x: [1, 2], y: [[1.0, 2.0], [3.0, 4.0]], band: "min_max" });
    /// f.csv().contains("1,,1.5,1,2,")      // → true
    /// ```
    #[rhai_fn(name = "line", return_raw)]
    pub fn line_map(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<FigureValue> {
        drawable(&ctx, single("line", &settings, Points::Line))
    }

    // a series and a figure, as `lines` takes them
    #[rhai_fn(name = "line", return_raw)]
    pub fn line_maps(
        ctx: NativeCallContext,
        series: Map,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        line_map(ctx, series.into_iter().chain(settings).collect())
    }

    // documented above
    #[rhai_fn(name = "line", return_raw)]
    pub fn line_y(ctx: NativeCallContext, y: Dynamic) -> RhaiResultOf<FigureValue> {
        line_map(ctx, with_data(Map::new(), None, y))
    }

    // documented above
    #[rhai_fn(name = "line", return_raw)]
    pub fn line(ctx: NativeCallContext, x: Dynamic, y: Dynamic) -> RhaiResultOf<FigureValue> {
        line_map(ctx, with_data(Map::new(), Some(x), y))
    }

    // documented above
    #[rhai_fn(name = "line", return_raw)]
    pub fn line_y_with(
        ctx: NativeCallContext,
        y: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        line_map(ctx, with_data(settings, None, y))
    }

    // documented above
    #[rhai_fn(name = "line", return_raw)]
    pub fn line_with(
        ctx: NativeCallContext,
        x: Dynamic,
        y: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        line_map(ctx, with_data(settings, Some(x), y))
    }

    /// Several lines in one figure: an array of maps, each with `y`, often `x`, and any of `label`,
    /// `group`, `width`, `colour`, `style`, `marker`, `band`, `quantiles`, `member_axis`, `low`,
    /// `high`, `whiskers` and `kind`, as `plot::line` explains them; then the figure's settings.
    ///
    /// ```rhai
    /// let curves = [64, 256].map(|w| #{ x: [1, 10, 100], y: [2.0, 1.0, 20.0 / w], width: w });
    /// let f = plot::lines(curves, #{ title: "Loss", x_scale: "log", y_scale: "log" });
    /// f.to_string()       // → "Figure \"Loss\": 1 panel, 2 series"
    /// ```
    #[rhai_fn(name = "lines", return_raw)]
    pub fn lines_with(
        ctx: NativeCallContext,
        series: Array,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        drawable(&ctx, several("lines", &series, &settings, Points::Line))
    }

    // every setting has a default
    #[rhai_fn(name = "lines", return_raw)]
    pub fn lines(ctx: NativeCallContext, series: Array) -> RhaiResultOf<FigureValue> {
        lines_with(ctx, series, Map::new())
    }

    /// Points: `plot::scatter(x, y)`, with settings of the points and of the figure in a map, or an
    /// array of maps for several clouds, as in `plot::lines`.
    ///
    /// ```rhai
    /// plot::scatter([0.1, 0.2, 0.4], [0.15, 0.2, 0.35], #{ identity: true, marker: "square" });
    /// plot::scatter([#{ x: [1, 2], y: [2, 3], label: "a" }, #{ x: [1, 2], y: [3, 1], label: "b" }]).json().len() > 0      // → true
    /// ```
    #[rhai_fn(name = "scatter", return_raw)]
    pub fn scatter_map(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<FigureValue> {
        drawable(&ctx, single("scatter", &settings, Points::Scatter))
    }

    // documented above
    #[rhai_fn(name = "scatter", return_raw)]
    pub fn scatter_array(ctx: NativeCallContext, series: Array) -> RhaiResultOf<FigureValue> {
        scatter_array_with(ctx, series, Map::new())
    }

    // documented above
    #[rhai_fn(name = "scatter", return_raw)]
    pub fn scatter_array_with(
        ctx: NativeCallContext,
        series: Array,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        if !holds_maps(&series) {
            let map = with_data(settings, None, series.into());
            return scatter_map(ctx, map);
        }
        drawable(
            &ctx,
            several("scatter", &series, &settings, Points::Scatter),
        )
    }

    // documented above
    #[rhai_fn(name = "scatter", return_raw)]
    pub fn scatter(ctx: NativeCallContext, x: Dynamic, y: Dynamic) -> RhaiResultOf<FigureValue> {
        scatter_map(ctx, with_data(Map::new(), Some(x), y))
    }

    // documented above
    #[rhai_fn(name = "scatter", return_raw)]
    pub fn scatter_with(
        ctx: NativeCallContext,
        x: Dynamic,
        y: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        scatter_map(ctx, with_data(settings, Some(x), y))
    }
}
