//! Rows of a table by token, and learned positions, on GPUs.

use super::linear::column_sums;
use crate::error::Result;
use crate::gpu::{Grid, words};
use crate::nn::layers::{Embedding, PositionalEmbedding};
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

impl Embedding {
    fn look_up(&self, at: GpuPass<'_>, table: GpuParam, y: Span) -> Result<()> {
        let rows = at.batch * at.inputs();
        let (whole, x, t) = (at.raw.map_or(0, |raw| raw.at), at.x, table.value);
        // what is shared is so in both types
        let stride = at.raw.map_or(x.stride, |raw| raw.stride);
        let words = words![
            whole,
            x.at,
            stride,
            t.at,
            t.stride,
            y.at,
            y.stride,
            rows,
            self.vocab,
            self.width,
            table.multiplier
        ];
        let grid = Grid::blocks(rows.min(1 << 16), at.members);
        at.gpu.launch("embedding_forward", at.stored, grid, words)
    }
}

impl GpuPasses for Embedding {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        self.look_up(at, gpu_param(self, at.params, 0)?, y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        if let Some(gw) = grads.first() {
            let rows = at.batch * at.inputs();
            let (whole, x) = (at.raw.map_or(0, |raw| raw.at), at.x);
            let stride = at.raw.map_or(x.stride, |raw| raw.stride);
            let multiplier = gpu_param(self, at.params, 0)?.multiplier;
            let words = words![
                whole, x.at, stride, gy.at, gy.stride, gw.at, gw.stride, rows, self.vocab,
                self.width, multiplier
            ];
            let mut grid = Grid::blocks(self.vocab, at.members);
            grid.blocks[2] = self.width.div_ceil(grid.threads);
            at.gpu
                .launch("embedding_gradient", at.stored, grid, words)?;
        }
        // whole numbers do not move
        match gx {
            Some(gx) => at.fill_zero(at.batch * at.inputs(), gx),
            None => Ok(()),
        }
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        self.look_up(at, gpu_param(self, tangents.params, 0)?, dy)
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        _tangents: GpuTangents<'_>,
        (_gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        self.gpu_backward(at, was, dgy, dgrads, dgx)
    }
}

/// `y = x + table` for every example; the table alone for an `x` that does not move.
fn add_table(at: GpuPass<'_>, table: GpuParam, x: Option<Span>, y: Span) -> Result<()> {
    let none = Span { at: 0, stride: 0 };
    let (x, t, size) = (x.unwrap_or(none), table.value, at.inputs());
    let words = words![
        x.at,
        x.stride,
        t.at,
        t.stride,
        y.at,
        y.stride,
        at.batch,
        size,
        table.multiplier
    ];
    let grid = Grid::each(size, at.members);
    at.gpu.launch("add_rows", at.stored, grid, words)
}

impl GpuPasses for PositionalEmbedding {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        add_table(at, gpu_param(self, at.params, 0)?, Some(at.x), y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let size = at.inputs();
        if let Some(gw) = grads.first() {
            // positions behind the last one have no gradient
            let width = at.input.last().copied().unwrap_or(1);
            let table = self.context.map_or(size, |context| context * width);
            let bytes = at.members * table * at.stored.arith().size();
            at.gpu.zero(gw.at, bytes)?;
            let multiplier = gpu_param(self, at.params, 0)?.multiplier;
            column_sums(at, [at.batch, size], gy, multiplier, *gw)?;
        }
        match gx {
            Some(gx) => at.scale_add(at.batch * size, (1.0, gy), (0.0, gx)),
            None => Ok(()),
        }
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        add_table(at, gpu_param(self, tangents.params, 0)?, tangents.x, dy)
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        _tangents: GpuTangents<'_>,
        (_gy, dgy): (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        self.gpu_backward(at, was, dgy, dgrads, dgx)
    }
}
