//! What Shampoo and SOAP have in common on GPUs: matrices in blocks with second moments of their sides, and steps of a
//! size.

use candle_core::Tensor;

use super::blocked::Blocked;
use super::graft::Sizes;
use super::{GpuMembers, Limits, Scalars, Tables, Trained, Updated};
use crate::error::Result;
use crate::gpu::{Grid, Word, address, words};
use crate::nn::ParamInfo;
use crate::optim::Graft;
use crate::optim::matrix::{blocks, matrix};
use crate::tensor::update::Blocks;

/// Scalars of a matrix's update, `MatrixScalar` in `kernels/matrices.cuh`.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixScalars {
    /// What is kept of the first moment, and taken of the gradient.
    pub first: [f64; 2],
    /// What the first moment is multiplied by in the direction.
    pub first_factor: f64,
    /// What is kept of the second moments of the sides, and taken of products.
    pub moments: [f64; 2],
    /// The same of SOAP's second moment in the bases.
    pub second: [f64; 2],
    /// Added to the root of that.
    pub second_eps: f64,
    /// Minus the learning rate.
    pub rate: f64,
    /// What is kept of the weight before the step and after it.
    pub kept: [f64; 2],
    /// What is kept of the second moment of Adam's step, and taken of squares.
    pub graft: [f64; 2],
    /// What Adam's moments are divided by.
    pub graft_corrections: [f64; 2],
    /// Adam's epsilon, or the spectral norm.
    pub graft_size: f64,
}

impl MatrixScalars {
    pub fn numbers(self) -> Scalars {
        let [first_kept, first_taken] = self.first;
        let [moments_kept, moments_taken] = self.moments;
        let [second_kept, second_taken] = self.second;
        let [kept_before, kept_after] = self.kept;
        let [graft_kept, graft_taken] = self.graft;
        let [graft_first, graft_second] = self.graft_corrections;
        [
            first_kept,
            first_taken,
            self.first_factor,
            moments_kept,
            moments_taken,
            second_kept,
            second_taken,
            self.second_eps,
            self.rate,
            kept_before,
            kept_after,
            graft_kept,
            graft_taken,
            graft_first,
            graft_second,
            self.graft_size,
        ]
    }
}

/// `beta` and `1 − beta`.
pub(super) fn parts(beta: f64) -> [f64; 2] {
    [beta, 1.0 - beta]
}

/// `1 − beta^step`.
pub(super) fn correction(beta: f64, step: u64) -> f64 {
    1.0 - beta.powi(step.min(i32::MAX as u64) as i32)
}

/// A matrix of all members.
#[derive(Debug)]
pub(super) struct OneMatrix {
    pub path: String,
    pub blocked: Blocked,
    /// Second moments of the rows and the columns, on the sides that there are, and what is made of them.
    pub sides: [Option<Side>; 2],
    /// The state of its graft.
    pub graft: Option<Tensor>,
}

#[derive(Debug)]
pub(super) struct Side {
    pub moments: Tensor,
    /// Powers or a basis.
    pub factor: Tensor,
}

/// Matrices that take turns in the same memory.
#[derive(Debug)]
pub(super) struct Matrices {
    pub members: GpuMembers,
    pub tables: Tables,
    pub all: Vec<OneMatrix>,
    /// Room for a matrix in blocks, and for its product with another one.
    rooms: [Tensor; 2],
    /// Room for the second moments of a side.
    product: Tensor,
    sizes: Sizes,
}

/// What is said of an optimizer's matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// States before those of the sides.
    pub own_states: usize,
    /// Whether there are the sides of the rows and of the columns.
    pub sides: [bool; 2],
    pub block: Option<usize>,
    pub graft: Graft,
}

impl Kind {
    /// Numbers of a member that a parameter needs room for.
    pub fn room(&self, info: &ParamInfo) -> usize {
        if !info.is_hidden_matrix() {
            return 0;
        }
        let [rows, columns] = matrix(&info.shape);
        let [left, right] = blocks(info, self.block).factor_lens();
        2 * rows * columns + left.max(right) + Sizes::room(self.graft, [rows, columns])
    }
}

