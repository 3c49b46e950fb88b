//! Vectors of all members on a GPU, of which the host sees lengths and inner products alone.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::gpu::{Gpu, Grid, Stored, address, words};
use crate::memory;
use crate::nn::Span;

/// Parts of an inner product at most, one for each block.
const MOST_PARTS: usize = 512;
/// Numbers that are worth a block.
const WORTH: usize = 1024;

/// What is done with vectors of all members.
#[derive(Debug)]
pub(super) struct GpuVectors {
    gpu: Arc<Gpu>,
    stored: Stored,
    members: usize,
    parts: Tensor,
    /// How many parts there are for each member.
    count: usize,
    /// Two sums for each member.
    sums: Tensor,
    factors: Tensor,
}

impl GpuVectors {
    /// Of vectors of at most so many numbers.
    pub fn new(gpu: &Arc<Gpu>, dtype: DType, members: usize, most: usize) -> Result<Self> {
        let count = most.div_ceil(WORTH).clamp(1, MOST_PARTS);
        let doubles = |n: usize| memory::zeros("sums", &[n.max(1)], DType::F64, gpu.device());
        Ok(Self {
            stored: Stored::of(dtype)?,
            members,
            parts: doubles(count * members)?,
            count,
            sums: doubles(2 * members)?,
            factors: doubles(members)?,
            gpu: gpu.clone(),
        })
    }

    /// Room for a vector of each member.
    pub fn room(&self, name: &str, size: usize) -> Result<Tensor> {
        let shape = [self.members, size];
        memory::zeros(name, &shape, self.stored.dtype(), self.gpu.device())
    }

    fn grid(&self) -> Grid {
        Grid::blocks(self.count, self.members)
    }

    /// Numbers of a member.
    fn size(&self, x: &Tensor) -> usize {
        x.elem_count() / self.members.max(1)
    }

    /// Queues the parts of each member's inner product; with `more`, added to those that are there.
    fn dot(&self, a: &Tensor, b: &Tensor, more: bool) -> Result<()> {
        let n = self.size(a);
        let keep = if more { 1.0 } else { 0.0 };
        let words = words![address(a)?, address(b)?, n, n, address(&self.parts)?, keep];
        self.gpu
            .launch("vector_dot", self.stored, self.grid(), words)
    }

    /// Queues summing the parts, into the first or the second sum of each member.
    fn sum(&self, second: bool) -> Result<()> {
        let to = address(&self.sums)? + if second { 8 * self.members as u64 } else { 0 };
        let words = words![address(&self.parts)?, self.count, to];
        let grid = Grid::blocks(1, self.members);
        self.gpu.launch_plain("vector_sums", grid, words)
    }

    /// Waits for the sums.
    fn sums<const N: usize>(&self) -> Result<Vec<[f64; N]>> {
        let mut all = vec![0.0; N * self.members];
        self.gpu.download(address(&self.sums)?, &mut all)?;
        let of = |member| std::array::from_fn(|i| all[i * self.members + member]);
        Ok((0..self.members).map(of).collect())
    }

    /// The inner product of each member's numbers in two lists of tensors.
    pub fn inner(&self, a: &[Tensor], b: &[Tensor]) -> Result<Vec<f64>> {
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            self.dot(a, b, i > 0)?;
        }
        self.sum(false)?;
        Ok(self.sums::<1>()?.into_iter().map(|[sum]| sum).collect())
    }

    /// Queues `to = factor · x` with a factor for each member, 0 where that is 0.
    pub fn scaled(&self, x: &Tensor, to: &Tensor, factors: &[f64]) -> Result<()> {
        let n = self.size(x);
        self.gpu.upload(factors, address(&self.factors)?)?;
        let words = words![address(x)?, address(to)?, n, n, address(&self.factors)?];
        let grid = Grid::each(n, self.members);
        self.gpu.launch("vector_scaled", self.stored, grid, words)
    }

    /// Queues `to = roots ∘ x` for `n` numbers of each member, which has one root for all or, with `each`, one for each.
    pub fn rooted(
        &self,
        n: usize,
        x: Span,
        to: Span,
        (roots, each): (&Tensor, bool),
    ) -> Result<()> {
        let words = words![x.at, x.stride, to.at, to.stride, n, address(roots)?, each];
        let grid = Grid::each(n, self.members);
        self.gpu.launch("vector_rooted", self.stored, grid, words)
    }

    /// Removes from `v`, of the members whose word of `active` is not 0, what it has in common with the orthonormal
    /// `basis`, twice, for once leaves what cancellation does: the inner product with the last of the basis before and
    /// the square of the length after.
    pub fn orthogonalise(
        &self,
        basis: &[Tensor],
        v: &Tensor,
        active: u64,
    ) -> Result<Vec<[f64; 2]>> {
        if let Some(last) = basis.last() {
            self.dot(last, v, false)?;
            self.sum(false)?;
        }
        let n = self.size(v);
        for q in basis.iter().chain(basis) {
            self.dot(q, v, false)?;
            let parts = address(&self.parts)?;
            let words = words![address(q)?, address(v)?, n, n, parts, self.count, active];
            self.gpu
                .launch("vector_remove", self.stored, self.grid(), words)?;
        }
        self.dot(v, v, false)?;
        self.sum(true)?;
        self.sums()
    }
}
