//! Empirical neural tangent kernels on a GPU.
//!
//! For each member and output, gradients go back for all examples at once: an example takes the place of a
//! member, so that every layer's backward pass gives its examples' gradients one by one, whose products are
//! the kernel. A linear layer without positions needs no gradients: its kernel is the product, entry by
//! entry, of the kernels of its inputs and of its signals.

use super::gpu::GpuRunner;
use super::gram::Parts;
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::gpu::{Gemm, Grid, Stored, words};
use crate::nn::gpu::{GpuForward, GpuParam, GpuPass, Span};
use crate::nn::kernel::Combinations;
use crate::nn::layer::Layer;

/// Parts of the workspace from here on are signals, by activation; layers use the ones below.
const SIGNALS: usize = 1 << 16;
/// Parts from here on are a linear layer's products of signals, by operation.
const PRODUCTS: usize = 2 << 16;
/// Parts from here on are gradients of single examples, by parameter of the layer.
const GRADIENTS: usize = 3 << 16;
/// What a second consumer adds.
const SPARE: usize = 4 << 16;
/// Parts from here on are gradients of single examples that an operation leaves for the one whose parameter it shares,
/// by parameter.
const SHARED: usize = 5 << 16;
/// A kernel of inputs.
const INPUTS: usize = SPARE + 1;
/// Combinations of outputs as they come from the host.
const COMBINATIONS: usize = SPARE + 2;

/// One member's kernel, on its way.
struct Work<'a> {
    runner: &'a GpuRunner,
    params: Vec<GpuParam>,
    /// Where each parameter's kernel is added.
    kernels: Vec<u64>,
    combinations: Combinations<'a>,
    member: usize,
}

/// Numbers of one member, or those that all share.
fn of(span: Span, member: usize, stored: Stored) -> Span {
    Span {
        stride: 0,
        ..span.from(member * span.stride, stored)
    }
}

impl GpuRunner {
    /// Writes each member's kernels `[members, batch, batch]`. The forward pass has run before.
    pub fn ntk(
        &self,
        ops: &[Op],
        params: &[GpuParam],
        (kernels, parts): (&[Span], Parts<'_>),
        training: bool,
    ) -> Result<()> {
        for op in ops {
            let OpKind::Layer { layer, .. } = &op.kind else {
                continue;
            };
            if layer.mixes_examples(training) {
                return Err(Error::setting(format!(
                    "{} mixes the examples of a batch, so that one example has no kernel of its own",
                    layer.kind()
                )));
            }
        }
        let arith = self.stored.arith();
        let size = self.batch * self.batch;
        for kernel in kernels {
            self.gpu
                .zero(kernel.at, self.members * size * arith.size())?;
        }
        for member in 0..self.members {
            let at = |i: &usize| kernels[*i].at + (member * size * arith.size()) as u64;
            let own = params.iter().map(|p| GpuParam {
                value: of(p.value, member, arith),
                ..*p
            });
            let work = Work {
                runner: self,
                params: own.collect(),
                kernels: parts.slots.iter().map(at).collect(),
                combinations: parts.combinations,
                member,
            };
            work.run(ops)?;
        }
        Ok(())
    }
}

impl Work<'_> {
    fn run(&self, ops: &[Op]) -> Result<()> {
        let runner = self.runner;
        let outputs = runner.sizes[runner.last] / runner.batch.max(1);
        for output in 0..self.combinations.count(outputs) {
            let signal = self.signal(runner.last)?;
            match self.combinations {
                Combinations::Each => {
                    let words = words![signal.at, runner.batch, outputs, output];
                    let grid = Grid::blocks(runner.batch.min(1 << 16), 1);
                    runner.gpu.launch("one_hot", runner.stored, grid, words)?;
                }
                Combinations::Directions(all) => {
                    let one = &all[output * outputs..(output + 1) * outputs];
                    self.set_signal(&one.repeat(runner.batch), signal)?;
                }
                Combinations::OfExamples(all) => self.set_signal(all, signal)?,
            }
            let mut written = vec![false; runner.place.len()];
            written[runner.last] = true;
            for (i, op) in ops
                .iter()
                .enumerate()
                .rev()
                .filter(|(_, op)| runner.trained(op.y))
            {
                self.back(i, op, output == 0, &mut written)
                    .map_err(|e| e.at(&op.path))?;
            }
        }
        ops.iter()
            .enumerate()
            .filter(|(_, op)| runner.trained(op.y))
            .try_for_each(|(i, op)| self.finish(i, op))
    }

