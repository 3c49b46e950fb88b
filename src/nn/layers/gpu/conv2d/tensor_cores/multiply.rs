//! Outputs, and gradients of inputs, which are convolutions too, see `kernels/conv_multiply.cuh`.

use super::super::super::layer_norm::span;
use super::super::products::{Conv, WEIGHT};
use super::super::tiles::{Axis, Room, View};
use super::{MATRIX, OUTPUTS, even, pays};
use crate::error::Result;
use crate::gpu::{Grid, Word, words};
use crate::nn::{GpuParam, Span};

/// Numbers of a matrix that tensor cores multiply.
const NUMBERS: usize = MATRIX * MATRIX;
/// Bytes of a staged pixel of 16 channels, twice, see `CONV_PITCH_16`.
const STAGED_16: usize = 2 * 2 * 24;

/// Every `step`-th tap of a filter's axis from `first` on.
#[derive(Clone, Copy)]
struct Taps {
    first: isize,
    step: isize,
}

/// Every `step`-th pixel of an axis of `size` from `first` on.
#[derive(Clone, Copy)]
struct Places {
    size: usize,
    step: usize,
    first: usize,
}

/// One of the convolutions that a pass consists of: what it reads, with which taps, and where it writes.
struct Part {
    axes: [Axis; 2],
    taps: [Taps; 2],
    to: [Places; 2],
    /// Whether the filters' outputs are read.
    transposed: bool,
}

