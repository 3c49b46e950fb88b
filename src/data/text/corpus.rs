//! The files of a text and the documents in them, read a piece at a time.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::files::{broken_gzip, listed, open};
use crate::error::{Error, Result};

/// Pieces of a text file are at least this long.
const PIECE: usize = 1 << 18;
/// A text without a blank is cut somewhere when it is this long.
const LONGEST: usize = 1 << 26;

/// Some text: a document, or a part of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub bytes: Vec<u8>,
    /// Whether a document starts here.
    pub starts: bool,
    /// Where it is in the file: a line of JSON, or bytes from here on.
    pub place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Line(u64),
    Offset(u64),
}

#[derive(Deserialize)]
struct Document {
    text: String,
}

impl Piece {
    /// Its text as bytes: of a line of JSON the member `text`.
    pub(super) fn text(self, path: &Path) -> Result<Vec<u8>> {
        let Place::Line(line) = self.place else {
            return Ok(self.bytes);
        };
        match serde_json::from_slice::<Document>(&self.bytes) {
            Ok(document) => Ok(document.text.into_bytes()),
            Err(error) => {
                // the line that serde_json names is always the first
                let why = error.to_string();
                let why = why.split(" at line ").next().unwrap_or_default();
                Err(Error::data(
                    path,
                    "an object with the member \"text\" in each line",
                    format!("{why} in line {line}"),
                ))
            }
        }
    }
}

/// Whether a file holds lines of JSON, by its name.
pub(super) fn is_json(path: &Path) -> bool {
    let name = plain_name(path);
    name.ends_with(".json") || name.ends_with(".jsonl")
}

/// The name in small letters, without what says that it is packed.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).to_string()
}

/// The files that `path` stands for: a file; those of a folder that are texts by their names; those
/// whose names have the form of its last part, where `*` stands for anything. Sorted.
pub(super) fn files(stream: &str, path: &Path) -> Result<Vec<PathBuf>> {
    if path.as_os_str().is_empty() {
        return Err(Error::setting(format!(
            "{stream} needs the path of a text file, got an empty one"
        )));
    }
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (folder, pattern) = match path.is_dir() {
        true => (path, None),
        false if name.contains('*') => {
            (path.parent().unwrap_or(Path::new("")), Some(name.as_ref()))
        }
        false if path.exists() => {
            return Err(Error::data(path, "a text file", "something else"));
        }
        false => return Err(Error::data(path, "a text file", "no such file")),
    };
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let wanted = match pattern {
        Some(pattern) => format!("files {pattern}"),
        None => "a text file or a folder with .txt, .tokens, .json or .jsonl files".to_string(),
    };
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, &error))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let plain = plain_name(path);
            let wanted = match pattern {
                Some(pattern) => matches(pattern, &name),
                None => {
                    let ends = [".txt", ".tokens", ".json", ".jsonl"];
                    !name.starts_with('.') && ends.iter().any(|end| plain.ends_with(end))
                }
            };
            wanted && path.is_file()
        })
        .collect();
    paths.sort_unstable();
    match paths.is_empty() {
        true => Err(Error::data(folder, wanted, listed(folder)?)),
        false => Ok(paths),
    }
}

/// Whether `name` has the form of `pattern`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let tails = name.char_indices().map(|(i, _)| &name[i..]).chain([""]);
            tails.into_iter().any(|tail| matches(rest, tail))
        }),
    }
}

/// The pieces of one file in order, unpacked where it is gzipped.
pub(super) struct Pieces {
    path: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    json: bool,
    /// Read but not given yet.
    rest: Vec<u8>,
    place: u64,
    unpacked: u64,
    ended: bool,
}

impl Pieces {
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::new(open(path)?),
            json: is_json(path),
            rest: Vec::new(),
            place: 0,
            unpacked: 0,
            ended: false,
        })
    }

    /// The next piece, `None` at the file's end.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        match self.json {
            true => self.line(),
            false => self.part(),
        }
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        broken_gzip(&self.path, self.unpacked, error)
    }

    fn line(&mut self) -> Result<Option<Piece>> {
        loop {
            let mut bytes = Vec::new();
            let read = self.reader.read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| self.failed(&error))?;
            if read == 0 {
                return Ok(None);
            }
            self.unpacked += read as u64;
            self.place += 1;
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some(Piece {
                    bytes,
                    starts: true,
                    place: Place::Line(self.place),
                }));
            }
        }
    }

    fn part(&mut self) -> Result<Option<Piece>> {
        while !self.ended {
            let before = self.rest.len();
            let read = (&mut self.reader)
                .take(PIECE as u64)
                .read_to_end(&mut self.rest);
            self.ended = read.map_err(|error| self.failed(&error))? == 0;
            self.unpacked += (self.rest.len() - before) as u64;
            if self.rest.len() < PIECE {
                continue;
            }
            if let Some(cut) = cut(&self.rest) {
                return Ok(Some(self.give(cut)));
            }
        }
        match self.rest.len() {
            0 => Ok(None),
            all => Ok(Some(self.give(all))),
        }
    }

    fn give(&mut self, cut: usize) -> Piece {
        let rest = self.rest.split_off(cut);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let start = self.place;
        self.place += bytes.len() as u64;
        Piece {
            bytes,
            starts: start == 0,
            place: Place::Offset(start),
        }
    }
}

/// The last place where a text can be cut without a change of its tokens: before blanks that follow a
/// word, which byte-level tokenizers part there anyway.
fn cut(bytes: &[u8]) -> Option<usize> {
    let parted = |i: &usize| matches!(bytes[*i], b' ' | b'\n') && bytes[*i - 1].is_ascii_graphic();
    let place = (1..bytes.len()).rev().find(parted);
    // anywhere, but not within a character
    let starts = |i: &usize| bytes[*i] & 0xc0 != 0x80;
    place.or_else(|| {
        (1..bytes.len())
            .rev()
            .find(starts)
            .filter(|_| bytes.len() > LONGEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            (
                "c4-train.*.json.gz",
                "c4-train.00000-of-01024.json.gz",
                true,
            ),
            ("c4-train.*.json.gz", "c4-validation.00000.json.gz", false),
            ("*", "é", true),
            ("a*", "a", true),
            ("a*b*", "acbd", true),
            ("a*b", "abc", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn pieces_are_cut_before_blanks_and_make_up_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let text: String = (0..200_000).map(|i| format!("né{i}\n  ")).collect();
        std::fs::write(&path, &text).unwrap();
        let mut pieces = Pieces::of(&path).unwrap();
        let mut found = Vec::new();
        let mut count = 0;
        while let Some(piece) = pieces.next().unwrap() {
            assert_eq!(piece.starts, count == 0);
            assert!(matches!(piece.place, Place::Offset(at) if at == found.len() as u64));
            if count > 0 {
                assert!(piece.bytes.starts_with(b"\n"));
            }
            found.extend(piece.bytes);
            count += 1;
        }
        assert!(found == text.as_bytes() && count > 4);
    }
}
