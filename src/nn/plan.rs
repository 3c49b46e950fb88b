//! A network compiled for a batch size: operations in order over buffers made once.

mod backward;
mod build;
mod gpu;
mod gpu_hessian;
mod gpu_ntk;
mod gram;
mod ntk;
mod place;
mod queue;
mod run;
mod signal;
mod tangent;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use super::layer::{Layer, LayerElem, Param};
use super::layers::Attention;
use super::node::Node;
use crate::error::{Error, Result};
use crate::gpu::Place;
use crate::memory::Need;
use crate::tensor::elem::unsupported;
use crate::tensor::rng::Key;
use build::Builder;
pub use build::Gradients;
use gpu::GpuRunner;
pub use queue::GpuPlan;
pub use run::MemberWork;
use run::Runner;
pub use tangent::Curvature;
use tangent::Direction;

/// One operation: reads buffers, writes buffer `y`.
#[derive(Debug)]
struct Op {
    path: String,
    kind: OpKind,
    y: usize,
}

#[derive(Debug)]
enum OpKind {
    Layer {
        layer: Arc<dyn Layer>,
        params: std::ops::Range<usize>,
        x: usize,
        /// Shapes of one example.
        input: Vec<usize>,
        output: Vec<usize>,
        /// Which panels its input is packed into, if any.
        panels: Option<usize>,
        /// Whether a later operation computes with its first parameter too: its gradient is then added
        /// to what that one wrote.
        shared: bool,
    },
    Join {
        skip: usize,
        branch: usize,
        multiplier: f64,
    },
}

impl Op {
    /// The activation it reads, or the first of two.
    fn source(&self) -> usize {
        match self.kind {
            OpKind::Layer { x, .. } => x,
            OpKind::Join { skip, .. } => skip,
        }
    }
}

/// What passes are part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// Prediction and measurement: nothing is random, and batch normalisation uses its running
    /// estimates, so that examples do not act on each other.
    #[default]
    Evaluation,
    /// Training. Each member's random numbers, as dropout's, come from its key, which depends on the
    /// member's seed and on the step.
    Training(Vec<Key>),
}

/// A network compiled for a number of members and a batch size.
///
/// The forward pass fills one buffer per activation; the backward pass runs the same operations in
/// reverse and writes each parameter's gradient. Members run at the same time, each from the first
/// operation to the last, so that a member's numbers stay in the caches; operations split further
/// only if there is work left over. Nothing is allocated in either pass. Every activation stays
/// readable by path until the next pass.
#[derive(Debug)]
pub struct Plan {
    ops: Vec<Op>,
    values: Vec<Tensor>,
    is_input: Vec<bool>,
    output_gradient: Option<Tensor>,
    batch: usize,
    input: Vec<usize>,
    members: usize,
    /// Inputs of the last forward pass, `[1, batch, …]`.
    last: Mutex<Option<Tensor>>,
    mode: Mutex<Mode>,
    runner: Typed,
}

/// The passes in the plan's element type.
#[derive(Debug)]
enum Typed {
    F32(Runner<f32>),
    F64(Runner<f64>),
    Gpu(GpuRunner),
}

/// Runs a block with `$runner` bound to the runner of the plan's element type, or another with that of a GPU.
macro_rules! typed {
    ($plan:expr, $runner:ident => $body:expr, $gpu:ident => $on_gpu:expr $(,)?) => {
        match &$plan.runner {
            Typed::F32($runner) => $body,
            Typed::F64($runner) => $body,
            Typed::Gpu($gpu) => $on_gpu,
        }
    };
}
use typed;

impl Plan {
    /// Compiles `nodes` for inputs of the given shape; `gradients` says which passes are available.
    ///
    /// # Errors
    /// If a layer cannot take its input, or the buffers do not fit into memory.
    pub fn new(
        nodes: &[Node],
        input: &[usize],
        (members, batch): (usize, usize),
        (dtype, place): (DType, &Place),
        gradients: Gradients,
    ) -> Result<Self> {
        let built = Builder::build(nodes, input, (members, batch), (dtype, place), gradients)?;
        let runner = match (place, dtype) {
            (Place::Gpu(gpu), _) => Typed::Gpu(GpuRunner::new(&built, gpu, members, batch)?),
            (Place::Cpu, DType::F32) => Typed::F32(Runner::new(&built)?),
            (Place::Cpu, DType::F64) => Typed::F64(Runner::new(&built)?),
            (Place::Cpu, other) => return Err(unsupported(other)),
        };
        let output_gradient = match built.place[built.last] {
            Some(at) => Some(built.pool[at].reshape(built.values[built.last].shape())?),
            None => None,
        };
        Ok(Self {
            output_gradient,
            ops: built.ops,
            values: built.values,
            is_input: built.is_input,
            batch,
            input: input.to_vec(),
            members,
            last: Mutex::new(None),
            mode: Mutex::new(Mode::Evaluation),
            runner,
        })
    }

