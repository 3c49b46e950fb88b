//! The backward pass over a member.

use std::sync::OnceLock;

use super::run::{Bound, MemberWork};
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::nn::buffer::Buffer;
use crate::nn::layer::LayerElem;
use crate::nn::parts::{Parts, Updates};
use crate::tensor::elementwise::{accumulate, copy_scaled};

impl<T: LayerElem> Bound<'_, T> {
    /// With `work`, parameters are updated as soon as their gradients are there.
    pub(super) fn member_backward(
        &self,
        ops: &[Op],
        inputs: &Buffer<T>,
        member: usize,
        work: Option<&dyn MemberWork<T>>,
    ) -> Result<()> {
        let runner = self.runner;
        crate::tensor::scratch::with(runner.place.len(), |written: &mut [u8]| {
            written.fill(0);
            written[runner.last] = 1;
            for (i, op) in ops.iter().enumerate().rev() {
                let Some(gy) = runner.gradient(op.y) else {
                    continue;
                };
                if written[op.y] == 0 {
                    return Err(Error::other("an activation received no gradient").at(&op.path));
                }
                // SAFETY: this task alone uses this member's gradients, and places do not overlap
                let gy = unsafe { &gy.of(member)[..runner.sizes[op.y]] };
                let at = (i, op, inputs, member);
                match work {
                    None => self.op_backward(at, gy, written, None),
                    Some(work) => self.op_step(at, gy, written, work),
                }
                .map_err(|e| e.at(&op.path))?;
            }
            Ok(())
        })
    }

    /// The backward pass of an operation and the update of its parameters.
    fn op_step(
        &self,
        at: (usize, &Op, &Buffer<T>, usize),
        gy: &[T],
        written: &mut [u8],
        work: &dyn MemberWork<T>,
    ) -> Result<()> {
        let (_, op, _, member) = at;
        let OpKind::Layer { params, .. } = &op.kind else {
            return self.op_backward(at, gy, written, None);
        };
        let failure = OnceLock::new();
        let apply = |i: usize, start: usize, gradient: &[T]| {
            if let Err(e) = work.update_part(member, params.start + i, start, gradient) {
                // the first failure is told
                let _ = failure.set(e);
            }
        };
        let updates = Updates::new(&apply);
        self.op_backward(at, gy, written, Some(&updates))?;
        for i in (0..params.len()).filter(|&i| !updates.claimed(i)) {
            // SAFETY: this task alone uses this member's gradients
            apply(i, 0, unsafe { self.grads[params.start + i].of(member) });
        }
        match failure.into_inner() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    fn op_backward(
        &self,
        (i, op, inputs, member): (usize, &Op, &Buffer<T>, usize),
        gy: &[T],
        written: &mut [u8],
        updates: Option<&Updates<'_, T>>,
    ) -> Result<()> {
        match &op.kind {
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                self.receive(written, *x, member, |gx| {
                    copy_scaled(gx, gy, 1.0);
                    Ok(())
                })
            }
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => [(*skip, 1.0), (*branch, *multiplier)]
                .into_iter()
                .try_for_each(|(x, factor)| {
                    // the same place: see `Built::place_gradients`
                    if self.runner.place[x] == self.runner.place[op.y] {
                        written[x] = 1;
                        return Ok(());
                    }
                    self.receive(written, x, member, |gx| {
                        copy_scaled(gx, gy, factor);
                        Ok(())
                    })
                }),
            OpKind::Layer { params, x, .. } => {
                let Some((layer, pass)) = self.pass(op, inputs, member) else {
                    return Ok(());
                };
                let was = self.was(i, op, inputs, member);
                let all = &self.grads[params.clone()];
                self.with_grads(i, all, member, |grads| {
                    let grads = grads.with(updates);
                    let passes = T::passes(layer);
                    if self.runner.gradient(*x).is_none() {
                        return passes.backward(pass, was, gy, grads, None);
                    }
                    self.receive(written, *x, member, |gx| {
                        passes.backward(pass, was, gy, grads, Some(gx))
                    })
                })
            }
        }
    }

    /// Lets `f` write an operation's part of `all`, or add to what a later operation with the same
    /// parameter wrote there.
    pub(super) fn with_grads<R>(
        &self,
        i: usize,
        all: &[Buffer<T>],
        member: usize,
        f: impl FnOnce(Parts<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let Some(Some(second)) = self.runner.seconds.get(i) else {
            // SAFETY: this task alone uses this member's gradients
            return f(unsafe { Parts::new(all, member) });
        };
        // SAFETY: as above
        unsafe {
            let result = f(Parts::new(std::slice::from_ref(second), member))?;
            for to in all {
                accumulate(to.of_mut(member), second.of(member), 1.0);
            }
            Ok(result)
        }
    }

    /// Lets `fill` write the gradient of an activation, or add to what another consumer has written.
    fn receive(
        &self,
        written: &mut [u8],
        slot: usize,
        member: usize,
        fill: impl FnOnce(&mut [T]) -> Result<()>,
    ) -> Result<()> {
        let Some(gradient) = self.runner.gradient(slot) else {
            return Ok(());
        };
        let size = self.runner.sizes[slot];
        // SAFETY: this task alone uses this member's gradients
        let gradient = unsafe { &mut gradient.of_mut(member)[..size] };
        if std::mem::replace(&mut written[slot], 1) == 0 {
            return fill(gradient);
        }
        let Some(spare) = &self.runner.spare else {
            return Err(Error::other("no spare buffer for a second consumer"));
        };
        // SAFETY: as above
        let spare = unsafe { &mut spare.of_mut(member)[..size] };
        fill(spare)?;
        accumulate(gradient, spare, 1.0);
        Ok(())
    }
}
