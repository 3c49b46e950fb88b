//! Streams that come with the program.

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::{StreamValue, stream};
use crate::data::{
    MarkovTokens, MarkovTokensSettings, SparseParity, SparseParitySettings, SyntheticImages,
    SyntheticImagesSettings, Teacher, TeacherSettings,
};
use crate::nn::layers::Activation;
use crate::options;
use crate::script::RhaiResultOf;
use crate::script::options::NON_NEGATIVE;

pub(super) fn register(registry: &mut Registry) {
    registry.options(SyntheticImagesOptions::spec());
    registry.options(TeacherOptions::spec());
    registry.options(SparseParityOptions::spec());
    registry.options(MarkovTokensOptions::spec());
    registry.module("data", rhai::exported_module!(functions));
}

options! {
    /// Settings of the procedural images.
    pub struct SyntheticImagesOptions for "data::synthetic_images" {
        /// Seed of all examples.
        seed: u64 = 0;
        /// Number of classes.
        classes: usize = 10, where (2.0..=10.0);
        /// Standard deviation of the pixel noise, where black is 0 and white 1.
        noise: f64 = 0.1, where (0.0..=1.0);
        /// How much the colour of the shape tells about the class. A linear model lives off this
        /// mainly.
        colour_cue: f64 = 0.5, where (0.0..=1.0);
        /// Largest displacement of the shape's centre along each axis, in pixels.
        jitter: f64 = 6.0, where (0.0..=16.0);
        /// Largest rotation in degrees; 180 is any angle.
        rotation: f64 = 180.0, where (0.0..=180.0);
        /// Number of examples in the test set.
        test_size: usize = 2000, where (1.0..);
    }
}

options! {
    /// Settings of the teacher and of its stream.
    pub struct TeacherOptions for "data::teacher" {
        /// Seed of all examples.
        seed: u64 = 0;
        /// Seed of the teacher's weights; absent means `seed`.
        teacher_seed: Option<u64> = None;
        /// Number of input coordinates.
        inputs: usize = 32, where (1.0..);
        /// Number of real targets.
        outputs: usize = 1, where (1.0..);
        /// Width of the teacher's hidden layers.
        width: usize = 64, where (1.0..);
        /// The teacher's number of weight layers; 2 is one hidden layer.
        depth: usize = 2, where (1.0..=8.0);
        /// The teacher's nonlinearity.
        activation: Activation = Activation::Relu;
        /// Standard deviation of the normal noise on training targets, which have variance 1
        /// without it. The test set has none.
        noise: f64 = 0.0, where NON_NEGATIVE;
        /// Number of examples in the test set.
        test_size: usize = 2000, where (1.0..);
    }
}

options! {
    /// Settings of sparse parity.
    pub struct SparseParityOptions for "data::sparse_parity" {
        /// Seed of the hidden coordinates and of all examples.
        seed: u64 = 0;
        /// Number of input coordinates.
        inputs: usize = 30, where (1.0..);
        /// Number of hidden coordinates, at most `inputs`.
        k: usize = 3, where (1.0..);
        /// Whether the target is the product of the hidden coordinates as a number, -1 or 1,
        /// instead of a class, 0 (even number of -1) or 1.
        regression: bool = false;
        /// Number of examples in the test set.
        test_size: usize = 2000, where (1.0..);
    }
}

