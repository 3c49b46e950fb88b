//! Training: the trainer, its probes, its record, and what a person sees meanwhile.

mod checkpoint;
mod clip;
mod curvature;
mod ema;
mod gpu;
mod probe;
mod progress;
mod read_record;
mod record;
mod resume;
mod settings;
mod step;
mod test_set;
mod trainer;
mod when;

pub use crate::metrics::Loss;
pub use checkpoint::CheckpointSettings;
pub use clip::Clip;
pub use curvature::Sharpness;
pub use ema::Ema;
pub use probe::Probe;
pub use progress::{Progress, Reporter};
pub use record::{Divergence, Record, Series};
pub use settings::{Hooks, NoHooks, RunEnd, TrainerSettings};
pub use trainer::Trainer;
pub use when::When;
