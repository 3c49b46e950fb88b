//! Muon on GPUs: products of the library, over members.

use candle_core::Tensor;

use super::scalars;
use super::{GpuMembers, GpuRule, GpuUpdate, GpuWork, Limits, Scalars, Tables, Trained, Updated};
use crate::error::Result;
use crate::gpu::{Gemm, Grid, Matrix, address, words};
use crate::nn::{ParamInfo, Span};
use crate::optim::matrix::matrix;
use crate::optim::{Adam, Muon, Optimizer};
use crate::tensor::update::{self, NEWTON_SCHULZ};

/// Number of the scalar that is the least norm of a momentum.
const LEAST: u64 = 5;

impl GpuRule for Muon {
    fn work(&self, members: &GpuMembers, params: &[Trained<'_>]) -> Result<Box<dyn GpuWork>> {
        let matrices: Vec<_> = params.iter().map(|p| matrix(&p.info.shape)).collect();
        let most = |size: fn([usize; 2]) -> usize| matrices.iter().map(|m| size(*m)).max();
        let room = |size: fn([usize; 2]) -> usize| {
            members.room("matrices of the optimizer", most(size).unwrap_or(0))
        };
        let whole = |[rows, columns]: [usize; 2]| rows * columns;
        let square = |[rows, columns]: [usize; 2]| rows.min(columns).pow(2);
        let direction = room(whole)?;
        let updated = params.iter().map(|p| {
            let states = p.states.iter().chain([&direction]);
            Updated::new(p.param, p.grad, states.collect())
        });
        Ok(Box::new(Work {
            tables: Tables::new(members, &updated.collect::<Vec<_>>())?,
            next: room(whole)?,
            squares: [room(square)?, room(square)?],
            direction,
            paths: params.iter().map(|p| p.info.path.clone()).collect(),
            matrices,
            steps: self.ns_steps,
            members: members.clone(),
        }))
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        let lr = self.lr_of(u.info, u.member) * u.scales.lr * u.factor;
        let momentum = self.momentum.of(u.member);
        scalars([
            momentum,
            1.0 - momentum,
            f64::from(u8::from(self.nesterov)),
            -lr * self.adjust.factor(u.scales.fans),
            1.0 - lr * self.weight_decay.of(u.member) * u.scales.weight_decay,
            self.eps.of(u.member) * u.scales.eps,
        ])
    }

    fn adamw(&self) -> Option<Adam> {
        let betas = [&self.beta1, &self.beta2];
        Some(Adam::adamw(
            &self.lr,
            betas,
            &self.adam_eps,
            &self.weight_decay,
        ))
    }

    fn room(&self, info: &ParamInfo) -> usize {
        match info.is_hidden_matrix() {
            true => update::Muon::scratch(matrix(&info.shape)),
            false => 0,
        }
    }
}

/// Matrices that move along their momentum, made orthogonal by Newton and Schulz's iteration as
/// `tensor/update/muon.rs` does. They take turns in the same memory.
#[derive(Debug)]
struct Work {
    members: GpuMembers,
    tables: Tables,
    /// Rows and columns.
    matrices: Vec<[usize; 2]>,
    paths: Vec<String>,
    steps: usize,
    direction: Tensor,
    next: Tensor,
    squares: [Tensor; 2],
}

impl GpuWork for Work {
    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn queue(&self, limits: Limits) -> Result<()> {
        for (i, (&sides, path)) in self.matrices.iter().zip(&self.paths).enumerate() {
            self.tables.launch_of(i, "muon_momentum", limits, &[])?;
            let least = self.tables.scalars_of(i)? + 8 * LEAST;
            self.orthogonalise(sides, least).map_err(|e| e.at(path))?;
            self.tables.launch_of(i, "muon_step", limits, &[])?;
        }
        Ok(())
    }
}

impl Work {
    fn product(
        &self,
        sizes: [usize; 3],
        a: Matrix,
        b: Matrix,
        c: Span,
        [alpha, beta]: [f64; 2],
    ) -> Result<()> {
        let members = &self.members;
        let c = c.matrix(members.stored, sizes[1]);
        let product = Gemm::new(sizes, members.count, a, b, c);
        members.gpu.gemm(&product.times(alpha).plus(beta))
    }

    /// Queues it for the direction, a matrix of `[rows, columns]`; `least` is where the norms are, doubles, that it is
    /// divided by at least.
    fn orthogonalise(&self, [rows, columns]: [usize; 2], least: u64) -> Result<()> {
        let members = &self.members;
        let (n, side) = (rows * columns, rows.min(columns));
        let span = |room: &Tensor, stride: usize| -> Result<Span> {
            let at = address(room)?;
            Ok(Span { at, stride })
        };
        let [gram, sum] = &self.squares;
        let (x, next) = (span(&self.direction, n)?, span(&self.next, n)?);
        let (gram, sum) = (span(gram, side * side)?, span(sum, side * side)?);
        let words = words![x.at, x.stride, n, least, Scalars::default().len()];
        let grid = Grid::blocks(1, members.count);
        let (gpu, stored) = (&members.gpu, members.stored);
        gpu.launch("normalise", stored, grid, words)?;
        let [a, b, c] = NEWTON_SCHULZ;
        let bytes = members.count * stored.size();
        let (mut from, mut to) = (x, next);
        for _ in 0..self.steps {
            let old = from.matrix(stored, columns);
            let wide = rows <= columns;
            let (left, right) = if wide { (old, old.t()) } else { (old.t(), old) };
            let sizes = [side, side, rows.max(columns)];
            self.product(sizes, left, right, gram, [1.0, 0.0])?;
            // sum = b gram + c gram²
            gpu.copy(gram.at, sum.at, bytes * side * side)?;
            let square = gram.matrix(stored, side);
            self.product([side; 3], square, square, sum, [c, b])?;
            gpu.copy(from.at, to.at, bytes * n)?;
            let sum = sum.matrix(stored, side);
            let (left, right) = if wide { (sum, old) } else { (old, sum) };
            self.product([rows, columns, side], left, right, to, [1.0, a])?;
            std::mem::swap(&mut from, &mut to);
        }
        if from.at != x.at {
            gpu.copy(from.at, x.at, bytes * n)?;
        }
        Ok(())
    }
}
