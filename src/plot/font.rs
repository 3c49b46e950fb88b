//! The embedded font: DejaVu Sans cut down to the characters figures need (see `font/LICENSE` and
//! `font/subset.sh`).

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, GlyphId};
use plotters::style::{FontStyle, register_font};

use crate::error::{Error, Result};

static BYTES: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");

/// Families with nearly the same proportions first, for machines without DejaVu.
pub(crate) const FAMILY: &str =
    "DejaVu Sans, Bitstream Vera Sans, Verdana, Geneva, Helvetica, Arial, sans-serif";

fn font() -> Option<&'static FontRef<'static>> {
    static FONT: OnceLock<Option<FontRef<'static>>> = OnceLock::new();
    FONT.get_or_init(|| FontRef::try_from_slice(BYTES).ok())
        .as_ref()
}

/// Whether the font draws the character.
#[cfg(test)]
pub(crate) fn has(c: char) -> bool {
    font().is_some_and(|f| f.glyph_id(c) != GlyphId(0))
}

/// The glyphs of a line of text at `size` pixels per em: their origins along the baseline, and the
/// whole advance.
fn set(text: &str, size: f64) -> (Vec<(GlyphId, f64)>, f64) {
    let Some(font) = font() else {
        return (Vec::new(), 0.0);
    };
    let scale = size / f64::from(font.units_per_em().unwrap_or(2048.0));
    let mut glyphs = Vec::new();
    let mut pen = 0.0;
    let mut before = None;
    for c in text.chars() {
        let id = font.glyph_id(if c.is_control() { ' ' } else { c });
        if let Some(before) = before {
            pen += f64::from(font.kern_unscaled(before, id)) * scale;
        }
        glyphs.push((id, pen));
        pen += f64::from(font.h_advance_unscaled(id)) * scale;
        before = Some(id);
    }
    (glyphs, pen)
}

/// Width of a line of text in pixels.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    set(text, size).1
}

/// Height of capital letters in pixels, for centring on a line.
pub(crate) fn cap_height(size: f64) -> f64 {
    0.729 * size
}

/// Makes the embedded font known to plotters by the name [`FAMILY`].
pub(crate) fn register() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    match DONE.get_or_init(|| register_font(FAMILY, FontStyle::Normal, BYTES).is_ok()) {
        true => Ok(()),
        false => Err(Error::other("the embedded font cannot be read")),
    }
}

/// What plotters needs to paint a line of text, glyph by glyph, at `em` pixels per em: its size,
/// which counts from the ascent to the descent, and where the inked box of each character starts.
/// That size is even, for plotters puts the baseline at half of it and rounds.
pub(crate) fn glyphs(text: &str, em: f64) -> (f64, Vec<(char, f64)>) {
    let Some(font) = font() else {
        return (em, Vec::new());
    };
    let (units, height) = (
        f64::from(font.units_per_em().unwrap_or(2048.0)),
        f64::from(font.height_unscaled()),
    );
    let size = 2.0 * (em * height / units / 2.0).round().max(1.0);
    let start = |(c, (id, pen)): (char, (GlyphId, f64))| {
        let left = font.outline(id)?.bounds.min.x;
        Some((c, pen + (f64::from(left) * size / height).floor()))
    };
    let placed = text.chars().zip(set(text, em).0);
    (size, placed.filter_map(start).collect())
}

/// The text, with its end replaced by … if it is wider than `room`.
pub(crate) fn shorten(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let short = format!("{}…", kept.iter().collect::<String>().trim_end());
        if width(&short, size) <= room {
            return short;
        }
    }
    "…".into()
}

/// The text in lines no wider than `room`, broken at spaces; a longer word is cut.
pub(crate) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() {
                word.to_string()
            } else {
                format!("{line} {word}")
            };
            if !line.is_empty() && width(&longer, size) > room {
                lines.push(std::mem::replace(&mut line, word.to_string()));
            } else {
                line = longer;
            }
        }
        lines.push(line);
    }
    lines.iter().map(|l| shorten(l, size, room)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_field_is_there() {
        let needed = "ABCXYZabcxyz0123456789 .,:;!?'\"()[]{}<>=+-*/|\\_^~@#%&$`\
            µ×±÷·°⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉ₙₖ−–—…‘’“”\u{2009}\u{a0}\
            αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϕℓ∞∂∇∑∏√∫∈∉≤≥≠≈≡∝∼≪≫→←↑↓↔⇒‖∥⟨⟩⊗⊕∘ℝ\
            äöüßéèêçñøåÄÖÜØÅłŁšŠžŽčČőŐЖжЯя●■▲◆○□△◇½¼";
        for c in needed.chars() {
            assert!(has(c), "{c} (U+{:04X})", c as u32);
        }
        assert!(!has('漢'), "the test can tell");
    }

    #[test]
    fn text_is_measured() {
        // DejaVu Sans: the advance of "0" is 1303 of 2048 units.
        let zero = width("0", 16.0);
        assert!((zero - 1303.0 / 2048.0 * 16.0).abs() < 1e-3, "{zero}");
        assert!((width("00000", 16.0) - 5.0 * zero).abs() < 1e-3);
        assert!(
            width("AV", 16.0) < width("A", 16.0) + width("V", 16.0),
            "kerned"
        );
    }

    #[test]
    fn glyphs_start_at_their_ink() {
        // DejaVu Sans: "l" starts 193 units after its origin and advances 569 of 2048.
        let (size, glyphs) = glyphs("l l", 100.0);
        assert_eq!(size, 116.0, "ascent and descent together are 1.164 em");
        assert_eq!(glyphs.len(), 2, "a space has no ink");
        assert_eq!(glyphs[0], ('l', 9.0));
        let second = width("l ", 100.0) + 9.0;
        assert!((glyphs[1].1 - second).abs() < 1e-3, "{glyphs:?} {second}");
        register().unwrap();
    }

    #[test]
    fn long_text_is_wrapped_or_cut() {
        let text = "the mean squared distance between the logits of two widths";
        let lines = wrap(text, 12.0, 150.0);
        assert!(lines.len() > 2 && lines.iter().all(|l| width(l, 12.0) <= 150.0));
        assert_eq!(lines.join(" "), text);
        let cut = shorten(text, 12.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0) <= 100.0);
        assert_eq!(shorten("ab", 12.0, 0.0), "…");
    }
}
