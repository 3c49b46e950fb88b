//! RMS normalisation on GPUs.

use super::layer_norm::RowNorm;
use crate::error::Result;
use crate::nn::layers::RmsNorm;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span, gpu_param};

fn norm<'a>(layer: &RmsNorm, at: GpuPass<'a>) -> Result<RowNorm<'a>> {
    Ok(RowNorm {
        at,
        kind: "rms_norm",
        gain: gpu_param(layer, at.params, 0)?,
        bias: None,
    })
}

impl GpuPasses for RmsNorm {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        norm(self, at)?.forward(self.eps, y, saved)
    }

    fn gpu_backward(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        gy: Span,
        grads: &[Span],
        gx: Option<Span>,
    ) -> Result<()> {
        norm(self, at)?.backward(was.saved, gy, grads, gx)
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let dgain = gpu_param(self, tangents.params, 0)?;
        norm(self, at)?.tangent(was.saved, dgain, tangents.x, dy)
    }

    fn gpu_backward_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        gradient: (Span, Span),
        dgrads: &[Span],
        dgx: Option<Span>,
    ) -> Result<()> {
        let moved = (gpu_param(self, tangents.params, 0)?, tangents.x);
        norm(self, at)?.backward_tangent(was.saved, moved, gradient, dgrads, dgx)
    }
}
