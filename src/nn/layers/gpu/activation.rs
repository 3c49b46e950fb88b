//! Activations on GPUs.

use crate::error::Result;
use crate::gpu::{Grid, words};
use crate::nn::{GpuForward, GpuPass, GpuPasses, GpuTangents, Span};
use crate::tensor::activation::Activation;

/// Its number in `kernels/activation.cuh`.
pub(super) fn number(activation: Activation) -> usize {
    match activation {
        Activation::Relu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Tanh => 3,
        Activation::Erf => 4,
        Activation::Silu => 5,
        Activation::Identity => 6,
        Activation::Quadratic => 7,
    }
}

/// `to = by φ'(x)`.
fn first(activation: Activation, at: GpuPass<'_>, by: Span, to: Span) -> Result<()> {
    let n = at.batch * at.inputs();
    let words = words![
        at.x.at,
        at.x.stride,
        by.at,
        by.stride,
        to.at,
        to.stride,
        n,
        number(activation)
    ];
    let grid = Grid::each(n, at.members);
    at.gpu.launch("activation_first", at.stored, grid, words)
}

impl GpuPasses for Activation {
    fn gpu_forward(&self, at: GpuPass<'_>, y: Span, _saved: Span) -> Result<()> {
        let n = at.batch * at.inputs();
        let words = words![at.x.at, at.x.stride, y.at, y.stride, n, number(*self)];
        let grid = Grid::each(n, at.members);
        at.gpu.launch("activation_forward", at.stored, grid, words)
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
            Some(gx) => first(*self, at, gy, gx),
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
            Some(dx) => first(*self, at, dx, dy),
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
        let (Some(dx), Some(dgx)) = (tangents.x, dgx) else {
            return self.gpu_backward(at, was, dgy, dgrads, dgx);
        };
        let n = at.batch * at.inputs();
        let words = words![
            at.x.at,
            at.x.stride,
            dx.at,
            dx.stride,
            gy.at,
            gy.stride,
            dgy.at,
            dgy.stride,
            dgx.at,
            dgx.stride,
            n,
            number(*self)
        ];
        let grid = Grid::each(n, at.members);
        at.gpu.launch("activation_second", at.stored, grid, words)
    }
}
