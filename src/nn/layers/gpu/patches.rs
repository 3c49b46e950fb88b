//! Patches of images on GPUs.

use super::linear_map::{gpu_linear_map, row_blocks};
use crate::error::Result;
use crate::gpu::words;
use crate::nn::layers::Patches;
use crate::nn::{GpuPass, Span};

impl Patches {
    fn gpu_move(&self, at: GpuPass<'_>, from: Span, to: Span, back: bool) -> Result<()> {
        let [channels, height, width] = [0, 1, 2].map(|i| at.input.get(i).copied().unwrap_or(1));
        let [h, w] = self.size;
        let words = words![
            from.at,
            from.stride,
            to.at,
            to.stride,
            at.batch,
            channels,
            height,
            width,
            h,
            w,
            back
        ];
        let grid = row_blocks(at.batch * channels, height * width, at.members);
        at.gpu.launch("patches", at.stored, grid, words)
    }

    fn gpu_apply(&self, at: GpuPass<'_>, x: Span, y: Span) -> Result<()> {
        self.gpu_move(at, x, y, false)
    }

    fn gpu_transpose(&self, at: GpuPass<'_>, gy: Span, gx: Span) -> Result<()> {
        self.gpu_move(at, gy, gx, true)
    }
}

gpu_linear_map!(Patches);
