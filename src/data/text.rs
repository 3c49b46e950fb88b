//! `text`: windows of text files.

mod corpus;
mod reading;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::tokenizer::Tokenizer;
use super::vocabulary::Vocabulary;
use super::{checks, generate};
use crate::error::{Error, Result};
use crate::tensor::rng::Key;
use tokens::Tokens;

const NAME: &str = "text";

/// What a token of [`Text`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextVocab {
    /// A character; the vocabulary is the sorted distinct characters of the text.
    Characters,
    /// A byte; the vocabulary is all 256 of them, whatever the text.
    Bytes,
    /// What the `tokenizer.json` of this path makes of the text, for instance GPT-2's byte pairs.
    Tokenizer(PathBuf),
}

/// Settings of [`Text`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextSettings {
    /// A file; a folder, which stands for its `.txt`, `.tokens`, `.json` and `.jsonl` files, packed
    /// with gzip (`.gz`) or not; or a path whose last part has stars, which stand for anything.
    /// Files come in the order of their names.
    pub path: PathBuf,
    /// The text to test on, like `path`; `None` (the default) is the last part of `path`. Files that
    /// are tested on are not trained on.
    pub test_path: Option<PathBuf>,
    /// How many tokens of `path` to read, the first ones; `None` (the default) is all.
    pub limit: Option<usize>,
    /// What a token is (default characters).
    pub vocab: TextVocab,
    /// Tokens of an example (default 64).
    pub context: usize,
    /// Share of the tokens, the last ones, that the test set is made of where there is no `test_path`
    /// (default 0.1).
    pub test_share: f64,
    /// How many examples the test set has, the first ones of its text; `None` (the
    /// default) is all.
    pub test_size: Option<usize>,
    /// Seed of the windows' places (default 0).
    pub seed: u64,
}

impl TextSettings {
    /// The default settings for a file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            test_path: None,
            limit: None,
            vocab: TextVocab::Characters,
            context: 64,
            test_share: 0.1,
            test_size: None,
            seed: 0,
        }
    }
}

impl TextSettings {
    /// The files to train on and those to test on.
    fn files(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let mut files = corpus::files(NAME, &self.path)?;
        let Some(test_path) = &self.test_path else {
            return Ok((files, Vec::new()));
        };
        let test_files = corpus::files(NAME, test_path)?;
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let tested: Vec<PathBuf> = test_files.iter().map(real).collect();
        files.retain(|path| !tested.contains(&real(path)));
        if files.is_empty() {
            let wanted = "a text that is not that of `test_path`";
            return Err(Error::data(&self.path, wanted, "no other file"));
        }
        Ok((files, test_files))
    }

    /// How many windows of so many tokens the test set has.
    fn windows(&self, unit: &str, train: usize, test: usize) -> Result<usize> {
        let window = self.context + 1;
        if train < window || test < window {
            let found = match &self.test_path {
                Some(path) => format!("{train}, and {test} in {}", path.display()),
                None => format!("{train} and {test} (`test_share` is {})", self.test_share),
            };
            return Err(Error::data(
                &self.path,
                format!(
                    "at least {window} {unit} to train on and {window} to test on (`context` and \
                     the next one)"
                ),
                found,
            )
            .with_help("a smaller `context` needs less"));
        }
        let windows = (test - 1) / self.context;
        let wanted = self.test_size.unwrap_or(windows);
        if wanted > windows {
            let place = match &self.test_path {
                Some(path) => format!("in the {test} {unit} of {}", path.display()),
                None => format!("in the last {test} {unit} of {}", self.path.display()),
            };
            return Err(Error::setting(format!(
                "`test_size` of {NAME} must be between 1 and {windows} (the windows {place}), got \
                 {wanted}"
            )));
        }
        Ok(wanted)
    }
}

