//! What a figure is asked for: files, previews, data.

use std::io::IsTerminal;
use std::path::Path;

use rhai::plugin::*;

use super::super::Registry;
use super::FigureValue;
use crate::script::{OrRaise, RhaiResultOf, session};

pub(super) fn register(registry: &mut Registry) {
    registry.global(rhai::exported_module!(functions));
}

/// Colour belongs on a terminal whose user has not refused it.
fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn preview_within(
    ctx: &NativeCallContext,
    figure: &FigureValue,
    columns: i64,
) -> RhaiResultOf<String> {
    let columns = columns.clamp(1, 1000) as usize;
    let rows = (columns * 3 / 10).clamp(12, 40);
    figure.0.preview(columns, rows, coloured()).or_raise(ctx)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// Writes the figure into the output folder and gives the path of the file. The name's extension
    /// chooses: `.svg` or `.png` for the picture, `.csv` or `.json` for its data. A name may have
    /// folders (`"figures/loss.svg"`), which are made, but is relative and without `..`.
    ///
    /// ```rhai
    /// let path = plot::line([3, 2, 1]).save("example.svg");
    /// path.ends_with("example.svg")       // → true
    /// ```
    #[rhai_fn(return_raw, pure, volatile)]
    pub fn save(
        ctx: NativeCallContext,
        figure: &mut FigureValue,
        name: &str,
    ) -> RhaiResultOf<String> {
        let path = session(&ctx)
            .and_then(|session| session.output_path(name))
            .or_raise(&ctx)?;
        let extension = Path::new(name).extension().unwrap_or_default();
        let written = match extension.to_string_lossy().to_ascii_lowercase().as_str() {
            "csv" | "json" => figure.0.save_data(&path),
            _ => figure.0.save(&path),
        };
        written.or_raise(&ctx)?;
        Ok(path.display().to_string())
    }

    /// The figure as text, 80 characters wide; in colour on a terminal.
    ///
    /// ```rhai
    /// print(plot::line([3, 2, 1], #{ title: "Loss" }).preview());
    /// ```
    #[rhai_fn(name = "preview", pure, return_raw)]
    pub fn preview(ctx: NativeCallContext, figure: &mut FigureValue) -> RhaiResultOf<String> {
        preview_within(&ctx, figure, 80)
    }

    /// With a number, at most this many characters wide (at least 30).
    ///
    /// ```rhai
    /// plot::line([3, 2, 1]).preview(40).split("\n").len() > 5     // → true
    /// ```
    #[rhai_fn(name = "preview", pure, return_raw)]
    pub fn preview_columns(
        ctx: NativeCallContext,
        figure: &mut FigureValue,
        columns: i64,
    ) -> RhaiResultOf<String> {
        preview_within(&ctx, figure, columns)
    }

    /// The figure's data as CSV, one line per point.
    ///
    /// ```rhai
    /// plot::line([10, 20], [0.5, 0.25], #{ label: "loss" }).csv().contains("loss,line,10,,0.5")      // → true
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn csv(ctx: NativeCallContext, figure: &mut FigureValue) -> RhaiResultOf<String> {
        figure.0.data_csv().or_raise(&ctx)
    }

    /// The whole figure, data and settings, as JSON.
    ///
    /// ```rhai
    /// plot::line([3, 2, 1], #{ title: "Loss" }).json().contains("\"title\": \"Loss\"")     // → true
    /// ```
    #[rhai_fn(pure, return_raw)]
    pub fn json(ctx: NativeCallContext, figure: &mut FigureValue) -> RhaiResultOf<String> {
        figure.0.to_json().or_raise(&ctx)
    }

    /// The figure as the prompt shows it: its preview.
    ///
    /// ```rhai
    /// let f = plot::line([3, 2, 1]);
    /// display(f) == f.preview()       // → true
    /// ```
    #[rhai_fn(name = "display", pure, return_raw)]
    pub fn display(ctx: NativeCallContext, figure: &mut FigureValue) -> RhaiResultOf<String> {
        preview_within(&ctx, figure, 80)
    }

    // documented above
    #[rhai_fn(name = "display", pure, return_raw)]
    pub fn display_columns(
        ctx: NativeCallContext,
        figure: &mut FigureValue,
        columns: i64,
    ) -> RhaiResultOf<String> {
        preview_within(&ctx, figure, columns)
    }

    /// The figure in one line: its title, panels and series.
    ///
    /// ```rhai
    /// `${plot::line([3, 2, 1])}`      // → "Figure: 1 panel, 1 series"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_string(figure: &mut FigureValue) -> String {
        let panels = figure.0.panels.len();
        let series: usize = figure.0.panels.iter().map(|p| p.series.len()).sum();
        let title = figure.0.title.as_ref();
        let title = title.map_or_else(String::new, |t| format!(" {t:?}"));
        let plural = if panels == 1 { "" } else { "s" };
        format!("Figure{title}: {panels} panel{plural}, {series} series")
    }
}
