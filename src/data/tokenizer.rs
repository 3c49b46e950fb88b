//! Tokenizers in the format of Hugging Face, such as GPT-2's byte pairs.

use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// What is put between documents is the first of these that a tokenizer has.
const ENDS: [&str; 5] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eot_id|>",
];

/// A tokenizer of a `tokenizer.json`.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    size: usize,
    end: Option<u32>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is no tokenizer.
    pub fn read(path: &Path) -> Result<Self> {
        let wanted = "a tokenizer.json as Hugging Face's tokenizers write it";
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::data(path, wanted, "no such file"),
            std::io::ErrorKind::IsADirectory => Error::data(path, wanted, "a folder"),
            _ => Error::io(path, &error),
        })?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes);
        let mut inner = inner.map_err(|error| Error::data(path, wanted, error))?;
        // a text is as long as it is
        inner.with_padding(None);
        if let Err(error) = inner.with_truncation(None) {
            return Err(Error::data(path, wanted, error));
        }
        let largest = inner.get_vocab(true).into_values().max();
        let Some(largest) = largest else {
            return Err(Error::data(path, wanted, "one without tokens"));
        };
        Ok(Self {
            size: largest as usize + 1,
            end: ENDS.iter().find_map(|end| inner.token_to_id(end)),
            inner,
        })
    }

    /// One more than the largest token.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The token at the end of a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The tokens of a text; none are put before or behind it.
    ///
    /// # Errors
    /// The tokenizer cannot encode it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|error| refused("encode", &*error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// The tokenizer cannot decode them.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let text = self.inner.decode(tokens, false);
        text.map_err(|error| refused("decode", &*error))
    }

    /// The error where documents are to be joined and no token is for that.
    pub(crate) fn no_end(path: &Path) -> Error {
        let wanted = format!("a token for the end of a text, one of {}", ENDS.join(", "));
        Error::data(path, wanted, "none")
    }
}

fn refused(what: &str, error: &(dyn std::error::Error + Send + Sync)) -> Error {
    Error::new(ErrorKind::Data, format!("{what}: {error}"))
}
