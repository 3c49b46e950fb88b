//! Settings of a figure and its axes, and the types that settings of figures have.

use rhai::Dynamic;

use crate::error::{Error, Result};
use crate::options;
use crate::plot::{
    Axis, Colour, Figure, LegendPlace, Marker, Panel, Rgb, Scale, Series, Stroke, Whiskers,
};
use crate::script::options::{FromScript, Values};

crate::choice! { Scale {
    "linear" => Scale::Linear,
    "log" => Scale::Log10,
    "log10" => Scale::Log10,
    "log2" => Scale::Log2,
} }

crate::choice! { LegendPlace {
    "auto" => LegendPlace::Auto,
    "right" => LegendPlace::Right,
    "below" => LegendPlace::Below,
    "none" => LegendPlace::None,
} }

crate::choice! { Stroke {
    "solid" => Stroke::Solid,
    "dashed" => Stroke::Dashed,
    "dotted" => Stroke::Dotted,
} }

crate::choice! { Marker {
    "circle" => Marker::Circle,
    "square" => Marker::Square,
    "triangle" => Marker::Triangle,
    "diamond" => Marker::Diamond,
} }

crate::choice! { Whiskers {
    "band" => Whiskers::Band,
    "bars" => Whiskers::Bars,
} }

impl FromScript for Rgb {
    fn words() -> String {
        "colour, such as \"blue\" or \"#0072b2\"".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        match value.as_immutable_string_ref() {
            Ok(text) => Self::parse(&text),
            Err(_) => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

/// A text; numbers are taken too (`label: 64`).
#[derive(Debug, Clone, PartialEq)]
pub struct Text(pub String);

impl FromScript for Text {
    fn words() -> String {
        "string or number".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        if let Ok(text) = value.as_immutable_string_ref() {
            return Ok(Self(text.to_string()));
        }
        if let Ok(i) = value.as_int() {
            return Ok(Self(i.to_string()));
        }
        match value.as_float() {
            Ok(x) => Ok(Self(x.to_string())),
            Err(_) => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        self.0.show()
    }
}

/// The two ends of an axis or of a range of values; `()` leaves one to the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends(pub Option<f64>, pub Option<f64>);

impl FromScript for Ends {
    fn words() -> String {
        "array [low, high], where () leaves an end to the data".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        let ends = Vec::<Option<f64>>::from_script(value);
        match ends.as_deref() {
            Ok([low, high]) => Ok(Self(*low, *high)),
            _ => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        format!("[{}, {}]", self.0.show(), self.1.show())
    }
}

/// One number or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Several(pub Vec<f64>);

impl FromScript for Several {
    fn words() -> String {
        "number or array of numbers".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        let read = match value.is_array() {
            true => Vec::<f64>::from_script(value),
            false => f64::from_script(value).map(|x| vec![x]),
        };
        read.map(Self).map_err(|_| Values::mismatch::<Self>(value))
    }
    fn show(&self) -> String {
        self.0.show()
    }
}

/// Width and height of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size(pub u32, pub u32);

impl FromScript for Size {
    fn words() -> String {
        "array [width, height] of integers".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        match Vec::<u32>::from_script(value).as_deref() {
            Ok([width, height]) => Ok(Self(*width, *height)),
            _ => Err(Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        format!("[{}, {}]", self.0, self.1)
    }
}

options! {
    /// Settings of a figure.
    pub struct FigureOptions for "plot::lines" {
        /// Text above the figure.
        title: Option<String> = None;
        /// What the horizontal axis shows, with its unit.
        x_label: Option<String> = None;
        /// What the vertical axis shows, with its unit.
        y_label: Option<String> = None;
        /// Scale of the horizontal axis; `"log2"` has ticks at powers of two, for widths.
        x_scale: Scale = Scale::Linear;
        /// Scale of the vertical axis; `"log"` is `"log10"`.
        y_scale: Scale = Scale::Linear;
        /// Ends of the horizontal axis; absent means from the data.
        x_limits: Option<Ends> = None;
        /// Ends of the vertical axis; absent means from the data.
        y_limits: Option<Ends> = None;
        /// Where the legend stands, always outside the axes.
        legend: LegendPlace = LegendPlace::Auto;
        /// Heading of the legend's entries that belong to no `group`; by default `width` over
        /// those that are named after their width.
        legend_title: Option<String> = None;
        /// Thin dashed lines across the figure at these ordinates.
        horizontal: Option<Several> = None;
        /// Thin dashed lines up the figure at these abscissae.
        vertical: Option<Several> = None;
        /// Whether to draw the thin line y = x.
        identity: bool = false;
        /// Width and height in SVG pixels; a PNG has twice as many.
        size: Option<Size> = None;
    }
}

impl FigureOptions {
    /// A figure of one panel with these settings.
    pub fn figure(self, series: Vec<Series>) -> Figure {
        let axis = |label: Option<String>, scale: Scale, ends: Option<Ends>| {
            let ends = ends.unwrap_or(Ends(None, None));
            Axis {
                label,
                ..Axis::default().scale(scale).limits(ends.0, ends.1)
            }
        };
        let mut panel = Panel::new(
            axis(self.x_label, self.x_scale, self.x_limits),
            axis(self.y_label, self.y_scale, self.y_limits),
        );
        let heading = |mut s: Series| {
            let named_by_width = matches!(s.colour, Colour::Width(w)
                if s.label.as_deref() == Some(w.to_string().as_str()));
            if s.group.is_none() && s.label.is_some() {
                s.group = match &self.legend_title {
                    Some(title) => Some(title.clone()),
                    None => named_by_width.then(|| "width".to_string()),
                };
            }
            s
        };
        panel.series = series.into_iter().map(heading).collect();
        let lines = |of: Option<Several>| of.map(|s| s.0).unwrap_or_default();
        panel
            .series
            .extend(lines(self.horizontal).into_iter().map(Series::horizontal));
        panel
            .series
            .extend(lines(self.vertical).into_iter().map(Series::vertical));
        if self.identity {
            panel.series.push(Series::identity());
        }
        let mut figure = Figure::new().legend(self.legend).with(panel);
        figure.title = self.title;
        figure.size = self.size.map(|s| (s.0, s.1));
        figure
    }
}

/// The error of a colour that stands together with a width.
pub fn one_colour(width: Option<f64>, colour: Option<Rgb>) -> Result<Colour> {
    match (width, colour) {
        (Some(_), Some(_)) => Err(Error::setting(
            "give either `width`, which chooses the colour, or `colour`",
        )),
        (Some(width), None) if !(width > 0.0 && width.is_finite()) => Err(Error::setting(format!(
            "setting `width`: expected a positive number, found {width}"
        ))),
        (Some(width), None) => Ok(Colour::Width(width)),
        (None, Some(colour)) => Ok(Colour::Fixed(colour)),
        (None, None) => Ok(Colour::Auto),
    }
}
