//! Attention on GPUs, in tiles of queries and keys.

use crate::error::{Error, Result};
use crate::gpu::{Grid, Stored, Word, words};
use crate::nn::layers::Attention;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

/// Threads of a block of `kernels/attention.cuh`.
const THREADS: usize = 128;
/// Sizes of heads that kernels are made for, and those that kernels of tangents are made for.
const SIZES: [usize; 4] = [32, 64, 128, 256];
const TANGENT_SIZES: [usize; 2] = [64, 256];

/// Rows of a tile in a kernel with so many outputs: the same as in `kernels/attention.cuh`.
fn rows(stored: Stored, size: usize, outputs: usize) -> usize {
    let rows = if outputs * size <= 128 { 64 } else { 32 };
    rows * 4 / stored.arith().size()
}

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

    /// Queues a kernel over tiles, made for one of `sizes` of heads, with `outputs` sums of rows.
    fn gpu_tiles(
        &self,
        at: GpuPass<'_>,
        (kernel, sizes, outputs): (&str, &[usize], usize),
        mut words: Vec<Word>,
    ) -> Result<()> {
        let [positions, heads] = self.gpu_sizes(&at);
        let size = sizes.iter().find(|size| self.head_size <= **size);
        let size = *size.ok_or_else(|| {
            Error::setting(format!(
                "attention on GPUs takes heads of at most 256 channels, got {}",
                self.head_size
            ))
        })?;
        let tiles = positions.div_ceil(rows(at.stored, size, outputs));
        let scale = self.scale.factor(self.head_size);
        words.extend(words![positions, heads, self.head_size, self.causal, scale]);
        let grid = Grid::blocks(at.batch * heads * tiles, at.members).with_threads(THREADS);
        at.gpu
            .launch(&format!("{kernel}_{size}"), at.stored, grid, &words)
    }
}

impl GpuPasses for Attention {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        let kernel = ("attention_forward", &SIZES[..], 1);
        self.gpu_tiles(at, kernel, places([at.x, y, saved]))
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
        for (kernel, outputs) in [("attention_queries", 1), ("attention_keys", 2)] {
            let words = places([at.x, gy, was.saved, delta, gx]);
            self.gpu_tiles(at, (kernel, &SIZES, outputs), words)?;
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
        let kernel = ("attention_tangent", &TANGENT_SIZES[..], 2);
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
            self.gpu_tiles(at, (kernel, &TANGENT_SIZES, 4), words)?;
        }
        Ok(())
    }
}
