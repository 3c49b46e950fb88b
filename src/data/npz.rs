//! Arrays in `.npz` files: zip archives of `.npy` members. Rows of a stored member are read by their
//! place in the file, when they are wanted, so that an archive may be larger than memory.
//!
//! The zip format is the `zip` crate's affair. The header of a member is read here: it is one line,
//! and `npyz`, which reads it as a literal of Python, brings a parser generator that takes longer to
//! build than most of this crate's dependencies.

use std::fs::File;
use std::io::{BufReader, ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::files::read_at;
use crate::error::{Error, Result};
use crate::memory;

/// Headers are below 200 bytes; what claims more than this is no header.
const LONGEST_HEADER: usize = 1 << 16;

/// An open archive.
pub(crate) struct Npz {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

/// An array of an archive: all but its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Array {
    /// Name of the member.
    pub name: String,
    /// The type as numpy writes it: `|u1`, `<i8`.
    pub dtype: String,
    /// Lengths of the axes.
    pub shape: Vec<u64>,
    /// Whether the first axis runs fastest.
    pub fortran_order: bool,
    /// Bytes before the first number.
    header: u64,
    /// Bytes of header and numbers.
    size: u64,
}

impl Array {
    /// How many numbers there are; only of a checked array.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    /// Refuses an array that is not as long as `number` bytes each make it.
    pub(crate) fn check(&self, path: &Path, number: u64) -> Result<()> {
        let numbers = self.shape.iter().map(|&n| u128::from(n));
        let bytes = numbers.fold(u128::from(number), u128::saturating_mul);
        let wanted = bytes.saturating_add(self.header.into());
        if wanted == u128::from(self.size) {
            return Ok(());
        }
        Err(Error::data(
            path,
            format!("{} of {wanted} bytes, as its header says", self.name),
            format!("{} bytes", self.size),
        ))
    }
}

/// What the header at the beginning of `file`, of `size` bytes, says of the array `name`.
pub(super) fn array_of(path: &Path, name: &str, size: u64, file: &mut dyn Read) -> Result<Array> {
    let (header, text) = header(file).map_err(|error| broken(path, name, &error))?;
    let array = parse(&text).map(|(dtype, fortran_order, shape)| Array {
        name: name.to_string(),
        dtype,
        shape,
        fortran_order,
        header,
        size,
    });
    array.ok_or_else(|| {
        Error::data(
            path,
            format!("the header of an array in {name}"),
            format!("{:?}", text.chars().take(80).collect::<String>()),
        )
    })
}

/// The first rows of an array of bytes.
#[derive(Debug)]
pub(crate) enum Rows {
    /// In this file from this place on.
    Stored(File, u64),
    /// Unpacked.
    Unpacked(Vec<u8>),
}

impl Rows {
    /// Reads `row`, which is as long as `bytes`.
    pub(crate) fn read(&self, row: usize, bytes: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::Stored(file, start) => {
                read_at(file, bytes, start + row as u64 * bytes.len() as u64)
            }
            Self::Unpacked(all) => {
                bytes.copy_from_slice(&all[row * bytes.len()..][..bytes.len()]);
                Ok(())
            }
        }
    }
}

