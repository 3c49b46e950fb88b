//! Writing a scene as SVG.
//!
//! Texts stay texts (they can be searched and edited). Each carries the length measured with the
//! embedded font, so that a machine without it still sets them into the same room.

use std::fmt::Write;

use super::font;
use super::scene::{Anchor, Item, Point, Scene};

/// A coordinate with at most two decimals.
fn number(v: f64) -> String {
    let text = format!("{v:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

fn path(points: &[Point]) -> String {
    points
        .iter()
        .map(|p| format!("{},{}", number(p.0), number(p.1)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Text with the characters that XML reserves escaped and those it forbids replaced.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The scene as an SVG document.
pub(crate) fn write(scene: &Scene) -> String {
    let mut out = String::new();
    let (w, h) = (number(scene.width), number(scene.height));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
         viewBox=\"0 0 {w} {h}\" role=\"img\" font-family=\"{}\">",
        font::FAMILY
    );
    let _ = writeln!(out, "<title>{}</title>", escape(&scene.description));
    let _ = writeln!(out, "<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>");
    for item in &scene.items {
        let _ = match item {
            Item::Line {
                points,
                colour,
                width,
                dash,
            } => {
                let dash = if dash.is_empty() {
                    String::new()
                } else {
                    let lengths: Vec<String> = dash.iter().map(|d| number(*d)).collect();
                    format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
                };
                writeln!(
                    out,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
                     stroke-width=\"{}\" stroke-linejoin=\"round\"{dash}/>",
                    path(points),
                    number(*width)
                )
            }
            Item::Polygon {
                points,
                colour,
                opacity,
            } => writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"{}\"/>",
                path(points),
                number(*opacity)
            ),
            Item::Rect { from, to, colour } => writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{colour}\" \
                 shape-rendering=\"crispEdges\"/>",
                number(from.0),
                number(from.1),
                number(to.0 - from.0),
                number(to.1 - from.1)
            ),
            Item::Disc {
                centre,
                radius,
                colour,
                opacity,
            } => writeln!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{colour}\" fill-opacity=\"{}\"/>",
                number(centre.0),
                number(centre.1),
                number(*radius),
                number(*opacity)
            ),
            Item::Text {
                at,
                text,
                size,
                colour,
                anchor,
                turned,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                let (x, y) = (number(at.0), number(at.1));
                let turn = if *turned {
                    format!(" transform=\"rotate(-90 {x} {y})\"")
                } else {
                    String::new()
                };
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{colour}\" \
                     text-anchor=\"{anchor}\" textLength=\"{}\" \
                     lengthAdjust=\"spacingAndGlyphs\"{turn}>{}</text>",
                    number(*size),
                    number(font::width(text, *size)),
                    escape(text)
                )
            }
        };
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_escaped() {
        assert_eq!(escape("a<b & \"c\"\u{1}"), "a&lt;b &amp; &quot;c&quot; ");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [1.0, 0.126, -0.001, 12.5].map(number),
            ["1", "0.13", "0", "12.5"]
        );
    }
}
