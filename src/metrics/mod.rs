//! What is measured on trained networks: losses, ensembles, agreement between widths and members,
//! bias–variance decompositions, loss curves, and the statistics that summarise them.
//!
//! Logits have shape `[members, points, outputs]`, in `f32` or `f64` and on any device; everything
//! is computed in `f64` on the CPU. A member with a logit that is not finite has *diverged*: its own
//! values are NaN, and means over members leave it out and say so (`count`, `excluded`). When no
//! member is left, that is an error.

pub mod agreement;
pub mod bootstrap;
mod catapult;
pub mod curve;
pub mod decomposition;
mod eigenvalues;
pub mod ensemble;
pub mod ensemble_size;
mod function;
mod gpu_goal;
mod gpu_scores;
mod gpu_spaces;
mod gpu_vectors;
mod gradient;
pub mod hessian;
mod hutchinson;
pub mod infinite;
mod kernel_matrix;
pub mod kernel_regression;
mod lanczos;
pub mod limit_distance;
pub mod loss;
mod noise_scale;
pub mod ntk;
mod objective;
mod outputs;
pub mod pair;
mod rates;
mod reduced;
pub mod representations;
mod scores;
mod sharpening;
mod spaces;
pub mod spectrum;
pub mod stats;
pub mod tangent_kernel;
#[cfg(test)]
mod testing;
pub mod variance;
pub mod width_fit;

pub use agreement::{
    Agreement, SquaredBias, agreement, agreement_within, ensemble_agreement, squared_bias,
};
pub use bootstrap::{Bootstrap, Resampling, bootstrap};
pub use catapult::{Catapult, CatapultSettings, SharpnessSeries, catapult};
pub use curve::{deviation_onset, loss_deviation, smooth_log_time};
pub use decomposition::{
    CrossEntropyDecomposition, MseDecomposition, cross_entropy_decomposition, mse_decomposition,
};
pub use eigenvalues::{EigenvalueSettings, hessian_eigenvalues};
pub use ensemble::{
    Average, EnsembleValue, ensemble_accuracy, ensemble_cross_entropy, ensemble_logits,
    ensemble_mse,
};
pub use ensemble_size::{EnsembleSizes, cross_entropy_by_ensemble_size, mse_by_ensemble_size};
pub(crate) use gpu_goal::GpuGoal;
pub use hessian::{CurvatureMatrix, Hessian, PowerIteration, top_eigenvalue};
pub use hutchinson::{Trace, TraceSettings, hessian_trace};
pub use infinite::{InfiniteActivation, InfiniteKernels, InfiniteSettings, infinite_kernels};
pub use kernel_regression::{
    Flow, FlowSettings, KernelSettings, Regression, kernel_gradient_flow, kernel_regression,
};
pub use lanczos::Eigenvalues;
pub use limit_distance::{LimitDistance, limit_distance};
pub use loss::{
    accuracy, cross_entropy, cross_entropy_per_point, margin, mse, mse_per_point, true_class_logit,
};
pub use noise_scale::{NoiseScale, NoiseSettings, gradient_noise_scale};
pub use ntk::{NtkBlock, ntk, ntk_blocks};
pub use objective::{Goal, Loss};
pub use pair::{Measure, Pair};
pub use rates::Rates;
pub use scores::{Scores, scores};
pub use sharpening::{Sharpening, SharpeningSettings, progressive_sharpening};
pub use spectrum::{
    MeanKernel, SpectrumSettings, TaskPower, TaskSettings, eigenspace_overlap, kernel_spectrum,
    mean_kernel, spectrum_exponent, task_power,
};
pub use stats::{LinearFit, Summary};
pub use tangent_kernel::{
    NtkMemory, NtkOutputs, NtkSettings, tangent_kernel, tangent_kernel_memory,
};
pub use variance::{OutputVariance, output_variance};
pub use width_fit::{WidthFit, width_fit, width_fit_of_members};
