//! Learning-rate schedules: factors of the learning rate by step.

use serde::Serialize;

/// A factor of the learning rate as a function of the step, the same for every width.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "schedule", rename_all = "snake_case")]
pub enum Schedule {
    /// Always 1.
    Constant,
    /// Grows linearly to 1 over `warmup` steps, then stays: factor `(step + 1) / warmup` at step
    /// 0, 1, …
    Linear {
        /// Steps of warm-up.
        warmup: u64,
    },
    /// Linear warm-up, then half a cosine down to `floor` at step `steps` (Loshchilov & Hutter
    /// 2017), and `floor` after that.
    Cosine {
        /// Step at which the floor is reached.
        steps: u64,
        /// Steps of warm-up.
        warmup: u64,
        /// Final factor.
        floor: f64,
    },
    /// `gamma` to the power of `step / every`, rounded down.
    Step {
        /// Steps between two reductions.
        every: u64,
        /// Factor of one reduction.
        gamma: f64,
    },
    /// `gamma` to the power of the number of entries of `at` that are not after the step, as
    /// PyTorch's `MultiStepLR`.
    MultiStep {
        /// Steps of the reductions.
        at: Vec<u64>,
        /// Factor of one reduction.
        gamma: f64,
    },
    /// The caller of the training loop says the factor.
    Custom,
}

impl Schedule {
    /// The factor at a step, counted from 0; `None` if the caller decides.
    pub fn factor(&self, step: u64) -> Option<f64> {
        let warm = |warmup: u64| (step + 1) as f64 / warmup as f64;
        Some(match self.clone() {
            Self::Constant => 1.0,
            Self::Linear { warmup } if step < warmup => warm(warmup),
            Self::Linear { .. } => 1.0,
            Self::Cosine { warmup, .. } if step < warmup => warm(warmup),
            Self::Cosine {
                steps,
                warmup,
                floor,
            } => {
                let length = steps.saturating_sub(warmup).max(1) as f64;
                let progress = ((step - warmup) as f64 / length).min(1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Self::Step { every, gamma } => gamma.powf((step / every.max(1)) as f64),
            Self::MultiStep { at, gamma } => {
                gamma.powf(at.iter().filter(|&&at| at <= step).count() as f64)
            }
            Self::Custom => return None,
        })
    }
}
