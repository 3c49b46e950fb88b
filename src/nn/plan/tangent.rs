//! Second derivatives: the tangent of the forward and of the backward pass.
//!
//! The gradient is a function of the parameters that the two passes compute; its derivative in a
//! direction, the Hessian–vector product, is the tangent of both (forward over reverse, Pearlmutter
//! 1994), exact up to rounding. Activations and their gradients are computed once and serve every
//! product.

use candle_core::Tensor;

use super::build::Built;
use super::run::{Bound, each};
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::memory::zeros_like;
use crate::nn::buffer::Buffer;
use crate::nn::layer::{Forward, LayerElem, Tangents, Weights};
use crate::tensor::elementwise::{accumulate, copy_scaled};

/// The loss's second derivative at one member's outputs: from outputs and their tangent, writes the
/// tangent of the loss's gradient.
pub trait Curvature<T>: Sync {
    /// For `outputs` and `tangent [batch, …]`.
    fn apply(&self, outputs: &[T], tangent: &[T], gradient_tangent: &mut [T]);
}

/// Tangents of activations and of their gradients, where parameters act on the way to them.
#[derive(Debug)]
pub struct TangentBuffers<T> {
    values: Vec<Option<Buffer<T>>>,
    gradients: Vec<Option<Buffer<T>>>,
    /// A place for what a second consumer adds.
    spare: Option<Buffer<T>>,
}

impl<T: LayerElem> TangentBuffers<T> {
    pub fn new(built: &Built) -> Result<Self> {
        let zeros = |name: &str, t: &Tensor| Buffer::new(&zeros_like(name, t)?);
        let all = |name: &str| -> Result<Vec<_>> {
            let slots = built.values.iter().zip(&built.trained);
            slots
                .map(|(value, trained)| trained.then(|| zeros(name, value)).transpose())
                .collect()
        };
        let gradients = "tangents of gradients";
        let spare = built.spare.as_ref().map(|t| zeros(gradients, t));
        Ok(Self {
            values: all("tangents of activations")?,
            gradients: all(gradients)?,
            spare: spare.transpose()?,
        })
    }
}

/// A direction in the space of the parameters, and where its image goes.
pub struct Direction<T> {
    params: Vec<Buffer<T>>,
    image: Vec<Buffer<T>>,
}

impl<T: LayerElem> Direction<T> {
    pub fn new(direction: &[Tensor], image: &[Tensor]) -> Result<Self> {
        let all = |tensors: &[Tensor]| tensors.iter().map(Buffer::new).collect::<Result<Vec<_>>>();
        Ok(Self {
            params: all(direction)?,
            image: all(image)?,
        })
    }
}

/// One product: the pass that it belongs to, where it keeps tangents, and its direction.
struct Product<'a, T> {
    bound: &'a Bound<'a, T>,
    inputs: &'a Buffer<T>,
    buffers: &'a TangentBuffers<T>,
    direction: &'a Direction<T>,
    member: usize,
}

impl<T: LayerElem> Bound<'_, T> {
    /// For each member: tangents of the activations, of the loss's gradient, and of the gradients of
    /// activations and parameters. Forward and backward pass have run before.
    pub fn hessian_vector(
        &self,
        ops: &[Op],
        inputs: &Tensor,
        members: usize,
        direction: &Direction<T>,
        loss: &dyn Curvature<T>,
    ) -> Result<()> {
        let Some(buffers) = &self.runner.tangents else {
            return Err(Error::other(
                "the plan was compiled without second derivatives",
            ));
        };
        let inputs = Buffer::reading(inputs)?;
        each(members, |member| {
            let product = Product {
                bound: self,
                inputs: &inputs,
                buffers,
                direction,
                member,
            };
            product.run(ops, loss)
        })?;
        Ok(())
    }
}

