//! States of all members on the host, for what it does at some steps.

use candle_core::Tensor;

use super::GpuMembers;
use super::matrices::Side;
use crate::error::Result;
use crate::gpu::address;
use crate::memory;
use crate::tensor::elem::Elem;

/// A state that was copied to the host; empty for one that there is not.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    numbers: Vec<T>,
    members: usize,
}

impl<T: Elem> Fetched<T> {
    /// Copies a state, when the work before is done.
    pub fn new(members: &GpuMembers, state: Option<&Tensor>) -> Result<Self> {
        let mut numbers = Vec::new();
        if let Some(state) = state {
            numbers = memory::numbers("a state of the optimizer", state.dims())?;
            members.gpu.download(address(state)?, &mut numbers)?;
        }
        Ok(Self {
            numbers,
            members: members.count,
        })
    }

    /// What `of` takes of both sides.
    pub fn both(
        members: &GpuMembers,
        sides: &[Option<Side>; 2],
        of: fn(&Side) -> &Tensor,
    ) -> Result<[Self; 2]> {
        let [rows, columns] = sides;
        Ok([
            Self::new(members, rows.as_ref().map(of))?,
            Self::new(members, columns.as_ref().map(of))?,
        ])
    }

    /// Each member's numbers.
    pub fn each(&mut self) -> Vec<&mut [T]> {
        let size = self.numbers.len() / self.members.max(1);
        let mut rest = self.numbers.as_mut_slice();
        let mut all = Vec::new();
        for _ in 0..self.members {
            let (own, others) = rest.split_at_mut(size);
            all.push(own);
            rest = others;
        }
        all
    }

    /// Copies it back.
    pub fn put_back(&self, members: &GpuMembers, state: Option<&Tensor>) -> Result<()> {
        match state {
            Some(state) => members.gpu.upload(&self.numbers, address(state)?),
            None => Ok(()),
        }
    }
}

/// Both sides' numbers of each member.
pub(super) fn pairs<T: Elem>([a, b]: &mut [Fetched<T>; 2]) -> impl Iterator<Item = [&mut [T]; 2]> {
    a.each().into_iter().zip(b.each()).map(|(a, b)| [a, b])
}
