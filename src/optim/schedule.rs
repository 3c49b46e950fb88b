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
    Warmup {
        /// Steps of warm-up.
        warmup: u64,
    },
    /// Linear warm-up, then linearly down to `floor` at step `steps`, and `floor` after that.
    Linear {
        /// Step at which the floor is reached.
        steps: u64,
        /// Steps of warm-up.
        warmup: u64,
        /// Final factor.
        floor: f64,
    },
    /// As `Linear`, with the way down to the power of `power` (PyTorch's `PolynomialLR`).
    Polynomial {
        /// Step at which the floor is reached.
        steps: u64,
        /// Steps of warm-up.
        warmup: u64,
        /// Final factor.
        floor: f64,
        /// The power: 1 is linear.
        power: f64,
    },
    /// Linear warm-up, then 1, and over the last `decay` steps down to `floor` at step `steps`
    /// (warm-up–stable–decay; arXiv 2404.06395, 2405.18392), and `floor` after that.
    Wsd {
        /// Step at which the floor is reached.
        steps: u64,
        /// Steps of warm-up.
        warmup: u64,
        /// Steps of decay.
        decay: u64,
        /// Final factor.
        floor: f64,
        /// The way down.
        shape: DecayShape,
    },
    /// Linear warm-up to 1 at update number `warmup`, then `√(warmup / number)` at each update, counted
    /// from 1 (Vaswani et al. 2017).
    InverseSqrt {
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

/// The way from 1 down to 0 of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayShape {
    /// `1 − x`.
    Linear,
    /// Half a cosine.
    Cosine,
    /// `1 − √x` (arXiv 2405.18392).
    Sqrt,
}

impl DecayShape {
    /// How much is left after `x` of the way, from 0 to 1.
    fn left(self, x: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - x,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * x).cos()),
            Self::Sqrt => 1.0 - x.sqrt(),
        }
    }
}

impl Schedule {
    /// The factor at a step, counted from 0; `None` if the caller decides.
    pub fn factor(&self, step: u64) -> Option<f64> {
        let warm = |warmup: u64| (step + 1) as f64 / warmup as f64;
        // the part of the way from one step to another that is done
        let way = |from: u64, to: u64| {
            let length = to.saturating_sub(from).max(1) as f64;
            (step.saturating_sub(from) as f64 / length).min(1.0)
        };
        let down = |left: f64, floor: f64| floor + (1.0 - floor) * left;
        Some(match self.clone() {
            Self::Warmup { warmup }
            | Self::Linear { warmup, .. }
            | Self::Polynomial { warmup, .. }
            | Self::Cosine { warmup, .. }
            | Self::Wsd { warmup, .. }
            | Self::InverseSqrt { warmup }
                if step < warmup =>
            {
                warm(warmup)
            }
            Self::Constant | Self::Warmup { .. } => 1.0,
            Self::Linear {
                steps,
                warmup,
                floor,
            } => down(DecayShape::Linear.left(way(warmup, steps)), floor),
            Self::Polynomial {
                steps,
                warmup,
                floor,
                power,
            } => down((1.0 - way(warmup, steps)).powf(power), floor),
            Self::Cosine {
                steps,
                warmup,
                floor,
            } => down(DecayShape::Cosine.left(way(warmup, steps)), floor),
            Self::Wsd {
                steps,
                decay,
                floor,
                shape,
                ..
            } => down(shape.left(way(steps.saturating_sub(decay), steps)), floor),
            Self::InverseSqrt { warmup } => (warmup.max(1) as f64 / (step + 1) as f64).sqrt(),
            Self::Step { every, gamma } => gamma.powf((step / every.max(1)) as f64),
            Self::MultiStep { at, gamma } => {
                gamma.powf(at.iter().filter(|&&at| at <= step).count() as f64)
            }
            Self::Custom => return None,
        })
    }
}
