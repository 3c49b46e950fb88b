//! Finding and reading data files, with errors that say what was looked for and what is there.

use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::checks;
use crate::error::{Error, Result};

/// Settings of the streams that read files: [`Mnist`](super::Mnist), [`Cifar10`](super::Cifar10) and
/// [`Cifar5m`](super::Cifar5m).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSettings {
    /// The folder with the files; empty (the default) downloads them where the build can, but for
    /// CIFAR-5m.
    pub folder: PathBuf,
    /// How often to go through the examples; `None` (the default) is endlessly, 1 is online
    /// training.
    pub epochs: Option<u64>,
    /// Whether each epoch has an order of its own, drawn from (seed, epoch) (default); otherwise
    /// the files' order.
    pub shuffle: bool,
    /// Seed of the order (default 0).
    pub seed: u64,
    /// How many training examples to use, the first ones of the files; `None` (the default) is all.
    pub limit: Option<usize>,
    /// How many test examples to use, the first ones of the file; `None` (the default) is all, for
    /// CIFAR-5m 10,000.
    pub test_size: Option<usize>,
    /// Whether to subtract the data set's channel means and divide by its standard deviations
    /// (default); otherwise pixels are in [0, 1].
    pub normalize: bool,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            epochs: None,
            shuffle: true,
            seed: 0,
            limit: None,
            test_size: None,
            normalize: true,
        }
    }
}

impl FileSettings {
    /// The default settings for a folder.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            ..Self::default()
        }
    }

    /// Refuses zero epochs and zero examples, before anything is read.
    pub(crate) fn check(&self, stream: &str) -> Result<()> {
        checks::count(stream, "epochs", self.epochs.unwrap_or(1), 1, u64::MAX)?;
        for (key, value) in [("limit", self.limit), ("test_size", self.test_size)] {
            checks::count(stream, key, value.unwrap_or(1) as u64, 1, u64::MAX)?;
        }
        Ok(())
    }
}

/// The first of `names` that lies in `folder`.
pub(crate) fn find(folder: &Path, names: &[String]) -> Result<PathBuf> {
    for name in names {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let wanted = match names {
        [only] => format!("the file {only}"),
        _ => format!("one of the files {}", names.join(", ")),
    };
    let present = present(folder, &format!("a folder with {wanted}"))?;
    let found = some_of(&present);
    let error = Error::data(folder, wanted, found);
    let packed = present.iter().find(|file| {
        names
            .iter()
            .any(|name| file.starts_with(&format!("{name}.")))
    });
    Err(match packed {
        Some(file) => error.with_help(format!("unpack {file} first")),
        None => error,
    })
}

/// The first of the folders `names` within `folder`.
pub(crate) fn find_folder(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    let mut paths = names.iter().map(|name| folder.join(name));
    if let Some(path) = paths.find(|path| path.is_dir()) {
        return Ok(path);
    }
    let names: Vec<String> = names.iter().map(|name| format!("{name}/")).collect();
    let wanted = format!("a folder with {}", names.join(" or "));
    let present = present(folder, &wanted)?;
    Err(Error::data(folder, wanted, some_of(&present)))
}

/// What is in a folder, for a message.
pub(crate) fn listed(folder: &Path) -> Result<String> {
    Ok(some_of(&present(folder, "a folder")?))
}

/// The sorted names in a folder, which should be `wanted`.
fn present(folder: &Path, wanted: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        let found = match error.kind() {
            IoErrorKind::NotFound => "no such folder",
            IoErrorKind::NotADirectory => "a file instead of a folder",
            _ => return Error::io(folder, &error),
        };
        Error::data(folder, wanted, found)
    })?;
    let mut present: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    present.sort_unstable();
    Ok(present)
}

/// The first of these names and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "an empty folder".to_string(),
        n if n > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}

