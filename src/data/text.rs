//! `text`: windows of a text file.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use super::vocabulary::Vocabulary;
use super::{checks, generate};
use crate::error::{Error, Result};
use crate::memory;
use crate::tensor::rng::Key;

const NAME: &str = "text";

/// What a token of [`Text`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextVocab {
    /// A character; the vocabulary is the sorted distinct characters of the file.
    Characters,
    /// A byte; the vocabulary is all 256 of them, whatever the file.
    Bytes,
}

/// Settings of [`Text`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextSettings {
    /// The file.
    pub path: PathBuf,
    /// What a token is (default characters).
    pub vocab: TextVocab,
    /// Tokens of an example (default 64).
    pub context: usize,
    /// Share of the file's tokens, the last ones, that the test set is made of (default 0.1).
    pub test_share: f64,
    /// How many examples the test set has, the first ones of its part of the file; `None` (the
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
            vocab: TextVocab::Characters,
            context: 64,
            test_share: 0.1,
            test_size: None,
            seed: 0,
        }
    }
}

/// An endless stream of windows of a text file, each labelled with the next token at every position.
/// Example i starts at a place drawn from (seed, i) alone, each place of the training part equally
/// likely. The test set is the file's last part, cut into windows one behind the other.
#[derive(Debug)]
pub struct Text {
    settings: TextSettings,
    shape: [usize; 1],
    vocabulary: Vocabulary,
    /// All of the file.
    tokens: Vec<u32>,
    /// How many of them are trained on.
    train: usize,
    test_size: usize,
    test: TestSet,
}

impl Text {
    /// The stream of these settings; reads the file.
    ///
    /// # Errors
    /// A setting outside its range, a file that is missing, too short, or not UTF-8 where tokens are
    /// characters.
    pub fn new(settings: TextSettings) -> Result<Self> {
        let s = &settings;
        checks::count(NAME, "context", s.context as u64, 1, 1 << 20)?;
        checks::number(NAME, "test_share", s.test_share, 0.0, 1.0)?;
        checks::count(
            NAME,
            "test_size",
            s.test_size.unwrap_or(1) as u64,
            1,
            checks::MOST,
        )?;
        let bytes = read(&s.path)?;
        let (vocabulary, tokens, unit) = match s.vocab {
            TextVocab::Characters => {
                let text = utf8(&s.path, &bytes)?;
                let vocabulary = Vocabulary::characters_of(text);
                room_for_tokens(&s.path, text.chars().count())?;
                let tokens = vocabulary.encode(text)?;
                (vocabulary, tokens, "characters")
            }
            TextVocab::Bytes => {
                room_for_tokens(&s.path, bytes.len())?;
                let tokens = bytes.iter().map(|&byte| byte.into()).collect();
                (Vocabulary::Bytes, tokens, "bytes")
            }
        };
        let test = (tokens.len() as f64 * s.test_share).round() as usize;
        let train = tokens.len() - test;
        let window = s.context + 1;
        if train < window || test < window {
            return Err(Error::data(
                &s.path,
                format!(
                    "at least {window} {unit} to train on and {window} to test on (`context` and \
                     the next one)"
                ),
                format!("{train} and {test} (`test_share` is {})", s.test_share),
            )
            .with_help("a smaller `context` needs less"));
        }
        let windows = (test - 1) / s.context;
        let test_size = s.test_size.unwrap_or(windows);
        if test_size > windows {
            return Err(Error::setting(format!(
                "`test_size` of {NAME} must be between 1 and {windows} (the windows in the last \
                 {test} {unit} of {}), got {test_size}",
                s.path.display()
            )));
        }
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
            let window = &self.tokens[place(i)..][..self.settings.context + 1];
            for (x, &token) in input.iter_mut().zip(window) {
                *x = token as f32;
            }
            classes.copy_from_slice(&window[1..]);
        })
    }
}

