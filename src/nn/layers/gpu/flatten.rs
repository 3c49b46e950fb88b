//! Flattening on GPUs: copies, where plans do not leave them out.

use crate::error::Result;
use crate::nn::layers::Flatten;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

fn copy(at: GpuPass<'_>, from: Span, to: Span) -> Result<()> {
    at.scale_add(at.batch * at.inputs(), (1.0, from), (0.0, to))
}

impl GpuPasses for Flatten {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        copy(at, at.x, y)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        gy: Span,
        _grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        gx.map_or(Ok(()), |gx| copy(at, gy, gx))
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        _was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        match tangents.x {
            Some(dx) => copy(at, dx, dy),
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
