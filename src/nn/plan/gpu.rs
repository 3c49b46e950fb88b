//! A plan's passes on a GPU: the same operations over all members at once.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::build::{Built, Gradients};
use super::gpu_hessian::TangentBuffers;
use super::{Mode, Op, OpKind, other_params};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Grid, Stored, Workspace, address, words};
use crate::memory;
use crate::nn::gpu::{GpuForward, GpuParam, GpuPass, Span};
use crate::nn::layer::{Layer, Param};

/// A tensor on the device, with where its members' numbers are.
#[derive(Debug)]
pub(super) struct Held {
    _tensor: Tensor,
    pub span: Span,
}

impl Held {
    fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Self {
            span: span(tensor)?,
            _tensor: tensor.clone(),
        })
    }
}

/// Where the members' numbers of a tensor `[members or 1, …]` are.
pub(super) fn span(tensor: &Tensor) -> Result<Span> {
    let lead = tensor.dims().first().copied().unwrap_or(1).max(1);
    Ok(Span {
        at: address(tensor)?,
        stride: if lead == 1 {
            0
        } else {
            tensor.elem_count() / lead
        },
    })
}

/// The buffers of a plan on a GPU.
#[derive(Debug)]
pub struct GpuRunner {
    pub(super) gpu: Arc<Gpu>,
    pub(super) workspace: Workspace,
    pub(super) stored: Stored,
    pub(super) members: usize,
    pub(super) batch: usize,
    input: Held,
    /// The same in the arithmetic type, as it comes from the host.
    raw: Held,
    /// Keys of each operation that is random, for each member.
    noise: Tensor,
    values: Vec<Option<Held>>,
    pub(super) sizes: Vec<usize>,
    trained: Vec<bool>,
    saved: Vec<Option<Held>>,
    pool: Vec<Held>,
    pub(super) place: Vec<Option<usize>>,
    spare: Option<Held>,
    seconds: Vec<Option<Held>>,
    pub(super) tangents: Option<TangentBuffers>,
    pub(super) last: usize,
    params: usize,
}

/// Parameters as kernels take them.
///
/// # Errors
/// If a parameter is not on the device.
pub(super) fn params(params: &[Param<'_>]) -> Result<Vec<GpuParam>> {
    let param = |p: &Param<'_>| {
        Ok(GpuParam {
            value: span(p.value)?,
            multiplier: p.multiplier,
        })
    };
    params.iter().map(param).collect()
}

impl GpuRunner {
    pub fn new(built: &Built, gpu: &Arc<Gpu>, members: usize, batch: usize) -> Result<Self> {
        let some = |tensors: &[Option<Tensor>]| -> Result<Vec<_>> {
            let held = |t: &Option<Tensor>| t.as_ref().map(Held::new).transpose();
            tensors.iter().map(held).collect()
        };
        let stored = Stored::of(built.values[built.last].dtype())?;
        let device = gpu.device();
        let input = memory::zeros("input", built.values[0].dims(), stored.dtype(), device)?;
        let raw = match stored == stored.arith() {
            true => input.clone(),
            false => memory::zeros("input", input.dims(), stored.arith().dtype(), device)?,
        };
        let noise = [built.ops.len().max(1), members, 2];
        let values = built.values.iter().zip(&built.is_input);
        let tangents = || -> Result<TangentBuffers> {
            let zeros = |name: &str, t: &Tensor| Held::new(&memory::zeros_like(name, t)?);
            let all = |name: &str| -> Result<Vec<_>> {
                let slots = built.values.iter().zip(&built.trained);
                let held = slots.map(|(v, trained)| trained.then(|| zeros(name, v)).transpose());
                held.collect()
            };
            Ok(TangentBuffers {
                values: all("tangents of activations")?,
                gradients: all("tangents of gradients")?,
                spare: (built.spare.as_ref())
                    .map(|t| zeros("tangents of gradients", t))
                    .transpose()?,
            })
        };
        Ok(Self {
            workspace: Workspace::default(),
            stored,
            members,
            batch,
            input: Held::new(&input)?,
            raw: Held::new(&raw)?,
            noise: memory::zeros("random keys", &noise, DType::U32, device)?,
            values: values
                .map(|(value, input)| (!input).then(|| Held::new(value)).transpose())
                .collect::<Result<_>>()?,
            sizes: (built.values.iter())
                .map(|v| v.dims()[1..].iter().product())
                .collect(),
            trained: built.trained.clone(),
            saved: some(&built.saved)?,
            pool: built.pool.iter().map(Held::new).collect::<Result<_>>()?,
            place: built.place.clone(),
            spare: built.spare.as_ref().map(Held::new).transpose()?,
            seconds: some(&built.seconds)?,
            tangents: (built.gradients == Gradients::Kept)
                .then(tangents)
                .transpose()?,
            last: built.last,
            params: built.params,
            gpu: gpu.clone(),
        })
    }