/// The bytes of a file.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str().is_empty() {
        return Err(Error::setting(format!(
            "{NAME} needs the path of a text file, got an empty one"
        )));
    }
    let wanted = "a text file";
    let about = fs::metadata(path).map_err(|error| match error.kind() {
        IoErrorKind::NotFound | IoErrorKind::NotADirectory => {
            Error::data(path, wanted, "no such file")
        }
        _ => Error::io(path, &error),
    })?;
    if !about.is_file() {
        let found = if about.is_dir() {
            "a folder"
        } else {
            "something else"
        };
        return Err(Error::data(path, wanted, found));
    }
    let bytes = usize::try_from(about.len()).unwrap_or(usize::MAX);
    memory::room(&format!("the bytes of {}", path.display()), &[bytes], 1)?;
    fs::read(path).map_err(|error| Error::io(path, &error))
}

fn room_for_tokens(path: &Path, count: usize) -> Result<()> {
    let name = format!("the tokens of {}", path.display());
    memory::room(&name, &[count], size_of::<u32>())
}

fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let found = match bytes.get(at) {
            Some(byte) => format!("the byte 0x{byte:02x} at offset {at}, which is none"),
            None => error.to_string(),
        };
        Error::data(path, "UTF-8 text", found).with_help("vocab: \"bytes\" takes any file")
    })
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
mod tests {
    use super::super::describe;
    use super::super::testing::{bits, check_promises};
    use super::*;
    use crate::error::ErrorKind;

