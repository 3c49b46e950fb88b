//! The empirical neural tangent kernel, layer by layer.
//!
//! The kernel of two examples is the inner product of their parameter gradients, traced over outputs:
//! `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩`. The gradients of all outputs and examples go back
//! through the network ([`Signal`]); each layer contracts them with its inputs into its part of the
//! kernel ([`Passes::gram`](crate::nn::Passes::gram)), without the whole Jacobian. The same pass adds all parameters to one
//! kernel, each to one of its own, or some together. In place of all outputs there may be
//! [`Combinations`] of them: with one output for each example, and examples there once for every
//! output, the kernel has all pairs of outputs.

mod step;

use std::ops::Range;

use candle_core::Tensor;

use super::build::Built;
use super::run::{Bound, each};
use super::signal::Signal;
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::nn::buffer::Buffer;
use crate::nn::kernel::{Combinations, Kernels, Signals, Use, gram_of_shared};
use crate::nn::layer::LayerElem;
use crate::tensor::gram::mirror;
use step::Step;

/// Numbers of the signals on both sides of an operation. If there were more, the outputs go back in
/// several parts from there on.
const SIGNALS: usize = 1 << 25;

/// Numbers that a member has on the way back at a time, at most: signals on both sides of an
/// operation, those that wait for their turn above it, and a block of gradients. `most_outputs`, if
/// given, is the number of combinations of outputs.
pub(super) fn on_the_way(built: &Built, most_outputs: Option<usize>) -> usize {
    const GRADIENTS: usize = 1 << 23;
    let size = |slot: usize| built.values[slot].dims()[1..].iter().product::<usize>();
    let batch = built.values[0].dims()[1].max(1);
    let outputs = most_outputs.unwrap_or(size(built.last) / batch);
    let sides = |op: &Op| {
        let sizes = size(op.y) + size(op.source());
        sizes * outputs.min((SIGNALS / sizes.max(1)).max(1))
    };
    let most = built.ops.iter().map(sides).max().unwrap_or(0);
    // of a parameter that two layers share, the gradients of both
    let shared = |op: &Op| match &op.kind {
        OpKind::Layer {
            layer,
            input,
            shared: true,
            ..
        } => layer
            .params(input)
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum(),
        _ => 0,
    };
    let shared = built.ops.iter().map(shared).max().unwrap_or(0);
    2 * most + GRADIENTS.min(most).max(2 * batch * shared)
}

/// Which kernels a pass writes.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// For each parameter, to which of the kernels its part is added.
    pub slots: &'a [usize],
    /// The combinations of outputs that they are made of.
    pub combinations: Combinations<'a>,
}

/// What one member's pass works on.
struct Work<'a, T> {
    ops: &'a [Op],
    inputs: &'a Buffer<T>,
    member: usize,
    batch: usize,
    kernels: &'a [Buffer<T>],
    parts: Parts<'a>,
    /// [`SIGNALS`], or fewer in tests.
    most: usize,
}

/// Where a pass stands.
struct Point<T> {
    /// The operations up to here are left.
    end: usize,
    /// Outputs of the network that the signals belong to.
    outputs: usize,
    /// By activation.
    signals: Vec<Option<Signal<T>>>,
    /// Whether the last of the operations has added its kernel.
    added: bool,
    /// Operations that share the parameter of an earlier one, with the signals at their outputs; the earlier one adds the
    /// kernel of both.
    sharing: Vec<(usize, Signal<T>)>,
}

impl<T> Point<T> {
    /// The operation that shares this one's parameter, where it has been.
    fn sharing_with(&self, work: &Work<'_, T>, op: &Op) -> Option<&(usize, Signal<T>)> {
        let OpKind::Layer {
            params,
            shared: true,
            ..
        } = &op.kind
        else {
            return None;
        };
        let shares =
            |other: &Op| matches!(&other.kind, OpKind::Layer { params: p, .. } if p == params);
        self.sharing.iter().find(|(j, _)| shares(&work.ops[*j]))
    }
}

