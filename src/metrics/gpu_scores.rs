//! Losses and accuracies on GPUs.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::gpu_goal::row_grid;
use super::objective::{Goal, Loss, checked_classes};
use super::scores::Scores;
use crate::data::Labels;
use crate::error::Result;
use crate::gpu::{Gpu, Grid, Word, address, words};
use crate::memory;
use crate::nn::GpuPlan;

/// Room for the scores of the outputs of a plan, on its GPU.
#[derive(Debug)]
pub(super) struct GpuScores {
    gpu: Arc<Gpu>,
    members: usize,
    rows: usize,
    width: usize,
    /// Classes of the rows, or values.
    labels: Tensor,
    /// Losses and right answers, `[2, members + 1, rows]`: of the members and the ensemble.
    each: Tensor,
    /// Their means, `[2, members + 1]`.
    means: Tensor,
    finite: Tensor,
}

impl GpuScores {
    /// For `rows` places with `width` outputs, and labels like these.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    pub fn new(
        plan: GpuPlan<'_>,
        labels: &Labels,
        members: usize,
        [rows, width]: [usize; 2],
    ) -> Result<Self> {
        let device = plan.gpu().device();
        let zeros = |name: &str, shape: &[usize], dtype| memory::zeros(name, shape, dtype, device);
        Ok(Self {
            gpu: plan.gpu().clone(),
            members,
            rows,
            width,
            labels: match labels {
                Labels::Classes(_) => zeros("classes", &[rows], DType::U32)?,
                Labels::Values(_) => zeros("targets", &[rows, width], DType::F64)?,
            },
            each: zeros("scores of rows", &[2, members + 1, rows], DType::F64)?,
            means: zeros("scores", &[2, members + 1], DType::F64)?,
            finite: zeros("finite members", &[members], DType::U32)?,
        })
    }

    /// Places whose outputs are scored.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The scores of what the plan's last forward pass left; NaN of members that are not `active`.
    ///
    /// # Errors
    /// If labels do not fit the outputs or the loss.
    pub fn of(
        &self,
        plan: GpuPlan<'_>,
        labels: &Labels,
        loss: Loss,
        active: &[bool],
    ) -> Result<Scores> {
        let (members, rows, width) = (self.members, self.rows, self.width);
        let at = address(&self.labels)?;
        let (classes, targets) = match (labels, loss) {
            (Labels::Classes(classes), _) => {
                let classes = checked_classes(loss.name(), classes, rows, width)?;
                self.gpu.upload(&classes, at)?;
                (at, 0)
            }
            (Labels::Values(_), _) => {
                let goal = Goal::new(loss, labels, rows, width)?;
                self.gpu.upload(goal.targets().1, at)?;
                (0, at)
            }
        };
        let finite = address(&self.finite)?;
        let on: Vec<u32> = active.iter().map(|&on| on.into()).collect();
        self.gpu.upload(&on, finite)?;
        let losses = address(&self.each)?;
        let right = losses + (8 * (members + 1) * rows) as u64;
        let (blocks, wide) = row_grid(rows, width);
        let entropy = loss == Loss::CrossEntropy;
        let scores = words![classes, targets, losses, right, rows, width, entropy, wide];
        let z = plan.output();
        let launch = |kernel: &str, members: usize, first: &[Word]| {
            let words = [first, scores].concat();
            let grid = Grid::blocks(blocks, members);
            self.gpu.launch(kernel, plan.stored(), grid, &words)
        };
        launch("member_scores", members, words![z.at, z.stride, finite])?;
        let first = words![z.at, z.stride, finite, members];
        launch("ensemble_scores", 1, first)?;
        let means = address(&self.means)?;
        let words = words![losses, rows, rows, 1.0 / rows as f64, means, 0u64];
        let grid = Grid::blocks(1, 2 * (members + 1));
        self.gpu.launch_plain("mean_of_rows", grid, words)?;

        let mut found = vec![0.0; 2 * (members + 1)];
        self.gpu.download(means, &mut found)?;
        let mut is_finite = vec![0u32; members];
        self.gpu.download(finite, &mut is_finite)?;
        let (losses, right) = found.split_at(members + 1);
        let of_active = |losses: &[f64]| {
            let each = losses.iter().zip(active);
            each.map(|(&loss, &on)| if on { loss } else { f64::NAN })
                .collect()
        };
        let any = is_finite.contains(&1);
        let accuracy = || {
            let each = right.iter().zip(&is_finite);
            each.map(|(&share, &on)| if on == 1 { share } else { f64::NAN })
                .collect()
        };
        let are_classes = classes != 0;
        Ok(Scores {
            loss: of_active(losses),
            accuracy: are_classes.then(accuracy),
            ensemble_loss: any.then(|| losses[members]),
            ensemble_accuracy: (any && are_classes).then(|| right[members]),
        })
    }
}
