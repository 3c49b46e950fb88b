//! The empirical neural tangent kernel, layer by layer.
//!
//! The kernel of two examples is the inner product of their parameter gradients, traced over outputs:
//! `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩`. One backward pass per output carries the gradients of
//! all examples; each layer contracts them with its inputs into its part of the kernel
//! ([`Passes::gram`](crate::nn::Passes::gram)), without the whole Jacobian.

use candle_core::Tensor;
use rayon::prelude::*;

use super::run::{Bound, each};
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::memory::numbers;
use crate::nn::buffer::Buffer;
use crate::nn::layer::{Forward, LayerElem};
use crate::tensor::elementwise::{accumulate, copy_scaled};
use crate::tensor::gram::mirror;

/// How an operation sends a gradient back.
type Back<'a, T> = dyn Fn(&[T], &mut [T]) -> Result<()> + Sync + 'a;

/// Gradients of all outputs with respect to one activation, `[outputs, batch, …]`.
type Signals<T> = Vec<T>;

impl<T: LayerElem> Bound<'_, T> {
    /// Writes each member's kernel into `kernels [members, batch, batch]`. The forward pass has run
    /// before.
    pub fn ntk(&self, ops: &[Op], inputs: &Tensor, members: usize, kernels: &Tensor) -> Result<()> {
        let inputs = Buffer::reading(inputs)?;
        let kernels = Buffer::new(kernels)?;
        each(members, |member| {
            // SAFETY: this task alone works on this member
            let kernel = unsafe { kernels.of_mut(member) };
            kernel.fill(T::of(0.0));
            self.member_ntk(ops, &inputs, member, kernel)?;
            mirror(kernel, inputs.tensor().dims()[1]);
            Ok(())
        })?;
        Ok(())
    }

    fn member_ntk(
        &self,
        ops: &[Op],
        inputs: &Buffer<T>,
        member: usize,
        kernel: &mut [T],
    ) -> Result<()> {
        let batch = inputs.tensor().dims()[1];
        let runner = self.runner;
        let outputs = runner.sizes[runner.last] / batch.max(1);
        let mut signals: Vec<Option<Signals<T>>> = runner.sizes.iter().map(|_| None).collect();
        let mut last = numbers::<T>("gradients of outputs", &[outputs, batch, outputs])?;
        for (o, signal) in last.chunks_mut(batch * outputs).enumerate() {
            signal
                .iter_mut()
                .skip(o)
                .step_by(outputs)
                .for_each(|s| *s = T::of(1.0));
        }
        signals[runner.last] = Some(last);
        for (i, op) in ops.iter().enumerate().rev() {
            let Some(gy) = signals[op.y].take() else {
                continue;
            };
            self.op_ntk(
                (i, op),
                inputs,
                member,
                (&gy, outputs),
                (&mut signals, kernel),
            )
            .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    fn op_ntk(
        &self,
        (i, op): (usize, &Op),
        inputs: &Buffer<T>,
        member: usize,
        (gy, outputs): (&[T], usize),
        (signals, kernel): (&mut [Option<Signals<T>>], &mut [T]),
    ) -> Result<()> {
        let mut send = |x: usize, fill: &Back<'_, T>| {
            if !self.trained(x) {
                return Ok(());
            }
            let size = self.runner.sizes[x];
            let mut gx = numbers::<T>("gradients of all outputs", &[outputs, size])?;
            gx.par_chunks_mut(size.max(1))
                .zip(gy.par_chunks(gy.len() / outputs.max(1)))
                .try_for_each(|(gx, gy)| fill(gy, gx))?;
            match &mut signals[x] {
                Some(there) => accumulate(there, &gx, 1.0),
                slot => *slot = Some(gx),
            }
            Ok(())
        };
        let copy = |factor: f64| {
            move |gy: &[T], gx: &mut [T]| -> Result<()> {
                copy_scaled(gx, gy, factor);
                Ok(())
            }
        };
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                send(*skip, &copy(1.0))?;
                send(*branch, &copy(*multiplier))
            }
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => send(*x, &copy(1.0)),
            OpKind::Layer { x, .. } => {
                let Some((layer, pass)) = self.pass(op, inputs, member) else {
                    return Ok(());
                };
                // SAFETY: nobody writes what the forward pass left
                let was = unsafe {
                    Forward {
                        y: self.value(inputs, op.y, member),
                        saved: self.runner.saved[i]
                            .as_ref()
                            .map(|s| s.of(member))
                            .unwrap_or_default(),
                    }
                };
                let passes = T::passes(layer);
                if !layer.mixes_examples() {
                    if !pass.params.is_empty() {
                        passes.gram(pass, was, (gy, outputs), kernel)?;
                    }
                    return send(*x, &|gy, gx| passes.input_gradient(pass, was, gy, gx));
                }
                Err(Error::setting(format!(
                    "{} mixes the examples of a batch, so that one example has no kernel of its own",
                    layer.kind()
                )))
            }
        }
    }
}
