//! Attention on GPUs, in tiles of queries and keys.

#[cfg(all(test, feature = "emulator"))]
mod tests;
mod tiles;

use crate::error::Result;
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::Attention;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};
use tiles::{FORWARD, KEYS, QUERIES, THREADS, Tiled};

/// Addresses and strides of spans, as kernels take them.
fn places<const N: usize>(spans: [Span; N]) -> Vec<Word> {
    spans
        .iter()
        .flat_map(|s| [s.at.into(), s.stride.into()])
        .collect()
}

impl Attention {
    /// Positions and heads.
    fn gpu_sizes(&self, at: &GpuPass<'_>) -> [usize; 2] {
        let [positions, width] = [0, 1].map(|i| at.input.get(i).copied().unwrap_or(0));
        [positions, width / (3 * self.head_size).max(1)]
    }

    /// Queues a kernel over tiles.
    fn gpu_tiles(&self, at: GpuPass<'_>, kernel: Tiled, mut words: Vec<Word>) -> Result<()> {
        let [positions, heads] = self.gpu_sizes(&at);
        let tile = kernel.version(at.stored, self.head_size)?;
        let scale = self.scale.factor(self.head_size);
        words.extend(words![positions, heads, self.head_size, self.causal, scale]);
        let blocks = at.batch * heads * positions.div_ceil(tile.rows);
        let grid = Grid::blocks(blocks, at.members)
            .with_threads(THREADS)
            .with_shared(tile.shared);
        at.gpu.launch(&tile.kernel, at.stored, grid, &words)
    }
}

impl GpuPasses for Attention {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        self.gpu_tiles(at, FORWARD, places([at.x, y, saved]))
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        gy: Span,
        _grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let Some(gx) = gx else {
            return Ok(());
        };
        let [positions, heads] = self.gpu_sizes(&at);
        let rows = at.batch * positions * heads;
        let delta = at.part(0, rows, at.stored.arith())?;
        let mut words = places([was.y, gy, delta]);
        words.extend(words![rows, positions, heads, self.head_size]);
        let grid = Grid::each(32 * rows, at.members);
        at.gpu.launch("attention_delta", at.stored, grid, &words)?;
        for kernel in [QUERIES, KEYS] {
            let words = places([at.x, gy, was.saved, delta, gx]);
            self.gpu_tiles(at, kernel, words)?;
        }
        Ok(())
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let Some(dx) = tangents.x else {
            return at.fill_zero(at.batch * at.outputs(), dy);
        };
        let kernel = Tiled::tangent("attention_tangent", 2);
        self.gpu_tiles(at, kernel, places([at.x, dx, was.y, was.saved, dy]))
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        (gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let (Some(dx), Some(dgx)) = (tangents.x, dgx) else {
            return self.gpu_backward(at, was, dgy, dgrads, dgx);
        };
        let [positions, heads] = self.gpu_sizes(&at);
        let sums = at.part(0, 3 * at.batch * heads * positions, at.stored.arith())?;
        let kernels = [
            "attention_sums",
            "attention_queries_tangent",
            "attention_keys_tangent",
        ];
        for kernel in kernels {
            let mut words = places([at.x, dx, gy, dgy, was.saved, sums, dgx]);
            words.extend(words![at.batch * heads]);
            self.gpu_tiles(at, Tiled::tangent(kernel, 4), words)?;
        }
        Ok(())
    }
}
