//! A layer's part of the neural tangent kernel.

use candle_core::Device;
use rayon::prelude::*;

use super::buffer::Buffer;
use super::layer::{Forward, Pass, Passes, Weights};
use super::parts::Parts;
use crate::error::Result;
use crate::memory::zeros;
use crate::tensor::elem::{Elem, read};
use crate::tensor::elementwise::accumulate;
use crate::tensor::gram::add_gram;

/// How the derivative of a layer's output with respect to its input depends on the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jacobian {
    /// Not at all: the layer is affine, and the same for every example.
    Constant,
    /// It is diagonal: each number of the output depends on the number of the input in the same
    /// place.
    Diagonal,
    /// In any other way.
    General,
}

/// The axis of a layer's output along which parameters lie: an entry along it has parameters of its
/// own, and their gradients are linear in the signals of that entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamAxis {
    /// The first, as of images' channels.
    First,
    /// The last.
    Last,
    /// All: every number of the output has parameters of its own.
    All,
}

/// Gradients of the network's outputs with respect to a layer's output, for the examples of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Signals<'a, T> {
    /// `[batch, outputs, output…]`.
    pub data: &'a [T],
    /// Outputs of the network, or as many combinations of them as have the same kernel.
    pub outputs: usize,
}

impl<'a, T> Signals<'a, T> {
    /// The signals of one example, `[outputs, output…]`, of `batch`.
    pub fn of(&self, example: usize, batch: usize) -> &'a [T] {
        let size = self.data.len() / batch.max(1);
        &self.data[example * size..(example + 1) * size]
    }

    /// The signals of one output and example.
    fn at(&self, example: usize, output: usize, batch: usize) -> &'a [T] {
        let all = self.of(example, batch);
        let size = all.len() / self.outputs.max(1);
        &all[output * size..(output + 1) * size]
    }
}

/// Combinations of the network's outputs whose gradients a kernel is made of.
#[derive(Debug, Clone, Copy)]
pub enum Combinations<'a> {
    /// Every output by itself: kernels are traced over outputs.
    Each,
    /// Directions `[directions, outputs]` in the space of the outputs, the same for every example:
    /// kernels are the sum over directions of those of the outputs' components along them.
    Directions(&'a [f64]),
    /// One direction for every example, `[batch, outputs]`.
    OfExamples(&'a [f64]),
}

impl Combinations<'_> {
    /// How many there are for an example of a network with so many outputs.
    pub fn count(&self, outputs: usize) -> usize {
        match self {
            Self::Each => outputs,
            Self::Directions(all) => all.len() / outputs.max(1),
            Self::OfExamples(_) => 1,
        }
    }
}

/// Where a layer adds the kernels of its parameters.
#[derive(Debug)]
pub struct Kernels<'a, T> {
    buffers: &'a [Buffer<T>],
    slots: &'a [usize],
    member: usize,
}

impl<'a, T: Elem> Kernels<'a, T> {
    /// A member's part of `buffers [members, batch, batch]`; `slots` says for each of the layer's
    /// parameters to which of them its kernel is added.
    ///
    /// # Safety
    /// There is such a member, and nobody else uses its numbers while the kernels are used.
    pub unsafe fn new(buffers: &'a [Buffer<T>], slots: &'a [usize], member: usize) -> Self {
        Self {
            buffers,
            slots,
            member,
        }
    }

    /// Where the kernel of parameter `i` is added, `[batch, batch]`, of which the lower triangle
    /// counts.
    pub fn of(&mut self, i: usize) -> &mut [T] {
        // SAFETY: as `new` was promised, and `self` is borrowed
        unsafe { self.buffers[self.slots[i]].of_mut(self.member) }
    }
}

/// Numbers of gradients that are kept at a time.
const BLOCK: usize = 1 << 23;

/// The pass and what it left, of one example of the batch.
pub(super) fn of_example<'a, T: Elem>(
    at: Pass<'a, T>,
    was: Forward<'a, T>,
    example: usize,
) -> (Pass<'a, T>, Forward<'a, T>) {
    let part = |all: &'a [T]| {
        let size = all.len() / at.batch.max(1);
        &all[example * size..(example + 1) * size]
    };
    let one = Pass {
        batch: 1,
        x: part(at.x),
        panels: None,
        ..at
    };
    let was = Forward {
        y: part(was.y),
        saved: part(was.saved),
    };
    (one, was)
}