    /// Copies the signals at the output to the device.
    fn set_signal(&self, numbers: &[f64], to: Span) -> Result<()> {
        let runner = self.runner;
        let arith = runner.stored.arith();
        let at = match arith == runner.stored {
            true => to.at,
            false => self.room(COMBINATIONS, numbers.len())?,
        };
        match arith {
            Stored::F64 => runner.gpu.upload(numbers, at)?,
            Stored::F32 | Stored::Bf16 => {
                let single: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
                runner.gpu.upload(&single, at)?;
            }
        }
        if at == to.at {
            return Ok(());
        }
        let words = words![at, 0usize, to.at, 0usize, numbers.len()];
        let grid = Grid::each(numbers.len(), 1);
        runner.gpu.launch("to_stored", runner.stored, grid, words)
    }

    /// Where the signals at an activation are, of all examples.
    fn signal(&self, slot: usize) -> Result<Span> {
        let runner = self.runner;
        let bytes = runner.sizes[slot] * runner.stored.size();
        Ok(Span {
            at: runner
                .workspace
                .part(SIGNALS + slot, bytes, runner.gpu.device())?,
            stride: runner.sizes[slot] / runner.batch.max(1),
        })
    }

    fn room(&self, part: usize, numbers: usize) -> Result<u64> {
        let runner = self.runner;
        let bytes = numbers * runner.stored.arith().size();
        runner.workspace.part(part, bytes, runner.gpu.device())
    }

