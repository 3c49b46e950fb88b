//! Pooling on GPUs.

use super::layer_norm::span;
use crate::error::{Error, Result};
use crate::gpu::{Grid, Word, words};
use crate::nn::layers::{Pool2d, Pooling};
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};

/// `PoolSizes` of `kernels/pool.cuh`.
fn sizes(layer: &Pool2d, at: GpuPass<'_>) -> Result<Vec<Word>> {
    let (&[channels, height, width], &[_, out_height, out_width]) = (at.input, at.output) else {
        return Err(Error::shape(format!(
            "pooling takes [channels, height, width], not {:?}",
            at.input
        )));
    };
    let ([kernel, stride], padding) = ([layer.kernel, layer.stride], layer.padding);
    let words = words![
        at.batch * channels,
        height,
        width,
        out_height,
        out_width,
        kernel[0],
        kernel[1],
        stride[0],
        stride[1],
        padding[0],
        padding[1]
    ];
    Ok(words.to_vec())
}

/// Queues a kernel over `n` numbers of each member.
fn launch(
    layer: &Pool2d,
    at: GpuPass<'_>,
    (kernel, n): (&str, usize),
    spans: &[Span],
) -> Result<()> {
    let mut words: Vec<Word> = spans.iter().flat_map(|s| span(Some(*s))).collect();
    words.extend(sizes(layer, at)?);
    if let Pooling::Average { count_border } = layer.pooling {
        words.push(count_border.into());
    }
    let grid = Grid::each(n, at.members);
    at.gpu.launch(kernel, at.stored, grid, &words)
}

impl GpuPasses for Pool2d {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, saved: Span) -> Result<()> {
        let n = at.batch * at.outputs();
        match self.pooling {
            Pooling::Max => launch(self, at, ("max_pool_forward", n), &[at.x, y, saved]),
            Pooling::Average { .. } => launch(self, at, ("avg_pool_forward", n), &[at.x, y]),
        }
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
        let n = at.batch * at.inputs();
        match self.pooling {
            Pooling::Max => launch(self, at, ("max_pool_backward", n), &[gy, was.saved, gx]),
            Pooling::Average { .. } => launch(self, at, ("avg_pool_backward", n), &[gy, gx]),
        }
    }

    fn gpu_tangent(
        &self,
        at: GpuPass<'_>,
        was: GpuForward,
        tangents: GpuTangents<'_>,
        dy: Span,
    ) -> Result<()> {
        let n = at.batch * at.outputs();
        let Some(dx) = tangents.x else {
            return at.fill_zero(n, dy);
        };
        match self.pooling {
            Pooling::Max => launch(self, at, ("max_pool_tangent", n), &[dx, was.saved, dy]),
            Pooling::Average { .. } => launch(self, at, ("avg_pool_forward", n), &[dx, dy]),
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