    /// A stream over these bytes, or its error with the file's path cut out.
    fn made(bytes: &[u8], change: impl Fn(&mut TextSettings)) -> Result<Text> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, bytes).unwrap();
        let mut settings = TextSettings::path(&path);
        settings.context = 4;
        change(&mut settings);
        Text::new(settings).map_err(|mut e| {
            e.message = e.message.replace(&path.display().to_string(), "FILE");
            e
        })
    }

    /// 60 characters to train on and 20 to test on: a token of a test window is never below 10.
    fn counted() -> Text {
        let letters = |i: u8| char::from(b'a' + i);
        let train = (0..60).map(|i| letters(i % 10));
        let test = (0..20).map(|i| letters(10 + i % 7));
        let text: String = train.chain(test).collect();
        made(text.as_bytes(), |s| s.test_share = 0.25).unwrap()
    }

    fn rows(batch: &Batch) -> Vec<(Vec<u32>, Vec<u32>)> {
        let (x, y) = bits(batch);
        let whole = |&x: &u32| f32::from_bits(x) as u32;
        let pairs = x.chunks(4).zip(y.chunks(4));
        pairs
            .map(|(x, y)| (x.iter().map(whole).collect(), y.to_vec()))
            .collect()
    }

    #[test]
    fn keeps_the_promises_of_a_stream() {
        let stream = counted();
        check_promises(&stream, 40);
        assert_eq!(
            describe(&stream),
            "text: endless, 4 → 17 classes at 4 positions, seed 0"
        );
    }

    #[test]
    fn training_windows_are_of_the_first_part_and_reach_all_of_it() {
        let stream = counted();
        let mut first = [false; 10];
        let mut last_place = false;
        for (x, y) in rows(&stream.batch(5, 2000).unwrap()) {
            let wanted: Vec<u32> = (0..5).map(|t| (x[0] + t) % 10).collect();
            assert_eq!((&x[..], &y[..]), (&wanted[..4], &wanted[1..]));
            first[x[0] as usize] = true;
            last_place |= x[0] == 5;
        }
        assert!(first.iter().all(|&seen| seen) && last_place);
    }

    #[test]
    fn every_place_is_drawn_and_another_seed_draws_others() {
        let text: String = ('a'..='z').collect();
        let make = |seed| made(text.as_bytes(), |s| (s.test_share, s.seed) = (0.5, seed)).unwrap();
        let places = |seed| -> Vec<u32> {
            let batch = make(seed).batch(0, 300).unwrap();
            rows(&batch).iter().map(|(x, _)| x[0]).collect()
        };
        let mut drawn = places(0);
        assert_ne!(drawn, places(1));
        drawn.sort_unstable();
        drawn.dedup();
        // 13 characters hold nine windows of four and the next one
        assert_eq!(drawn, (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn test_windows_lie_one_behind_the_other_in_the_last_part() {
        let test = counted().test_set().unwrap();
        let window = |start: u32| {
            let all: Vec<u32> = (start..start + 5).map(|i| 10 + i % 7).collect();
            (all[..4].to_vec(), all[1..].to_vec())
        };
        // the label of the twentieth character is not in the file
        assert_eq!(rows(&test), [0, 4, 8, 12].map(window));
        let text = "abcdefghijklmnopqrstuvwxyz";
        let one = made(text.as_bytes(), |s| {
            (s.test_share, s.test_size) = (0.5, Some(1));
        });
        let one = one.unwrap().test_set().unwrap();
        assert_eq!(rows(&one), [(vec![13, 14, 15, 16], vec![14, 15, 16, 17])]);
    }

    #[test]
    fn tokens_are_characters_or_bytes() {
        let text = "é\né\né\né\né\né\n".as_bytes();
        let characters = made(text, |s| s.test_share = 0.5).unwrap();
        assert_eq!(characters.targets(), Targets::Classes(2));
        let (x, _) = &rows(&characters.test_set().unwrap())[0];
        assert_eq!(x[..], [1, 0, 1, 0]);
        let bytes = made(text, |s| (s.vocab, s.test_share) = (TextVocab::Bytes, 0.5)).unwrap();
        assert_eq!(bytes.targets(), Targets::Classes(256));
        let (x, y) = &rows(&bytes.test_set().unwrap())[0];
        assert_eq!((&x[..], y[3]), (&[195, 169, 10, 195][..], 169));
    }

    #[test]
    fn wrong_files_are_refused_with_what_was_expected() {
        let message = |bytes: &[u8], change: fn(&mut TextSettings)| {
            let error = made(bytes, change).unwrap_err();
            (error.kind, error.message)
        };
        let long = [b'a'; 60];
        assert_eq!(
            message(&long[..20], |_| ()),
            (
                ErrorKind::Data,
                "FILE: expected at least 5 characters to train on and 5 to test on (`context` and \
                 the next one), found 18 and 2 (`test_share` is 0.1)"
                    .into()
            )
        );
        for share in [0.0, 1.0] {
            assert!(made(&long, |s| s.test_share = share).is_err());
        }
        assert!(made(b"", |s| s.vocab = TextVocab::Bytes).is_err());
        assert_eq!(
            message(&[b'a', 0xc3, 0xa9, 0xff, b'a'], |_| ()).1,
            "FILE: expected UTF-8 text, found the byte 0xff at offset 3, which is none"
        );
        // cut in the middle of a character
        assert_eq!(
            message(&[b'a', 0xc3], |_| ()).1,
            "FILE: expected UTF-8 text, found the byte 0xc3 at offset 1, which is none"
        );
        assert_eq!(
            message(&long, |s| s.test_size = Some(2)).1,
            "`test_size` of text must be between 1 and 1 (the windows in the last 6 characters of \
             FILE), got 2"
        );
        assert_eq!(
            message(&long, |s| s.context = 0).1,
            "`context` of text must be between 1 and 1048576, got 0"
        );
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &Path| Text::new(TextSettings::path(path)).unwrap_err().message;
        assert!(of(folder.path()).ends_with("expected a text file, found a folder"));
        let gone = folder.path().join("gone.txt");
        assert!(of(&gone).ends_with("gone.txt: expected a text file, found no such file"));
        assert_eq!(
            of(Path::new("")),
            "text needs the path of a text file, got an empty one"
        );
    }
}
