//! Streams of text files.

use rhai::Map;
use rhai::plugin::*;

use super::super::Registry;
use super::{StreamValue, readable, readable_pattern, stream};
use crate::data::{Text, TextSettings, TextVocab};
use crate::error::Result;
use crate::options;
use crate::script::RhaiResultOf;
use crate::script::options::{FromScript, Values};

pub(super) fn register(registry: &mut Registry) {
    registry.options(TextOptions::spec());
    registry.module("data", rhai::exported_module!(functions));
}

/// What a script says of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum VocabOption {
    /// `"characters"`.
    Characters,
    /// `"bytes"`.
    Bytes,
    /// The path of a `tokenizer.json`.
    Tokenizer(String),
}

impl FromScript for VocabOption {
    fn words() -> String {
        "\"characters\", \"bytes\" or the path of a tokenizer.json".into()
    }

    fn from_script(value: &Dynamic) -> Result<Self> {
        match String::from_script(value) {
            Ok(name) if name == "characters" => Ok(Self::Characters),
            Ok(name) if name == "bytes" => Ok(Self::Bytes),
            Ok(path) if path.ends_with(".json") => Ok(Self::Tokenizer(path)),
            Ok(name) => {
                let known = ["characters", "bytes", "path/to/tokenizer.json"];
                Err(Values::no_such_choice(&name, &known))
            }
            _ => Err(Values::mismatch::<Self>(value)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Characters => "\"characters\"".into(),
            Self::Bytes => "\"bytes\"".into(),
            Self::Tokenizer(path) => format!("{path:?}"),
        }
    }
}

options! {
    /// Settings of the windows of text files.
    pub struct TextOptions for "data::text" {
        /// What a token is: `"characters"`, numbered in the order of their code points among those of the
        /// text, `"bytes"`, 256 of them whatever the text, or what a tokenizer in the format of Hugging
        /// Face makes of it, given as the path of its `tokenizer.json`; GPT-2's has 50,257 tokens.
        vocab: VocabOption = VocabOption::Characters;
        /// Tokens of an example.
        context: usize = 64, where (1.0..);
        /// How many tokens to read, the first ones; what comes after them is not read. Absent means
        /// all.
        limit: Option<usize> = None, where (1.0..);
        /// The text to test on: a file, a folder or a path with stars, like the first argument. Its
        /// files are not trained on. Absent means the last part of the text.
        test_path: Option<String> = None;
        /// Share of the tokens, the last ones, that the test set is made of; of no account where there
        /// is a `test_path`.
        test_share: f64 = 0.1, where (0.0..=1.0);
        /// How many examples the test set has, the first ones of its text; absent means all.
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

    /// Endless windows of text files, labelled with the next token at every position, for
    /// transformers: inputs `[batch, context]`, labels `[batch, context]`. Each window starts at a place
    /// drawn from (seed, position), all places of the training part equally likely. The last
    /// `test_share` of the tokens, or the text of `test_path`, is the test set, cut into windows one
    /// behind the other. Tokens are characters, bytes, or those of a tokenizer; `encode` and `decode` go
    /// between tokens and text.
    ///
    /// The path, relative to the script's folder or the working folder, is that of a file, of a folder,
    /// which stands for its `.txt`, `.tokens`, `.json` and `.jsonl` files, or has stars in its last part,
    /// which stand for anything: `"c4/c4-train.*.json.gz"`. Files come in the order of their names and
    /// may be gzipped. A plain file is one document; in `.json` and `.jsonl` files each line is one, an
    /// object with the member `text`, as in C4. Between documents comes the tokenizer's token for the
    /// end of a text, or a line's end. Tokens take two bytes each in memory (four where there are more
    /// than 65,536 different ones); long texts are encoded on all threads.
    ///
    /// Fails for a file that is missing, damaged, is not UTF-8 where tokens are no bytes, has a line of
    /// JSON without `text`, or has not `context` + 1 tokens in each of the two parts.
    ///
    /// ```rhai
    /// write_text("ab.txt", "abracadabra, abracadabra! ");
    /// let s = data::text(output_folder() + "/ab.txt", #{ context: 3, test_share: 0.3 });
    /// s.classes                           // → 8
    /// s.batch(16).labels.shape            // → [16, 3]
    /// let test = s.test_set();
    /// s.decode(test.inputs[0])            // → "ada"
    /// s.decode(test.labels[0])            // → "dab"
    /// write_text("train.jsonl", `{"text": "abra"}` + "\n" + `{"text": "cadabra"}`);
    /// let paths = #{ context: 2, limit: 9, test_path: output_folder() + "/ab.txt" };
    /// let s = data::text(output_folder() + "/*.jsonl", paths);
    /// s.test_set().len                    // → 12
    /// ```
    #[rhai_fn(name = "text", return_raw, volatile)]
    pub fn text_with(
        ctx: NativeCallContext,
        path: &str,
        settings: Map,
    ) -> RhaiResultOf<StreamValue> {
        let o = TextOptions::from_map(&ctx, &settings)?;
        let settings = TextSettings {
            path: readable_pattern(&ctx, path)?,
            test_path: match &o.test_path {
                Some(path) => Some(readable_pattern(&ctx, path)?),
                None => None,
            },
            limit: o.limit,
            vocab: match &o.vocab {
                VocabOption::Characters => TextVocab::Characters,
                VocabOption::Bytes => TextVocab::Bytes,
                VocabOption::Tokenizer(path) => TextVocab::Tokenizer(readable(&ctx, path)?),
            },
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