impl Npz {
    /// Opens an archive.
    ///
    /// # Errors
    /// The file cannot be read, or is no zip archive or a cut one.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, &error))?;
        let zip = ZipArchive::new(BufReader::new(file));
        Ok(Self {
            zip: zip.map_err(|error| damaged(path, error))?,
            path: path.to_path_buf(),
        })
    }

    /// What the header of `name` (without `.npy`) says.
    ///
    /// # Errors
    /// There is no such member, it is no array, its header is none, or it has another size than the
    /// header says.
    pub(crate) fn array(&mut self, name: &str) -> Result<Array> {
        let path = &self.path;
        let name = format!("{name}.npy");
        let found = self.names();
        if !found.contains(&name) {
            let found = match found.len() {
                0 => "an empty archive".to_string(),
                _ => found.join(", "),
            };
            return Err(Error::data(path, format!("a member {name}"), found));
        }
        let mut member = self.zip.by_name(&name).map_err(|e| damaged(path, e))?;
        let size = member.size();
        array_of(path, &name, size, &mut member)
    }

    fn names(&self) -> Vec<String> {
        let names = self.zip.file_names();
        names
            .filter_map(|name| Some(name.ok()?.into_owned()))
            .collect()
    }

    /// The name (without `.npy`) of the archive's only array.
    ///
    /// # Errors
    /// If there is another number of them.
    pub(crate) fn only(&self) -> Result<String> {
        let names = self.names();
        let arrays: Vec<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".npy"))
            .collect();
        match arrays.as_slice() {
            [name] => Ok((*name).to_string()),
            [] => Err(Error::data(&self.path, "an array", "none")),
            several => Err(Error::data(&self.path, "one array", several.join(", "))
                .with_help("name the one that is wanted")),
        }
    }

    /// Refuses an array whose member is not as long as `number` bytes each make it.
    pub(crate) fn check(&self, array: &Array, number: u64) -> Result<()> {
        array.check(&self.path, number)
    }

    /// Refuses an array in another order than C's as well.
    pub(crate) fn check_rows(&self, array: &Array, number: u64) -> Result<()> {
        if array.fortran_order {
            return Err(Error::data(
                &self.path,
                format!("{} with the last axis running fastest", array.name),
                "Fortran's order",
            ));
        }
        self.check(array, number)
    }

    /// The first `count` bytes of a checked array's numbers; deflated or not.
    ///
    /// # Errors
    /// They do not fit into memory, or the member is damaged.
    pub(crate) fn bytes(&mut self, array: &Array, count: usize) -> Result<Vec<u8>> {
        let path = &self.path;
        let what = format!("{} of {}", array.name, path.display());
        memory::room(&what, &[count], 1)?;
        let mut bytes = memory::numbers(&what, &[count])?;
        let read = |member: &mut dyn Read, bytes: &mut [u8]| {
            std::io::copy(&mut member.take(array.header), &mut std::io::sink())?;
            member.read_exact(bytes)?;
            if array.header + bytes.len() as u64 == array.size {
                // its end compares the checksum
                std::io::copy(member, &mut std::io::sink())?;
            }
            Ok(())
        };
        let mut member = self.zip.by_name(&array.name);
        let member = member.as_mut().map_err(|e| damaged(path, e.clone()))?;
        read(member, &mut bytes).map_err(|error| broken(path, &array.name, &error))?;
        Ok(bytes)
    }

    /// The first `rows` rows of a checked array of bytes, `row` bytes each. They stay in the file
    /// where the member is stored as it is; a deflated one is unpacked into memory.
    ///
    /// # Errors
    /// Unpacked rows do not fit into memory, the member is damaged, or the file is shorter than its
    /// table of contents says.
    pub(crate) fn rows(&mut self, array: &Array, rows: usize, row: usize) -> Result<Rows> {
        let path = self.path.clone();
        let member = self.zip.by_name(&array.name);
        let member = member.map_err(|e| damaged(&path, e))?;
        let start = member.data_start();
        if let (CompressionMethod::Stored, Some(start)) = (member.compression(), start) {
            let file = File::open(&path).map_err(|error| Error::io(&path, &error))?;
            let length = file.metadata().map_err(|e| Error::io(&path, &e))?.len();
            let end = start.saturating_add(array.size);
            if length < end {
                return Err(Error::data(
                    &path,
                    format!("{} up to byte {end}", array.name),
                    format!("a file of {length} bytes"),
                ));
            }
            return Ok(Rows::Stored(file, start + array.header));
        }
        drop(member);
        let unpacked = self.bytes(array, rows.saturating_mul(row));
        unpacked.map(Rows::Unpacked).map_err(|error| {
            error.with_help(
                "it is compressed and must be unpacked into memory; unpack the archive and pack it \
                 again with `zip -0`, or load it and write it with numpy.savez, and its rows are \
                 read from the file",
            )
        })
    }
}

fn damaged(path: &Path, error: ZipError) -> Error {
    match error {
        ZipError::Io(error) if error.kind() != IoErrorKind::UnexpectedEof => {
            Error::io(path, &error)
        }
        error => Error::data(path, "a whole zip archive", error),
    }
}

pub(super) fn broken(path: &Path, name: &str, error: &std::io::Error) -> Error {
    Error::data(path, format!("a whole array in {name}"), error)
}

/// The length of a `.npy` header and its text: magic, version, length of the text, text.
fn header(member: &mut dyn Read) -> std::io::Result<(u64, String)> {
    let no_array = |why: &str| std::io::Error::new(IoErrorKind::InvalidData, why);
    let mut start = [0; 8];
    member.read_exact(&mut start)?;
    if !start.starts_with(b"\x93NUMPY") {
        return Err(no_array("no array of numpy"));
    }
    let mut length = [0; 4];
    let bytes = if start[6] == 1 { 2 } else { 4 };
    member.read_exact(&mut length[..bytes])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_HEADER {
        return Err(no_array("a header of more than 65536 bytes"));
    }
    let mut text = vec![0; length];
    member.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text).trim().to_string();
    Ok(((8 + bytes + length) as u64, text))
}

/// Type, whether in Fortran's order, and shape of the line
/// `{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }`.
fn parse(text: &str) -> Option<(String, bool, Vec<u64>)> {
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'"))?;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    };
    let descr = value("descr")?;
    let dtype = match descr.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'')?.0.to_string(),
        None => "a record".to_string(),
    };
    let order = value("fortran_order")?;
    let fortran = order.starts_with("True");
    if !fortran && !order.starts_with("False") {
        return None;
    }
    let (shape, _) = value("shape")?.strip_prefix('(')?.split_once(')')?;
    let axes = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
    let axes: Option<Vec<u64>> = axes.map(|n| n.parse().ok()).collect();
    Some((dtype, fortran, axes?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        assert_eq!(
            parse("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 32, 32, 3), }"),
            Some(("|u1".into(), false, vec![3, 32, 32, 3]))
        );
        assert_eq!(
            parse("{'descr': '<i8', 'fortran_order': True, 'shape': (7,), }"),
            Some(("<i8".into(), true, vec![7]))
        );
        assert_eq!(
            parse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }"),
            Some(("a record".into(), false, vec![]))
        );
        for wrong in [
            "",
            "{'descr': '|u1', 'fortran_order': No, 'shape': (3,), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, -1), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, ",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
