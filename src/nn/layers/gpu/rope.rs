//! Rotary positions on GPUs.

use super::linear_map::gpu_linear_map;
use crate::error::Result;
use crate::gpu::{Grid, words};
use crate::nn::layers::{Pairs, Rope};
use crate::nn::{GpuPass, Span};

impl Rope {
    fn gpu_turn(&self, at: GpuPass<'_>, x: Span, sign: f64, y: Span) -> Result<()> {
        let [positions, width] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        let rows = at.batch * positions;
        let halves = self.pairs() == Pairs::Halves;
        let words = words![
            x.at,
            x.stride,
            y.at,
            y.stride,
            rows,
            positions,
            width / 3,
            self.head_size(),
            halves,
            self.base(),
            sign
        ];
        let grid = Grid::blocks(rows.min(1 << 16), at.members);
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
