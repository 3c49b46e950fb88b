//! Histograms.

use std::sync::OnceLock;

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::super::values::Numbers;
use super::settings::{FigureOptions, Text, one_colour};
use super::{FigureValue, both, drawable, split};
use crate::error::{Error, Result};
use crate::options;
use crate::plot::{Bins, Colour, Figure, Rgb, Series, shared_edges};
use crate::script::RhaiResultOf;
use crate::script::options::{FromScript, OptionsSpec, Values};

pub(super) fn register(registry: &mut Registry) {
    registry.options(all_settings());
    registry.module("plot", rhai::exported_module!(functions));
}

impl FromScript for Bins {
    fn words() -> String {
        "number of bins, or array of rising edges".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        let read = match value.is_array() {
            true => Vec::<f64>::from_script(value).map(Self::Edges),
            false => usize::from_script(value).map(Self::Count),
        };
        read.map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => "()".into(),
            Self::Count(n) => n.show(),
            Self::Edges(edges) => edges.show(),
        }
    }
}

options! {
    /// One set of samples.
    pub struct SamplesOptions for "plot::histogram" {
        /// The numbers to count.
        samples: Numbers;
        /// Name in the legend; absent means the width, or none.
        label: Option<Text> = None;
        /// Heading in the legend under which sets with the same group stand together.
        group: Option<Text> = None;
        /// Width of the networks, which chooses the colour.
        width: Option<f64> = None;
        /// A colour of its own, by name or `"#rrggbb"`; absent means the next of the palette.
        colour: Option<Rgb> = None;
    }
}

options! {
    /// How samples are counted.
    pub struct CountOptions for "plot::histogram" {
        /// How many bins of equal width, or their edges; absent means Freedman and Diaconis' rule.
        /// Several sets share their bins.
        bins: Option<Bins> = None;
        /// Whether the heights integrate to one instead of counting.
        density: bool = false;
    }
}

/// The settings that stand behind the samples.
fn all_settings() -> &'static OptionsSpec {
    static SPEC: OnceLock<OptionsSpec> = OnceLock::new();
    SPEC.get_or_init(|| {
        let counts = both(
            vec!["plot::histogram"],
            "",
            CountOptions::spec(),
            SamplesOptions::spec(),
            &["samples"],
        );
        both(
            vec!["plot::histogram"],
            "How samples are counted and drawn, and the figure around them.",
            &counts,
            FigureOptions::spec(),
            &[],
        )
    })
}

fn draw(sets: &[SamplesOptions], count: CountOptions, figure: FigureOptions) -> Result<Figure> {
    let views: Vec<&[f64]> = sets.iter().map(|s| s.samples.0.as_slice()).collect();
    let edges = shared_edges(&views, &count.bins.unwrap_or_default())?;
    let bins = Bins::Edges(edges);
    let one = |set: &SamplesOptions| -> Result<Series> {
        let mut series = Series::histogram(&set.samples.0, &bins, count.density)?;
        series.label = set.label.clone().map(|t| t.0);
        series.group = set.group.clone().map(|t| t.0);
        Ok(match one_colour(set.width, set.colour)? {
            Colour::Width(width) => series.width(width),
            colour => series.colour(colour),
        })
    };
    let series = sets.iter().map(one).collect::<Result<_>>();
    Ok(figure.figure(series.map_err(|e| e.at("histogram"))?))
}

/// Labelled sets, in numerical order if all labels are numbers.
fn labelled(map: &Map) -> Result<Vec<SamplesOptions>> {
    let mut sets: Vec<(&str, &Dynamic)> = map.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let numbers: Option<Vec<f64>> = sets.iter().map(|(k, _)| k.parse().ok()).collect();
    if numbers.is_some() {
        sets.sort_by(|a, b| {
            let number = |k: &str| k.parse::<f64>().unwrap_or(f64::NAN);
            number(a.0).total_cmp(&number(b.0))
        });
    }
    let read = |(label, samples): (&str, &Dynamic)| {
        let samples = Numbers::from_script(samples)
            .map_err(|e| e.at(format_args!("histogram: samples of `{label}`")))?;
        Ok(SamplesOptions {
            samples,
            label: Some(Text(label.to_string())),
            group: None,
            width: None,
            colour: None,
        })
    };
    sets.into_iter().map(read).collect()
}

fn histogram_of(samples: &Dynamic, settings: &Map) -> Result<Figure> {
    let what = "histogram";
    let (count, rest) = split(what, settings, all_settings(), CountOptions::spec())?;
    let (mut own, rest): (Map, Map) = rest
        .into_iter()
        .partition(|(k, _)| SamplesOptions::spec().keys().contains(&k.as_str()));
    let count = CountOptions::read(what, &count)?;
    let figure = FigureOptions::read(what, &rest)?;
    let maps = samples
        .as_array_ref()
        .ok()
        .filter(|a| a.first().is_some_and(Dynamic::is_map))
        .map(|a| a.clone());
    let sets: Vec<SamplesOptions> = if let Ok(map) = samples.as_map_ref() {
        labelled(&map)?
    } else if let Some(maps) = maps {
        let read = |(i, value): (usize, &Dynamic)| match value.as_map_ref() {
            Ok(map) => SamplesOptions::read(&format!("{what}: set {i}"), &map),
            Err(_) => Err(Error::setting(format!(
                "{what}: set {i}: expected a map with samples, found {}",
                Values::describe(value)
            ))),
        };
        maps.iter().enumerate().map(read).collect::<Result<_>>()?
    } else {
        own.insert("samples".into(), samples.clone());
        let set = SamplesOptions::read(what, &own)?;
        return draw(&[set], count, figure);
    };
    if let Some(key) = own.keys().next() {
        return Err(Error::setting(format!(
            "{what}: the setting `{key}` is for a single set of samples"
        )));
    }
    if sets.is_empty() {
        return Err(Error::setting(format!("{what}: there are no samples")));
    }
    draw(&sets, count, figure)
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// How often numbers fall into bins. Samples are an array or a tensor of any shape; several sets
    /// are a map from label to samples, or an array of maps with `samples` and any of `label`,
    /// `group`, `width` and `colour`. Samples that are not finite are left out and noted.
    ///
    /// ```rhai
    /// plot::histogram(data::teacher().batch(500).inputs, #{ bins: 20, density: true });
    /// let f = plot::histogram(#{ "64": [1, 2, 2], "256": [2, 3, 3] }, #{ bins: [0, 2, 4] });
    /// f.csv().contains("64,histogram,0,2,1")       // → true
    /// ```
    #[rhai_fn(name = "histogram", return_raw)]
    pub fn histogram_with(
        ctx: NativeCallContext,
        samples: Dynamic,
        settings: Map,
    ) -> RhaiResultOf<FigureValue> {
        drawable(&ctx, histogram_of(&samples, &settings))
    }

    // every setting has a default
    #[rhai_fn(name = "histogram", return_raw)]
    pub fn histogram(ctx: NativeCallContext, samples: Dynamic) -> RhaiResultOf<FigureValue> {
        histogram_with(ctx, samples, Map::new())
    }
}