    /// The pass over operation `i` with examples in the place of members.
    fn pass<'b>(
        &'b self,
        i: usize,
        op: &'b Op,
    ) -> Result<Option<(&'b dyn Layer, GpuPass<'b>, GpuForward)>> {
        let runner = self.runner;
        let Some((layer, pass)) = runner.pass(i, op, &self.params, false)? else {
            return Ok(None);
        };
        let each = |span: Span, size: usize, stored: Stored| Span {
            stride: size,
            ..of(span, self.member, stored)
        };
        let was = runner.was(i, op);
        let was = GpuForward {
            y: each(was.y, pass.outputs(), runner.stored),
            saved: each(was.saved, layer.saved(1, pass.input), runner.stored.arith()),
        };
        let pass = GpuPass {
            members: runner.batch,
            batch: 1,
            x: each(pass.x, pass.inputs(), runner.stored),
            raw: pass.raw.map(|raw| Span {
                stride: pass.inputs(),
                ..raw
            }),
            ..pass
        };
        Ok(Some((layer, pass, was)))
    }

    /// `to = factor · from` at an activation, or added to what another consumer wrote.
    fn receive(
        &self,
        written: &mut [bool],
        slot: usize,
        fill: impl FnOnce(Span) -> Result<()>,
    ) -> Result<()> {
        let runner = self.runner;
        let to = self.signal(slot)?;
        if !std::mem::replace(&mut written[slot], true) {
            return fill(to);
        }
        let spare = Span {
            at: self.room(SPARE, runner.sizes[slot])?,
            ..to
        };
        fill(spare)?;
        self.scale(slot, (1.0, spare), (1.0, to))
    }

    fn scale(&self, slot: usize, (a, x): (f64, Span), (b, y): (f64, Span)) -> Result<()> {
        let runner = self.runner;
        let n = runner.sizes[slot];
        let words = words![x.at, 0usize, y.at, 0usize, n, a, b];
        runner
            .gpu
            .launch("scale_add", runner.stored, Grid::each(n, 1), words)
    }

    fn back(&self, i: usize, op: &Op, first: bool, written: &mut [bool]) -> Result<()> {
        let gy = self.signal(op.y)?;
        let trained = |slot: usize| self.runner.trained(slot);
        match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => [(*skip, 1.0), (*branch, *multiplier)]
                .into_iter()
                .filter(|(x, _)| trained(*x))
                .try_for_each(|(x, factor)| {
                    self.receive(written, x, |gx| self.scale(x, (factor, gy), (0.0, gx)))
                }),
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                self.receive(written, *x, |gx| self.scale(*x, (1.0, gy), (0.0, gx)))
            }
            OpKind::Layer {
                params, x, shared, ..
            } => {
                let Some((layer, pass, was)) = self.pass(i, op)? else {
                    return Ok(());
                };
                let mut grads = Vec::new();
                if let Some(tied) = layer.tied(pass.input) {
                    let size = tied.shape.iter().product();
                    let at = self.room(SHARED + params.start, size * pass.members)?;
                    grads.push(Span { at, stride: size });
                }
                if by_products(layer, &pass) {
                    self.signal_products(i, &pass, gy, first)?;
                } else {
                    for (p, spec) in layer.params(pass.input).iter().enumerate() {
                        let size = spec.shape.iter().product();
                        let at = self.room(GRADIENTS + p, size * pass.members)?;
                        grads.push(Span { at, stride: size });
                    }
                }
                match trained(*x) {
                    false if grads.is_empty() => Ok(()),
                    false => layer.gpu_backward(pass, was, gy, &grads, None),
                    true => self.receive(written, *x, |gx| {
                        layer.gpu_backward(pass, was, gy, &grads, Some(gx))
                    }),
                }?;
                let specs = layer.params(pass.input);
                if let (true, Some(own)) = (*shared, grads.first()) {
                    let n = own.stride * pass.members;
                    let other = self.room(SHARED + params.start, n)?;
                    let words = words![other, 0usize, own.at, 0usize, n, 1.0, 1.0];
                    let (arith, grid) = (self.runner.stored.arith(), Grid::each(n, 1));
                    self.runner.gpu.launch("scale_add", arith, grid, words)?;
                }
                let trained = grads.iter().zip(&specs).enumerate();
                trained
                    .filter(|(_, (_, spec))| spec.kind.is_trained())
                    .try_for_each(|(p, (grad, _))| {
                        let kernel = self.kernels[params.start + p];
                        self.product(*grad, self.runner.stored.arith(), grad.stride, kernel, 1.0)
                    })
            }
        }
    }

    /// `to = rows rowsᵀ + keep · to` for `rows [batch, size]`.
    fn product(&self, rows: Span, stored: Stored, size: usize, to: u64, keep: f64) -> Result<()> {
        let runner = self.runner;
        let n = runner.batch;
        let rows = Span { stride: 0, ..rows }.matrix(stored, size);
        let to = Span { at: to, stride: 0 }.matrix(stored.arith(), n);
        let product = Gemm::new([n, n, size], 1, rows, rows.t(), to);
        runner.gpu.gemm(&product.plus(keep))
    }

    /// Adds the products of this output's signals to those of the others.
    fn signal_products(&self, i: usize, pass: &GpuPass<'_>, gy: Span, first: bool) -> Result<()> {
        let n = self.runner.batch;
        let to = self.room(PRODUCTS + i, n * n)?;
        let keep = if first { 0.0 } else { 1.0 };
        self.product(gy, self.runner.stored, pass.outputs(), to, keep)
    }

    /// Adds the kernels of a linear layer without positions.
    fn finish(&self, i: usize, op: &Op) -> Result<()> {
        let (runner, OpKind::Layer { params, .. }) = (self.runner, &op.kind) else {
            return Ok(());
        };
        let Some((layer, pass, _)) = self.pass(i, op)?.filter(|(l, p, _)| by_products(*l, p))
        else {
            return Ok(());
        };
        let n = runner.batch;
        let (inputs, signals) = (self.room(INPUTS, n * n)?, self.room(PRODUCTS + i, n * n)?);
        self.product(pass.x, runner.stored, pass.inputs(), inputs, 0.0)?;
        let arith = runner.stored.arith();
        let square = |p: usize| pass.params.get(p).map_or(0.0, |p| p.multiplier.powi(2));
        let kernel = self.kernels[params.start];
        let words = words![inputs, signals, kernel, n * n, square(0)];
        let grid = Grid::each(n * n, 1);
        runner.gpu.launch("hadamard_add", arith, grid, words)?;
        if layer.params(pass.input).len() < 2 {
            return Ok(());
        }
        let bias = self.kernels[params.start + 1];
        let words = words![signals, 0usize, bias, 0usize, n * n, square(1), 1.0];
        runner.gpu.launch("scale_add", arith, grid, words)
    }
}

/// Whether the kernel of a layer's parameters is made of its inputs' and its signals'.
fn by_products(layer: &dyn Layer, pass: &GpuPass<'_>) -> bool {
    layer.kind() == "linear" && pass.input.len() == 1
}
