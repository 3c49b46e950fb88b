//! Which tokens a text is made of.

use std::sync::Arc;

use super::tokenizer::Tokenizer;
use crate::error::{Error, ErrorKind, Result};

/// The tokens of a text: the characters that occur in it, bytes, or those of a tokenizer.
#[derive(Debug, Clone)]
pub enum Vocabulary {
    /// These characters, in order; a token is an index into them.
    Characters(Vec<char>),
    /// All 256 bytes.
    Bytes,
    /// Those of a `tokenizer.json`.
    Tokenizer(Arc<Tokenizer>),
}

impl Vocabulary {
    /// The number of tokens.
    pub fn size(&self) -> usize {
        match self {
            Self::Characters(all) => all.len(),
            Self::Bytes => 256,
            Self::Tokenizer(tokenizer) => tokenizer.size(),
        }
    }

    /// The tokens of a text, one for each character, for each byte of its UTF-8, or what the tokenizer
    /// makes of it.
    ///
    /// # Errors
    /// A character that is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::Tokenizer(tokenizer) => tokenizer.encode(text),
            Self::Characters(all) => {
                let each = text.chars().enumerate();
                each.map(|(i, character)| token(all, i, character))
                    .collect()
            }
        }
    }

    /// The text of these tokens. Bytes that are no UTF-8 become `�`.
    ///
    /// # Errors
    /// A token that is not below the vocabulary's size.
    pub fn decode(&self, tokens: &[u64]) -> Result<String> {
        let size = self.size();
        if let Some(i) = tokens.iter().position(|&token| token >= size as u64) {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "decode: tokens must be between 0 and {}, found {} at index {i}",
                    size.saturating_sub(1),
                    tokens[i]
                ),
            ));
        }
        Ok(match self {
            Self::Characters(all) => tokens.iter().map(|&token| all[token as usize]).collect(),
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Tokenizer(tokenizer) => {
                let tokens: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
                tokenizer.decode(&tokens)?
            }
        })
    }
}

/// The token of the character at index `i` of a text.
fn token(all: &[char], i: usize, character: char) -> Result<u32> {
    let found = all.binary_search(&character);
    found.map(|token| token as u32).map_err(|_| {
        let many = all.len();
        Error::new(
            ErrorKind::Data,
            format!(
                "encode: {character:?}, at index {i}, is not among the {many} characters of the text"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_go_there_and_back() {
        let vocabulary = Vocabulary::Characters(vec!['\n', 'h', 'l', 'o', 'é']);
        assert_eq!(vocabulary.encode("\nhloé").unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(vocabulary.decode(&[1, 4, 2, 2, 3]).unwrap(), "héllo");
        assert_eq!(
            vocabulary.encode("hä").unwrap_err().message,
            "encode: 'ä', at index 1, is not among the 5 characters of the text"
        );
        assert_eq!(
            vocabulary.decode(&[0, 5]).unwrap_err().message,
            "decode: tokens must be between 0 and 4, found 5 at index 1"
        );
    }

    #[test]
    fn bytes_are_those_of_utf8() {
        let bytes = Vocabulary::Bytes;
        assert_eq!(bytes.size(), 256);
        assert_eq!(bytes.encode("aé").unwrap(), [97, 195, 169]);
        assert_eq!(bytes.decode(&[97, 195, 169]).unwrap(), "aé");
        assert_eq!(bytes.decode(&[97, 255]).unwrap(), "a\u{fffd}");
        assert!(bytes.decode(&[256]).is_err());
    }
}
