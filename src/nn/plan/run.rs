//! Passes over members.

use candle_core::Tensor;
use rayon::prelude::*;

use super::build::{Built, Gradients};
use super::tangent::TangentBuffers;
use super::{Mode, Op, OpKind, other_params};
use crate::error::{Error, Result};
use crate::nn::buffer::Buffer;
use crate::nn::layer::{Forward, Layer, LayerElem, Param, Pass, Weights};
use crate::nn::parts::Parts;
use crate::tensor::elementwise::add_scaled;
use crate::tensor::linear::{self, Panels};

/// What a training step does with each member beside the two passes.
pub trait MemberWork<T>: Sync {
    /// The member's loss for its `outputs [batch, …]`; writes its gradient.
    ///
    /// # Errors
    /// If outputs and labels do not fit.
    fn loss(&self, member: usize, outputs: &[T], gradient: &mut [T]) -> Result<f64>;

    /// Whether the member's parameters are updated by [`MemberWork::update_part`] during the backward
    /// pass, rather than by [`MemberWork::update`] after it. A gradient then need not be kept, and is
    /// used while it is in the caches.
    fn during_backward(&self, _member: usize, _loss: f64) -> bool {
        false
    }

    /// Updates the entries of a parameter from `start` on by that part of its gradient. Parts of a
    /// parameter do not overlap and may be updated at the same time.
    ///
    /// # Errors
    /// If an update fails.
    fn update_part(
        &self,
        _member: usize,
        _param: usize,
        _start: usize,
        _gradient: &[T],
    ) -> Result<()> {
        Err(Error::other("parameters are not updated in parts here"))
    }

    /// Updates the parameters when all of the member's gradients are there; says whether the member was
    /// updated, as one that has diverged is not.
    ///
    /// # Errors
    /// If an update fails.
    fn update(&self, member: usize, loss: f64) -> Result<bool>;
}

/// The buffers of a plan, in one element type.
#[derive(Debug)]
pub struct Runner<T> {
    /// Not for the input, which the caller has.
    values: Vec<Option<Buffer<T>>>,
    pub(super) sizes: Vec<usize>,
    trained: Vec<bool>,
    pub(super) saved: Vec<Option<Buffer<T>>>,
    panels: Vec<[Buffer<T>; 2]>,
    pool: Vec<Buffer<T>>,
    pub(super) place: Vec<Option<usize>>,
    pub(super) spare: Option<Buffer<T>>,
    /// Of operations that share their parameter with a later one.
    pub(super) seconds: Vec<Option<Buffer<T>>>,
    /// Whether there are any such.
    pub(super) shares_params: bool,
    pub(super) tangents: Option<TangentBuffers<T>>,
    /// Whether there is one member, which then has every activation to itself.
    alone: bool,
    pub(super) last: usize,
    params: usize,
}

/// A runner with the parameters, and gradients, of one pass.
pub struct Bound<'a, T> {
    pub(super) runner: &'a Runner<T>,
    params: Vec<Buffer<T>>,
    pub(super) multipliers: Vec<f64>,
    pub(super) grads: Vec<Buffer<T>>,
    mode: Mode,
}

impl<T: LayerElem> Runner<T> {
    pub fn new(built: &Built) -> Result<Self> {
        let all = |tensors: &[Tensor]| tensors.iter().map(Buffer::new).collect::<Result<Vec<_>>>();
        Ok(Self {
            values: built
                .values
                .iter()
                .zip(&built.is_input)
                .map(|(value, input)| (!input).then(|| Buffer::new(value)).transpose())
                .collect::<Result<_>>()?,
            sizes: (built.values.iter())
                .map(|v| v.dims()[1..].iter().product())
                .collect(),
            alone: built.values[built.last].dims()[0] == 1,
            saved: built
                .saved
                .iter()
                .map(|t| t.as_ref().map(Buffer::new).transpose())
                .collect::<Result<_>>()?,
            panels: (built.panels.iter())
                .map(|[rows, columns]| Ok([Buffer::new(rows)?, Buffer::new(columns)?]))
                .collect::<Result<_>>()?,
            pool: all(&built.pool)?,
            place: built.place.clone(),
            spare: built.spare.as_ref().map(Buffer::new).transpose()?,
            seconds: (built.seconds.iter())
                .map(|t| t.as_ref().map(Buffer::new).transpose())
                .collect::<Result<_>>()?,
            shares_params: built.shared,
            trained: built.trained.clone(),
            tangents: (built.gradients == Gradients::Kept)
                .then(|| TangentBuffers::new(built))
                .transpose()?,
            last: built.last,
            params: built.params,
        })
    }

