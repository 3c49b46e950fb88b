//! What networks of different widths have inside: densities of preactivations, kernels of features,
//! attention maps, spectra. Networks of different widths have different numbers of units and heads, so
//! what is compared does not depend on their number or order.
//!
//! A tensor's first axis is that of members, a second that of points, where there is one. Everything
//! is computed in `f64`. A member with a number that is not finite has diverged: its own values are
//! NaN, and means over members or pairs leave it out and say so.

mod alignment;
mod assignment;
mod attention_distance;
mod attention_maps;
mod cka;
mod densities;
mod feature_kernel;
mod gradients;
mod hsic;
mod kernels;
mod kolmogorov;
mod members;
mod minibatch_cka;
mod moments;
mod outliers;
mod pairwise;
mod spectrum;
mod wasserstein;

pub use alignment::{kernel_alignment, kernel_alignment_within, kernel_target_alignment};
pub use assignment::assignment;
pub use attention_distance::{
    AttentionDistance, attention_distance, attention_distance_within, attention_entropy,
};
pub use attention_maps::{AttentionLayer, attention_maps};
pub use cka::{cka, cka_within};
pub use densities::{DensityDistance, Distances, density_distance};
pub use feature_kernel::{KernelSettings, feature_kernel, feature_kernel_of};
pub use gradients::gradients;
pub use kolmogorov::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use minibatch_cka::{Features, MinibatchCka, minibatch_cka, minibatch_cka_of};
pub use moments::{MomentsOf, Units, moments};
pub use outliers::{Bulk, marchenko_pastur_median, spectral_outliers};
pub use pairwise::Pairwise;
pub use spectrum::{
    Flatten, Preparation, Spectrum, effective_rank, participation_ratio, singular_values, spectrum,
    stable_rank,
};
pub use wasserstein::wasserstein;
