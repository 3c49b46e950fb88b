//! Which tokens a text is made of.

use crate::error::{Error, ErrorKind, Result};

/// The tokens of a text: the characters that occur in it, or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vocabulary {
    /// These characters, in order; a token is an index into them.
    Characters(Vec<char>),
    /// All 256 bytes.
    Bytes,
}

impl Vocabulary {
    /// The distinct characters of a text, sorted by code point.
    pub fn characters_of(text: &str) -> Self {
        let mut seen: Vec<char> = Vec::new();
        for character in text.chars() {
            if let Err(place) = seen.binary_search(&character) {
                seen.insert(place, character);
            }
        }
        Self::Characters(seen)
    }

    /// The number of tokens.
    pub fn size(&self) -> usize {
        match self {
            Self::Characters(all) => all.len(),
            Self::Bytes => 256,
        }
    }

    /// The tokens of a text, one for each character, or for each byte of its UTF-8.
    ///
    /// # Errors
    /// A character that is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
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
    fn characters_are_sorted_and_go_there_and_back() {
        let vocabulary = Vocabulary::characters_of("héllo\n");
        let sorted = vec!['\n', 'h', 'l', 'o', 'é'];
        assert_eq!(vocabulary.encode("\nhloé").unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(vocabulary, Vocabulary::Characters(sorted));
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
