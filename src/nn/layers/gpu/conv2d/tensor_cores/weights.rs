//! Gradients of filters, see `kernels/conv_weights.cuh`.

use super::super::super::layer_norm::span;
use super::super::super::linear::column_sums;
use super::super::products::{Conv, SUMS};
use super::super::tiles::{Room, View};
use super::{OUTPUTS, even, pays};
use crate::error::Result;
use crate::gpu::{Grid, words};
use crate::nn::{GpuPass, Span};

/// Pixels of a tile, and bytes of the gradient of one with 64 outputs, twice, see `CONV_PITCH_64`.
const PIXELS: usize = 128;
const STAGED_64: usize = 2 * 2 * 72;
/// Pixels that are multiplied at once.
const STEP: usize = 32;
/// Blocks, about: two on each multiprocessor of an H100, two times. More would leave more parts to sum.
const BLOCKS: usize = 528;
/// Parts of a sum that are many.
const MANY: usize = 32;

impl Conv<'_> {
    /// `gw` from the outputs' gradient, if tensor cores do it; `false` if not.
    pub fn try_weight(&self, gy: Span, gw: (Span, f64)) -> Result<bool> {
        self.weight_in(gy, gw, BLOCKS)
    }

    /// The same with about so many blocks.
    pub fn weight_in(&self, gy: Span, (gw, by): (Span, f64), blocks: usize) -> Result<bool> {
        let (at, groups) = (self.at, self.layer.groups);
        let (channels, outputs) = self.of_group();
        let taps = self.layer.kernel[0] * self.layer.kernel[1];
        let (kernel, of_taps, of_channels) = match taps {
            1 => ("conv_weights_1", 1, 64),
            _ => ("conv_weights_9", 9, 32),
        };
        if !self.can() || !pays((outputs, OUTPUTS), (channels, of_channels)) {
            return Ok(false);
        }
        let axes = [0, 1].map(|i| self.axis(i));
        let room = Room {
            pixels: PIXELS,
            at_once: STEP,
            // 16 bytes more keep neighbours in different banks
            staged: 2 * (2 * of_channels + 16),
            pixel: STAGED_64,
            other: 2 * PIXELS * size_of::<u32>(),
        };
        let all = (at.batch, self.input[0], groups);
        let Some(view) = View::new(all, axes, even(at.x), room) else {
            return Ok(false);
        };
        let numbers_y = view.tile[0] * self.output[0] * self.pixels();
        if numbers_y > i32::MAX as usize {
            return Ok(false);
        }
        let of_group = taps.div_ceil(of_taps) * outputs.div_ceil(OUTPUTS);
        let of_group = of_group * channels.div_ceil(of_channels);
        let most = blocks / (of_group * groups * at.members);
        let tiles = view.tiles().div_ceil(most.clamp(1, view.tiles()));
        let splits = view.tiles().div_ceil(tiles);
        let numbers = taps * channels * self.output[0];
        let (parts, factor) = match splits {
            1 => (gw, by),
            _ => (at.part(SUMS, splits * numbers, at.stored.arith())?, 1.0),
        };
        let pairs = even(gy) && axes[1].pixels.is_multiple_of(2) && view.tile[2].is_multiple_of(2);
        let mut words = [at.x, gy, parts].map(|s| span(Some(s))).concat();
        words.extend_from_slice(words![factor, self.output[0], tiles, pairs]);
        words.extend(view.words());
        let grid = self.blocks(of_group * splits, view.shared);
        at.gpu.launch(kernel, at.stored, grid, &words)?;
        match splits {
            1 => Ok(true),
            // threads share a sum of many parts, and of few each takes its own
            MANY.. => {
                let arith = GpuPass {
                    stored: at.stored.arith(),
                    ..at
                };
                column_sums(arith, [splits, numbers], parts, by, gw).map(|()| true)
            }
            _ => {
                let mut words = [parts, gw].map(|s| span(Some(s))).concat();
                words.extend_from_slice(words![splits, numbers, by]);
                let grid = Grid::each(numbers, at.members);
                let sums = at.gpu.launch_plain("conv_weight_sums", grid, &words);
                sums.map(|()| true)
            }
        }
    }
}