impl Conv<'_> {
    /// `y` from the input, if tensor cores do it; `false` if not.
    pub fn try_forward(&self, w: GpuParam, bias: Option<GpuParam>, y: Span) -> Result<bool> {
        let (channels, outputs) = self.of_group();
        if !self.can() || !pays((outputs, OUTPUTS), (channels, MATRIX)) {
            return Ok(false);
        }
        let part = Part {
            axes: [0, 1].map(|i| self.axis(i)),
            taps: [Taps { first: 0, step: 1 }; 2],
            to: [1, 2].map(|i| Places {
                size: self.output[i],
                step: 1,
                first: 0,
            }),
            transposed: false,
        };
        self.multiply(&[part], (self.at.x, w), bias, y)
    }

    /// `gx` from the outputs' gradient, if tensor cores do it; `false` if not.
    pub fn try_input(&self, gy: Span, w: GpuParam, gx: Span) -> Result<bool> {
        let (channels, outputs) = self.of_group();
        if !self.can() || !pays((channels, OUTPUTS), (outputs, MATRIX)) {
            return Ok(false);
        }
        let mut parts = Vec::new();
        for row in 0..self.layer.stride[0].min(self.input[1]) {
            for column in 0..self.layer.stride[1].min(self.input[2]) {
                let [(y, down, to_y), (x, across, to_x)] =
                    [(0, row), (1, column)].map(|(i, first)| self.back(i, first));
                parts.push(Part {
                    axes: [y, x],
                    taps: [down, across],
                    to: [to_y, to_x],
                    transposed: true,
                });
            }
        }
        self.multiply(&parts, (gy, w), None, gx)
    }

    /// The inputs of an axis whose place is `first`, modulo the stride: they are seen by the same taps, and each
    /// sees neighbouring outputs, the last tap's first.
    fn back(&self, i: usize, first: usize) -> (Axis, Taps, Places) {
        let (size, stride) = (self.input[1 + i], self.layer.stride[i]);
        let there = first + self.layer.padding[i];
        let tap = there % stride;
        let taps = self.layer.kernel[i].saturating_sub(tap).div_ceil(stride);
        let last = taps as isize - 1;
        let axis = Axis {
            size: self.output[1 + i],
            pixels: (size - first).div_ceil(stride),
            step: 1,
            first: (there / stride) as isize - last,
            taps,
        };
        let taps = Taps {
            first: tap as isize + last * stride as isize,
            step: -(stride as isize),
        };
        let to = Places {
            size,
            step: stride,
            first,
        };
        (axis, taps, to)
    }

    /// Each part's products of filters and windows of `x`, with a bias, into `y`; `false`, and nothing is done, if a
    /// part has no tile that fits.
    fn multiply(
        &self,
        parts: &[Part],
        (x, w): (Span, GpuParam),
        bias: Option<GpuParam>,
        y: Span,
    ) -> Result<bool> {
        let (at, groups) = (self.at, self.layer.groups);
        let (mut channels, mut outputs) = (self.input[0], self.output[0]);
        if parts.iter().any(|part| part.transposed) {
            (channels, outputs) = (outputs, channels);
        }
        let of_group = outputs / groups;
        let small = of_group.next_multiple_of(OUTPUTS);
        let (kernel, tile, pixels) = match small.is_multiple_of(2 * OUTPUTS) {
            true => ("conv_multiply_128", 2 * OUTPUTS, 128),
            false => ("conv_multiply_64", OUTPUTS, 256),
        };
        let room = Room {
            pixels,
            at_once: pixels,
            staged: STAGED_16,
            pixel: size_of::<u32>(),
            other: 0,
        };
        let view = |part: &Part| {
            let view = View::new((at.batch, channels, groups), part.axes, even(x), room)?;
            // where a tile's outputs go is counted in 31 bits
            let numbers = view.tile[0] * outputs * part.to[0].size * part.to[1].size;
            (numbers <= i32::MAX as usize).then_some(view)
        };
        let Some(views) = parts.iter().map(view).collect::<Option<Vec<_>>>() else {
            return Ok(false);
        };
        for (part, view) in parts.iter().zip(views) {
            let filters = self.packed(w, part, (channels / groups, small))?;
            let [down, across] = part.to;
            let [_, columns] = part.axes;
            let pairs = even(y) && across.step == 1 && across.size.is_multiple_of(2);
            let pairs = pairs && columns.pixels.is_multiple_of(2) && view.tile[2].is_multiple_of(2);
            let mut words = [Some(x), Some(filters), bias.map(|b| b.value), Some(y)]
                .map(span)
                .concat();
            words.extend_from_slice(words![
                w.multiplier,
                bias.map_or(0.0, |b| b.multiplier),
                outputs,
                down.size,
                across.size,
                down.step,
                across.step,
                down.first,
                across.first,
                pairs
            ]);
            words.extend(view.words());
            let blocks = view.tiles() * small / tile;
            let grid = self.blocks(blocks, view.shared);
            at.gpu.launch(kernel, at.stored, grid, &words)?;
        }
        Ok(true)
    }

    /// The taps of filters that a part takes, as tensor cores read them: inputs of a group by 16, and outputs of a
    /// group, filled up to `outputs`.
    fn packed(&self, w: GpuParam, part: &Part, (inputs, outputs): (usize, usize)) -> Result<Span> {
        let (at, groups) = (self.at, self.layer.groups);
        let [down, across] = part.axes;
        let (inputs, outputs) = (inputs.div_ceil(MATRIX), outputs / MATRIX);
        let of_tap = groups * inputs * outputs * NUMBERS;
        let numbers = of_tap * down.taps * across.taps;
        // room for all taps, so that parts with more of them find it
        let taps = self.layer.kernel[0] * self.layer.kernel[1];
        let mut packed = at.part(WEIGHT, of_tap * taps, at.stored)?;
        let signed = |n: isize| Word::from(n as i64 as u64);
        let mut words = [w.value, packed].map(|s| span(Some(s))).concat();
        words.extend_from_slice(words![
            groups,
            self.layer.kernel[1],
            self.of_group().0,
            self.output[0],
            down.taps,
            across.taps
        ]);
        let [y, x] = part.taps;
        words.extend([y.first, x.first, y.step, x.step].map(signed));
        words.extend_from_slice(words![inputs, outputs, part.transposed]);
        // one copy if members share it
        let members = if w.value.stride == 0 { 1 } else { at.members };
        let grid = Grid::each(numbers / 8, members);
        at.gpu.launch_plain("conv_pack", grid, &words)?;
        if members == 1 {
            packed.stride = 0;
        }
        Ok(packed)
    }
}
