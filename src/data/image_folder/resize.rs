//! Resizing as Pillow does it: bilinear, with a filter as wide as the reduction asks for, in whole
//! numbers, so that results are Pillow's to the bit (`Resample.c`).

use super::decode::Rgb;

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

/// Bits after the point of a weight; a sum of bytes times weights must fit into 32 bits.
const BITS: u32 = 32 - 8 - 2;

/// What one output pixel is made of: the first input pixel and the weights from there on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of output pixels `start .. start + count` when `from` pixels become `to`.
fn taps(from: usize, to: usize, start: usize, count: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let tap = |out: usize| {
        let centre = (out as f64 + 0.5) * scale;
        // both are cut to whole numbers towards zero, as C does
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(from);
        let weight = |x: usize| {
            let distance = (x as f64 - centre + 0.5) / support;
            (1.0 - distance.abs()).max(0.0)
        };
        let sum: f64 = (first..last).map(weight).sum();
        let one = f64::from(1_u32 << BITS);
        let fixed = |x: usize| (0.5 + weight(x) / sum * one) as i32;
        Taps {
            first,
            weights: (first..last).map(fixed).collect(),
        }
    };
    (start..start + count).map(tap).collect()
}

/// The weighted mean of pixels that lie `step` apart from `pixels[0]` on.
fn mean(pixels: &[u8], step: usize, weights: &[i32]) -> [u8; 3] {
    let mut sums = [1_i32 << (BITS - 1); 3];
    for (i, weight) in weights.iter().enumerate() {
        let pixel = &pixels[i * step..][..3];
        for (sum, &byte) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(byte) * weight;
        }
    }
    sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
}

/// Resizes the part `of` of an image to `width`×`height` and gives the part `wanted` of that, the
/// only one that is computed.
pub(super) fn resize(
    image: &Rgb,
    of: Window,
    width: usize,
    height: usize,
    wanted: Window,
) -> Vec<u8> {
    let columns = taps(of.width, width, wanted.left, wanted.width);
    let rows = taps(of.height, height, wanted.top, wanted.height);
    // rows of the input that any wanted row is made of
    let first = rows.first().map_or(0, |row| row.first);
    let last = rows.last().map_or(0, |row| row.first + row.weights.len());
    let mut narrow = Vec::with_capacity(3 * wanted.width * (last - first));
    for y in first..last {
        let start = (of.top + y) * image.width + of.left;
        let row = &image.pixels[3 * start..][..3 * of.width];
        if of.width == width {
            narrow.extend_from_slice(&row[3 * wanted.left..][..3 * wanted.width]);
            continue;
        }
        for tap in &columns {
            narrow.extend(mean(&row[3 * tap.first..], 3, &tap.weights));
        }
    }
    let stride = 3 * wanted.width;
    if of.height == height {
        let start = (wanted.top - first) * stride;
        narrow.truncate(start + stride * wanted.height);
        narrow.drain(..start);
        return narrow;
    }
    let mut out = Vec::with_capacity(stride * wanted.height);
    for tap in &rows {
        let above = &narrow[(tap.first - first) * stride..];
        for x in 0..wanted.width {
            out.extend(mean(&above[3 * x..], stride, &tap.weights));
        }
    }
    out
}
