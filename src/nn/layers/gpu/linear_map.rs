//! Layers that are linear maps without parameters: all of their passes follow from the map and its transpose.

use crate::gpu::{Grid, THREADS};

/// Blocks for rows of this width, with no more threads than it needs.
pub(super) fn row_blocks(rows: usize, width: usize, members: usize) -> Grid {
    let threads = width.next_multiple_of(32).clamp(32, THREADS);
    Grid::blocks(rows.min(1 << 16), members).with_threads(threads)
}

/// The passes of a layer from its functions `gpu_apply` and `gpu_transpose`.
macro_rules! gpu_linear_map {
    ($layer:ty) => {
        impl $crate::nn::GpuPasses for $layer {
            fn gpu_forward(
                &self,
                at: $crate::nn::GpuPass<'_>,
                y: $crate::nn::Span,
                _saved: $crate::nn::Span,
            ) -> $crate::error::Result<()> {
                self.gpu_apply(at, at.x, y)
            }

            fn gpu_backward(
                &self,
                at: $crate::nn::GpuPass<'_>,
                _was: $crate::nn::GpuForward,
                gy: $crate::nn::Span,
                _grads: &[$crate::nn::Span],
                gx: Option<$crate::nn::Span>,
            ) -> $crate::error::Result<()> {
                match gx {
                    Some(gx) => self.gpu_transpose(at, gy, gx),
                    None => Ok(()),
                }
            }

            fn gpu_tangent(
                &self,
                at: $crate::nn::GpuPass<'_>,
                _was: $crate::nn::GpuForward,
                tangents: $crate::nn::GpuTangents<'_>,
                dy: $crate::nn::Span,
            ) -> $crate::error::Result<()> {
                match tangents.x {
                    Some(dx) => self.gpu_apply(at, dx, dy),
                    None => at.fill_zero(at.batch * at.outputs(), dy),
                }
            }

            fn gpu_backward_tangent(
                &self,
                at: $crate::nn::GpuPass<'_>,
                was: $crate::nn::GpuForward,
                _tangents: $crate::nn::GpuTangents<'_>,
                (_gy, dgy): ($crate::nn::Span, $crate::nn::Span),
                dgrads: &[$crate::nn::Span],
                dgx: Option<$crate::nn::Span>,
            ) -> $crate::error::Result<()> {
                $crate::nn::GpuPasses::gpu_backward(self, at, was, dgy, dgrads, dgx)
            }
        }
    };
}
pub(super) use gpu_linear_map;
