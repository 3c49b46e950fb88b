//! The mean over all pixels on GPUs.

use crate::error::Result;
use crate::gpu::{Grid, THREADS, words};
use crate::nn::layers::GlobalAvgPool;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

/// Pixels above which a block takes one plane.
const LONG: usize = 1024;

/// Planes, and pixels of each.
fn sizes(at: GpuPass<'_>) -> [usize; 2] {
    let (&channels, rest) = at.input.split_first().unwrap_or((&1, &[]));
    [at.batch * channels, rest.iter().product()]
}

/// The means of `x`.
fn means(at: GpuPass<'_>, x: Span, y: Span) -> Result<()> {
    let [planes, pixels] = sizes(at);
    let lanes = if pixels > LONG { THREADS } else { 32 };
    let words = words![x.at, x.stride, y.at, y.stride, planes, pixels, lanes];
    let grid = Grid::blocks(planes.div_ceil(THREADS / lanes), at.members);
    at.gpu.launch("plane_means", at.stored, grid, words)
}

impl GpuPasses for GlobalAvgPool {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        means(at, at.x, y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        _grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        let Some(gx) = gx else {
            return Ok(());
        };
        let [planes, pixels] = sizes(at);
        let words = words![gy.at, gy.stride, gx.at, gx.stride, planes, pixels];
        let grid = Grid::each(planes * pixels, at.members);
        at.gpu
            .launch("plane_means_backward", at.stored, grid, words)
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        match tangents.x {
            Some(dx) => means(at, dx, dy),
            None => at.fill_zero(at.batch * at.outputs(), dy),
        }
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