    /// Checks that a pass gets as many parameters as the plan has.
    pub fn check_params(&self, found: usize) -> Result<()> {
        match found == self.params {
            true => Ok(()),
            false => Err(other_params(self.params, found)),
        }
    }

    /// Copies inputs `[1, batch, …]` of the arithmetic type, on the host, to where the passes read them.
    pub fn set_inputs(&self, ops: &[Op], inputs: &Tensor) -> Result<()> {
        for op in ops {
            if let OpKind::Layer {
                layer, x, input, ..
            } = &op.kind
                && self.values[*x].is_none()
            {
                layer.gpu_check(inputs, input).map_err(|e| e.at(&op.path))?;
            }
        }
        let host = address(inputs)?;
        let bytes = inputs.elem_count() * inputs.dtype().size_in_bytes();
        // SAFETY: the tensor is contiguous, on the host, and has so many bytes
        let bytes = unsafe { std::slice::from_raw_parts(host as *const u8, bytes) };
        let (raw, input) = (self.raw.span, self.input.span);
        self.gpu.upload(bytes, raw.at)?;
        if raw.at == input.at {
            return Ok(());
        }
        let n = inputs.elem_count();
        let words = words![raw.at, 0usize, input.at, 0usize, n];
        self.gpu
            .launch("to_stored", self.stored, Grid::each(n, 1), words)
    }

    /// Copies the keys of random operations to the device.
    pub fn set_mode(&self, ops: &[Op], mode: &Mode) -> Result<()> {
        let Mode::Training(keys) = mode else {
            return Ok(());
        };
        let random = |op: &Op| matches!(&op.kind, OpKind::Layer { layer, .. } if layer.is_random());
        if !ops.iter().any(random) {
            return Ok(());
        }
        let all = ops
            .iter()
            .flat_map(|op| keys.iter().map(move |key| (op, key)));
        let bits: Vec<u64> = all
            .map(|(op, key)| key.label(&op.path).rng().bits())
            .collect();
        self.gpu.upload(&bits, address(&self.noise)?)
    }

    /// An activation.
    pub(super) fn value(&self, slot: usize) -> Span {
        match &self.values[slot] {
            Some(held) => held.span,
            None => self.input.span,
        }
    }

    /// The gradient of an activation, where there is room for it.
    pub(super) fn gradient(&self, slot: usize) -> Option<Span> {
        self.place[slot].map(|at| self.pool[at].span)
    }

    /// Whether parameters, or random numbers, act on the way to an activation.
    pub(super) fn trained(&self, slot: usize) -> bool {
        self.trained[slot]
    }

    /// Members that an operation with this output is run for.
    fn members(&self, slot: usize) -> usize {
        if self.trained[slot] { self.members } else { 1 }
    }

    fn saved(&self, i: usize) -> Span {
        let none = Span { at: 0, stride: 0 };
        self.saved[i].as_ref().map_or(none, |held| held.span)
    }

