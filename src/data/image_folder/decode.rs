//! JPEG and PNG files as RGB.
//!
//! `zune-jpeg` and `png` are what the `image` crate decodes them with; the crate itself and the colour
//! management that it brings take longer to build than both.

use std::io::Cursor;
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::resize::Window;
use crate::error::{Error, Result};

/// An image: three bytes a pixel, rows first.
#[derive(Debug)]
pub(super) struct Rgb {
    pub pixels: Vec<u8>,
    pub width: usize,
    pub height: usize,
}

impl Rgb {
    /// All of it.
    pub(super) fn whole(&self) -> Window {
        Window {
            left: 0,
            top: 0,
            width: self.width,
            height: self.height,
        }
    }
}

/// Decodes a file by its first bytes, whatever it is called: among ImageNet's `.JPEG` files is a PNG.
///
/// # Errors
/// It is neither, or damaged.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Rgb> {
    let (format, image) = if bytes.starts_with(b"\xff\xd8") {
        ("JPEG", jpeg(bytes))
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        ("PNG", png(bytes))
    } else {
        let found = match bytes.len() {
            0 => "an empty file",
            _ => "neither",
        };
        return Err(Error::data(path, "a JPEG or PNG image", found));
    };
    let whole = |image: &Rgb| image.pixels.len() == 3 * image.width * image.height;
    match image {
        Ok(image) if whole(&image) && image.width.min(image.height) > 0 => Ok(image),
        Ok(_) => Err(Error::data(path, format!("a whole {format} image"), "none")),
        Err(why) => Err(Error::data(path, format!("a whole {format} image"), why)),
    }
}

fn jpeg(bytes: &[u8]) -> std::result::Result<Rgb, String> {
    // odd files are decoded as well as can be, as everyone does; but what was cut off has no end,
    // and its rest would be grey
    let end = &bytes[bytes.len().saturating_sub(1024)..];
    let cut = !end.windows(2).any(|marker| marker == [0xff, 0xd9]);
    let options = DecoderOptions::default()
        .set_strict_mode(cut)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    Ok(Rgb {
        pixels,
        width,
        height,
    })
}

fn png(bytes: &[u8]) -> std::result::Result<Rgb, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let size = reader.output_buffer_size().ok_or("too large an image")?;
    let mut raw = vec![0; size];
    let frame = reader
        .next_frame(&mut raw)
        .map_err(|error| error.to_string())?;
    raw.truncate(frame.buffer_size());
    let channels = frame.color_type.samples();
    let pixels = match channels {
        3 => raw,
        // what is transparent keeps the colour it has, as in Pillow
        4 => raw
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        _ => raw.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
    };
    Ok(Rgb {
        pixels,
        width: frame.width as usize,
        height: frame.height as usize,
    })
}
