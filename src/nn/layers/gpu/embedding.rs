//! Rows of a table by token, and learned positions, on GPUs.

use super::linear::column_sums;
use super::linear_map::row_blocks;
use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Grid, THREADS, words};
use crate::nn::layers::{Embedding, PositionalEmbedding};
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};
use crate::tensor::elem::{dispatch, read};
use crate::tensor::embedding;

/// Columns of the table that a block sums.
const COLUMNS: usize = 64;
/// Most tokens that a block sorts rows of.
const GROUP: usize = 64;

impl Embedding {
    /// Tokens in the arithmetic type, or no address and tokens as the layer's input; and the distance of members.
    fn tokens(&self, at: &GpuPass<'_>) -> (u64, u64, usize) {
        match at.raw {
            Some(raw) => (raw.at, at.x.at, raw.stride),
            None => (0, at.x.at, at.x.stride),
        }
    }

    fn look_up(&self, at: GpuPass<'_>, table: GpuParam, y: Span) -> Result<()> {
        let rows = at.batch * at.inputs();
        let (whole, x, stride) = self.tokens(&at);
        let (t, multiplier) = (table.value, table.multiplier);
        let words = words![
            whole, x, stride, t.at, t.stride, y.at, y.stride, rows, self.vocab, self.width,
            multiplier
        ];
        let grid = row_blocks(rows, self.width, at.members);
        at.gpu.launch("embedding_forward", at.stored, grid, words)
    }

    fn gradient(&self, at: GpuPass<'_>, gy: Span, multiplier: f64, gw: Span) -> Result<()> {
        let (rows, vocab) = (at.batch * at.inputs(), self.vocab);
        let (whole, x, stride) = self.tokens(&at);
        // tokens that members share are sorted once; places are 32 bits
        let members = if stride == 0 { 1 } else { at.members };
        let part = |i, numbers: usize| -> Result<Span> {
            Ok(Span {
                at: at
                    .workspace
                    .part(i, members * numbers * 4, at.gpu.device())?,
                stride: if stride == 0 { 0 } else { numbers },
            })
        };
        let (starts, order) = (part(0, vocab + 1)?, part(1, rows)?);
        let group = (vocab / 128).clamp(1, GROUP);
        let words = words![
            whole,
            x,
            stride,
            starts.at,
            starts.stride,
            order.at,
            order.stride,
            rows,
            vocab,
            group
        ];
        // no more threads than rows, but one for each token
        let threads = rows.next_multiple_of(32).clamp(GROUP, THREADS);
        let grid = Grid::blocks(vocab.div_ceil(group), members).with_threads(threads);
        at.gpu.launch("embedding_sort", at.stored, grid, words)?;
        let words = words![
            starts.at,
            starts.stride,
            order.at,
            order.stride,
            gy.at,
            gy.stride,
            gw.at,
            gw.stride,
            vocab,
            self.width,
            multiplier
        ];
        let mut grid = Grid::blocks(vocab.min(1 << 11), at.members);
        grid.blocks[2] = self.width.div_ceil(COLUMNS);
        at.gpu.launch("embedding_gradient", at.stored, grid, words)
    }
}

impl GpuPasses for Embedding {
    fn gpu_check(&self, inputs: &Tensor, input: &[usize]) -> Result<()> {
        dispatch!(inputs, T => read(inputs, |tokens: &[T]| {
            embedding::check(tokens, input.iter().product(), self.vocab)
        }))
    }

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
            let multiplier = gpu_param(self, at.params, 0)?.multiplier;
            self.gradient(at, gy, multiplier, *gw)?;
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
    let mut grid = Grid::each(size, at.members);
    // blocks share the examples too where one is small
    grid.blocks[2] = at.batch.clamp(1, 64);
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
