//! The class token on GPUs.

use super::linear::column_sums;
use super::linear_map::row_blocks;
use crate::error::Result;
use crate::gpu::words;
use crate::nn::layers::ClassToken;
use crate::nn::{GpuForward, GpuParam, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

/// `length` numbers of every example: from where, at what distance of examples, from which number on; and to
/// where.
pub(super) fn copy_rows(
    at: GpuPass<'_>,
    (from, from_row, from_at): (Span, usize, usize),
    (to, to_row, to_at): (Span, usize, usize),
    length: usize,
) -> Result<()> {
    let words = words![
        from.at,
        from.stride,
        from_row,
        from_at,
        to.at,
        to.stride,
        to_row,
        to_at,
        at.batch,
        length
    ];
    let grid = row_blocks(at.batch, length, at.members);
    at.gpu.launch("copy_rows", at.stored, grid, words)
}

/// `[token, x]` for every example; zeros for an `x` that does not move.
fn join(at: GpuPass<'_>, token: GpuParam, x: Option<Span>, y: Span) -> Result<()> {
    let (rest, size) = (at.inputs(), at.outputs());
    let width = size - rest;
    match x {
        Some(x) => copy_rows(at, (x, rest, 0), (y, size, width), rest)?,
        None => at.fill_zero(at.batch * size, y)?,
    }
    let t = token.value;
    let words = words![
        t.at,
        t.stride,
        y.at,
        y.stride,
        at.batch,
        size,
        width,
        token.multiplier
    ];
    let grid = row_blocks(at.batch, width, at.members);
    at.gpu.launch("put_token", at.stored, grid, words)
}

impl GpuPasses for ClassToken {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        join(at, gpu_param(self, at.params, 0)?, Some(at.x), y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let (rest, size) = (at.inputs(), at.outputs());
        let width = size - rest;
        if let Some(gt) = grads.first() {
            let first = at.part(0, at.batch * width, at.stored)?;
            copy_rows(at, (gy, size, 0), (first, width, 0), width)?;
            let multiplier = gpu_param(self, at.params, 0)?.multiplier;
            column_sums(at, [at.batch, width], first, multiplier, *gt)?;
        }
        match gx {
            Some(gx) => copy_rows(at, (gy, size, width), (gx, rest, 0), rest),
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
        join(at, gpu_param(self, tangents.params, 0)?, tangents.x, dy)
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