    pub fn bind(&self, params: &[Param<'_>], grads: &[Tensor], mode: Mode) -> Result<Bound<'_, T>> {
        if params.len() != self.params {
            return Err(other_params(self.params, params.len()));
        }
        if !grads.is_empty() && grads.len() != self.params {
            return Err(other_params(self.params, grads.len()));
        }
        Ok(Bound {
            runner: self,
            params: params
                .iter()
                .map(|p| Buffer::new(p.value))
                .collect::<Result<_>>()?,
            multipliers: params.iter().map(|p| p.multiplier).collect(),
            grads: grads.iter().map(Buffer::new).collect::<Result<_>>()?,
            mode,
        })
    }

    pub(super) fn gradient(&self, slot: usize) -> Option<&Buffer<T>> {
        self.place[slot].map(|at| &self.pool[at])
    }

    /// Whether all of several members share an activation.
    fn shared(&self, slot: usize) -> bool {
        !self.alone && self.values[slot].as_ref().is_none_or(Buffer::shared)
    }
}

/// Runs `f` for every member, at the same time where there are several.
pub(super) fn each<R: Send>(
    members: usize,
    f: impl Fn(usize) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    if members == 1 {
        return Ok(vec![f(0)?]);
    }
    (0..members)
        .into_par_iter()
        .with_max_len(1)
        .map(f)
        .collect()
}

impl<T: LayerElem> Bound<'_, T> {
    /// Runs what all members share, then the rest for each.
    pub fn forward(&self, ops: &[Op], inputs: &Tensor, members: usize) -> Result<()> {
        let inputs = Buffer::reading(inputs)?;
        self.shared(ops, &inputs)?;
        each(members, |member| self.member_forward(ops, &inputs, member))?;
        Ok(())
    }

    pub fn backward(&self, ops: &[Op], inputs: &Tensor, members: usize) -> Result<()> {
        let inputs = Buffer::reading(inputs)?;
        each(members, |member| {
            self.member_backward(ops, &inputs, member, None)
        })?;
        Ok(())
    }

    pub fn step(
        &self,
        ops: &[Op],
        inputs: &Tensor,
        members: usize,
        work: &impl MemberWork<T>,
    ) -> Result<Vec<f64>> {
        let inputs = Buffer::reading(inputs)?;
        self.shared(ops, &inputs)?;
        let last = self.runner.last;
        let Some(gradient) = self.runner.gradient(last) else {
            return Err(Error::other("the plan was compiled without gradients"));
        };
        each(members, |member| {
            self.member_forward(ops, &inputs, member)?;
            // SAFETY: this task alone works on this member
            let (y, gy) = unsafe {
                let gy = gradient.of_mut(member);
                (
                    self.value(&inputs, last, member),
                    &mut gy[..self.runner.sizes[last]],
                )
            };
            let loss = work.loss(member, y, gy)?;
            // a shared parameter's gradient is there only when the last of its layers has added to it
            let parts = !self.runner.shares_params && work.during_backward(member, loss);
            let updated = if parts {
                self.member_backward(ops, &inputs, member, Some(work))?;
                true
            } else {
                self.member_backward(ops, &inputs, member, None)?;
                work.update(member, loss)?
            };
            if updated {
                self.update_estimates(ops, &inputs, member)?;
            }
            Ok(loss)
        })
    }

    fn shared(&self, ops: &[Op], inputs: &Buffer<T>) -> Result<()> {
        for (i, op) in ops.iter().enumerate() {
            if self.runner.shared(op.y) {
                self.op_forward(i, op, inputs, 0)?;
            }
            self.pack(op, inputs);
        }
        Ok(())
    }

    /// Packs the input of an operation that has panels.
    fn pack(&self, op: &Op, inputs: &Buffer<T>) {
        let OpKind::Layer {
            x,
            input,
            output,
            panels: Some(panels),
            ..
        } = &op.kind
        else {
            return;
        };
        let s = linear::Sizes::of(inputs.tensor().dims()[1], input, output);
        let [rows, columns] = &self.runner.panels[*panels];
        // SAFETY: members read panels after this, and nobody writes what they share
        unsafe {
            let columns = Some(columns.of_mut(0)).filter(|c| !c.is_empty());
            linear::pack(s, self.value(inputs, *x, 0), rows.of_mut(0), columns);
        }
    }

    fn member_forward(&self, ops: &[Op], inputs: &Buffer<T>, member: usize) -> Result<()> {
        let ops = ops.iter().enumerate();
        ops.filter(|(_, op)| !self.runner.shared(op.y))
            .try_for_each(|(i, op)| self.op_forward(i, op, inputs, member))
    }

    /// Whether parameters act on the way to an activation.
    pub(super) fn trained(&self, slot: usize) -> bool {
        self.runner.trained[slot]
    }

    /// An activation; the first one, and what is it in another shape, are read from the inputs.
    ///
    /// # Safety
    /// Nobody writes it meanwhile.
    pub(super) unsafe fn value(&self, inputs: &Buffer<T>, slot: usize, member: usize) -> &[T] {
        // SAFETY: as the caller promises
        unsafe {
            match &self.runner.values[slot] {
                Some(value) => value.of(member),
                None => inputs.of(0),
            }
        }
    }

    pub(super) fn pass<'b>(
        &'b self,
        op: &'b Op,
        inputs: &'b Buffer<T>,
        member: usize,
    ) -> Option<(&'b dyn Layer, Pass<'b, T>)> {
        let OpKind::Layer {
            layer,
            params,
            x,
            input,
            output,
            panels,
            ..
        } = &op.kind
        else {
            return None;
        };
        let batch = inputs.tensor().dims()[1];
        let params = Weights {
            buffers: &self.params[params.clone()],
            multipliers: &self.multipliers[params.clone()],
            member,
        };
        // SAFETY: only operations write activations, and one member's run one after the other
        let x = unsafe { self.value(inputs, *x, member) };
        let (training, key) = match &self.mode {
            Mode::Evaluation => (false, None),
            Mode::Training(keys) => (true, keys.get(member)),
        };
        let pass = Pass {
            batch,
            input,
            output,
            params,
            x,
            // SAFETY: written before members' passes alone
            panels: panels.map(|i| unsafe {
                let [rows, columns] = &self.runner.panels[i];
                Panels {
                    rows: rows.of(0),
                    columns: columns.of(0),
                }
            }),
            training,
            noise: (key.filter(|_| layer.is_random())).map(|key| key.label(&op.path)),
        };
        Some((&**layer, pass))
    }

