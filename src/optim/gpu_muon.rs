//! Muon on GPUs: products of the library, over members.

use std::sync::Arc;

use super::gpu::scalars;
use super::matrix::matrix;
use super::{Adam, GpuRule, GpuUpdate, Muon, Optimizer, Scalars};
use crate::error::Result;
use crate::gpu::{Gemm, Gpu, Grid, Matrix, Stored, Workspace, words};
use crate::nn::{ParamInfo, Span};
use crate::tensor::update::NEWTON_SCHULZ;

impl Muon {
    /// What everything but hidden matrices follows; its learning rate comes with the update.
    fn adam(&self) -> Adam {
        Adam {
            lr: self.lr.clone(),
            beta1: self.beta1.clone(),
            beta2: self.beta2.clone(),
            eps: self.adam_eps.clone(),
            weight_decay: self.weight_decay.clone(),
            decoupled: true,
        }
    }
}

impl GpuRule for Muon {
    fn kernel(&self, info: &ParamInfo) -> &'static str {
        match info.is_hidden_matrix() {
            true => "muon_momentum",
            false => "adam",
        }
    }

    fn orthogonal(&self, info: &ParamInfo) -> Option<usize> {
        info.is_hidden_matrix().then_some(self.ns_steps)
    }

    fn scalars(&self, u: GpuUpdate<'_>) -> Scalars {
        if !u.info.is_hidden_matrix() {
            let factor = u.factor * self.adam_factor.of(u.member);
            return self.adam().scalars(GpuUpdate { factor, ..u });
        }
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
}

/// Makes matrices orthogonal by Newton and Schulz's iteration, as `tensor/update/muon.rs` does.
#[derive(Debug)]
pub struct Orthogonal {
    gpu: Arc<Gpu>,
    stored: Stored,
    members: usize,
    workspace: Workspace,
}

impl Orthogonal {
    /// For matrices of so many members, in the arithmetic type.
    pub fn new(gpu: &Arc<Gpu>, stored: Stored, members: usize) -> Self {
        Self {
            gpu: gpu.clone(),
            stored: stored.arith(),
            members,
            workspace: Workspace::default(),
        }
    }

    fn room(&self, part: usize, numbers: usize) -> Result<Span> {
        let bytes = self.members * numbers * self.stored.size();
        Ok(Span {
            at: self.workspace.part(part, bytes, self.gpu.device())?,
            stride: numbers,
        })
    }

    fn product(
        &self,
        sizes: [usize; 3],
        a: Matrix,
        b: Matrix,
        c: Span,
        [alpha, beta]: [f64; 2],
    ) -> Result<()> {
        let c = c.matrix(self.stored, sizes[1]);
        let product = Gemm::new(sizes, self.members, a, b, c);
        self.gpu.gemm(&product.times(alpha).plus(beta))
    }

    /// Queues it for the matrices `x` of a parameter; `least` are the norms that they are divided by at least,
    /// doubles, and their distance.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn queue(
        &self,
        x: Span,
        info: &ParamInfo,
        steps: usize,
        least: (u64, usize),
    ) -> Result<()> {
        let [rows, columns] = matrix(&info.shape);
        let (n, side) = (rows * columns, rows.min(columns));
        let (next, gram, sum) = (
            self.room(0, n)?,
            self.room(1, side * side)?,
            self.room(2, side * side)?,
        );
        let words = words![x.at, x.stride, n, least.0, least.1];
        let grid = Grid::blocks(1, self.members);
        self.gpu.launch("normalise", self.stored, grid, words)?;
        let [a, b, c] = NEWTON_SCHULZ;
        let bytes = self.members * self.stored.size();
        let (mut from, mut to) = (x, next);
        for _ in 0..steps {
            let old = from.matrix(self.stored, columns);
            let wide = rows <= columns;
            let (left, right) = if wide { (old, old.t()) } else { (old.t(), old) };
            self.product(
                [side, side, rows.max(columns)],
                left,
                right,
                gram,
                [1.0, 0.0],
            )?;
            // sum = b gram + c gram²
            self.gpu.copy(gram.at, sum.at, bytes * side * side)?;
            let square = gram.matrix(self.stored, side);
            self.product([side; 3], square, square, sum, [c, b])?;
            self.gpu.copy(from.at, to.at, bytes * n)?;
            let sum = sum.matrix(self.stored, side);
            let (left, right) = if wide { (sum, old) } else { (old, sum) };
            self.product([rows, columns, side], left, right, to, [1.0, a])?;
            std::mem::swap(&mut from, &mut to);
        }
        if from.at != x.at {
            self.gpu.copy(from.at, x.at, bytes * n)?;
        }
        Ok(())
    }
}
