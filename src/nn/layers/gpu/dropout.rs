//! Dropout on GPUs.

use crate::error::Result;
use crate::gpu::{Grid, words};
use crate::nn::layers::Dropout;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

impl Dropout {
    /// The layer is linear, with the same matrix in every pass.
    fn gpu_apply(&self, at: GpuPass<'_>, x: Span, y: Span) -> Result<()> {
        let n = at.batch * at.inputs();
        let Some(keys) = at.noise else {
            return at.scale_add(n, (1.0, x), (0.0, y));
        };
        // as on the CPU: words below the limit are dropped
        let limit = (self.p * 2f64.powi(32)) as u32;
        let factor = 1.0 / (1.0 - self.p);
        let words = words![
            x.at,
            x.stride,
            y.at,
            y.stride,
            n,
            keys,
            limit as usize,
            factor
        ];
        // a thread decides on four numbers
        let grid = Grid::each(n.div_ceil(4), at.members);
        at.gpu.launch("dropout", at.stored, grid, words)
    }
}

impl GpuPasses for Dropout {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        self.gpu_apply(at, at.x, y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        _grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        match gx {
            Some(gx) => self.gpu_apply(at, gy, gx),
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
        match tangents.x {
            Some(dx) => self.gpu_apply(at, dx, dy),
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
