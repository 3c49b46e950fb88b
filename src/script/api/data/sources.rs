//! Streams that come with the program, and those that read files.

use std::path::PathBuf;
use std::sync::Arc;

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::StreamValue;
use crate::data::{
    Cifar10, FileSettings, MarkovTokens, MarkovTokensSettings, Mnist, MnistKind, SparseParity,
    SparseParitySettings, Stream, SyntheticImages, SyntheticImagesSettings, Teacher,
    TeacherSettings, Text, TextSettings, TextVocab,
};
use crate::error::{ErrorKind, Result};
use crate::nn::layers::Activation;
use crate::options;
use crate::script::options::NON_NEGATIVE;
use crate::script::{OrRaise, RhaiResultOf, session};

pub(super) fn register(registry: &mut Registry) {
    registry.options(SyntheticImagesOptions::spec());
    registry.options(TeacherOptions::spec());
    registry.options(SparseParityOptions::spec());
    registry.options(MarkovTokensOptions::spec());
    registry.options(TextOptions::spec());
    registry.options(FileOptions::spec());
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

crate::choice! { TextVocab {
    "characters" => TextVocab::Characters, "bytes" => TextVocab::Bytes,
} }

options! {
    /// Settings of the windows of a text file.
    pub struct TextOptions for "data::text" {
        /// What a token is: `"characters"`, numbered in the order of their code points among those of the
        /// file, or `"bytes"`, 256 of them whatever the file.
        vocab: TextVocab = TextVocab::Characters;
        /// Tokens of an example.
        context: usize = 64, where (1.0..);
        /// Share of the file's tokens, the last ones, that the test set is made of.
        test_share: f64 = 0.1, where (0.0..=1.0);
        /// How many examples the test set has, the first ones of its part of the file; absent means
        /// all.
        test_size: Option<usize> = None, where (1.0..);
        /// Seed of the windows' places.
        seed: u64 = 0;
    }
}

options! {
    /// Settings of streams that read files.
    pub struct FileOptions for "data::mnist", "data::fashion_mnist", "data::cifar10" {
        /// How often to go through the examples; absent means endlessly, 1 is online training.
        epochs: Option<u64> = None, where (1.0..);
        /// Whether each epoch has an order of its own, drawn from (seed, epoch); otherwise the
        /// files' order.
        shuffle: bool = true;
        /// Seed of the order.
        seed: u64 = 0;
        /// How many training examples to use, the first ones of the files; absent means all.
        limit: Option<usize> = None, where (1.0..);
        /// How many test examples to use, the first ones of the file; absent means all.
        test_size: Option<usize> = None, where (1.0..);
        /// Whether to subtract the data set's channel means and divide by its standard deviations;
        /// otherwise pixels are in 0 to 1.
        normalize: bool = true;
    }
}

impl FileOptions {
    fn of(self, folder: PathBuf) -> FileSettings {
        FileSettings {
            folder,
            epochs: self.epochs,
            shuffle: self.shuffle,
            seed: self.seed,
            limit: self.limit,
            test_size: self.test_size,
            normalize: self.normalize,
        }
    }
}

/// A file or folder that the script may read; the empty name stands for none.
fn readable(ctx: &NativeCallContext, folder: &str) -> RhaiResultOf<PathBuf> {
    if folder.is_empty() {
        return Ok(PathBuf::new());
    }
    match session(ctx).and_then(|s| s.input_path(folder)) {
        // the stream's own message says which files it wants
        Err(error) if error.kind == ErrorKind::Data => Ok(folder.into()),
        found => found.or_raise(ctx),
    }
}

fn stream<S: Stream + 'static>(
    ctx: &NativeCallContext,
    made: Result<S>,
) -> RhaiResultOf<StreamValue> {
    made.map(|s| StreamValue(Arc::new(s))).or_raise(ctx)
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

    /// Endless windows of a text file, labelled with the next token at every position, for
    /// transformers: inputs `[batch, context]`, labels `[batch, context]`. Each window starts at a place
    /// drawn from (seed, position), all places of the training part equally likely. The last
    /// `test_share` of the file is the test set, cut into windows one behind the other. Tokens are the
    /// characters of the file, or bytes; `encode` and `decode` go between tokens and text. The path is
    /// relative to the script's folder or the working folder.
    ///
    /// Fails for a file that is missing, is not UTF-8 where tokens are characters, or has not
    /// `context` + 1 tokens in each of the two parts.
    ///
    /// ```rhai
    /// write_text("ab.txt", "abracadabra, abracadabra! ");
    /// let s = data::text(output_folder() + "/ab.txt", #{ context: 3, test_share: 0.3 });
    /// s.classes                           // → 8
    /// s.batch(16).labels.shape            // → [16, 3]
    /// let test = s.test_set();
    /// s.decode(test.inputs[0])            // → "ada"
    /// s.decode(test.labels[0])            // → "dab"
    /// ```
    #[rhai_fn(name = "text", return_raw, volatile)]
    pub fn text_with(
        ctx: NativeCallContext,
        path: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let o = TextOptions::from_map(&ctx, &settings)?;
        let settings = TextSettings {
            path: readable(&ctx, path)?,
            vocab: o.vocab,
            context: o.context,
            test_share: o.test_share,
            test_size: o.test_size,
            seed: o.seed,
        };
        stream(&ctx, Text::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "text", return_raw, volatile)]
    pub fn text(ctx: NativeCallContext, path: &str) -> RhaiResultOf<StreamValue> {
        text_with(ctx, path, Map::new())
    }

    /// MNIST from a folder with its four idx files, gzipped or not: 28×28 images of handwritten
    /// digits in ten classes, shuffled anew each epoch. The folder is relative to the working
    /// folder. Without a folder, a build with the feature `hub` downloads the files.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::mnist("no/such/folder") } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let folder = readable(&ctx, folder)?;
        let settings = FileOptions::from_map(&ctx, &settings)?.of(folder);
        stream(&ctx, Mnist::new(MnistKind::Digits, settings))
    }

    // every setting has a default
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_hub_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, "", settings)
    }
    #[rhai_fn(name = "mnist", return_raw, volatile)]
    pub fn mnist_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        mnist_with(ctx, "", Map::new())
    }

    /// Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747) from a folder with its four idx
    /// files, gzipped or not: 28×28 images of clothes in ten classes, shuffled anew each epoch.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::fashion_mnist("no/such/folder", #{ limit: 1000 }) } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let folder = readable(&ctx, folder)?;
        let settings = FileOptions::from_map(&ctx, &settings)?.of(folder);
        stream(&ctx, Mnist::new(MnistKind::Fashion, settings))
    }

    // every setting has a default
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_hub_with(
        ctx: NativeCallContext,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, "", settings)
    }
    #[rhai_fn(name = "fashion_mnist", return_raw, volatile)]
    pub fn fashion_mnist_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        fashion_mnist_with(ctx, "", Map::new())
    }

    /// CIFAR-10 (Krizhevsky 2009) from a folder with its binary batches: 3×32×32 photographs in ten
    /// classes, shuffled anew each epoch.
    ///
    /// ```rhai
    /// let said = "";
    /// try { data::cifar10("no/such/folder") } catch (e) { said = e.kind; }
    /// said        // → "data"
    /// ```
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_with(
        ctx: NativeCallContext,
        folder: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let folder = readable(&ctx, folder)?;
        let settings = FileOptions::from_map(&ctx, &settings)?.of(folder);
        stream(&ctx, Cifar10::new(settings))
    }

    // every setting has a default
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10(ctx: NativeCallContext, folder: &str) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, folder, Map::new())
    }

    // without a folder the files are downloaded, where the build can
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_hub_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, "", settings)
    }
    #[rhai_fn(name = "cifar10", return_raw, volatile)]
    pub fn cifar10_hub(ctx: NativeCallContext) -> RhaiResultOf<StreamValue> {
        cifar10_with(ctx, "", Map::new())
    }
}
