//! What a matrix's direction is multiplied by, so that its step has the size that is wanted.

use candle_core::{DType, Tensor};

use super::matrices::{Matrices, in_blocks};
use super::{GpuMembers, Limits, Trained};
use crate::error::Result;
use crate::gpu::{Grid, Word, address, words};
use crate::memory;
use crate::optim::Graft;
use crate::optim::matrix::{matrix, random_vector};
use crate::tensor::update::POWER_ITERATIONS;

/// Rows and columns that a block takes of a product with a vector.
const TILES: [usize; 2] = [8, 32];

/// Room for finding sizes; the matrices take turns in it.
#[derive(Debug)]
pub(super) struct Sizes {
    graft: Graft,
    /// What each member's direction is multiplied by.
    factors: Tensor,
    /// Two sums of squares for each block.
    sums: Tensor,
    power: Option<Power>,
}

/// Room for power iterations.
#[derive(Debug)]
struct Power {
    /// Products with a matrix and with its transpose.
    image: Tensor,
    next: Tensor,
    /// Whether a member's iteration begins.
    fresh: Tensor,
    /// Where the iterations of each matrix begin.
    random: Vec<Tensor>,
}

impl Sizes {
    /// Numbers of the rooms for vectors.
    #[cfg(test)]
    pub fn numbers(&self) -> usize {
        let power = self.power.as_ref();
        power.map_or(0, |p| p.image.elem_count() + p.next.elem_count())
    }

    /// Numbers of a member that a matrix of `[rows, columns]` needs room for.
    pub fn room(graft: Graft, [rows, columns]: [usize; 2]) -> usize {
        match graft {
            Graft::None | Graft::Adam => 0,
            Graft::Spectral => rows + columns,
        }
    }

    pub fn new(
        members: &GpuMembers,
        graft: Graft,
        params: &[Trained<'_>],
        blocks: usize,
    ) -> Result<Self> {
        let sums = match graft {
            Graft::Adam => 2 * blocks,
            Graft::None | Graft::Spectral => 0,
        };
        Ok(Self {
            graft,
            factors: members.doubles("sizes of steps", members.count)?,
            sums: members.doubles("sums of squares", sums)?,
            power: match graft {
                Graft::Spectral => Some(Power::new(members, params)?),
                Graft::None | Graft::Adam => None,
            },
        })
    }

    /// Queues finding the factors of matrix `i`, whose direction is in blocks at `x`: where they are, 0 if there are
    /// none.
    pub fn queue(&self, matrices: &Matrices, i: usize, limits: Limits, x: u64) -> Result<u64> {
        let factors = address(&self.factors)?;
        match (&matrices.all[i].graft, &self.power) {
            (Some(vector), Some(power)) => {
                power.queue(matrices, i, limits.active, x, address(vector)?, factors)?;
            }
            (Some(second), None) if self.graft == Graft::Adam => {
                let (second, sums) = (address(second)?, address(&self.sums)?);
                matrices.launch(i, "graft_adam", limits, x, words![second, sums])?;
                let each = matrices.tables.blocks_of_member(i);
                let GpuMembers { gpu, count, .. } = &matrices.members;
                let words = words![sums, each, factors];
                gpu.launch_plain("graft_ratio", Grid::blocks(1, *count), words)?;
            }
            _ => return Ok(0),
        }
        Ok(factors)
    }
}

impl Power {
    fn new(members: &GpuMembers, params: &[Trained<'_>]) -> Result<Self> {
        let sides = params.iter().map(|p| matrix(&p.info.shape));
        let [rows, columns] = sides.fold([0, 0], |[a, b], [rows, columns]| {
            [a.max(rows), b.max(columns)]
        });
        let random = params.iter().map(|p| -> Result<Tensor> {
            let vector = random_vector(p.info);
            let shape = [vector.len().max(1)];
            let dtype = members.stored.dtype();
            let room = memory::zeros("a random vector", &shape, dtype, members.gpu.device())?;
            members.set(&room, &vector)?;
            Ok(room)
        });
        let (name, device) = ("vectors of the optimizer", members.gpu.device());
        Ok(Self {
            image: members.room(name, rows)?,
            next: members.room(name, columns)?,
            fresh: memory::zeros(name, &[members.count], DType::U32, device)?,
            random: random.collect::<Result<_>>()?,
        })
    }

    fn queue(
        &self,
        matrices: &Matrices,
        i: usize,
        active: u64,
        x: u64,
        vector: u64,
        factors: u64,
    ) -> Result<()> {
        let blocks = matrices.all[i].blocked.blocks();
        let GpuMembers { gpu, stored, count } = &matrices.members;
        let (image, next) = (address(&self.image)?, address(&self.next)?);
        let rest = words![vector, image, next, address(&self.fresh)?, active];
        let shared = [in_blocks(x, blocks).as_slice(), rest.as_slice()].concat();
        let launch = |kernel: &str, blocks: usize, more: &[Word]| {
            let words = [shared.as_slice(), more].concat();
            gpu.launch(kernel, *stored, Grid::blocks(blocks, *count), &words)
        };
        launch("spectral_begin", 1, words![address(&self.random[i])?])?;
        // all but the first end at once where the iteration goes on from the last step's vector
        for turn in 0..POWER_ITERATIONS {
            let [tall, wide] = TILES;
            launch("spectral_rows", blocks.rows.div_ceil(tall), words![turn])?;
            launch(
                "spectral_columns",
                blocks.columns.div_ceil(wide),
                words![turn],
            )?;
        }
        let scalars = matrices.tables.scalars_of(i)?;
        launch("spectral_ratio", 1, words![scalars, factors])
    }
}