    /// What a pass over operation `i` is about; `None` for one that is no layer.
    pub(super) fn pass<'a>(
        &'a self,
        i: usize,
        op: &'a Op,
        params: &'a [GpuParam],
        training: bool,
    ) -> Result<Option<(&'a dyn Layer, GpuPass<'a>)>> {
        let OpKind::Layer {
            layer,
            params: own,
            x,
            input,
            output,
            ..
        } = &op.kind
        else {
            return Ok(None);
        };
        let noise = match training && layer.is_random() {
            true => Some(address(&self.noise)? + (8 * i * self.members) as u64),
            false => None,
        };
        let pass = GpuPass {
            gpu: &self.gpu,
            workspace: &self.workspace,
            stored: self.stored,
            members: self.members(op.y),
            batch: self.batch,
            input,
            output,
            params: params.get(own.clone()).unwrap_or_default(),
            x: self.value(*x),
            raw: match self.values[*x] {
                Some(_) => None,
                None => Some(self.raw.span),
            },
            training,
            noise,
        };
        Ok(Some((&**layer, pass)))
    }

    pub(super) fn was(&self, i: usize, op: &Op) -> GpuForward {
        GpuForward {
            y: self.value(op.y),
            saved: self.saved(i),
        }
    }

    /// `y = a x + b y` for an activation's numbers of all its members.
    pub(super) fn scale_add(
        &self,
        slot: usize,
        (a, x): (f64, Span),
        (b, y): (f64, Span),
    ) -> Result<()> {
        let (n, members) = (self.sizes[slot], self.members(slot));
        let words = words![x.at, x.stride, y.at, y.stride, n, a, b];
        self.gpu
            .launch("scale_add", self.stored, Grid::each(n, members), words)
    }

    /// Queues the forward pass.
    pub fn forward(&self, ops: &[Op], params: &[GpuParam], training: bool) -> Result<()> {
        for (i, op) in ops.iter().enumerate() {
            self.op_forward(i, op, params, training)
                .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    fn op_forward(&self, i: usize, op: &Op, params: &[GpuParam], training: bool) -> Result<()> {
        let y = self.value(op.y);
        match &op.kind {
            OpKind::Layer { layer, .. } if layer.is_reshape() => Ok(()),
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                let n = self.sizes[op.y];
                let (s, b) = (self.value(*skip), self.value(*branch));
                let words = words![
                    s.at,
                    s.stride,
                    b.at,
                    b.stride,
                    y.at,
                    y.stride,
                    n,
                    *multiplier
                ];
                let grid = Grid::each(n, self.members(op.y));
                self.gpu.launch("join_forward", self.stored, grid, words)
            }
            OpKind::Layer { .. } => match self.pass(i, op, params, training)? {
                Some((layer, pass)) => layer.gpu_forward(pass, y, self.saved(i)),
                None => Ok(()),
            },
        }
    }

    /// Queues the backward pass; `grads` are those of all parameters.
    pub fn backward(
        &self,
        ops: &[Op],
        params: &[GpuParam],
        grads: &[Span],
        training: bool,
    ) -> Result<()> {
        let mut written = vec![false; self.place.len()];
        written[self.last] = true;
        for (i, op) in ops.iter().enumerate().rev() {
            let Some(gy) = self.gradient(op.y) else {
                continue;
            };
            if !written[op.y] {
                return Err(Error::other("an activation received no gradient").at(&op.path));
            }
            self.op_backward((i, op), gy, params, grads, &mut written, training)
                .map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    fn op_backward(
        &self,
        (i, op): (usize, &Op),
        gy: Span,
        params: &[GpuParam],
        grads: &[Span],
        written: &mut [bool],
        training: bool,
    ) -> Result<()> {
        let to = |slot: usize| self.gradient(slot);
        let spare = self.spare.as_ref().map(|held| held.span);
        match &op.kind {
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                self.receive(written, *x, to(*x), spare, |gx| {
                    self.scale_add(*x, (1.0, gy), (0.0, gx))
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
                    if self.place[x] == self.place[op.y] {
                        written[x] = true;
                        return Ok(());
                    }
                    self.receive(written, x, to(x), spare, |gx| {
                        self.scale_add(x, (factor, gy), (0.0, gx))
                    })
                }),
            OpKind::Layer { params: own, x, .. } => {
                let Some((layer, pass)) = self.pass(i, op, params, training)? else {
                    return Ok(());
                };
                let was = self.was(i, op);
                self.with_grads(
                    i,
                    pass,
                    grads.get(own.clone()).unwrap_or_default(),
                    |grads| match to(*x) {
                        None => layer.gpu_backward(pass, was, gy, grads, None),
                        gx => self.receive(written, *x, gx, spare, |gx| {
                            layer.gpu_backward(pass, was, gy, grads, Some(gx))
                        }),
                    },
                )
            }
        }
    }

    /// Lets `f` write an operation's gradients, or add to what a later operation with the same parameter
    /// wrote there.
    pub(super) fn with_grads(
        &self,
        i: usize,
        pass: GpuPass<'_>,
        all: &[Span],
        f: impl FnOnce(&[Span]) -> Result<()>,
    ) -> Result<()> {
        let (Some(Some(second)), Some(to)) = (self.seconds.get(i), all.first()) else {
            return f(all);
        };
        f(&[second.span])?;
        let n = second
            .span
            .stride
            .max(second._tensor.elem_count() / self.members);
        let from = second.span;
        let words = words![from.at, from.stride, to.at, to.stride, n, 1.0, 1.0];
        let grid = Grid::each(n, pass.members);
        self.gpu
            .launch("scale_add", self.stored.arith(), grid, words)
    }

    /// Lets `fill` write the gradient of an activation (or its tangent), or add to what another consumer
    /// has written.
    pub(super) fn receive(
        &self,
        written: &mut [bool],
        slot: usize,
        to: Option<Span>,
        spare: Option<Span>,
        fill: impl FnOnce(Span) -> Result<()>,
    ) -> Result<()> {
        let Some(to) = to else {
            return Ok(());
        };
        if !std::mem::replace(&mut written[slot], true) {
            return fill(to);
        }
        let Some(spare) = spare else {
            return Err(Error::other("no spare buffer for a second consumer"));
        };
        fill(spare)?;
        self.scale_add(slot, (1.0, spare), (1.0, to))
    }

    /// Queues that running estimates follow the batch, of members whose word of `active` is not 0.
    pub fn update_estimates(&self, ops: &[Op], params: &[GpuParam], active: u64) -> Result<()> {
        for (i, op) in ops.iter().enumerate() {
            if let Some((layer, pass)) = self.pass(i, op, params, true)? {
                layer
                    .gpu_update_estimates(pass, self.was(i, op), active)
                    .map_err(|e| e.at(&op.path))?;
            }
        }
        Ok(())
    }
}