    /// The buffers that [`Plan::new`] makes, to be counted.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn needs(
        nodes: &[Node],
        input: &[usize],
        sizes: (usize, usize),
        place: (DType, &Place),
        gradients: Gradients,
    ) -> Result<Vec<Need>> {
        Builder::needs(nodes, input, sizes, place, gradients)
    }

    /// Batch size that the plan was compiled for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Says what the passes that follow are part of; at first that is [`Mode::Evaluation`].
    pub fn set_mode(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    fn mode(&self) -> Mode {
        let mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        mode.clone()
    }

    /// The output of the last forward pass, `[members, batch, …]`.
    pub fn output(&self) -> &Tensor {
        &self.values[self.ops.last().map_or(0, |op| op.y)]
    }

    /// The buffer that the loss writes the gradient of the output into, `[members, batch, …]`;
    /// `None` if the plan was compiled without gradients.
    pub fn output_gradient(&self) -> Option<&Tensor> {
        self.output_gradient.as_ref()
    }

    /// Paths of the activations in order, for instance `layers.0`, `layers.0.relu`, `readout`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.ops.iter().map(|op| op.path.as_str())
    }

    /// The activation that the last forward pass left at `path`.
    ///
    /// # Errors
    /// If the input cannot be had in the activation's shape.
    pub fn activation(&self, path: &str) -> Result<Option<Tensor>> {
        let Some(op) = self.ops.iter().find(|op| op.path == path) else {
            return Ok(None);
        };
        self.value(op.y)
    }

    fn value(&self, slot: usize) -> Result<Option<Tensor>> {
        let value = &self.values[slot];
        if !self.is_input[slot] {
            return Ok(Some(value.clone()));
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(last
            .as_ref()
            .map(|x| x.reshape(value.shape()))
            .transpose()?)
    }

    /// Attention layers in order, with their paths.
    pub fn attention_layers(&self) -> impl Iterator<Item = (&str, &Attention)> {
        self.ops.iter().filter_map(|op| match &op.kind {
            OpKind::Layer { layer, .. } => Some((op.path.as_str(), layer.attention()?)),
            OpKind::Join { .. } => None,
        })
    }

    /// What the operation at `path` read in the last forward pass, of a sum the first part.
    ///
    /// # Errors
    /// If the input cannot be had in the activation's shape.
    pub fn source(&self, path: &str) -> Result<Option<Tensor>> {
        match self.ops.iter().find(|op| op.path == path) {
            Some(op) => self.value(op.source()),
            None => Ok(None),
        }
    }

    /// The inputs as the first operation reads them, on the host: in place if type and layout are right.
    fn inputs(&self, inputs: &Tensor) -> Result<Tensor> {
        let wanted = [&[self.batch], self.input.as_slice()].concat();
        if inputs.dims() != wanted {
            return Err(Error::shape(format!(
                "the network takes inputs of shape {wanted:?}, got {:?}",
                inputs.dims()
            )));
        }
        let stored = self.values[0].dtype();
        let arith = if stored == DType::BF16 {
            DType::F32
        } else {
            stored
        };
        let inputs = inputs
            .to_device(&Device::Cpu)?
            .to_dtype(arith)?
            .contiguous()?;
        let inputs = inputs.unsqueeze(0)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(inputs.clone());
        Ok(inputs)
    }

    /// Runs the network on `inputs [batch, …]` of any float type.
    ///
    /// # Errors
    /// If the inputs do not have the shape that the plan was compiled for, or a layer fails.
    pub fn forward(&self, params: &[Param<'_>], inputs: &Tensor) -> Result<()> {
        let inputs = self.inputs(inputs)?;
        typed!(self,
            runner => runner.bind(params, &[], self.mode())?.forward(&self.ops, &inputs, self.members),
            gpu => {
                gpu.check_params(params.len())?;
                gpu.set_inputs(&self.ops, &inputs)?;
                gpu.set_mode(&self.ops, &self.mode())?;
                gpu.forward(&self.ops, &gpu::params(params)?, self.is_training())
            },
        )
    }

    /// From [`Plan::output_gradient`], writes the gradient of every parameter of the last forward
    /// pass into `grads`, in the order of the parameters.
    ///
    /// # Errors
    /// If the plan was compiled without gradients, there was no forward pass, or a layer fails.
    pub fn backward(&self, params: &[Param<'_>], grads: &[Tensor]) -> Result<()> {
        self.needs_gradients()?;
        let inputs = self.last_inputs()?;
        typed!(self,
            runner => runner.bind(params, grads, self.mode())?.backward(&self.ops, &inputs, self.members),
            gpu => {
                gpu.check_params(params.len())?;
                gpu.check_params(grads.len())?;
                let grads = grads.iter().map(gpu::span).collect::<Result<Vec<_>>>()?;
                gpu.backward(&self.ops, &gpu::params(params)?, &grads, self.is_training())
            },
        )
    }

    fn is_training(&self) -> bool {
        self.mode() != Mode::Evaluation
    }

    /// On a GPU, what its passes are made of.
    pub fn on_gpu(&self) -> Option<GpuPlan<'_>> {
        match &self.runner {
            Typed::Gpu(runner) => Some(GpuPlan { plan: self, runner }),
            Typed::F32(_) | Typed::F64(_) => None,
        }
    }

    /// A step: for each member forward pass, loss, backward pass and whatever `work` does with its
    /// gradients; in [`Mode::Training`] then running estimates follow the batch, where `work` has updated
    /// the member. Returns each member's loss.
    ///
    /// # Errors
    /// As for the two passes, or if `work` fails.
    pub fn step<T: LayerElem>(
        &self,
        params: &[Param<'_>],
        inputs: &Tensor,
        grads: &[Tensor],
        work: &impl MemberWork<T>,
    ) -> Result<Vec<f64>> {
        self.needs_gradients()?;
        let inputs = self.inputs(inputs)?;
        self.runner::<T>()?.bind(params, grads, self.mode())?.step(
            &self.ops,
            &inputs,
            self.members,
            work,
        )
    }

    /// Hessian–vector products: for each member the derivative, in the direction of `direction`, of the
    /// gradients that the last backward pass wrote. `direction` and `image` are in the order and
    /// shapes of the parameters, and `loss` has the second derivative of the loss. Exact up to
    /// rounding (forward over reverse); forward and backward pass serve any number of products.
    ///
    /// # Errors
    /// If the plan was not compiled with [`Gradients::Kept`], there was no forward pass, or a layer
    /// fails.
    pub fn hessian_vector<T: LayerElem>(
        &self,
        params: &[Param<'_>],
        direction: &[Tensor],
        image: &[Tensor],
        loss: &dyn Curvature<T>,
    ) -> Result<()> {
        let inputs = self.last_inputs()?;
        if direction.len() != params.len() || image.len() != params.len() {
            return Err(other_params(params.len(), direction.len().min(image.len())));
        }
        let direction = Direction::new(direction, image)?;
        let bound = self.runner::<T>()?.bind(params, &[], self.mode())?;
        bound.hessian_vector(&self.ops, &inputs, self.members, &direction, loss)
    }

    fn runner<T: LayerElem>(&self) -> Result<&Runner<T>> {
        let runner: &dyn Any = match &self.runner {
            Typed::F32(runner) => runner,
            Typed::F64(runner) => runner,
            Typed::Gpu(_) => {
                return Err(Error::other(
                    "this pass is one of the CPU, and the plan is on a GPU",
                ));
            }
        };
        runner.downcast_ref().ok_or_else(|| unsupported(T::DTYPE))
    }

    fn last_inputs(&self) -> Result<Tensor> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
            .ok_or_else(|| Error::other("this pass needs a forward pass before it"))
    }

    fn needs_gradients(&self) -> Result<()> {
        if self.output_gradient.is_none() {
            return Err(Error::other("the plan was compiled without gradients"));
        }
        Ok(())
    }
}

/// The error for a plan that was bound to other parameters than it was compiled for.
fn other_params(wanted: usize, found: usize) -> Error {
    Error::other(format!("a pass needs {wanted} parameters, got {found}"))
}
