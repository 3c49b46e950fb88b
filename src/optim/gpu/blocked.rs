//! Products of matrices that lie in blocks, with the square matrices of their sides.

use super::GpuMembers;
use crate::error::Result;
use crate::gpu::{Gemm, Matrix};
use crate::tensor::update::{Block, Blocks};

/// A matrix of each member in blocks, one after another as [`Blocks::iter`] has them, and square matrices of the
/// blocks' rows and columns in the same order.
#[derive(Debug)]
pub(super) struct Blocked {
    members: GpuMembers,
    blocks: Blocks,
    runs: Vec<Run>,
}

/// Blocks that one batch of products takes.
#[derive(Debug)]
struct Run {
    /// Rows and columns.
    sides: [usize; 2],
    batch: usize,
    /// Where the first one is, and how far it is to the next one.
    block: Stretch,
    /// The same of the square matrices of each side.
    squares: [Stretch; 2],
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    start: usize,
    stride: usize,
}

impl Blocked {
    pub fn new(members: &GpuMembers, blocks: Blocks) -> Self {
        let all: Vec<Block> = blocks.iter().collect();
        let same = all.windows(2).all(|w| w[0].sides() == w[1].sides());
        let runs = match all.first() {
            // those of all members follow each other
            Some(first) if same => vec![Run {
                sides: first.sides(),
                batch: members.count * all.len(),
                block: Stretch {
                    start: 0,
                    stride: first.size(),
                },
                squares: first.sides().map(|n| Stretch {
                    start: 0,
                    stride: n * n,
                }),
            }],
            _ => one_by_one(members.count, blocks, &all),
        };
        Self {
            members: members.clone(),
            blocks,
            runs,
        }
    }

    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Numbers of a member's square matrices of a side.
    pub fn squares_len(&self, side: usize) -> usize {
        self.blocks.factor_lens()[side]
    }

    /// Queues `to = x xᵀ` for the rows, side 0, or `xᵀ x` for the columns, of every block.
    pub fn square(&self, side: usize, x: u64, to: u64) -> Result<()> {
        self.runs.iter().try_for_each(|run| {
            let x = self.matrix(x, run.block, run.sides[1]);
            let n = run.sides[side];
            let to = self.matrix(to, run.squares[side], n);
            let (left, right) = if side == 0 { (x, x.t()) } else { (x.t(), x) };
            let sizes = [n, n, run.sides[1 - side]];
            let product = Gemm::new(sizes, run.batch, left, right, to);
            self.members.gpu.gemm(&product)
        })
    }

    /// Queues `to = s x` with the square matrix `s` of the rows, side 0, or `x s` with that of the columns, of every
    /// block; with the transpose of `s` where `transposed`.
    pub fn times(
        &self,
        side: usize,
        (squares, transposed): (u64, bool),
        x: u64,
        to: u64,
    ) -> Result<()> {
        self.runs.iter().try_for_each(|run| {
            let [rows, columns] = run.sides;
            let (x, to) = (
                self.matrix(x, run.block, columns),
                self.matrix(to, run.block, columns),
            );
            let s = self.matrix(squares, run.squares[side], run.sides[side]);
            let s = if transposed { s.t() } else { s };
            let (left, right) = if side == 0 { (s, x) } else { (x, s) };
            let sizes = [rows, columns, run.sides[side]];
            let product = Gemm::new(sizes, run.batch, left, right, to);
            self.members.gpu.gemm(&product)
        })
    }

    fn matrix(&self, at: u64, stretch: Stretch, row: usize) -> Matrix {
        let stored = self.members.stored;
        Matrix {
            at: at + (stretch.start * stored.size()) as u64,
            stored,
            row,
            stride: stretch.stride,
            transposed: false,
        }
    }
}

/// Each block of all members, where blocks differ in size.
fn one_by_one(members: usize, blocks: Blocks, all: &[Block]) -> Vec<Run> {
    let [left, right] = blocks.factor_lens();
    let mut start = 0;
    let run = |block: &Block| {
        let of = |start: usize, stride: usize| Stretch { start, stride };
        let run = Run {
            sides: block.sides(),
            batch: members,
            block: of(start, blocks.rows * blocks.columns),
            squares: [of(block.left.start, left), of(block.right.start, right)],
        };
        start += block.size();
        run
    };
    all.iter().map(run).collect()
}
