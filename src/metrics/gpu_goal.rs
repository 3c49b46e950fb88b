//! Losses on GPUs, with their gradients and the tangents of these.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::objective::{Goal, Loss};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Grid, Stored, address, words};
use crate::memory;
use crate::nn::{GpuPlan, Span};

/// Rows longer than this are shared by the threads of a block.
const WIDE: usize = 1024;
/// Warps of a block, which take a row each.
const WARPS: usize = 8;

/// Blocks for all rows of outputs, and whether each row has one.
pub(super) fn row_grid(rows: usize, width: usize) -> (usize, bool) {
    let wide = width > WIDE;
    (if wide { rows } else { rows.div_ceil(WARPS) }, wide)
}

/// What the outputs of a plan should be, on its GPU.
#[derive(Debug)]
pub(crate) struct GpuGoal {
    gpu: Arc<Gpu>,
    stored: Stored,
    loss: Loss,
    members: usize,
    rows: usize,
    width: usize,
    /// Classes of the rows, or values.
    labels: Tensor,
    /// Loss of each row, `[members, rows]`.
    each: Tensor,
}

impl GpuGoal {
    /// Room for goals of `rows` places with `width` outputs.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn new(
        plan: GpuPlan<'_>,
        loss: Loss,
        members: usize,
        [rows, width]: [usize; 2],
    ) -> Result<Self> {
        let device = plan.gpu().device();
        let labels = match loss {
            Loss::CrossEntropy => memory::zeros("classes", &[rows], DType::U32, device)?,
            Loss::Mse => memory::zeros("targets", &[rows, width], DType::F64, device)?,
        };
        Ok(Self {
            gpu: plan.gpu().clone(),
            stored: plan.stored(),
            loss,
            members,
            rows,
            width,
            labels,
            each: memory::zeros("losses of rows", &[members, rows], DType::F64, device)?,
        })
    }

    /// Copies labels to the device.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn set(&self, goal: &Goal) -> Result<()> {
        let to = address(&self.labels)?;
        match goal.targets() {
            (Some(classes), _) => self.gpu.upload(classes, to),
            (None, values) => self.gpu.upload(values, to),
        }
    }

    fn grid(&self) -> (Grid, bool) {
        let (blocks, wide) = row_grid(self.rows, self.width);
        (Grid::blocks(blocks, self.members), wide)
    }

    /// Queues the loss of each member, written to `losses` (doubles), and its gradient. A loss that is not
    /// finite sets the member's word of `active` to 0, unless that is no address.
    ///
    /// # Errors
    /// If the plan has no room for a gradient.
    pub fn queue(&self, plan: GpuPlan<'_>, losses: u64, active: u64) -> Result<()> {
        let Some(to) = plan.output_gradient() else {
            return Err(Error::other("the plan was compiled without gradients"));
        };
        let (z, each, labels) = (plan.output(), address(&self.each)?, address(&self.labels)?);
        let (kernel, factor) = match self.loss {
            Loss::CrossEntropy => ("cross_entropy", 1.0 / self.rows as f64),
            Loss::Mse => ("mse", 1.0 / (self.rows * self.width) as f64),
        };
        let (grid, wide) = self.grid();
        let words = words![
            z.at, z.stride, labels, each, self.rows, to.at, to.stride, self.rows, self.width, wide
        ];
        self.gpu.launch(kernel, self.stored, grid, words)?;
        let words = words![each, self.rows, self.rows, factor, losses, active];
        let grid = Grid::blocks(1, self.members);
        self.gpu.launch_plain("mean_of_rows", grid, words)
    }

    /// Queues the tangent of the gradient, from outputs and their tangent.
    ///
    /// # Errors
    /// If the device refuses it.
    pub fn bend(&self, z: Span, dz: Span, to: Span) -> Result<()> {
        match self.loss {
            Loss::CrossEntropy => {
                let (grid, wide) = self.grid();
                let words = words![
                    z.at, z.stride, dz.at, dz.stride, to.at, to.stride, self.rows, self.width, wide
                ];
                self.gpu
                    .launch("cross_entropy_tangent", self.stored, grid, words)
            }
            Loss::Mse => {
                let n = self.rows * self.width;
                let words = words![dz.at, dz.stride, to.at, to.stride, n];
                let grid = Grid::each(n, self.members);
                self.gpu.launch("mse_tangent", self.stored, grid, words)
            }
        }
    }
}
