//! Writing a scene as SVG.
//!
//! Texts stay texts (they can be searched and edited). Each carries the length measured with the
//! embedded font, so that a machine without it still sets them into the same room.

use plotters::prelude::{IntoDrawingArea, SVGBackend};

use super::bitmap::{self, Pixels};
use super::colour::Rgb;
use super::draw::{self, Dashes};
use super::font;
use super::scene::{Item, Point, Scene};
use crate::error::Result;

/// Units of the document per pixel: plotters has whole coordinates only.
const SCALE: f64 = 20.0;

/// Text with the characters that XML reserves escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What plotters does not write of an item.
fn attributes(item: &Item) -> String {
    match item {
        Item::Line { dash, .. } if !dash.is_empty() => {
            let lengths: Vec<String> = dash.iter().map(|d| (d * SCALE).to_string()).collect();
            format!("stroke-dasharray=\"{}\" ", lengths.join(" "))
        }
        // Neighbours meet without a seam.
        Item::Rect { .. } => "shape-rendering=\"crispEdges\" ".into(),
        Item::Text { text, size, .. } => {
            let length = font::width(text, size * SCALE);
            format!("textLength=\"{length:.0}\" lengthAdjust=\"spacingAndGlyphs\" ")
        }
        _ => String::new(),
    }
}

/// Bytes as base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(match digit > three.len() {
                true => '=',
                false => char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]),
            });
        }
    }
    text
}

/// A picture as an element that holds it as PNG.
fn picture((from, to): (Point, Point), columns: usize, pixels: &[Rgb]) -> Result<String> {
    let picture = Pixels {
        width: columns,
        height: pixels.len() / columns.max(1),
        rgb: pixels.iter().flat_map(|c| [c.0, c.1, c.2]).collect(),
    };
    let at = |v: f64| (v * SCALE).round();
    Ok(format!(
        "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
         style=\"image-rendering:optimizeSpeed;image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>",
        at(from.0),
        at(from.1),
        at(to.0) - at(from.0),
        at(to.1) - at(from.1),
        base64(&bitmap::encode(&picture, 1.0)?)
    ))
}

/// The scene as an SVG document.
///
/// # Errors
/// If it cannot be drawn.
pub(crate) fn write(scene: &Scene) -> Result<String> {
    let (width, height) = (scene.width * SCALE, scene.height * SCALE);
    let mut drawn = String::new();
    let size = (width as u32, height as u32);
    let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
    draw::draw(scene, &area, SCALE, Dashes::Whole)?;
    drop(area);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" stroke-linejoin=\"round\">\n\
         <title>{}</title>\n",
        scene.width,
        scene.height,
        escape(&scene.description)
    );
    // After the opening tag and the background, plotters writes one element an item, each at the
    // start of a line.
    let mut items = scene.items.iter();
    for (i, line) in drawn.lines().enumerate().skip(1) {
        let element = i > 1 && line.starts_with('<') && !line.starts_with("</");
        match line.split_once(' ') {
            Some((tag, rest)) if element => match items.next() {
                Some(Item::Picture {
                    from,
                    to,
                    columns,
                    pixels,
                }) => out.push_str(&picture((*from, *to), *columns, pixels)?),
                item => {
                    let more = item.map(attributes).unwrap_or_default();
                    out.extend([tag, " ", &more, rest]);
                }
            },
            _ => out.push_str(line),
        }
        // Breaks within a text element would be spaces of the text.
        if line.starts_with('<') && !line.starts_with("<text ") {
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Anchor;

    #[test]
    fn bytes_in_base64() {
        // RFC 4648, section 10
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn elements_carry_what_their_items_need() {
        let colour = Rgb(1, 2, 3);
        let line = |dash| Item::Line {
            points: vec![(1.0, 2.0), (3.0, 4.5)],
            colour,
            width: 1.3,
            dash,
        };
        let text = |turned| Item::Text {
            at: (40.0, 30.0),
            text: "<a & \"b\">\n\u{1}<rect 0".into(),
            size: 10.0,
            colour,
            anchor: Anchor::End,
            turned,
        };
        let rect = Item::Rect {
            from: (0.0, 0.0),
            to: (2.0, 1.0),
            colour,
        };
        let scene = Scene {
            width: 50.0,
            height: 40.0,
            description: "a < b".into(),
            items: vec![text(false), line(&[]), text(true), rect, line(&[7.0, 4.5])],
        };
        let svg = write(&scene).unwrap();
        let lines: Vec<&str> = svg.lines().collect();
        assert!(lines[0].contains("width=\"50\" height=\"40\" viewBox=\"0 0 1000 800\""));
        assert_eq!(lines[1], "<title>a &lt; b</title>");
        assert!(lines[2].contains("width=\"1000\" height=\"800\"") && lines[2].contains("#FFFFFF"));
        let length = font::width("<a & \"b\">  <rect 0", 200.0).round();
        // Ten pixels are 200 units, and the text hangs 0.76 em above its baseline.
        for wanted in [
            &format!("<text textLength=\"{length}\" "),
            "x=\"800\" y=\"448\" dy=\"0.76em\" text-anchor=\"end\"",
            "font-size=\"200\"",
            ">&lt;a &amp; &quot;b&quot;&gt;  &lt;rect 0</text>",
        ] {
            assert!(lines[3].contains(wanted), "{wanted} in {}", lines[3]);
        }
        assert!(lines[4].contains("points=\"20,40 60,90 \"") && !lines[4].contains("dash"));
        assert!(lines[4].contains("stroke-width=\"26\""));
        assert!(lines[5].contains("x=\"648\" y=\"600\""));
        assert!(lines[5].contains("rotate(270, 648, 600)"));
        assert!(lines[6].contains("<rect shape-rendering=\"crispEdges\" x=\"0\""));
        assert!(lines[7].contains("<polyline stroke-dasharray=\"140 90\""));
        assert_eq!(lines[8..], ["</svg>"]);
    }
}