options! {
    /// Settings of the sequences of a Markov chain.
    pub struct MarkovTokensOptions for "data::markov_tokens" {
        /// Seed of the chain and of all sequences.
        seed: u64 = 0;
        /// Number of tokens.
        vocab: usize = 256, where (1.0..);
        /// Tokens of an example.
        context: usize = 128, where (1.0..);
        /// Likely successors of each token, at most `vocab`.
        successors: usize = 4, where (1.0..);
        /// Probability that the next token is any token instead.
        noise: f64 = 0.1, where (0.0..=1.0);
        /// Number of examples in the test set.
        test_size: usize = 200, where (1.0..);
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

    /// An endless stream of procedural 3×32×32 images of up to ten classes, which differ in shape,
    /// texture and colour statistics under random position, size, rotation, background and noise.
    /// Needs no download. Channels have mean 0 and variance 1 at the default settings.
    ///
    /// ```rhai
    /// let s = data::synthetic_images(#{ seed: 7, classes: 4 });
    /// s.batch(8).inputs.shape     // → [8, 3, 32, 32]
    /// ```
    #[rhai_fn(name = "synthetic_images", return_raw)]
    pub fn synthetic_images_with(
        ctx: NativeCallContext,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let o = SyntheticImagesOptions::from_map(&ctx, &settings)?;
        let settings = SyntheticImagesSettings {
            seed: o.seed,
            classes: o.classes,
            noise: o.noise,
            colour_cue: o.colour_cue,
            jitter: o.jitter,
            rotation: o.rotation,
            test_size: o.test_size,
        };
        stream(&ctx, SyntheticImages::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "synthetic_images", return_raw)]
    pub fn synthetic_images(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        synthetic_images_with(ctx, Map::new())
    }

    /// An endless regression stream: standard normal inputs and the outputs of a random network, the
    /// teacher, shifted and scaled to mean 0 and variance 1.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 16, outputs: 2, activation: "tanh" });
    /// s.batch(4).labels.shape     // → [4, 2]
    /// ```
    #[rhai_fn(name = "teacher", return_raw)]
    pub fn teacher_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        let o = TeacherOptions::from_map(&ctx, &settings)?;
        let settings = TeacherSettings {
            seed: o.seed,
            teacher_seed: o.teacher_seed,
            inputs: o.inputs,
            outputs: o.outputs,
            width: o.width,
            depth: o.depth,
            activation: o.activation,
            noise: o.noise,
            test_size: o.test_size,
        };
        stream(&ctx, Teacher::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "teacher", return_raw)]
    pub fn teacher(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        teacher_with(ctx, Map::new())
    }

    /// An endless stream of inputs that are uniform on {-1, 1}ⁿ, labelled with the parity of `k`
    /// hidden coordinates: a target that no linear model and no small kernel predicts, while
    /// networks find the coordinates (Barak et al., arXiv 2207.08799).
    ///
    /// ```rhai
    /// let s = data::sparse_parity(#{ inputs: 20, k: 2 });
    /// s.batch(4).inputs.abs().to_array()[0][0]        // → 1.0
    /// ```
    #[rhai_fn(name = "sparse_parity", return_raw)]
    pub fn sparse_parity_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        let o = SparseParityOptions::from_map(&ctx, &settings)?;
        let settings = SparseParitySettings {
            seed: o.seed,
            inputs: o.inputs,
            k: o.k,
            regression: o.regression,
            test_size: o.test_size,
        };
        stream(&ctx, SparseParity::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "sparse_parity", return_raw)]
    pub fn sparse_parity(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        sparse_parity_with(ctx, Map::new())
    }

    /// Endless sequences of a random Markov chain, labelled with the next token at every position,
    /// for transformers. With probability 1 − `noise` the next token is one of its predecessor's
    /// `successors`, equally likely, and any token otherwise. With k successors of v tokens the
    /// least loss there can be is the chain's entropy, −k p ln p − (v − k) q ln q with q = noise/v and
    /// p = q + (1 − noise)/k.
    ///
    /// ```rhai
    /// let s = data::markov_tokens(#{ vocab: 20, context: 8 });
    /// s.batch(3).labels.shape         // → [3, 8]
    /// ```
    #[rhai_fn(name = "markov_tokens", return_raw)]
    pub fn markov_tokens_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        let o = MarkovTokensOptions::from_map(&ctx, &settings)?;
        let settings = MarkovTokensSettings {
            seed: o.seed,
            vocab: o.vocab,
            context: o.context,
            successors: o.successors,
            noise: o.noise,
            test_size: o.test_size,
        };
        stream(&ctx, MarkovTokens::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "markov_tokens", return_raw)]
    pub fn markov_tokens(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        markov_tokens_with(ctx, Map::new())
    }
}