impl Matrices {
    pub fn new(members: &GpuMembers, params: &[Trained<'_>], kind: Kind) -> Result<Self> {
        let name = "matrices of the optimizer";
        let updated = params.iter().map(|p| {
            let states = p.states.iter().take(kind.own_states);
            Updated::new(p.param, p.grad, states.collect())
        });
        let tables = Tables::new(members, &updated.collect::<Vec<_>>())?;
        let all: Vec<_> = params.iter().map(|p| one(members, p, kind)).collect();
        let blocks = || all.iter().map(|m| m.blocked.blocks());
        let most = blocks().map(|b| b.rows * b.columns).max().unwrap_or(0);
        let squares = blocks().flat_map(|b| b.factor_lens()).max().unwrap_or(0);
        Ok(Self {
            rooms: [members.room(name, most)?, members.room(name, most)?],
            product: members.room(name, squares)?,
            sizes: Sizes::new(members, kind.graft, params, tables.most_blocks())?,
            members: members.clone(),
            tables,
            all,
        })
    }

    /// The two rooms for a matrix in blocks.
    pub fn rooms(&self) -> Result<[u64; 2]> {
        let [a, b] = &self.rooms;
        Ok([address(a)?, address(b)?])
    }

    /// Queues a kernel over matrix `i` that reads or writes it in blocks at `x`.
    pub fn launch(
        &self,
        i: usize,
        kernel: &str,
        limits: Limits,
        x: u64,
        more: &[Word],
    ) -> Result<()> {
        let words = [in_blocks(x, self.all[i].blocked.blocks()).as_slice(), more].concat();
        self.tables.launch_of(i, kernel, limits, &words)
    }

    /// Queues the second moments of the sides of matrix `i`, from its gradient in blocks at `x`.
    pub fn take_moments(&self, i: usize, limits: Limits, x: u64) -> Result<()> {
        let (matrix, product) = (&self.all[i], address(&self.product)?);
        for (side, there) in matrix.sides.iter().enumerate() {
            let Some(there) = there else { continue };
            matrix.blocked.square(side, x, product)?;
            let n = matrix.blocked.squares_len(side);
            let (moments, scalars) = (address(&there.moments)?, self.tables.scalars_of(i)?);
            let words = words![moments, product, n, scalars, limits.active];
            let GpuMembers { gpu, stored, count } = &self.members;
            gpu.launch("matrix_moments", *stored, Grid::each(n, *count), words)?;
        }
        Ok(())
    }

    /// Queues products of matrix `i`, in blocks at the first of `rooms`, with the factors of its sides, or with their
    /// transposes on the sides where `transposed` says so: the rooms, that with the result in front.
    pub fn between(
        &self,
        i: usize,
        transposed: [bool; 2],
        mut rooms: [u64; 2],
    ) -> Result<[u64; 2]> {
        let matrix = &self.all[i];
        for (side, (there, transposed)) in matrix.sides.iter().zip(transposed).enumerate() {
            let Some(there) = there else { continue };
            let [from, to] = rooms;
            let factor = (address(&there.factor)?, transposed);
            matrix.blocked.times(side, factor, from, to)?;
            rooms = [to, from];
        }
        Ok(rooms)
    }

    /// Queues the step of matrix `i` along the direction in blocks at `x`.
    pub fn step(&self, i: usize, limits: Limits, x: u64) -> Result<()> {
        let factors = self.sizes.queue(self, i, limits, x)?;
        self.launch(i, "matrix_step", limits, x, words![factors])
    }
}

/// The words of kernels of matrices in blocks at `x`.
pub(super) fn in_blocks(x: u64, blocks: Blocks) -> [Word; 4] {
    let (rows, columns) = (blocks.rows, blocks.columns);
    let whole = rows.max(columns);
    let block = blocks.block.map_or(whole, |b| b.clamp(1, whole.max(1)));
    [x.into(), rows.into(), columns.into(), block.into()]
}

fn one(members: &GpuMembers, param: &Trained<'_>, kind: Kind) -> OneMatrix {
    let mut states = param.states.iter().skip(kind.own_states).cloned();
    let sides = kind.sides.map(|there| match there {
        true => Some(Side {
            moments: states.next()?,
            factor: states.next()?,
        }),
        false => None,
    });
    OneMatrix {
        path: param.info.path.clone(),
        blocked: Blocked::new(members, blocks(param.info, kind.block)),
        sides,
        graft: states.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Stored};
    use crate::nn::{ParamKind, Role};
    use candle_core::{DType, Device};
    use std::sync::Arc;

    fn info([rows, columns]: [usize; 2]) -> ParamInfo {
        ParamInfo {
            path: format!("{rows} {columns}"),
            shape: vec![rows, columns],
            kind: ParamKind::Weight,
            role: Role::Hidden,
            fan_in: rows,
            fan_out: columns,
            base_fan_in: rows,
            base_fan_out: columns,
            width: columns,
            base_width: columns,
            depth: 3,
            readout: false,
            in_branch: false,
            blocks: 0,
        }
    }

    #[test]
    fn the_room_that_is_counted_is_the_room_that_is_made() -> Result<()> {
        let count = 3;
        let members = GpuMembers::new(&Arc::new(Gpu::emulated()), Stored::Bf16, count);
        let info = info([9, 5]);
        let zeros = |n: &[usize]| Tensor::zeros([&[count], n].concat(), DType::F32, &Device::Cpu);
        let (param, grad) = (zeros(&info.shape)?, zeros(&info.shape)?);
        for (graft, block) in [
            (Graft::None, None),
            (Graft::Adam, Some(4)),
            (Graft::Spectral, Some(3)),
        ] {
            let kind = Kind {
                own_states: 1,
                sides: [true, true],
                block,
                graft,
            };
            let [left, right] = blocks(&info, block).factor_lens();
            let mut states = vec![zeros(&info.shape)?];
            for n in [left, left, right, right] {
                states.push(zeros(&[n])?);
            }
            states.push(zeros(&info.shape)?);
            let trained = Trained {
                info: &info,
                param: &param,
                grad: &grad,
                states: &states,
            };
            let made = Matrices::new(&members, &[trained], kind)?;
            let rooms = made.rooms.iter().chain([&made.product]);
            let numbers = rooms.map(Tensor::elem_count).sum::<usize>() + made.sizes.numbers();
            assert_eq!(numbers, count * kind.room(&info), "{graft:?}");
            assert!(made.rooms.iter().all(|r| r.dtype() == DType::F32));
        }
        Ok(())
    }
}
