//! What a layer does on a GPU: the passes over all members at once.

use candle_core::Tensor;

use super::layer::Layer;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Gpu, Grid, Matrix, Stored, Workspace, words};

/// Numbers on a GPU: each member's own, or those that all members share.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Address of the first member's first number.
    pub at: u64,
    /// Numbers from one member's to the next's, 0 where they share them.
    pub stride: usize,
}

impl Span {
    /// These numbers as a matrix for each member, or its rows at distance `row`.
    pub fn matrix(self, stored: Stored, row: usize) -> Matrix {
        Matrix {
            at: self.at,
            stored,
            row,
            stride: self.stride,
            transposed: false,
        }
    }

    /// The numbers from `start` on, of this size.
    pub fn from(self, start: usize, stored: Stored) -> Self {
        Self {
            at: self.at + (start * stored.size()) as u64,
            ..self
        }
    }
}

/// A parameter, or a tangent of it, in the arithmetic type.
#[derive(Debug, Clone, Copy)]
pub struct GpuParam {
    /// The numbers, without the multiplier.
    pub value: Span,
    /// Forward multiplier.
    pub multiplier: f64,
}

/// What a pass over a layer on a GPU is about. All spans are those of `members` members, and of activations
/// in the type `stored`; parameters, their gradients and what the forward pass [saves](Layer::saved) are in
/// [`Stored::arith`].
#[derive(Debug, Clone, Copy)]
pub struct GpuPass<'a> {
    /// Where the work is queued.
    pub gpu: &'a Gpu,
    /// Memory for the pass.
    pub workspace: &'a Workspace,
    /// Type of activations and their gradients.
    pub stored: Stored,
    /// Members that the pass is over.
    pub members: usize,
    /// Examples in the batch.
    pub batch: usize,
    /// Shape of one example's input.
    pub input: &'a [usize],
    /// Shape of one example's output.
    pub output: &'a [usize],
    /// Parameters of the layer.
    pub params: &'a [GpuParam],
    /// Input, `[batch, input…]`.
    pub x: Span,
    /// The same in the arithmetic type, where it is the network's input: numbers that bf16 does not have,
    /// as tokens, are whole in it.
    pub raw: Option<Span>,
    /// Whether the pass is part of a training step.
    pub training: bool,
    /// In training, for a layer that [is random](Layer::is_random): the address of each member's key, two
    /// words of 32 bits one after the other, the same as [`Key::rng`](crate::tensor::rng::Key::rng) gives.
    pub noise: Option<u64>,
}

impl GpuPass<'_> {
    /// Numbers of an example's input.
    pub fn inputs(&self) -> usize {
        self.input.iter().product()
    }

    /// Numbers of an example's output.
    pub fn outputs(&self) -> usize {
        self.output.iter().product()
    }

    /// Memory for this pass: part `i` with room for so many numbers of each member.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn part(&self, i: usize, numbers: usize, stored: Stored) -> Result<Span> {
        let bytes = self.members * numbers * stored.size();
        Ok(Span {
            at: self.workspace.part(i, bytes, self.gpu.device())?,
            stride: numbers,
        })
    }

    /// Parameter `i` as products read it: its numbers in the stored type, `numbers` of each member.
    ///
    /// # Errors
    /// If memory for a copy cannot be had.
    pub fn factor(&self, param: GpuParam, part: usize, numbers: usize) -> Result<Span> {
        if self.stored == self.stored.arith() {
            return Ok(param.value);
        }
        // one copy if members share it
        let members = if param.value.stride == 0 {
            1
        } else {
            self.members
        };
        let mut copy = self.part(part, numbers, self.stored)?;
        let grid = Grid::each(numbers, members);
        let (from, to) = (param.value, copy);
        let words = words![from.at, from.stride, to.at, to.stride, numbers];
        self.gpu.launch("to_stored", self.stored, grid, words)?;
        if members == 1 {
            copy.stride = 0;
        }
        Ok(copy)
    }

    /// `y = a x + b y` over `n` numbers of each member; `y` is not read where `b` is 0.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn scale_add(&self, n: usize, (a, x): (f64, Span), (b, y): (f64, Span)) -> Result<()> {
        let words = words![x.at, x.stride, y.at, y.stride, n, a, b];
        let grid = Grid::each(n, self.members);
        self.gpu.launch("scale_add", self.stored, grid, words)
    }

    /// Fills `n` numbers of each member, in the stored type, with 0.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn fill_zero(&self, n: usize, y: Span) -> Result<()> {
        // buffers of gradients may be longer than what is in them
        let grid = Grid::each(n, self.members);
        let words = words![y.at, y.stride, n];
        self.gpu.launch("fill_zero", self.stored, grid, words)
    }
}

