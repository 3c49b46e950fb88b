//! Axes: what the user asks for ([`Axis`]) and what it becomes with the data known (`Range`).

use serde::Serialize;

use super::style::by_name;
use crate::error::{Error, Result};

/// How an axis maps values to distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Proportional.
    #[default]
    Linear,
    /// Logarithmic with ticks at powers of ten.
    Log10,
    /// Logarithmic with ticks at powers of two, for widths.
    Log2,
}

impl Scale {
    /// The scale called `linear`, `log10` (or `log`) or `log2`.
    ///
    /// # Errors
    /// Another name, with the accepted ones.
    pub fn parse(name: &str) -> Result<Self> {
        by_name(
            "axis scale",
            name,
            &[
                ("linear", Self::Linear),
                ("log", Self::Log10),
                ("log10", Self::Log10),
                ("log2", Self::Log2),
            ],
        )
    }

    /// Whether values ≤ 0 have no place on it.
    pub fn is_log(self) -> bool {
        self != Self::Linear
    }

    /// The value's coordinate; NaN where it has none.
    pub(crate) fn forward(self, value: f64) -> f64 {
        if !self.is_log() {
            value
        } else if value > 0.0 {
            value.max(f64::MIN_POSITIVE).log10()
        } else {
            f64::NAN
        }
    }

    /// The value at a coordinate.
    pub(crate) fn inverse(self, coordinate: f64) -> f64 {
        if self.is_log() {
            10f64.powf(coordinate)
        } else {
            coordinate
        }
    }

    /// Whether the value can be drawn.
    pub(crate) fn shows(self, value: f64) -> bool {
        self.forward(value).is_finite()
    }
}

/// One axis of a panel: its label, scale and, where the data should not decide, its limits.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Axis {
    /// What the axis shows, with its unit.
    pub label: Option<String>,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Lower limit; from the data if absent.
    pub min: Option<f64>,
    /// Upper limit; from the data if absent.
    pub max: Option<f64>,
}

impl Axis {
    /// A linear axis with a label.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..Self::default()
        }
    }

    /// A logarithmic axis with ticks at powers of ten.
    pub fn log10(label: impl Into<String>) -> Self {
        Self::new(label).scale(Scale::Log10)
    }

    /// A logarithmic axis with ticks at powers of two.
    pub fn log2(label: impl Into<String>) -> Self {
        Self::new(label).scale(Scale::Log2)
    }

    /// The same axis with another scale.
    pub fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// The same axis with limits; `None` leaves that end to the data.
    pub fn limits(mut self, min: Option<f64>, max: Option<f64>) -> Self {
        self.min = min;
        self.max = max;
        self
    }

    /// Refuses limits that no picture can have.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        for (end, limit) in [("min", self.min), ("max", self.max)] {
            if let Some(v) = limit
                && !self.scale.shows(v)
            {
                let expected = if self.scale.is_log() {
                    "a finite number > 0 on a logarithmic axis"
                } else {
                    "a finite number"
                };
                return Err(Error::setting(format!(
                    "{name} axis: {end} is {v}, expected {expected}"
                )));
            }
        }
        if let (Some(low), Some(high)) = (self.min, self.max)
            && low >= high
        {
            return Err(Error::setting(format!(
                "{name} axis: min {low} is not below max {high}"
            )));
        }
        Ok(())
    }
}

/// The values an axis spans, with its scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
}

