//! The empirical neural tangent kernel, layer by layer.
//!
//! The kernel of two examples is the inner product of their parameter gradients, traced over outputs:
//! `K[i, j] = Σ_o ⟨∂f_o(x_i)/∂θ, ∂f_o(x_j)/∂θ⟩`. The gradients of all outputs and examples go back
//! through the network ([`Signal`]); each layer contracts them with its inputs into its part of the
//! kernel ([`Passes::gram`]), without the whole Jacobian. The same pass adds all parameters to one
//! kernel, each to one of its own, or some together. In place of all outputs there may be
//! [`Combinations`] of them: with one output for each example, and examples there once for every
//! output, the kernel has all pairs of outputs.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::build::Built;
use super::run::{Bound, each};
use super::signal::Signal;
use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::memory::numbers;
use crate::nn::buffer::Buffer;
use crate::nn::kernel::{Combinations, Jacobian, Kernels, Signals, of_example};
use crate::nn::layer::{Forward, LayerElem, Pass, Passes};
use crate::tensor::gram::mirror;

/// Numbers of the signals on both sides of an operation. If there were more, the outputs go back in
/// several parts from there on.
const SIGNALS: usize = 1 << 25;
/// The same, for what an affine layer is given at a time, so that it stays in the caches.
const CALL: usize = 1 << 22;

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
    2 * most + GRADIENTS.min(most)
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
        if self.runner.shares_params {
            return Err(Error::setting(
                "there is no neural tangent kernel of a network whose layers share parameters",
            )
            .with_help("a transformer with tied: false has one"));
        }
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
        for some in parts(outputs, self.most(work, &work.ops[i])) {
            let part = |s: &Option<Signal<T>>| s.as_ref().map(|s| s.part(&some, batch, outputs));
            let point = Point {
                end: i + 1,
                outputs: some.len(),
                signals: at.signals.iter().map(part).collect(),
                added,
            };
            self.back(work, point)?;
        }
        Ok(())
    }

    /// Most outputs whose signals are made at an operation at a time.
    fn most(&self, work: &Work<'_, T>, op: &Op) -> usize {
        let sizes = &self.runner.sizes;
        (work.most / (sizes[op.y] + sizes[op.source()]).max(1)).max(1)
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
        let mut send = |x: usize, signal: Signal<T>| {
            if self.trained(x) {
                at.signals[x] = Some(match at.signals[x].take() {
                    Some(there) => there.plus(signal, batch, outputs),
                    None => signal,
                });
            }
        };
        let (layer, x, params) = match &op.kind {
            OpKind::Join {
                skip,
                branch,
                multiplier,
            } => {
                send(*skip, signal.clone());
                send(*branch, signal.times(*multiplier));
                return Ok(None);
            }
            OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                send(*x, signal);
                return Ok(None);
            }
            OpKind::Layer {
                layer, x, params, ..
            } => (layer, *x, params),
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
        let add = |data: &[T], outputs: usize| {
            let slots = &work.parts.slots[params.clone()];
            // SAFETY: this task alone works on this member
            let kernels = unsafe { Kernels::new(work.kernels, slots, work.member) };
            passes.gram(pass, was, Signals { data, outputs }, kernels)
        };
        added |= params.is_empty();
        if !added && let Some(one) = signal.compact(layer.param_axis(), pass.output, batch) {
            add(&one, 1)?;
            added = true;
        }
        let step = Step {
            passes,
            pass,
            was,
            jacobian: layer.jacobian(),
        };
        let go_on = self.trained(x);
        if (!added || (go_on && !step.keeps_form(&signal))) && outputs > self.most(work, op) {
            return Ok(Some((signal, added)));
        }
        let signal = if added {
            signal
        } else {
            let all = signal.expand(batch, outputs);
            add(&all, outputs)?;
            Signal::Each(all)
        };
        if go_on {
            let size = self.runner.sizes[x] / batch.max(1);
            send(x, step.back(signal, outputs, size)?);
        }
        Ok(None)
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

/// One layer's way back.
struct Step<'a, T> {
    passes: &'a dyn Passes<T>,
    pass: Pass<'a, T>,
    was: Forward<'a, T>,
    jacobian: Jacobian,
}

