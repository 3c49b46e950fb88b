//! Colours: one perceptually uniform map for ordered quantities such as width, one palette for
//! categories.

use std::fmt;

use serde::{Serialize, Serializer};

use super::style::by_name;
use crate::error::{Error, Result};

/// An opaque sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// White, the background.
pub(crate) const WHITE: Rgb = Rgb(255, 255, 255);
/// Text.
pub(crate) const INK: Rgb = Rgb(0x22, 0x22, 0x22);
/// Axis lines, tick marks and secondary text.
pub(crate) const GREY: Rgb = Rgb(0x66, 0x66, 0x66);
/// Grid lines at labelled ticks.
pub(crate) const GRID: Rgb = Rgb(0xe3, 0xe3, 0xe3);
/// Grid lines between labelled ticks.
pub(crate) const FAINT: Rgb = Rgb(0xf2, 0xf2, 0xf2);

impl Rgb {
    /// The colour written `#rrggbb`, or called blue, vermillion, green, purple, orange, sky, black,
    /// grey or red.
    ///
    /// # Errors
    /// Anything else, with the accepted names and the nearest.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(hex) = text.strip_prefix('#') {
            let digits = hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit());
            return match u32::from_str_radix(hex, 16) {
                Ok(n) if digits => Ok(Self((n >> 16) as u8, (n >> 8) as u8, n as u8)),
                _ => Err(Error::setting(format!(
                    "no such colour: \"{text}\", expected six hexadecimal digits after #"
                ))),
            };
        }
        by_name("colour", text, &NAMES).map_err(|e| Error {
            message: e.message + ", nor is it #rrggbb",
            ..e
        })
    }

    /// Relative luminance (WCAG 2), 0 for black to 1 for white.
    pub fn luminance(self) -> f64 {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }

    /// The colour a part `t` (0 to 1) of the way to `other`.
    pub fn mix(self, other: Self, t: f64) -> Self {
        let one = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * t).round() as u8;
        Self(
            one(self.0, other.0),
            one(self.1, other.1),
            one(self.2, other.2),
        )
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

impl Serialize for Rgb {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Colours for unordered categories: Okabe and Ito's palette, safe for colour-blind readers, in an
/// order that starts with the most contrast on white; their yellow, too light for a line, is left
/// out.
pub const CATEGORIES: [Rgb; 7] = [
    Rgb(0x00, 0x72, 0xb2),
    Rgb(0xd5, 0x5e, 0x00),
    Rgb(0x00, 0x9e, 0x73),
    Rgb(0xcc, 0x79, 0xa7),
    Rgb(0xe6, 0x9f, 0x00),
    Rgb(0x56, 0xb4, 0xe9),
    Rgb(0x00, 0x00, 0x00),
];

/// Colour names that [`Rgb::parse`] knows.
const NAMES: [(&str, Rgb); 9] = [
    ("blue", CATEGORIES[0]),
    ("vermillion", CATEGORIES[1]),
    ("green", CATEGORIES[2]),
    ("purple", CATEGORIES[3]),
    ("orange", CATEGORIES[4]),
    ("sky", CATEGORIES[5]),
    ("black", CATEGORIES[6]),
    ("grey", GREY),
    ("red", Rgb(0xc0, 0x2d, 0x1d)),
];

/// Matplotlib's `plasma` (S. van der Walt and N. Smith, CC0) at 33 equal steps.
const MAP: [u32; 33] = [
    0x0d0887, 0x220690, 0x310597, 0x3f049c, 0x4c02a1, 0x5901a5, 0x6600a7, 0x7201a8, 0x7e03a8,
    0x8a09a5, 0x9511a1, 0xa01a9c, 0xaa2395, 0xb32c8e, 0xbc3587, 0xc43e7f, 0xcc4778, 0xd35171,
    0xda5a6a, 0xe06363, 0xe66c5c, 0xeb7655, 0xf0804e, 0xf58b47, 0xf89540, 0xfba139, 0xfdac33,
    0xfeb82c, 0xfdc527, 0xfcd225, 0xf8df25, 0xf4ed27, 0xf0f921,
];

/// The perceptually uniform map at `t` from 0 (dark) to 1 (light); luminance grows with `t`.
/// Outside values are clamped, NaN gives the dark end.
pub fn colour_map(t: f64) -> Rgb {
    let last = MAP.len() - 1;
    let place = t.clamp(0.0, 1.0) * last as f64;
    let i = (place as usize).min(last - 1);
    let at = |i: usize| Rgb((MAP[i] >> 16) as u8, (MAP[i] >> 8) as u8, MAP[i] as u8);
    at(i).mix(at(i + 1), place - i as f64)
}

/// Where the map is cut for lines, so that the light end still reads on white.
const LIGHTEST_LINE: f64 = 0.78;

/// Colours for `count` widths from the narrowest (light) to the widest (dark), equally spaced on
/// the map.
pub fn width_colours(count: usize) -> Vec<Rgb> {
    (0..count)
        .map(|i| {
            let rank = if count > 1 {
                i as f64 / (count - 1) as f64
            } else {
                0.7
            };
            colour_map(LIGHTEST_LINE * (1.0 - rank))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_and_widths_are_monotone_in_luminance() {
        let map: Vec<f64> = (0..=200)
            .map(|i| colour_map(i as f64 / 200.0).luminance())
            .collect();
        assert!(map.windows(2).all(|w| w[1] >= w[0]));
        for n in 2..=9 {
            let widths: Vec<f64> = width_colours(n).iter().map(|c| c.luminance()).collect();
            assert!(
                widths.windows(2).all(|w| w[1] < w[0] - 1e-3),
                "{n}: {widths:?}"
            );
            assert!(
                1.05 / (widths[0] + 0.05) > 2.0,
                "the lightest reads on white"
            );
        }
    }

    #[test]
    fn colours_are_parsed_and_written() {
        assert_eq!(Rgb::parse("#0072B2").unwrap(), CATEGORIES[0]);
        assert_eq!(Rgb::parse("orange").unwrap(), CATEGORIES[4]);
        assert_eq!(CATEGORIES[0].to_string(), "#0072b2");
        for bad in ["#12345", "#gggggg", "#+12345", "#1234567"] {
            let error = Rgb::parse(bad).unwrap_err().to_string();
            assert!(error.contains("six hexadecimal"), "{error}");
        }
        let error = Rgb::parse("ornage").unwrap_err().to_string();
        assert!(error.contains("did you mean \"orange\"?"), "{error}");
        assert!(
            error.contains("\"vermillion\"") && error.contains("#rrggbb"),
            "{error}"
        );
        assert!(
            !Rgb::parse("")
                .unwrap_err()
                .to_string()
                .contains("did you mean")
        );
    }

    #[test]
    fn categories_are_distinct_and_read_on_white() {
        for (i, a) in CATEGORIES.iter().enumerate() {
            assert!(1.05 / (a.luminance() + 0.05) > 2.0, "{a}");
            assert!(CATEGORIES[..i].iter().all(|b| a != b));
        }
    }
}