/// What the forward pass left for the passes that follow it.
#[derive(Debug, Clone, Copy)]
pub struct GpuForward {
    /// Output, `[batch, output…]`.
    pub y: Span,
    /// As many numbers as [`Layer::saved`] says, in the arithmetic type.
    pub saved: Span,
}

/// Tangents at a pass.
#[derive(Debug, Clone, Copy)]
pub struct GpuTangents<'a> {
    /// Of the parameters, without their multipliers' effect; the multipliers are those of the parameters.
    pub params: &'a [GpuParam],
    /// Of the input; `None` where it does not move.
    pub x: Option<Span>,
}

/// The passes of a layer over all members on a GPU: what [`Passes`](super::Passes) is for one member on the
/// CPU, with the same meaning of every argument. A pass queues work and never waits. A layer that does not
/// have a pass says so when it is run.
pub trait GpuPasses {
    /// Whether inputs of the network, on the host, are such as the layer takes: kernels cannot say.
    ///
    /// # Errors
    /// If they are not.
    fn gpu_check(&self, _inputs: &Tensor, _input: &[usize]) -> Result<()> {
        Ok(())
    }

    /// Writes the output `y`, and `saved`.
    ///
    /// # Errors
    /// If the device refuses work.
    fn gpu_forward(&self, _at: GpuPass<'_>, _y: Span, _saved: Span) -> Result<()> {
        Err(missing())
    }

    /// From the gradient `gy` of the output, writes those of the parameters (0 for one that is not trained)
    /// and, if wanted, `gx` of the input. Parameters whose gradients are not wanted have none: `grads` is
    /// empty then.
    ///
    /// # Errors
    /// As for the forward pass.
    fn gpu_backward(
        &self,
        _at: GpuPass<'_>,
        _was: GpuForward,
        _gy: Span,
        _grads: &[Span],
        _gx: Option<Span>,
    ) -> Result<()> {
        Err(missing())
    }

    /// Writes the tangent `dy` of the output.
    ///
    /// # Errors
    /// As for the forward pass.
    fn gpu_tangent(
        &self,
        _at: GpuPass<'_>,
        _was: GpuForward,
        _tangents: GpuTangents<'_>,
        _dy: Span,
    ) -> Result<()> {
        Err(missing())
    }

    /// The tangent of the backward pass: from the gradient of the output and its tangent, writes the tangents
    /// of the parameters' gradients and, if wanted, of the input's.
    ///
    /// # Errors
    /// As for the forward pass.
    fn gpu_backward_tangent(
        &self,
        _at: GpuPass<'_>,
        _was: GpuForward,
        _tangents: GpuTangents<'_>,
        _gradient: (Span, Span),
        _dgrads: &[Span],
        _dgx: Option<Span>,
    ) -> Result<()> {
        Err(missing())
    }

    /// At the end of a training step, moves the parameters that are not trained, of members whose entry of
    /// `active` (a 32-bit word each) is not 0.
    ///
    /// # Errors
    /// As for the forward pass.
    fn gpu_update_estimates(&self, _at: GpuPass<'_>, _was: GpuForward, _active: u64) -> Result<()> {
        Ok(())
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::Device, "this layer has no such pass on GPUs")
}

/// Parameter `i` of a pass.
///
/// # Errors
/// If there is none.
pub fn param(layer: &dyn Layer, params: &[GpuParam], i: usize) -> Result<GpuParam> {
    params.get(i).copied().ok_or_else(|| {
        Error::other(format!(
            "{} needs {} parameters, got {}",
            layer.kind(),
            i + 1,
            params.len()
        ))
    })
}