impl<T: LayerElem> Bound<'_, T> {
    /// Writes each member's kernels `[members, batch, batch]`. The forward pass has run before.
    pub fn ntk(
        &self,
        ops: &[Op],
        inputs: &Tensor,
        members: usize,
        kernels: &[Tensor],
        parts: Parts<'_>,
    ) -> Result<()> {
        self.ntk_within(SIGNALS, ops, inputs, members, (kernels, parts))
    }

    fn ntk_within(
        &self,
        most: usize,
        ops: &[Op],
        inputs: &Tensor,
        members: usize,
        (kernels, parts): (&[Tensor], Parts<'_>),
    ) -> Result<()> {
        let inputs = Buffer::reading(inputs)?;
        let kernels: Vec<_> = kernels.iter().map(Buffer::new).collect::<Result<_>>()?;
        let batch = inputs.tensor().dims()[1];
        each(members, |member| {
            // SAFETY: this task alone works on this member
            let all = || kernels.iter().map(|k| unsafe { k.of_mut(member) });
            all().for_each(|kernel| kernel.fill(T::of(0.0)));
            let work = Work {
                ops,
                inputs: &inputs,
                member,
                batch,
                kernels: &kernels,
                parts,
                most,
            };
            self.member_ntk(&work)?;
            all().for_each(|kernel| mirror(kernel, batch));
            Ok(())
        })?;
        Ok(())
    }

    fn member_ntk(&self, work: &Work<'_, T>) -> Result<()> {
        let runner = self.runner;
        let outputs = runner.sizes[runner.last] / work.batch.max(1);
        let combinations = work.parts.combinations;
        // a part of the combinations at a time, if already they are large
        let most = (work.most / outputs.max(1)).max(1);
        for some in parts(combinations.count(outputs), most) {
            let numbers = |all: &[f64]| all.iter().map(|&x| T::of(x)).collect::<Vec<T>>();
            let first = match combinations {
                Combinations::Each => {
                    let mut identity = vec![T::of(0.0); some.len() * outputs];
                    let rows = identity.chunks_exact_mut(outputs.max(1));
                    rows.zip(some.clone())
                        .for_each(|(row, o)| row[o] = T::of(1.0));
                    Signal::Shared(identity)
                }
                Combinations::Directions(all) => {
                    Signal::Shared(numbers(&all[some.start * outputs..some.end * outputs]))
                }
                Combinations::OfExamples(all) => Signal::Each(numbers(all)),
            };
            let mut signals: Vec<_> = runner.sizes.iter().map(|_| None).collect();
            signals[runner.last] = Some(first);
            self.back(
                work,
                Point {
                    end: work.ops.len(),
                    outputs: some.len(),
                    signals,
                    added: false,
                    sharing: Vec::new(),
                },
            )?;
        }
        Ok(())
    }

    /// Takes the signals back to the first operation.
    fn back(&self, work: &Work<'_, T>, mut at: Point<T>) -> Result<()> {
        let first = at.end;
        for (i, op) in work.ops[..first].iter().enumerate().rev() {
            let Some(signal) = at.signals[op.y].take() else {
                continue;
            };
            let added = at.added && i + 1 == first;
            at.end = i;
            let split = self
                .op_back(work, (i, op), &mut at, signal, added)
                .map_err(|e| e.at(&op.path))?;
            if let Some((signal, added)) = split {
                return self.split(work, i, at, signal, added);
            }
        }
        Ok(())
    }

    /// Goes on from operation `i` with some outputs after the others.
    fn split(
        &self,
        work: &Work<'_, T>,
        i: usize,
        mut at: Point<T>,
        signal: Signal<T>,
        added: bool,
    ) -> Result<()> {
        let (batch, outputs) = (work.batch, at.outputs);
        at.signals[work.ops[i].y] = Some(signal);
        let most = self.most(work, &work.ops[i], &at);
        for some in parts(outputs, most) {
            let of = |s: &Signal<T>| s.part(&some, batch, outputs);
            let part = |s: &Option<Signal<T>>| s.as_ref().map(of);
            let point = Point {
                end: i + 1,
                outputs: some.len(),
                signals: at.signals.iter().map(part).collect(),
                added,
                sharing: at.sharing.iter().map(|(j, s)| (*j, of(s))).collect(),
            };
            self.back(work, point)?;
        }
        Ok(())
    }

    /// Most outputs whose signals are made at an operation at a time; with those at the output of one that shares its
    /// parameter.
    fn most(&self, work: &Work<'_, T>, op: &Op, at: &Point<T>) -> usize {
        let sizes = &self.runner.sizes;
        let other = at
            .sharing_with(work, op)
            .map_or(0, |(j, _)| sizes[work.ops[*j].y]);
        (work.most / (sizes[op.y] + sizes[op.source()] + other).max(1)).max(1)
    }

    /// Adds an operation's kernel and sends the signals on. Gives them back, and whether the kernel is
    /// there, if there are too many outputs for that.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn op_back(
        &self,
        work: &Work<'_, T>,
        (i, op): (usize, &Op),
        at: &mut Point<T>,
        signal: Signal<T>,
        mut added: bool,
    ) -> Result<Option<(Signal<T>, bool)>> {
        let (batch, outputs) = (work.batch, at.outputs);
        let send = |at: &mut Point<T>, x: usize, signal: Signal<T>| {
            if self.trained(x) {
                at.signals[x] = Some(match at.signals[x].take() {
                    Some(there) => there.plus(signal, batch, outputs),
                    None => signal,
                });
            }
        };
        let (layer, x, params, input) = match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                send(at, *skip, signal.clone());
                send(at, *branch, signal.times(*multiplier));
                return Ok(None);
            }
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                send(at, *x, signal);
                return Ok(None);
            }
            OpKind::Layer {
                layer,
                x,
                params,
                input,
                ..
            } => (layer, *x, params, input),
        };
        let Some((_, pass)) = self.pass(op, work.inputs, work.member) else {
            return Ok(None);
        };
        if layer.mixes_examples(pass.training) {
            return Err(Error::setting(format!(
                "{} mixes the examples of a batch, so that one example has no kernel of its own",
                layer.kind()
            )));
        }
        let was = self.was(i, op, work.inputs, work.member);
        let passes = T::passes(&**layer);
        let slots = &work.parts.slots[params.clone()];
        // SAFETY: this task alone works on this member
        let kernels = || unsafe { Kernels::new(work.kernels, slots, work.member) };
        let shares = layer.tied(input).is_some();
        let shared = at.sharing_with(work, op).is_some();
        added |= params.is_empty() || shares;
        if !added
            && !shared
            && let Some(one) = signal.compact(layer.param_axis(), pass.output, batch)
        {
            let signals = Signals {
                data: &one,
                outputs: 1,
            };
            passes.gram(pass, was, signals, kernels())?;
            added = true;
        }
        let step = Step {
            passes,
            pass,
            was,
            jacobian: layer.jacobian(),
        };
        let go_on = self.trained(x);
        let most = self.most(work, op, at);
        if (!added || (go_on && !step.keeps_form(&signal))) && outputs > most {
            return Ok(Some((signal, added)));
        }
        if shares {
            at.sharing.push((i, signal.clone()));
        }
        let signal = if added {
            signal
        } else {
            let all = signal.expand(batch, outputs);
            let signals = Signals {
                data: &all,
                outputs,
            };
            match at.sharing_with(work, op) {
                None => passes.gram(pass, was, signals, kernels())?,
                Some((j, other)) => {
                    let owner = Use {
                        layer: passes,
                        at: pass,
                        was,
                        signals,
                    };
                    self.gram_of_shared(work, owner, (*j, other.clone()), kernels())?;
                }
            }
            Signal::Each(all)
        };
        if go_on {
            let size = self.runner.sizes[x] / batch.max(1);
            let signal = step.back(signal, outputs, size)?;
            send(at, x, signal);
        }
        Ok(None)
    }

    /// Adds the kernel of a parameter's owner and of operation `j`, which shares it.
    fn gram_of_shared(
        &self,
        work: &Work<'_, T>,
        owner: Use<'_, T>,
        (j, signal): (usize, Signal<T>),
        kernels: Kernels<'_, T>,
    ) -> Result<()> {
        let op = &work.ops[j];
        let Some((layer, at)) = self.pass(op, work.inputs, work.member) else {
            return Ok(());
        };
        let outputs = owner.signals.outputs;
        let all = signal.expand(work.batch, outputs);
        let other = Use {
            layer: T::passes(layer),
            at,
            was: self.was(j, op, work.inputs, work.member),
            signals: Signals {
                data: &all,
                outputs,
            },
        };
        gram_of_shared(owner, other, kernels)
    }
}

/// Nearly equal parts of `0..n` of at most `most`.
fn parts(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = n.div_ceil(most.max(1));
    let size = n.div_ceil(count.max(1)).max(1);
    (0..n)
        .step_by(size)
        .map(move |start| start..(start + size).min(n))
}

#[cfg(test)]
mod tests;