    fn op_forward(&self, i: usize, op: &Op, inputs: &Buffer<T>, member: usize) -> Result<()> {
        let Some(y) = &self.runner.values[op.y] else {
            return Ok(());
        };
        // SAFETY: this task alone writes this member's activation, which the operation does not read
        let y = unsafe { y.of_mut(member) };
        match &op.kind {
            OpKind::Layer { layer, .. } if layer.is_reshape() => Ok(()),
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                // SAFETY: as above
                let (skip, branch) = unsafe {
                    (
                        self.value(inputs, *skip, member),
                        self.value(inputs, *branch, member),
                    )
                };
                add_scaled(y, skip, branch, *multiplier);
                Ok(())
            }
            OpKind::Layer { .. } => match self.pass(op, inputs, member) {
                // SAFETY: as above
                Some((layer, pass)) => unsafe {
                    let saved = self.runner.saved[i].as_ref().map(|s| s.of_mut(member));
                    T::passes(layer).forward(pass, y, saved.unwrap_or_default())
                },
                None => Ok(()),
            },
        }
        .map_err(|e| e.at(&op.path))
    }

    /// What the forward pass over a member left.
    pub(super) fn was<'b>(
        &'b self,
        i: usize,
        op: &Op,
        inputs: &'b Buffer<T>,
        member: usize,
    ) -> Forward<'b, T> {
        let saved = self.runner.saved[i].as_ref();
        // SAFETY: only the forward pass writes it, which is over
        unsafe {
            Forward {
                y: self.value(inputs, op.y, member),
                saved: saved.map(|s| s.of(member)).unwrap_or_default(),
            }
        }
    }

    /// At the end of a training step: lets layers' running estimates follow the batch.
    fn update_estimates(&self, ops: &[Op], inputs: &Buffer<T>, member: usize) -> Result<()> {
        if self.mode == Mode::Evaluation {
            return Ok(());
        }
        for (i, op) in ops.iter().enumerate() {
            let OpKind::Layer { params, .. } = &op.kind else {
                continue;
            };
            let Some((layer, pass)) = self.pass(op, inputs, member).filter(|_| !params.is_empty())
            else {
                continue;
            };
            // SAFETY: this task alone works on this member, whose passes are over
            let own = unsafe { Parts::new(&self.params[params.clone()], member) };
            T::passes(layer)
                .update_estimates(pass, self.was(i, op, inputs, member), own)
                .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }
}
