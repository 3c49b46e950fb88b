//! Where parameters, gradients and states are, as kernels read it.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::{GpuMembers, Scalars};
use crate::error::Result;
use crate::gpu::{Grid, Word, address};
use crate::memory;

/// Words of a parameter, `ROW` in `kernels/update.cuh`.
const ROW: usize = 7;
/// Numbers that a block updates, `UPDATE_CHUNK` there.
const CHUNK: usize = 2048;

/// A parameter and what belongs to it, of all members.
#[derive(Debug, Clone)]
pub struct Updated<'a> {
    /// The parameter.
    pub param: &'a Tensor,
    /// Its gradient.
    pub grad: &'a Tensor,
    /// Up to two states.
    pub states: Vec<&'a Tensor>,
    /// Columns of the parameter as a matrix.
    pub columns: usize,
}

impl<'a> Updated<'a> {
    /// With these states, of the parameter's own shape.
    pub fn new(param: &'a Tensor, grad: &'a Tensor, states: Vec<&'a Tensor>) -> Self {
        Self {
            param,
            grad,
            states,
            columns: param.dims()[1..].last().copied().unwrap_or(1),
        }
    }
}

/// Which members are updated, and what limits their gradients; addresses of the device.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A word for each member, 0 for one that is left as it is.
    pub active: u64,
    /// Doubles, what each member's gradients are multiplied by; 0 for nothing.
    pub factors: u64,
    /// Largest absolute value of a gradient.
    pub largest: f64,
}

impl Limits {
    /// Without limits.
    pub fn none(active: u64) -> Self {
        Self {
            active,
            factors: 0,
            largest: f64::INFINITY,
        }
    }
}

/// What each block of a launch does: parameter, member, where it begins.
#[derive(Debug)]
pub(super) struct Parts {
    list: Tensor,
    count: usize,
}

/// Tables of some parameters.
#[derive(Debug)]
pub struct Tables {
    members: GpuMembers,
    tensors: Tensor,
    parts: Parts,
    /// Which of the parts are those of each parameter.
    ranges: Vec<Range<usize>>,
    scalars: Tensor,
}

/// A table on the device.
fn upload(members: &GpuMembers, name: &str, words: &[u64]) -> Result<Tensor> {
    let shape = [words.len().max(1)];
    let table = memory::zeros(name, &shape, DType::I64, members.gpu.device())?;
    members.gpu.upload(words, address(&table)?)?;
    Ok(table)
}

impl Parts {
    /// The parts of each member of parameters with so many things to do, a block doing `step` of them; a
    /// parameter with 0 is left out.
    pub fn new(members: &GpuMembers, things: &[usize], step: usize) -> Result<Self> {
        let mut words = Vec::new();
        for (i, &things) in things.iter().enumerate() {
            for member in 0..members.count {
                let starts = (0..things).step_by(step);
                words.extend(starts.flat_map(|start| [i, member, start].map(|n| n as u64)));
            }
        }
        Ok(Self {
            list: upload(members, "parts of parameters", &words)?,
            count: words.len() / 3,
        })
    }
}

impl Tables {
    /// Tables of these parameters.
    ///
    /// # Errors
    /// If a tensor is not on the device, or memory for the tables cannot be had.
    pub fn new(members: &GpuMembers, all: &[Updated<'_>]) -> Result<Self> {
        let each = |u: &Updated<'_>| u.param.elem_count() / members.count.max(1);
        let sizes: Vec<usize> = all.iter().map(each).collect();
        let (mut tensors, mut ranges, mut first) = (Vec::new(), Vec::new(), 0);
        for (updated, size) in all.iter().zip(&sizes) {
            let state = |i: usize| updated.states.get(i).map_or(Ok(0), |s| address(s));
            let row = [
                address(updated.param)?,
                address(updated.grad)?,
                state(0)?,
                state(1)?,
                *size as u64,
                updated.columns as u64,
                first as u64,
            ];
            tensors.extend::<[u64; ROW]>(row);
            let end = first + members.count * size.div_ceil(CHUNK);
            ranges.push(first..end);
            first = end;
        }
        let dims = [all.len().max(1), members.count, Scalars::default().len()];
        let device = members.gpu.device();
        Ok(Self {
            tensors: upload(members, "addresses of parameters", &tensors)?,
            parts: Parts::new(members, &sizes, CHUNK)?,
            ranges,
            scalars: memory::zeros("scalars of the optimizer", &dims, DType::F64, device)?,
            members: members.clone(),
        })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.parts.count
    }

    /// How many of them the largest parameter has.
    pub(super) fn most_blocks(&self) -> usize {
        self.ranges.iter().map(Range::len).max().unwrap_or(0)
    }

    /// How many of them a member of parameter `i` has.
    pub(super) fn blocks_of_member(&self, i: usize) -> usize {
        self.ranges[i].len() / self.members.count.max(1)
    }

    /// Where the list of blocks is.
    ///
    /// # Errors
    /// If it is not on the device.
    pub fn chunks(&self) -> Result<u64> {
        address(&self.parts.list)
    }

    /// Where the scalars of parameter `i` are: those of one member after the other.
    pub(super) fn scalars_of(&self, i: usize) -> Result<u64> {
        let each = size_of::<Scalars>() * self.members.count;
        Ok(address(&self.scalars)? + (i * each) as u64)
    }

    /// Copies the scalars of every parameter and member to the device.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn set_scalars(&self, scalars: &[Scalars]) -> Result<()> {
        self.members.gpu.upload(scalars, address(&self.scalars)?)
    }

    /// Queues a kernel over all parameters.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn launch(&self, kernel: &str, limits: Limits, more: &[Word]) -> Result<()> {
        self.launch_over(&self.parts, kernel, limits, more)
    }

    /// The same over other parts.
    pub(super) fn launch_over(
        &self,
        parts: &Parts,
        kernel: &str,
        limits: Limits,
        more: &[Word],
    ) -> Result<()> {
        let grid = Grid::blocks(parts.count, 1);
        self.launch_on(grid, address(&parts.list)?, kernel, limits, more)
    }

    /// Queues a kernel over parameter `i` alone.
    pub(super) fn launch_of(
        &self,
        i: usize,
        kernel: &str,
        limits: Limits,
        more: &[Word],
    ) -> Result<()> {
        let range = &self.ranges[i];
        let chunks = self.chunks()? + (3 * 8 * range.start) as u64;
        let grid = Grid::blocks(range.len(), 1);
        self.launch_on(grid, chunks, kernel, limits, more)
    }

    /// Queues a kernel with one block for each parameter and member.
    pub(super) fn launch_whole(&self, kernel: &str, limits: Limits, more: &[Word]) -> Result<()> {
        let grid = Grid::blocks(self.ranges.len(), self.members.count);
        self.launch_on(grid, self.chunks()?, kernel, limits, more)
    }

    fn launch_on(
        &self,
        grid: Grid,
        chunks: u64,
        kernel: &str,
        limits: Limits,
        more: &[Word],
    ) -> Result<()> {
        let mut words = vec![
            Word::from(address(&self.tensors)?),
            chunks.into(),
            address(&self.scalars)?.into(),
            limits.active.into(),
            limits.factors.into(),
            limits.largest.into(),
            self.members.count.into(),
        ];
        words.extend_from_slice(more);
        let members = &self.members;
        members.gpu.launch(kernel, members.stored, grid, &words)
    }
}
