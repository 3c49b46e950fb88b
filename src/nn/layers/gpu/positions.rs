//! From rows of positions to one row, on GPUs.

use super::class_token::copy_rows;
use super::linear_map::{gpu_linear_map, row_blocks};
use crate::error::Result;
use crate::gpu::words;
use crate::nn::layers::PositionPool;
use crate::nn::{GpuPass, Span};

impl PositionPool {
    fn gpu_mean(&self, kernel: &str, at: GpuPass<'_>, from: Span, to: Span) -> Result<()> {
        let [positions, width] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(1));
        let words = words![
            from.at,
            from.stride,
            to.at,
            to.stride,
            at.batch,
            positions,
            width
        ];
        let grid = row_blocks(at.batch, width, at.members);
        at.gpu.launch(kernel, at.stored, grid, words)
    }

    fn gpu_apply(&self, at: GpuPass<'_>, x: Span, y: Span) -> Result<()> {
        let width = at.outputs();
        match self {
            Self::First => copy_rows(at, (x, at.inputs(), 0), (y, width, 0), width),
            Self::Mean => self.gpu_mean("position_mean", at, x, y),
        }
    }

    fn gpu_transpose(&self, at: GpuPass<'_>, gy: Span, gx: Span) -> Result<()> {
        let width = at.outputs();
        match self {
            Self::First => {
                at.fill_zero(at.batch * at.inputs(), gx)?;
                copy_rows(at, (gy, width, 0), (gx, at.inputs(), 0), width)
            }
            Self::Mean => self.gpu_mean("position_spread", at, gy, gx),
        }
    }
}

gpu_linear_map!(PositionPool);
