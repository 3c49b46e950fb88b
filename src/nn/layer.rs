//! The layer trait: what a layer is, and its passes over one member.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::buffer::Buffer;
use super::gpu::GpuPasses;
use super::kernel::{Jacobian, Kernels, ParamAxis, Signals, gram_by_examples};
use super::layers::{Activation, Attention};
use super::param::{ParamKind, ParamSpec};
use super::parts::Parts;
use crate::error::Result;
use crate::memory::zeros;
use crate::tensor::elem::Elem;
use crate::tensor::linear::{Input, Panels};
use crate::tensor::rng::Key;

/// A parameter's value during a pass.
#[derive(Debug, Clone, Copy)]
pub struct Param<'a> {
    /// Value, `[members, …]`.
    pub value: &'a Tensor,
    /// Forward multiplier: the layer computes with `multiplier · value`.
    pub multiplier: f64,
}

/// A layer: a function from activations to activations with parameters, which owns its backward
/// pass. Shapes given to it and returned by it are those of one example.
pub trait Layer: Debug + Send + Sync + Passes<f32> + Passes<f64> + GpuPasses {
    /// Name in scripts and messages, for instance `linear`.
    fn kind(&self) -> &'static str;

    /// Settings for the record.
    fn settings(&self) -> serde_json::Value;

    /// Shape of the output for this input.
    ///
    /// # Errors
    /// If the layer cannot take such an input.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>>;

    /// Parameters, in the order in which the passes receive them.
    fn params(&self, input: &[usize]) -> Vec<ParamSpec>;

    /// The parameter of another layer that it computes with in place of one of its own.
    fn tied(&self, _input: &[usize]) -> Option<Tied> {
        None
    }

    /// The same layer with another forward multiplier, where that is not its parameters'.
    fn with_multiplier(&self, _multiplier: f64) -> Option<Arc<dyn Layer>> {
        None
    }

    /// Whether the output is the input in another shape, with the same numbers in the same order;
    /// such a layer's passes are never called.
    fn is_reshape(&self) -> bool {
        false
    }

    /// Whether the output depends on the input only through the product of its rows with the first
    /// parameter, a matrix.
    fn reads_by_product(&self) -> bool {
        false
    }

    /// Multiply-adds of the forward pass for one example. By default each weight takes part once at
    /// each position of the output, all axes but the last; a layer that multiplies activations with
    /// each other (attention), or that only looks weights up, counts for itself.
    fn multiply_adds(&self, input: &[usize]) -> u64 {
        let positions = match self.output_shape(input).as_deref() {
            Ok([positions @ .., _]) => positions.iter().map(|&n| n as u64).product(),
            _ => 1,
        };
        let weights = self.params(input);
        let weights = weights.iter().filter(|p| p.kind == ParamKind::Weight);
        let numbers = |p: &ParamSpec| p.shape.iter().map(|&n| n as u64).product::<u64>();
        positions * weights.map(numbers).sum::<u64>()
    }

    /// The layer without the nonlinearity that follows in the same pass, and that, where there is one:
    /// for those who look at what comes between.
    fn apart(&self) -> Option<(Arc<dyn Layer>, Activation)> {
        None
    }

    /// Attention, where the layer is that: for those who look at its probabilities.
    fn attention(&self) -> Option<&Attention> {
        None
    }

    /// Whether an example's output depends on the other examples of the batch, in training or outside.
    fn mixes_examples(&self, _training: bool) -> bool {
        false
    }

    /// How the derivative of the output with respect to the input depends on the input. Where it is
    /// [constant](Jacobian::Constant), [`Passes::input_gradient`] must read neither the input nor what
    /// the forward pass left, and works for any number of gradients; where it is diagonal it takes
    /// gradients of one example after the other.
    fn jacobian(&self) -> Jacobian {
        Jacobian::General
    }

    /// The axis of the output along which the parameters lie, if there is one.
    fn param_axis(&self) -> Option<ParamAxis> {
        None
    }

    /// Whether the passes draw random numbers in training, see [`Pass::noise`].
    fn is_random(&self) -> bool {
        false
    }

    /// How many numbers the forward pass leaves for the backward pass of a batch, beside input and
    /// output: statistics, masks; those of one example after those of another, unless the passes
    /// [mix examples](Layer::mixes_examples).
    fn saved(&self, _batch: usize, _input: &[usize]) -> usize {
        0
    }
}

/// A parameter of another layer: its first, a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tied {
    /// Path of that layer, which comes earlier in the network.
    pub to: String,
    /// Shape that the parameter must have.
    pub shape: Vec<usize>,
}

impl Tied {
    /// Path of the parameter.
    pub fn param(&self) -> String {
        format!("{}.weight", self.to)
    }
}

