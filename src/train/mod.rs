//! Training: the trainer, its probes, its record, and what a person sees meanwhile.

mod clip;
mod loss;
mod progress;
mod record;
mod trainer;
mod when;

pub use clip::Clip;
pub use loss::Loss;
pub use progress::{Progress, Reporter};
pub use record::{Divergence, Record, Series};
pub use trainer::{Hooks, NoHooks, Probe, RunEnd, Trainer, TrainerSettings};
pub use when::When;
