//! Files become tokens: pieces in order, each encoded on whichever thread is free.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::corpus::{Piece, Pieces, Place};
use super::tokens::Tokens;
use crate::data::{Tokenizer, Vocabulary};
use crate::error::{Error, Result};
use crate::interrupt;

/// Bytes of text that are encoded together, in parallel.
const GROUP: usize = 8 << 20;

/// Gives `take` the pieces of all files in order, some at a time, until it has enough.
fn groups<'a>(
    files: &'a [PathBuf],
    mut take: impl FnMut(Vec<(&'a Path, Piece)>) -> Result<bool>,
) -> Result<()> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    for path in files {
        let mut pieces = Pieces::of(path)?;
        while let Some(piece) = pieces.next()? {
            bytes += piece.bytes.len();
            group.push((path.as_path(), piece));
            if bytes >= GROUP {
                if interrupt::requested() {
                    return Err(Error::interrupted());
                }
                if !take(std::mem::take(&mut group))? {
                    return Ok(());
                }
                bytes = 0;
            }
        }
    }
    take(group).map(|_| ())
}

/// Text, of which a byte that is no UTF-8 is named.
fn utf8(path: &Path, bytes: Vec<u8>, place: Place) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let found = match (error.as_bytes().get(valid), place) {
            (Some(byte), Place::Offset(start)) => {
                let at = start + valid as u64;
                format!("the byte 0x{byte:02x} at offset {at}, which is none")
            }
            _ => error.to_string(),
        };
        Error::data(path, "UTF-8 text", found).with_help("vocab: \"bytes\" takes any file")
    })
}

/// Notes the characters among the first `limit` tokens of the files in `seen`, by code point.
fn note_characters(files: &[PathBuf], limit: usize, seen: &mut [bool]) -> Result<()> {
    let (mut count, mut first) = (0, true);
    groups(files, |group| {
        for (path, piece) in group {
            let (starts, place) = (piece.starts, piece.place);
            let text = utf8(path, piece.text(path)?, place)?;
            let end = (starts && !first).then_some('\n');
            first = false;
            for character in end.into_iter().chain(text.chars()) {
                if count == limit {
                    return Ok(false);
                }
                seen[character as usize] = true;
                count += 1;
            }
        }
        Ok(true)
    })
}

/// The characters among the first tokens of some files, so many of each.
pub(super) fn characters(parts: &[(&[PathBuf], usize)]) -> Result<Vocabulary> {
    let mut seen = vec![false; char::MAX as usize + 1];
    for &(files, limit) in parts {
        note_characters(files, limit, &mut seen)?;
    }
    let code_points = (0..).zip(&seen).filter(|(_, seen)| **seen);
    let characters = code_points.filter_map(|(point, _)| char::from_u32(point));
    Ok(Vocabulary::Characters(characters.collect()))
}

/// The token between two documents.
fn separator(vocabulary: &Vocabulary, tokenizer: &Path) -> Result<u32> {
    match vocabulary {
        Vocabulary::Tokenizer(t) => t.end().ok_or_else(|| Tokenizer::no_end(tokenizer)),
        _ => Ok(vocabulary.encode("\n")?.first().copied().unwrap_or(0)),
    }
}

/// Appends the first `limit` tokens of the files; `tokenizer` is its path.
pub(super) fn encode(
    files: &[PathBuf],
    limit: usize,
    vocabulary: &Vocabulary,
    tokenizer: &Path,
    name: &str,
    tokens: &mut Tokens,
) -> Result<()> {
    let end = tokens.len().saturating_add(limit);
    let mut first = true;
    groups(files, |group| {
        let encode = |(path, piece): (&Path, Piece)| {
            let (starts, place) = (piece.starts, piece.place);
            let bytes = piece.text(path)?;
            let tokens = match vocabulary {
                Vocabulary::Bytes => bytes.into_iter().map(u32::from).collect(),
                Vocabulary::Characters(all) => {
                    let text = utf8(path, bytes, place)?;
                    // one that the vocabulary lacks lies behind the limit
                    let token = |c| all.binary_search(&c).unwrap_or_default() as u32;
                    text.chars().map(token).collect()
                }
                _ => vocabulary.encode(&utf8(path, bytes, place)?)?,
            };
            Ok((starts, tokens))
        };
        let encoded: Vec<Result<(bool, Vec<u32>)>> = group.into_par_iter().map(encode).collect();
        for piece in encoded {
            let (starts, piece) = piece?;
            if starts && !first {
                let separator = separator(vocabulary, tokenizer)?;
                tokens.extend(name, [separator].into_iter())?;
            }
            first = false;
            let wanted = end.saturating_sub(tokens.len()).min(piece.len());
            tokens.extend(name, piece[..wanted].iter().copied())?;
            if tokens.len() >= end {
                tokens.truncate(end);
                return Ok(false);
            }
        }
        Ok(true)
    })
}
