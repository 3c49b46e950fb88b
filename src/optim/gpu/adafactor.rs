//! Adafactor on GPUs: a few kernels over all parameters, with sums of blocks between them.

use candle_core::Tensor;

use super::scalars;
use super::tables::Parts;
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, Limits, Scalars, Tables, Trained, Updated};
use crate::error::Result;
use crate::gpu::{address, words};
use crate::optim::Adafactor;
use crate::optim::matrix::matrix;

/// Rows of a matrix that a block of `adafactor_rows` takes, and columns that one of `adafactor_columns` does.
const TILES: [usize; 2] = [8, 32];

#[derive(Debug)]
struct Work {
    tables: Tables,
    /// Rows and columns of the matrices.
    sides: [Parts; 2],
    /// Mean variance of each matrix and member.
    means: Tensor,
    /// Two sums of squares for each block.
    sums: Tensor,
    /// What each parameter's and member's normalised gradient is multiplied by.
    rates: Tensor,
}

impl GpuRule for Adafactor {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        let updated = params
            .iter()
            .map(|p| Updated::new(p.param, p.grad, p.states.iter().collect()));
        let tables = Tables::new(members, &updated.collect::<Vec<_>>())?;
        let side = |side: usize| {
            let sides = params.iter().map(|p| match p.info.shape.len() > 1 {
                true => matrix(&p.info.shape)[side],
                false => 0,
            });
            Parts::new(members, &sides.collect::<Vec<_>>(), TILES[side])
        };
        let each = params.len() * members.count;
        Ok(Box::new(Work {
            sides: [side(0)?, side(1)?],
            means: members.doubles("mean variances", each)?,
            sums: members.doubles("sums of squares", 2 * tables.blocks())?,
            rates: members.doubles("rates of parameters", each)?,
            tables,
        }))
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let s = self.at(u.scales, u.factor, u.member, u.step, u.epsilon);
        scalars([
            s.weight(),
            s.eps1 * s.eps1,
            s.eps1,
            s.eps2,
            s.clip,
            s.keep,
            s.relative_lr(),
        ])
    }
}

impl GpuWork for Work {
    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn queue(&self, limits: Limits) -> Result<()> {
        let tables = &self.tables;
        let (means, sums, rates) = (
            address(&self.means)?,
            address(&self.sums)?,
            address(&self.rates)?,
        );
        let [rows, columns] = &self.sides;
        tables.launch_over(rows, "adafactor_rows", limits, &[])?;
        tables.launch_over(columns, "adafactor_columns", limits, &[])?;
        tables.launch_whole("adafactor_means", limits, words![means])?;
        tables.launch("adafactor_sums", limits, words![means, sums])?;
        tables.launch_whole("adafactor_rates", limits, words![sums, rates])?;
        tables.launch("adafactor_step", limits, words![means, rates])
    }
}
