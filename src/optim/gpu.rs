//! Optimizers on GPUs: all parameters of all members in one launch.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{Adam, Lion, Sgd};
use crate::error::Result;
use crate::gpu::{Gpu, Grid, Stored, Word, address};
use crate::memory;
use crate::nn::ParamInfo;
use crate::parametrization::Scales;

/// Scalars of one member's update of one parameter, `SCALARS` in `kernels/update.cuh`.
pub type Scalars = [f64; 10];
/// Words of a parameter, `ROW` there.
const ROW: usize = 6;
/// Numbers that a block updates, `UPDATE_CHUNK` there.
const CHUNK: usize = 2048;

/// What the scalars of an update depend on.
#[derive(Debug, Clone, Copy)]
pub struct GpuUpdate<'a> {
    /// The parameter.
    pub info: &'a ParamInfo,
    /// Its scales.
    pub scales: &'a Scales,
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// The member.
    pub member: usize,
    /// Number of this update, from 1.
    pub step: u64,
}

/// An optimizer whose updates a kernel does.
pub trait GpuRule {
    /// The name of a parameter's kernel.
    fn kernel(&self, info: &ParamInfo) -> &'static str;

    /// Newton–Schulz iterations of a direction that the kernel leaves behind the states, for a matrix that
    /// then moves along it by the kernel `muon_step`.
    fn orthogonal(&self, _info: &ParamInfo) -> Option<usize> {
        None
    }

    /// Its scalars.
    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars;
}

/// Some numbers, and zeros.
pub(super) fn scalars<const N: usize>(numbers: [f64; N]) -> Scalars {
    let mut all = Scalars::default();
    all.iter_mut().zip(numbers).for_each(|(to, x)| *to = x);
    all
}

impl GpuRule for Sgd {
    fn kernel(&self, _info: &ParamInfo) -> &'static str {
        "sgd"
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.scales, u.factor, u.member);
        scalars([
            -s.lr,
            s.momentum,
            s.weight_decay,
            f64::from(u8::from(s.nesterov)),
        ])
    }
}

impl GpuRule for Adam {
    fn kernel(&self, _info: &ParamInfo) -> &'static str {
        "adam"
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        scalars(self.at(u.scales, u.factor, u.member, u.step).numbers())
    }
}

impl GpuRule for Lion {
    fn kernel(&self, _info: &ParamInfo) -> &'static str {
        "lion"
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.scales, u.factor, u.member);
        scalars([
            s.beta1,
            1.0 - s.beta1,
            s.beta2,
            1.0 - s.beta2,
            -s.lr,
            1.0 - s.lr * s.weight_decay,
        ])
    }
}

/// A parameter and what belongs to it, of all members.
#[derive(Debug, Clone)]
pub struct Updated<'a> {
    /// The parameter.
    pub param: &'a Tensor,
    /// Its gradient.
    pub grad: &'a Tensor,
    /// Up to two states of its shape.
    pub states: Vec<&'a Tensor>,
}

/// Where parameters, gradients and states are, as kernels read it.
#[derive(Debug)]
pub struct Tables {
    gpu: Arc<Gpu>,
    stored: Stored,
    members: usize,
    tensors: Tensor,
    chunks: Tensor,
    scalars: Tensor,
}

impl Tables {
    /// Tables of these parameters.
    ///
    /// # Errors
    /// If a tensor is not on the device, or memory for the tables cannot be had.
    pub fn new(
        gpu: &Arc<Gpu>,
        stored: Stored,
        members: usize,
        all: &[Updated<'_>],
    ) -> Result<Self> {
        let device = gpu.device();
        let (mut tensors, mut chunks) = (Vec::new(), Vec::new());
        for (i, updated) in all.iter().enumerate() {
            let size = updated.param.elem_count() / members.max(1);
            let state = |i: usize| updated.states.get(i).map_or(Ok(0), |s| address(s));
            let row = [
                address(updated.param)?,
                address(updated.grad)?,
                state(0)?,
                state(1)?,
                size as u64,
                0,
            ];
            tensors.extend::<[u64; ROW]>(row);
            for member in 0..members {
                let starts = (0..size).step_by(CHUNK);
                chunks.extend(starts.flat_map(|start| [i, member, start].map(|n| n as u64)));
            }
        }
        let upload = |name: &str, words: &[u64]| -> Result<Tensor> {
            let table = memory::zeros(name, &[words.len().max(1)], DType::I64, device)?;
            gpu.upload(words, address(&table)?)?;
            Ok(table)
        };
        let dims = [all.len().max(1), members, Scalars::default().len()];
        Ok(Self {
            stored: stored.arith(),
            members,
            tensors: upload("addresses of parameters", &tensors)?,
            chunks: upload("parts of parameters", &chunks)?,
            scalars: memory::zeros("scalars of the optimizer", &dims, DType::F64, device)?,
            gpu: gpu.clone(),
        })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.chunks.elem_count() / 3
    }

    /// Where the list of blocks is.
    ///
    /// # Errors
    /// If it is not on the device.
    pub fn chunks(&self) -> Result<u64> {
        address(&self.chunks)
    }

    /// Where the scalars of parameter `i` are, and how many there are from one member to the next.
    ///
    /// # Errors
    /// If they are not on the device.
    pub fn scalars_of(&self, i: usize) -> Result<(u64, usize)> {
        let each = Scalars::default().len();
        Ok((
            address(&self.scalars)? + (8 * i * self.members * each) as u64,
            each,
        ))
    }

    /// Copies the scalars of every parameter and member to the device.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn set_scalars(&self, scalars: &[Scalars]) -> Result<()> {
        self.gpu.upload(scalars, address(&self.scalars)?)
    }

    /// Queues a kernel over all parameters: of members whose word of `active` is not 0, with gradients
    /// multiplied by each member's number at `clip` (if it is not 0) and then limited.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn launch(
        &self,
        kernel: &str,
        active: u64,
        (clip, limit): (u64, f64),
        more: &[Word],
    ) -> Result<()> {
        let mut words = vec![
            Word::from(address(&self.tensors)?),
            self.chunks()?.into(),
            address(&self.scalars)?.into(),
            active.into(),
            clip.into(),
            limit.into(),
            self.members.into(),
        ];
        words.extend_from_slice(more);
        let grid = Grid::blocks(self.blocks(), 1);
        self.gpu.launch(kernel, self.stored, grid, &words)
    }
}

/// The scalars of every parameter and member, in this order.
pub fn all_scalars<'a>(
    rule: &dyn GpuRule,
    params: impl Iterator<Item = (&'a ParamInfo, &'a Scales)>,
    (factor, step, members): (f64, u64, usize),
) -> Vec<Scalars> {
    let each = params.flat_map(|(info, scales)| {
        (0..members).map(move |member| {
            rule.scalars(GpuUpdate {
                info,
                scales,
                factor,
                member,
                step,
            })
        })
    });
    each.collect()
}