impl<T: LayerElem> Product<'_, T> {
    fn run(&self, ops: &[Op], loss: &dyn Curvature<T>) -> Result<()> {
        for (i, op) in ops.iter().enumerate() {
            self.forward(i, op).map_err(|e| e.at(&op.path))?;
        }
        let last = self.bound.runner.last;
        let (Some(dz), Some(dgz)) = (self.value(last), self.gradient(last)) else {
            return Err(Error::other("the output has no tangent"));
        };
        // SAFETY: nobody writes outputs now
        loss.apply(
            unsafe { self.bound.value(self.inputs, last, self.member) },
            dz,
            dgz,
        );
        let mut written = vec![false; self.buffers.values.len()];
        for (i, op) in ops.iter().enumerate().rev() {
            self.backward(i, op, &mut written)
                .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    #[allow(clippy::mut_from_ref, reason = "one task works on a member")]
    /// Tangent of an activation, `None` where it does not depend on parameters.
    fn value(&self, slot: usize) -> Option<&mut [T]> {
        let buffer = self.buffers.values[slot].as_ref();
        // SAFETY: one task works on a member, and never on an activation that it reads
        buffer.map(|b| unsafe { b.of_mut(self.member) })
    }

    #[allow(clippy::mut_from_ref, reason = "one task works on a member")]
    /// Tangent of an activation's gradient.
    fn gradient(&self, slot: usize) -> Option<&mut [T]> {
        let buffer = self.buffers.gradients[slot].as_ref();
        // SAFETY: as above
        buffer.map(|b| unsafe { b.of_mut(self.member) })
    }

    fn was(&self, i: usize, op: &Op) -> Forward<'_, T> {
        self.bound.was(i, op, self.inputs, self.member)
    }

    fn tangents(&self, params: std::ops::Range<usize>, x: usize) -> Tangents<'_, T> {
        Tangents {
            params: Weights {
                buffers: &self.direction.params[params.clone()],
                multipliers: &self.bound.multipliers[params],
                member: self.member,
            },
            x: self.value(x).map(|x| &*x),
        }
    }

    fn forward(&self, i: usize, op: &Op) -> Result<()> {
        let Some(dy) = self.value(op.y) else {
            return Ok(());
        };
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                match self.value(*skip) {
                    Some(skip) => dy.copy_from_slice(skip),
                    None => dy.fill(T::of(0.0)),
                }
                if let Some(branch) = self.value(*branch) {
                    accumulate(dy, branch, *multiplier);
                }
                Ok(())
            }
            OpKind::Layer {
                layer, params, x, ..
            } => {
                if layer.is_reshape() {
                    if let Some(dx) = self.value(*x) {
                        dy.copy_from_slice(dx);
                    }
                    return Ok(());
                }
                let Some((layer, pass)) = self.bound.pass(op, self.inputs, self.member) else {
                    return Ok(());
                };
                let tangents = self.tangents(params.clone(), *x);
                T::passes(layer).tangent(pass, self.was(i, op), tangents, dy)
            }
        }
    }

    fn backward(&self, i: usize, op: &Op, written: &mut [bool]) -> Result<()> {
        let Some(dgy) = self.gradient(op.y) else {
            return Ok(());
        };
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => [(*skip, 1.0), (*branch, *multiplier)]
                .into_iter()
                .try_for_each(|(x, factor)| {
                    self.receive(written, x, |dgx| {
                        copy_scaled(dgx, dgy, factor);
                        Ok(())
                    })
                }),
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                self.receive(written, *x, |dgx| {
                    dgx.copy_from_slice(dgy);
                    Ok(())
                })
            }
            OpKind::Layer { params, x, .. } => {
                let bound = self.bound;
                let Some((layer, pass)) = bound.pass(op, self.inputs, self.member) else {
                    return Ok(());
                };
                let Some(gy) = bound.runner.gradient(op.y) else {
                    return Ok(());
                };
                // SAFETY: the backward pass is over; this task alone works on this member
                let gy = unsafe { &gy.of(self.member)[..dgy.len()] };
                let (was, tangents) = (self.was(i, op), self.tangents(params.clone(), *x));
                let passes = T::passes(layer);
                let all = &self.direction.image[params.clone()];
                bound.with_grads(i, all, self.member, |image| {
                    if self.buffers.gradients[*x].is_none() {
                        return passes.backward_tangent(
                            pass,
                            was,
                            tangents,
                            (gy, dgy),
                            image,
                            None,
                        );
                    }
                    self.receive(written, *x, |dgx| {
                        passes.backward_tangent(pass, was, tangents, (gy, dgy), image, Some(dgx))
                    })
                })
            }
        }
    }

    /// Lets `fill` write the tangent of an activation's gradient, or add to what is there.
    fn receive(
        &self,
        written: &mut [bool],
        slot: usize,
        fill: impl FnOnce(&mut [T]) -> Result<()>,
    ) -> Result<()> {
        let Some(to) = self.gradient(slot) else {
            return Ok(());
        };
        if !std::mem::replace(&mut written[slot], true) {
            return fill(to);
        }
        let Some(spare) = &self.buffers.spare else {
            return Err(Error::other("no spare buffer for a second consumer"));
        };
        // SAFETY: this task alone works on this member
        let spare = unsafe { &mut spare.of_mut(self.member)[..to.len()] };
        fill(spare)?;
        accumulate(to, spare, 1.0);
        Ok(())
    }
}
