//! Writing a scene as SVG.
//!
//! Texts stay texts (they can be searched and edited). Each carries the length measured with the
//! embedded font, so that a machine without it still sets them into the same room.

use plotters::prelude::{IntoDrawingArea, SVGBackend};

use super::draw;
use super::font;
use super::scene::{Item, Scene};
use crate::error::Result;

/// Units of the document per pixel: plotters has whole coordinates only.
const SCALE: f64 = 20.0;

/// Text with the characters that XML reserves escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The scene as an SVG document.
///
/// # Errors
/// If it cannot be drawn.
pub(crate) fn write(scene: &Scene) -> Result<String> {
    let (width, height) = (scene.width * SCALE, scene.height * SCALE);
    let mut drawn = String::new();
    let area =
        SVGBackend::with_string(&mut drawn, (width as u32, height as u32)).into_drawing_area();
    draw::draw(scene, &area, SCALE)?;
    drop(area);
    // What plotters cannot be told: the size in pixels, the title, joints, the rooms of texts, and
    // that rectangles meet without seams.
    let body = drawn.split_once('\n').map_or("", |(_, body)| body);
    let body = body.replace("<rect ", "<rect shape-rendering=\"crispEdges\" ");
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" stroke-linejoin=\"round\">\n\
         <title>{}</title>\n",
        scene.width,
        scene.height,
        escape(&scene.description)
    );
    let texts = scene.items.iter().filter_map(|item| match item {
        Item::Text { text, size, .. } => Some(font::width(text, size * SCALE)),
        _ => None,
    });
    let mut parts = body.split("<text ");
    out.push_str(parts.next().unwrap_or_default());
    for (part, length) in parts.zip(texts) {
        let room = format!("textLength=\"{length:.0}\" lengthAdjust=\"spacingAndGlyphs\"");
        out.push_str(&format!("<text {room} {part}"));
    }
    Ok(out)
}