impl Range {
    /// The range of the axis for drawable data from `low` to `high` (`None`: no data), with `pad`
    /// of its length added on the ends that the data decide; `floor` keeps a lower end of 0 as it
    /// is. A single value gets room around it.
    pub fn of(axis: &Axis, data: Option<(f64, f64)>, pad: f64, floor: bool) -> Self {
        let scale = axis.scale;
        let (mut low, mut high) = data.unwrap_or(match (axis.min, axis.max) {
            (Some(m), _) | (_, Some(m)) => (m, m),
            _ if scale.is_log() => (1.0, 10.0),
            _ => (0.0, 1.0),
        });
        low = axis.min.unwrap_or(low);
        high = axis.max.unwrap_or(high);
        let (mut a, mut b) = (scale.forward(low), scale.forward(high));
        let room = if scale.is_log() {
            0.5f64.min(b.abs().max(a.abs()) + 0.15)
        } else {
            (0.1 * a.abs().max(b.abs())).max(1e-300)
        };
        if b < a {
            // One end is given, and all data lie beyond it.
            if axis.min.is_some() {
                b = a + 2.0 * room;
            } else {
                a = b - 2.0 * room;
            }
        } else if b - a <= 1e-12 * a.abs().max(b.abs()) || b - a < 1e-300 {
            let room = if a == 0.0 && !scale.is_log() {
                1.0
            } else {
                room
            };
            if axis.min.is_none() {
                a -= room;
            }
            if axis.max.is_none() {
                b += room;
            }
        } else {
            // Half of each, lest the difference of two huge numbers overflow.
            let extra = 2.0 * pad * (b / 2.0 - a / 2.0);
            if axis.min.is_none() && !(floor && low == 0.0) {
                a -= extra;
            }
            if axis.max.is_none() {
                b += extra;
            }
        }
        let end = |v: f64, fixed: Option<f64>| {
            fixed.unwrap_or_else(|| scale.inverse(v).clamp(-f64::MAX, f64::MAX))
        };
        let tiny = if scale.is_log() {
            f64::MIN_POSITIVE
        } else {
            -f64::MAX
        };
        Self {
            scale,
            low: end(a, axis.min).max(tiny),
            high: end(b, axis.max),
        }
    }

    /// Where the value lies, 0 at the low end and 1 at the high end; NaN if it has no place.
    pub fn place(&self, value: f64) -> f64 {
        let (a, b) = (self.scale.forward(self.low), self.scale.forward(self.high));
        (self.scale.forward(value) / 2.0 - a / 2.0) / (b / 2.0 - a / 2.0)
    }

    /// The value at a place between 0 and 1.
    pub fn value(&self, place: f64) -> f64 {
        let (a, b) = (self.scale.forward(self.low), self.scale.forward(self.high));
        self.scale.inverse(a * (1.0 - place) + b * place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked() {
        let bad = [
            (Axis::new("x").limits(Some(f64::NAN), None), "NaN"),
            (Axis::log10("x").limits(Some(0.0), None), "logarithmic"),
            (Axis::log2("x").limits(None, Some(-1.0)), "logarithmic"),
            (Axis::new("x").limits(Some(2.0), Some(2.0)), "not below"),
            (Axis::new("x").limits(None, Some(f64::INFINITY)), "inf"),
        ];
        for (axis, word) in bad {
            let error = axis.check("x").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(
            Axis::log10("x")
                .limits(Some(1e-3), Some(1.0))
                .check("x")
                .is_ok()
        );
    }

    #[test]
    fn a_range_is_never_empty() {
        let values = [
            0.0,
            1.0,
            -3.0,
            1e-300,
            1e300,
            -1e308,
            5e-324,
            f64::MAX,
            f64::MIN,
        ];
        for scale in [Scale::Linear, Scale::Log10, Scale::Log2] {
            for a in values {
                for b in values {
                    if a > b || !scale.shows(a) || !scale.shows(b) {
                        continue;
                    }
                    for axis in [
                        Axis::default().scale(scale),
                        Axis::default().scale(scale).limits(Some(1.0), None),
                        Axis::default().scale(scale).limits(None, Some(1.0)),
                    ] {
                        let r = Range::of(&axis, Some((a, b)), 0.04, true);
                        assert!(r.low < r.high, "{scale:?} {a} {b} {axis:?} -> {r:?}");
                        assert!(r.low.is_finite() && r.high.is_finite());
                        assert!(
                            (r.place(r.low)).abs() < 1e-9 && (r.place(r.high) - 1.0).abs() < 1e-9
                        );
                    }
                }
            }
            let r = Range::of(&Axis::default().scale(scale), None, 0.04, false);
            assert!(r.low < r.high);
        }
    }

    #[test]
    fn scales_by_name() {
        assert_eq!(Scale::parse("log").unwrap(), Scale::Log10);
        let error = Scale::parse("ln").unwrap_err().to_string();
        assert!(error.contains("log2"), "{error}");
    }
}
