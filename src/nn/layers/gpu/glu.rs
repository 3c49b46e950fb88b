//! Gated linear units on GPUs.

use super::activation::number;
use super::linear_map::row_blocks;
use crate::error::Result;
use crate::gpu::Word;
use crate::nn::layers::Glu;
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

impl Glu {
    /// Queues a kernel over rows, which takes spans, rows, width and activation.
    fn gpu_rows(&self, kernel: &str, at: GpuPass<'_>, spans: &[Span]) -> Result<()> {
        let width = at.output.last().copied().unwrap_or(1);
        let rows = at.batch * at.outputs() / width.max(1);
        let spans = spans.iter().flat_map(|s| [s.at.into(), s.stride.into()]);
        let mut words: Vec<Word> = spans.collect();
        words.extend::<[Word; 3]>([rows.into(), width.into(), number(self.activation).into()]);
        let grid = row_blocks(rows, width, at.members);
        at.gpu.launch(kernel, at.stored, grid, &words)
    }
}

impl GpuPasses for Glu {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        self.gpu_rows("glu_forward", at, &[at.x, y])
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
            Some(gx) => self.gpu_rows("glu_backward", at, &[at.x, gy, gx]),
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
            Some(dx) => self.gpu_rows("glu_tangent", at, &[at.x, dx, dy]),
            None => at.fill_zero(at.batch * at.outputs(), dy),
        }
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
        match (tangents.x, dgx) {
            (Some(dx), Some(dgx)) => {
                self.gpu_rows("glu_backward_tangent", at, &[at.x, dx, gy, dgy, dgx])
            }
            _ => self.gpu_backward(at, was, dgy, dgrads, dgx),
        }
    }
}