/// What a pass over a layer is about: sizes, parameters, input. All slices are those of one member.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a, T> {
    /// Examples in the batch.
    pub batch: usize,
    /// Shape of one example's input.
    pub input: &'a [usize],
    /// Shape of one example's output.
    pub output: &'a [usize],
    /// Parameters of the layer.
    pub params: Weights<'a, T>,
    /// Input, `[batch, input…]`.
    pub x: &'a [T],
    /// The same packed, where members share it and the layer
    /// [reads it by a product](Layer::reads_by_product).
    pub panels: Option<Panels<'a, T>>,
    /// Whether the pass is part of a training step, or of prediction and measurement.
    pub training: bool,
    /// In training, for a layer that [is random](Layer::is_random): the key of its random numbers
    /// at this step, the same in all passes of the step.
    pub noise: Option<Key>,
}

impl<'a, T: Copy> Pass<'a, T> {
    /// The input, packed if it is.
    pub fn input_rows(&self) -> Input<'a, T> {
        Input {
            x: self.x,
            panels: self.panels,
        }
    }
}

/// What the forward pass left for the passes that follow it.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a, T> {
    /// Output, `[batch, output…]`.
    pub y: &'a [T],
    /// As many numbers as [`Layer::saved`] says.
    pub saved: &'a [T],
}

/// Tangents (directional derivatives) at a pass: of the parameters and of the input.
#[derive(Debug, Clone, Copy)]
pub struct Tangents<'a, T> {
    /// Of the parameters, without their multipliers.
    pub params: Weights<'a, T>,
    /// Of the input; `None` where it does not move.
    pub x: Option<&'a [T]>,
}

/// The passes of a layer over one member, in one element type.
///
/// A pass may split its work into tasks, with borders that depend on sizes alone. Gradients and
/// tangents are written, not added to what is there.
pub trait Passes<T: Elem>: Sync {
    /// Writes the output `y`, and `saved`.
    ///
    /// # Errors
    /// If the input has values that the layer cannot take.
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()>;

    /// From the gradient `gy` of the output, writes those of the parameters and, if wanted, `gx` of
    /// the input. The gradient of a parameter that is [not trained](ParamKind::is_trained) is 0.
    ///
    /// # Errors
    /// As for the forward pass.
    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()>;

    /// From the gradient `gy` of the output, writes `gx` of the input alone.
    ///
    /// # Errors
    /// As for the forward pass.
    fn input_gradient(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        let unused = at.params.like()?;
        // SAFETY: nobody else has them
        let grads = unsafe { Parts::new(&unused, 0) };
        self.backward(at, was, gy, grads, Some(gx))
    }

    /// Adds, for each parameter, the inner products of the examples' gradients, summed over the
    /// outputs of the network, to the lower triangle of its kernel.
    ///
    /// # Errors
    /// As for the forward pass.
    fn gram(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        signals: Signals<'_, T>,
        kernels: Kernels<'_, T>,
    ) -> Result<()> {
        gram_by_examples(self, at, was, signals, kernels)
    }

    /// Writes the tangent `dy` of the output (a Jacobian–vector product).
    ///
    /// # Errors
    /// As for the forward pass.
    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()>;

    /// The tangent of the backward pass: from the gradient of the output and its tangent, writes the tangents of the
    /// parameters' gradients and, if wanted, of the input's.
    ///
    /// # Errors
    /// As for the forward pass.
    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        gradient: (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()>;

    /// At the end of a training step, moves the parameters that are [not trained](ParamKind::is_trained)
    /// by what the step's forward pass left. `params` are those of `at`, to be written.
    ///
    /// # Errors
    /// As for the forward pass.
    fn update_estimates(
        &self,
        _at: Pass<'_, T>,
        _was: Forward<'_, T>,
        _params: Parts<'_, T>,
    ) -> Result<()> {
        Ok(())
    }
}

/// An element type that layers compute in.
pub trait LayerElem: Elem {
    /// A layer's passes in this type.
    fn passes(layer: &dyn Layer) -> &dyn Passes<Self>;
}

impl LayerElem for f32 {
    fn passes(layer: &dyn Layer) -> &dyn Passes<Self> {
        layer
    }
}

impl LayerElem for f64 {
    fn passes(layer: &dyn Layer) -> &dyn Passes<Self> {
        layer
    }
}

/// One member's values of a layer's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a, T> {
    pub(super) buffers: &'a [Buffer<T>],
    pub(super) multipliers: &'a [f64],
    pub(super) member: usize,
}

impl<'a, T: Elem> Weights<'a, T> {
    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// The values of parameter `i`, without its multiplier.
    pub fn value(&self, i: usize) -> &'a [T] {
        // SAFETY: passes write parameters only between passes, see `Plan`
        unsafe { self.buffers[i].of(self.member) }
    }

    /// Buffers of one member with the sizes of the parameters.
    pub(super) fn like(&self) -> Result<Vec<Buffer<T>>> {
        let zeros = |i: usize| {
            let size = self.value(i).len();
            Buffer::new(&zeros(
                "gradients of parameters",
                &[1, size],
                T::DTYPE,
                &Device::Cpu,
            )?)
        };
        (0..self.len()).map(zeros).collect()
    }

    /// The forward multiplier of parameter `i`.
    pub fn multiplier(&self, i: usize) -> f64 {
        self.multipliers[i]
    }
}
