//! Rotary positions on GPUs.

use super::linear_map::{gpu_linear_map, row_blocks};
use crate::error::Result;
use crate::gpu::words;
use crate::nn::layers::{Pairs, Rope};
use crate::nn::{GpuPass, Span};

impl Rope {
    fn gpu_turn(&self, at: GpuPass<'_>, x: Span, sign: f64, y: Span) -> Result<()> {
        let [positions, width] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        let (rows, width, size) = (at.batch * positions, width / 3, self.head_size());
        // the same for all members
        let bytes = positions * size * at.stored.arith().size();
        let angles = at.workspace.part(0, bytes, at.gpu.device())?;
        let words = words![angles, positions, size, self.base()];
        let grid = row_blocks(positions, size / 2, 1);
        at.gpu.launch("rope_angles", at.stored, grid, words)?;
        let halves = self.pairs() == Pairs::Halves;
        let words = words![
            angles, x.at, x.stride, y.at, y.stride, rows, positions, width, size, halves, sign
        ];
        let grid = row_blocks(rows, width, at.members);
        at.gpu.launch("rope", at.stored, grid, words)
    }

    fn gpu_apply(&self, at: GpuPass<'_>, x: Span, y: Span) -> Result<()> {
        self.gpu_turn(at, x, 1.0, y)
    }

    fn gpu_transpose(&self, at: GpuPass<'_>, gy: Span, gx: Span) -> Result<()> {
        self.gpu_turn(at, gy, -1.0, gx)
    }
}

gpu_linear_map!(Rope);
