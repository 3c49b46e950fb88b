//! Streams of text files.

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::{StreamValue, readable, stream};
use crate::data::{Text, TextSettings, TextVocab};
use crate::options;
use crate::script::RhaiResultOf;

pub(super) fn register(registry: &mut Registry) {
    registry.options(TextOptions::spec());
    registry.module("data", rhai::exported_module!(functions));
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

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps"
)]
#[export_module]
mod functions {
    use super::*;

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
}