/// An endless stream of windows of a text, each labelled with the next token at every position.
/// Example i starts at a place drawn from (seed, i) alone, each place of the training part equally
/// likely. The test set is another text, or the last part of the one, cut into windows one behind the
/// other.
///
/// A plain file is one document; in `.json` and `.jsonl` files each line is one, an object with the
/// member `text`, as in C4. Between two documents is the tokenizer's token for the end of a text, or a
/// line's end. Tokens are kept in memory, in two bytes where there are no more than 65,536 of them.
#[derive(Debug)]
pub struct Text {
    settings: TextSettings,
    shape: [usize; 1],
    vocabulary: Vocabulary,
    /// To train on, then to test on.
    tokens: Tokens,
    /// How many of them are trained on.
    train: usize,
    test_size: usize,
    test: TestSet,
}

impl Text {
    /// The stream of these settings; reads the files.
    ///
    /// # Errors
    /// A setting outside its range; a file that is missing, too short, damaged, not UTF-8 where tokens
    /// are no bytes, or without `text` in a line of JSON; tokens that do not fit into memory.
    pub fn new(settings: TextSettings) -> Result<Self> {
        let s = &settings;
        checks::count(NAME, "context", s.context as u64, 1, 1 << 20)?;
        checks::number(NAME, "test_share", s.test_share, 0.0, 1.0)?;
        checks::count(NAME, "limit", s.limit.unwrap_or(1) as u64, 1, u64::MAX)?;
        checks::count(
            NAME,
            "test_size",
            s.test_size.unwrap_or(1) as u64,
            1,
            checks::MOST,
        )?;
        let (files, test_files) = s.files()?;
        let limit = s.limit.unwrap_or(usize::MAX);
        // the windows that are asked for, and the token after the last one
        let test_limit = s.test_size.map_or(usize::MAX, |n| n * s.context + 1);
        let (vocabulary, unit, tokenizer) = match &s.vocab {
            TextVocab::Characters => {
                let parts = [(&files[..], limit), (&test_files[..], test_limit)];
                (reading::characters(&parts)?, "characters", Path::new(""))
            }
            TextVocab::Bytes => (Vocabulary::Bytes, "bytes", Path::new("")),
            TextVocab::Tokenizer(path) => {
                let read = Arc::new(Tokenizer::read(path)?);
                (Vocabulary::Tokenizer(read), "tokens", path.as_path())
            }
        };
        let mut tokens = Tokens::of(vocabulary.size());
        let mut read = |files: &[PathBuf], limit, path: &Path| {
            let name = format!("the tokens of {}", path.display());
            reading::encode(files, limit, &vocabulary, tokenizer, &name, &mut tokens)?;
            Ok::<usize, Error>(tokens.len())
        };
        let all = read(&files, limit, &s.path)?;
        let (train, test) = match &s.test_path {
            Some(path) => (all, read(&test_files, test_limit, path)? - all),
            None => {
                let test = (all as f64 * s.test_share).round() as usize;
                (all - test, test)
            }
        };
        let test_size = s.windows(unit, train, test)?;
        Ok(Self {
            shape: [s.context],
            vocabulary,
            tokens,
            train,
            test_size,
            test: TestSet::default(),
            settings,
        })
    }

    /// Examples whose windows start where `place` says.
    fn windows(&self, size: usize, place: impl Fn(usize) -> usize + Sync) -> Result<Batch> {
        generate::classes_at(size, &self.shape, &self.shape, |i, input, classes| {
            let mut window = self.tokens.from(place(i));
            let mut token = window.next().unwrap_or(0);
            for ((x, class), next) in input.iter_mut().zip(classes).zip(window) {
                *x = token as f32;
                *class = next;
                token = next;
            }
        })
    }
}

impl Stream for Text {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    fn targets(&self) -> Targets {
        Targets::Classes(self.vocabulary.size())
    }

    fn target_positions(&self) -> &[usize] {
        &self.shape
    }

    fn vocabulary(&self) -> Option<&Vocabulary> {
        Some(&self.vocabulary)
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn positions(&self) -> Option<u64> {
        None
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        checks::positions(NAME, start, size, None, None)?;
        let key = Key::new(self.settings.seed).label(NAME).label("train");
        let places = (self.train - self.settings.context) as u64;
        self.windows(size, |i| {
            let mut rng = key.fold(start + i as u64).rng();
            rng.below(places) as usize
        })
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        let context = self.settings.context;
        self.test
            .get(|| self.windows(self.test_size, |i| self.train + i * context))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.settings)
    }
}

#[cfg(test)]
mod tests;