/// The kernels of any layer: from the gradients of every example and output, some outputs at a time.
pub(super) fn gram_by_examples<T: Elem>(
    layer: &(impl Passes<T> + ?Sized),
    at: Pass<'_, T>,
    was: Forward<'_, T>,
    signals: Signals<'_, T>,
    kernels: Kernels<'_, T>,
) -> Result<()> {
    let gradient = |(i, o): (usize, usize), grads: Parts<'_, T>| {
        let (one, was) = of_example(at, was, i);
        layer.backward(one, was, signals.at(i, o, at.batch), grads, None)
    };
    gram_of(at, signals.outputs, kernels, gradient)
}

/// The backward pass of a layer, as far as its parameters go.
#[derive(Clone, Copy)]
pub(super) struct Use<'a, T> {
    pub layer: &'a dyn Passes<T>,
    pub at: Pass<'a, T>,
    pub was: Forward<'a, T>,
    pub signals: Signals<'a, T>,
}

impl<T: Elem> Use<'_, T> {
    fn gradient(&self, (example, output): (usize, usize), grads: Parts<'_, T>) -> Result<()> {
        let (one, was) = of_example(self.at, self.was, example);
        let gy = self.signals.at(example, output, self.at.batch);
        self.layer.backward(one, was, gy, grads, None)
    }
}

/// The kernel of a parameter that two layers share, its owner and one behind it: from the sums of their gradients.
pub(super) fn gram_of_shared<T: Elem>(
    owner: Use<'_, T>,
    other: Use<'_, T>,
    kernels: Kernels<'_, T>,
) -> Result<()> {
    let (n, params) = (owner.at.batch, owner.at.params);
    let seconds = gradients_of(params, n)?;
    let gradient = |(i, o): (usize, usize), grads: Parts<'_, T>| {
        // SAFETY: each example has a task and its own part
        let second = unsafe { Parts::new(&seconds, i) };
        other.gradient((i, o), second)?;
        let sums = grads.again();
        owner.gradient((i, o), grads)?;
        // SAFETY: as above, and the pass is over
        let second = unsafe { Parts::new(&seconds, i) };
        for (sum, second) in sums.all().into_iter().zip(second.all()) {
            accumulate(sum, second, 1.0);
        }
        Ok(())
    };
    gram_of(owner.at, owner.signals.outputs, kernels, gradient)
}

/// Room for the gradients of parameters, so many times.
fn gradients_of<T: Elem>(params: Weights<'_, T>, count: usize) -> Result<Vec<Buffer<T>>> {
    let zeros = |i: usize| {
        let dims = [count, params.value(i).len()];
        let what = "gradients of single examples";
        Buffer::new(&zeros(what, &dims, T::DTYPE, &Device::Cpu)?)
    };
    (0..params.len()).map(zeros).collect()
}

/// Kernels of the gradients that `gradient` writes for an example and an output; examples at the same time.
fn gram_of<T: Elem>(
    at: Pass<'_, T>,
    outputs: usize,
    mut kernels: Kernels<'_, T>,
    gradient: impl Fn((usize, usize), Parts<'_, T>) -> Result<()> + Sync,
) -> Result<()> {
    let n = at.batch;
    let params: usize = (0..at.params.len()).map(|i| at.params.value(i).len()).sum();
    let most = (BLOCK / (n * params).max(1)).clamp(1, outputs.max(1));
    for first in (0..outputs).step_by(most) {
        let count = most.min(outputs - first);
        let gradients = gradients_of(at.params, n * count)?;
        (0..n).into_par_iter().try_for_each(|i| {
            (0..count).try_for_each(|o| {
                // SAFETY: each task has its own example's gradients
                let grads = unsafe { Parts::new(&gradients, i * count + o) };
                gradient((i, first + o), grads)
            })
        })?;
        for (i, gradient) in gradients.iter().enumerate() {
            read(gradient.tensor(), |rows: &[T]| {
                add_gram(kernels.of(i), n, rows, 1.0);
                Ok(())
            })?;
        }
    }
    Ok(())
}