/// Reads a file that must have exactly the length that `length` computes from its first `header`
/// bytes. A gzipped file is unpacked on the way, whatever it is called. Never reads much more than
/// that length, whatever the file claims.
pub(crate) fn read(
    path: &Path,
    header: usize,
    length: impl FnOnce(&[u8]) -> Result<u64>,
) -> Result<Vec<u8>> {
    let (mut reader, packed) = unpacking(path)?;
    let mut bytes = Vec::new();
    read_some(path, &mut reader, header as u64, &mut bytes)?;
    if bytes.len() < header {
        return Err(Error::data(
            path,
            format!("a header of {header} bytes"),
            format!("a file of {} bytes", bytes.len()),
        ));
    }
    let expected = length(&bytes)?;
    // one byte more than expected tells a file that is too long from one that is right
    let rest = expected.saturating_sub(header as u64).saturating_add(1);
    read_some(path, &mut reader, rest, &mut bytes)?;
    let found = bytes.len() as u64;
    if found == expected {
        return Ok(bytes);
    }
    let unpacked = if packed { " after unpacking" } else { "" };
    Err(Error::data(
        path,
        format!("{expected} bytes{unpacked}, as its header says"),
        if found < expected {
            format!("{found} bytes (truncated)")
        } else {
            "more bytes than that".to_string()
        },
    ))
}

/// Fills `bytes` from `start` on, without a place in the file that threads would share.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

/// Fills `bytes` from `start` on.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, start)? {
            0 => return Err(IoErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                start += read as u64;
            }
        }
    }
    Ok(())
}

/// A file, and whether it is gzipped; it is unpacked on the way then, whatever it is called.
fn unpacking(path: &Path) -> Result<(Box<dyn Read>, bool)> {
    let mut file = File::open(path).map_err(|error| Error::io(path, &error))?;
    let mut start = Vec::new();
    read_some(path, &mut file, 2, &mut start)?;
    let packed = start == [0x1f, 0x8b];
    let raw = std::io::Cursor::new(start).chain(file);
    Ok(match packed {
        true => (
            Box::new(MultiGzDecoder::new(std::io::BufReader::new(raw))),
            true,
        ),
        false => (Box::new(raw), false),
    })
}

/// A file to be read through, unpacked where it is gzipped.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>> {
    Ok(unpacking(path)?.0)
}

/// Appends up to `count` bytes.
fn read_some(path: &Path, reader: &mut dyn Read, count: u64, bytes: &mut Vec<u8>) -> Result<()> {
    match reader.take(count).read_to_end(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(broken_gzip(path, bytes.len() as u64, &error)),
    }
}

/// The error of reading a file that may be gzipped, after so many unpacked bytes.
pub(crate) fn broken_gzip(path: &Path, unpacked: u64, error: &std::io::Error) -> Error {
    match error.kind() {
        // what flate2 makes of a damaged or cut stream
        IoErrorKind::InvalidInput | IoErrorKind::InvalidData | IoErrorKind::UnexpectedEof => {
            Error::data(
                path,
                "a whole gzip stream",
                format!("a damaged one after {unpacked} unpacked bytes ({error})"),
            )
        }
        _ => Error::io(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_what_is_looked_for_and_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.bin".to_string(), "b.bin".to_string()];
        let message = |folder: &Path, names: &[String]| find(folder, names).unwrap_err().message;

        let path = folder.path();
        assert_eq!(
            message(path, &names),
            format!(
                "{}: expected one of the files a.bin, b.bin, found an empty folder",
                path.display()
            )
        );
        std::fs::write(path.join("b.bin.xz"), "").unwrap();
        std::fs::write(path.join("README"), "").unwrap();
        let error = find(path, &names).unwrap_err();
        assert!(error.message.ends_with("found README, b.bin.xz"), "{error}");
        assert_eq!(error.help.as_deref(), Some("unpack b.bin.xz first"));

        for i in 0..20 {
            std::fs::write(path.join(format!("x{i:02}")), "").unwrap();
        }
        assert!(message(path, &names).ends_with("x08, x09 and 10 more"));

        let gone = path.join("gone");
        assert_eq!(
            message(&gone, &names[..1]),
            format!(
                "{}: expected a folder with the file a.bin, found no such folder",
                gone.display()
            )
        );
        assert!(
            message(&path.join("README"), &names).ends_with("found a file instead of a folder")
        );
        std::fs::write(path.join("b.bin"), "").unwrap();
        assert_eq!(find(path, &names).unwrap(), path.join("b.bin"));
    }

    #[test]
    fn an_enormous_claim_does_not_allocate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, [0; 10]).unwrap();
        let error = read(&path, 4, |_| Ok(u64::MAX)).unwrap_err();
        assert!(
            error.message.contains("found 10 bytes (truncated)"),
            "{error}"
        );
    }
}