impl<T: LayerElem> Step<'_, T> {
    /// Whether the signals are not expanded.
    fn keeps_form(&self, signal: &Signal<T>) -> bool {
        match signal {
            Signal::Shared(_) => self.jacobian != Jacobian::General,
            Signal::Scaled(..) => self.jacobian == Jacobian::Diagonal,
            Signal::Each(_) => false,
        }
    }

    /// The signals at the layer's input, with `size` numbers for an example and output.
    fn back(&self, signal: Signal<T>, outputs: usize, size: usize) -> Result<Signal<T>> {
        let batch = self.pass.batch;
        let of_factors = |factors: &[T]| {
            let mut gx = vec![T::of(0.0); factors.len()];
            self.passes
                .input_gradient(self.pass, self.was, factors, &mut gx)?;
            Ok::<_, Error>(gx)
        };
        match (signal, self.jacobian) {
            (Signal::Shared(shared), Jacobian::Constant) => {
                let mut gx = vec![T::of(0.0); outputs * size];
                self.constant(&shared, &mut gx, outputs)?;
                Ok(Signal::Shared(gx))
            }
            (Signal::Shared(shared), Jacobian::Diagonal) => {
                let factors = of_factors(&vec![T::of(1.0); batch * size])?;
                Ok(Signal::Scaled(shared, factors))
            }
            (Signal::Scaled(shared, factors), Jacobian::Diagonal) => {
                Ok(Signal::Scaled(shared, of_factors(&factors)?))
            }
            (signal, jacobian) => {
                let gy = signal.expand(batch, outputs);
                let mut gx = numbers::<T>("gradients of outputs", &[outputs, batch, size])?;
                if jacobian == Jacobian::Constant {
                    self.constant(&gy, &mut gx, batch * outputs)?;
                } else {
                    self.by_examples(&gy, &mut gx, outputs)?;
                }
                Ok(Signal::Each(gx))
            }
        }
    }

    /// All gradients at once, as if there were so many examples.
    fn constant(&self, gy: &[T], gx: &mut [T], rows: usize) -> Result<()> {
        const LANES: usize = 32;
        let (from, to) = (gy.len() / rows.max(1), gx.len() / rows.max(1));
        let per = (CALL / (from + to).max(1)).max(1);
        let per = if per < LANES {
            per
        } else {
            per / LANES * LANES
        };
        let parts = gx
            .chunks_mut((per * to).max(1))
            .zip(gy.chunks((per * from).max(1)));
        for (gx, gy) in parts {
            let pass = Pass {
                batch: gy.len() / from.max(1),
                x: &[],
                panels: None,
                ..self.pass
            };
            let none = Forward { y: &[], saved: &[] };
            self.passes.input_gradient(pass, none, gy, gx)?;
        }
        Ok(())
    }

    fn by_examples(&self, gy: &[T], gx: &mut [T], outputs: usize) -> Result<()> {
        let batch = self.pass.batch.max(1);
        let (from, to) = (gy.len() / batch, gx.len() / batch);
        gx.par_chunks_mut(to.max(1))
            .zip(gy.par_chunks(from.max(1)))
            .enumerate()
            .try_for_each(|(i, (gx, gy))| {
                let (pass, was) = of_example(self.pass, self.was, i);
                let gx = gx.chunks_mut((to / outputs).max(1));
                let gy = gy.chunks((from / outputs).max(1));
                gx.zip(gy)
                    .try_for_each(|(gx, gy)| self.passes.input_gradient(pass, was, gy, gx))
            })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::nn::layers::{Activation, Conv2d, GlobalAvgPool, GroupNorm, Linear};
    use crate::nn::plan::{Plan, Typed};
    use crate::nn::{Gradients, Node, Param};
    use crate::tensor::elem::to_f64;
    use crate::tensor::rng::Key;

    fn tensor(label: &str, dims: &[usize]) -> Result<Tensor> {
        let mut rng = Key::new(3).label(label).rng();
        let values: Vec<f64> = (0..dims.iter().product()).map(|_| rng.normal()).collect();
        Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
    }

    /// Some outputs after the others give what all give at once, wherever they part.
    #[test]
    fn kernels_do_not_depend_on_how_many_outputs_go_back_at_a_time() -> Result<()> {
        let conv = |stride| Conv2d {
            bias: true,
            ..Conv2d::square(4, 3, stride)
        };
        let (outputs, bias) = (5, true);
        let nodes = [
            Node::layer("a", conv(1)),
            Node::Residual {
                name: "b".into(),
                body: vec![
                    Node::layer("norm", GroupNorm::new(2)),
                    Node::layer("conv", conv(1)),
                ],
                shortcut: Vec::new(),
                multiplier: 0.5,
            },
            Node::layer("c", Activation::Relu),
            Node::layer("d", conv(2)),
            Node::layer("e", Activation::Tanh),
            Node::layer("f", GlobalAvgPool),
            Node::layer("g", Linear { outputs, bias }),
        ];
        let (sizes, place) = ((2, 3), (DType::F64, &crate::gpu::Place::Cpu));
        let plan = Plan::new(&nodes, &[2, 5, 4], sizes, place, Gradients::None)?;
        let mut values = Vec::new();
        for (i, op) in plan.ops.iter().enumerate() {
            if let OpKind::Layer { layer, input, .. } = &op.kind {
                for (j, param) in layer.params(input).iter().enumerate() {
                    let dims = [&[2], param.shape.as_slice()].concat();
                    values.push(tensor(&format!("{i} {j}"), &dims)?);
                }
            }
        }
        let multiplier = 0.7;
        let params: Vec<_> = values
            .iter()
            .map(|value| Param { value, multiplier })
            .collect();
        plan.forward(&params, &tensor("x", &[3, 2, 5, 4])?)?;
        let Typed::F64(runner) = &plan.runner else {
            return Err(Error::other("another type"));
        };
        let inputs = plan.last_inputs()?;
        let run = |most: usize| -> Result<Vec<f64>> {
            let kernel = Tensor::zeros((2, 3, 3), DType::F64, &Device::Cpu)?;
            let bound = runner.bind(&params, &[], super::super::Mode::Evaluation)?;
            let slots = vec![0; params.len()];
            let parts = super::Parts {
                slots: &slots,
                combinations: Combinations::Each,
            };
            let kernels = (std::slice::from_ref(&kernel), parts);
            bound.ntk_within(most, &plan.ops, &inputs, 2, kernels)?;
            to_f64(&kernel)
        };
        let all = run(SIGNALS)?;
        for most in [1, 10, 500, 700, 1200] {
            for (found, wanted) in run(most)?.iter().zip(&all) {
                assert!(
                    (found - wanted).abs() < 1e-11 * (1.0 + wanted.abs()),
                    "{most}: {found} {wanted}"
                );
            }
        }
        assert!(all.iter().all(|x| x.abs() > 1e-3), "{all:?}");
        Ok(())
    }
}
