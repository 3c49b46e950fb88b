//! Hessian–vector products on a GPU: tangents of the forward pass, then of the backward pass.

use super::gpu::{GpuRunner, Held};
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::nn::gpu::{GpuParam, GpuTangents, Span};

/// Where tangents are kept.
#[derive(Debug)]
pub(super) struct TangentBuffers {
    pub(super) values: Vec<Option<Held>>,
    pub(super) gradients: Vec<Option<Held>>,
    pub(super) spare: Option<Held>,
}

impl GpuRunner {
    /// Queues a Hessian–vector product: `direction` and `image` in the order of the parameters; `bend`
    /// writes the tangent of the loss's gradient from outputs and their tangent.
    pub fn hessian_vector(
        &self,
        ops: &[Op],
        params: &[GpuParam],
        direction: &[GpuParam],
        image: &[Span],
        bend: &dyn Fn(Span, Span, Span) -> Result<()>,
    ) -> Result<()> {
        let Some(buffers) = &self.tangents else {
            return Err(Error::other(
                "the plan was compiled without second derivatives",
            ));
        };
        let product = Product {
            runner: self,
            buffers,
            params,
            direction,
            image,
        };
        for (i, op) in ops.iter().enumerate() {
            product.forward(i, op).map_err(|e| e.at(&op.path))?;
        }
        let (Some(dz), Some(dgz)) = (product.value(self.last), product.gradient(self.last)) else {
            return Err(Error::other("the output has no tangent"));
        };
        bend(self.value(self.last), dz, dgz)?;
        let mut written = vec![false; buffers.values.len()];
        for (i, op) in ops.iter().enumerate().rev() {
            product
                .backward(i, op, &mut written)
                .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }
}

/// A Hessian–vector product.
struct Product<'a> {
    runner: &'a GpuRunner,
    buffers: &'a TangentBuffers,
    params: &'a [GpuParam],
    direction: &'a [GpuParam],
    image: &'a [Span],
}

impl Product<'_> {
    /// Tangent of an activation, `None` where it does not depend on parameters.
    fn value(&self, slot: usize) -> Option<Span> {
        self.buffers.values[slot].as_ref().map(|held| held.span)
    }

    /// Tangent of an activation's gradient.
    fn gradient(&self, slot: usize) -> Option<Span> {
        self.buffers.gradients[slot].as_ref().map(|held| held.span)
    }

    fn tangents(&self, params: std::ops::Range<usize>, x: usize) -> GpuTangents<'_> {
        GpuTangents {
            params: self.direction.get(params).unwrap_or_default(),
            x: self.value(x),
        }
    }

    fn forward(&self, i: usize, op: &Op) -> Result<()> {
        let Some(dy) = self.value(op.y) else {
            return Ok(());
        };
        let runner = self.runner;
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                let mut keep = 0.0;
                for (x, factor) in [(*skip, 1.0), (*branch, *multiplier)] {
                    if let Some(dx) = self.value(x) {
                        runner.scale_add(op.y, (factor, dx), (keep, dy))?;
                        keep = 1.0;
                    }
                }
                Ok(())
            }
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => match self.value(*x) {
                Some(dx) => runner.scale_add(op.y, (1.0, dx), (0.0, dy)),
                None => Ok(()),
            },
            OpKind::Layer { params, x, .. } => match runner.pass(i, op, self.params, false)? {
                Some((layer, pass)) => layer.gpu_tangent(
                    pass,
                    runner.was(i, op),
                    self.tangents(params.clone(), *x),
                    dy,
                ),
                None => Ok(()),
            },
        }
    }

    fn backward(&self, i: usize, op: &Op, written: &mut [bool]) -> Result<()> {
        let Some(dgy) = self.gradient(op.y) else {
            return Ok(());
        };
        let runner = self.runner;
        let spare = self.buffers.spare.as_ref().map(|held| held.span);
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => [(*skip, 1.0), (*branch, *multiplier)]
                .into_iter()
                .try_for_each(|(x, factor)| {
                    runner.receive(written, x, self.gradient(x), spare, |dgx| {
                        runner.scale_add(x, (factor, dgy), (0.0, dgx))
                    })
                }),
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                runner.receive(written, *x, self.gradient(*x), spare, |dgx| {
                    runner.scale_add(*x, (1.0, dgy), (0.0, dgx))
                })
            }
            OpKind::Layer { params, x, .. } => {
                let Some((layer, pass)) = runner.pass(i, op, self.params, false)? else {
                    return Ok(());
                };
                let Some(gy) = runner.gradient(op.y) else {
                    return Ok(());
                };
                let (was, tangents) = (runner.was(i, op), self.tangents(params.clone(), *x));
                let image = self.image.get(params.clone()).unwrap_or_default();
                runner.with_grads(i, pass, image, |image| match self.gradient(*x) {
                    None => layer.gpu_backward_tangent(pass, was, tangents, (gy, dgy), image, None),
                    dgx => runner.receive(written, *x, dgx, spare, |dgx| {
                        layer.gpu_backward_tangent(pass, was, tangents, (gy, dgy), image, Some(dgx))
                    }),
                })
            }
        }
    }
}
