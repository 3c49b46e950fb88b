//! `cifar5m`: CIFAR-5m from its six `.npz` parts, of which only the labels are kept in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::ByteValues;
use super::files::{FileSettings, find};
use super::generate;
use super::npz::{Array, Npz, Rows};
use super::order::Order;
use super::stream::{Batch, Stream, Targets};
use super::test_set::TestSet;
use crate::error::{Error, Result};
use crate::memory;

const NAME: &str = "cifar5m";
const CLASSES: u8 = 10;
const PARTS: usize = 6;
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
/// Test examples without `test_size`: as many as CIFAR-10 has. The whole part is a million, whose
/// numbers would take 12 GB and every test an epoch's forward passes.
const TEST_SIZE: usize = 10_000;
const MEAN: [f64; 3] = [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0];
const STD: [f64; 3] = [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0];

/// CIFAR-5m (Nakkiran, Neyshabur and Sedghi, "The Deep Bootstrap", arXiv 2010.08127): five million
/// and some images like those of CIFAR-10, drawn from a diffusion model and labelled by a network.
/// From a folder with those of `cifar5m_part0.npz` … `cifar5m_part5.npz` that are to be used; as in
/// that paper the last one is for tests, of which the first 10,000 are the test set, and the others
/// are trained on. A part has the members `X.npy`, bytes `[n, 32, 32, 3]`, and `Y.npy`, whole
/// numbers `[n]`. Inputs are `[batch, 3, 32, 32]`, of ten classes; channels are normalised with
/// means 125.3, 123.0, 113.9 and standard deviations 63.0, 62.1, 66.7 of 255.
///
/// The images of a batch are read from the files when it is made. Parts that were compressed are
/// unpacked into memory (3 GB a part).
#[derive(Debug)]
pub struct Cifar5m {
    settings: FileSettings,
    values: ByteValues,
    order: Order,
    train: Vec<Part>,
    test_part: Part,
    test: TestSet,
}

/// The first examples of a file.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    /// Examples in the parts before.
    start: usize,
    pixels: Rows,
    labels: Vec<u8>,
}

/// A file of which the headers were read.
struct Archive {
    path: PathBuf,
    npz: Npz,
    pixels: Array,
    labels: Array,
    len: usize,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let mut npz = Npz::open(path)?;
        let (pixels, labels) = (npz.array("X")?, npz.array("Y")?);
        let wrong = |expected: String, array: &Array| {
            let found = format!("{} of shape {:?}", array.dtype, array.shape);
            Err(Error::data(path, expected, found))
        };
        let &[len, 32, 32, 3] = &pixels.shape[..] else {
            return wrong(format!("{} of shape [n, 32, 32, 3]", pixels.name), &pixels);
        };
        if pixels.dtype != "|u1" {
            return wrong(format!("{} of bytes (|u1)", pixels.name), &pixels);
        }
        let Some(number) = whole_numbers(&labels.dtype) else {
            return wrong(format!("{} of whole numbers", labels.name), &labels);
        };
        if len == 0 || labels.shape != [len] {
            return wrong(
                format!(
                    "{} of shape [{}], one label an image",
                    labels.name,
                    len.max(1)
                ),
                &labels,
            );
        }
        npz.check_rows(&pixels, 1)?;
        npz.check_rows(&labels, number.bytes as u64)?;
        Ok(Self {
            path: path.to_path_buf(),
            npz,
            pixels,
            labels,
            // no longer than the file
            len: len as usize,
        })
    }

    /// The first `len` examples.
    fn part(mut self, start: usize, len: usize) -> Result<Part> {
        let number = whole_numbers(&self.labels.dtype);
        let bytes = number.as_ref().map_or(1, |number| number.bytes);
        let raw = self.npz.bytes(&self.labels, len * bytes)?;
        let what = format!("labels of {}", self.path.display());
        let mut labels: Vec<u8> = memory::numbers(&what, &[len])?;
        for (i, (label, raw)) in labels.iter_mut().zip(raw.chunks_exact(bytes)).enumerate() {
            let value = number.as_ref().map_or(0, |number| number.value(raw));
            *label = match u8::try_from(value) {
                Ok(value) if value < CLASSES => value,
                _ => {
                    return Err(Error::data(
                        &self.path,
                        format!("labels between 0 and {}", CLASSES - 1),
                        format!("{value} as the label of example {i} (counted from 0)"),
                    ));
                }
            };
        }
        Ok(Part {
            start,
            pixels: self.npz.rows(&self.pixels, len, PIXELS)?,
            labels,
            path: self.path,
        })
    }
}

/// A type of whole numbers.
struct WholeNumber {
    bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl WholeNumber {
    fn value(&self, raw: &[u8]) -> i128 {
        let byte = |i: usize| {
            raw[if self.big_endian {
                i
            } else {
                raw.len() - 1 - i
            }]
        };
        let first = byte(0);
        let sign = if self.signed && first >= 128 { -1 } else { 0 };
        (0..raw.len()).fold(sign, |value, i| value << 8 | i128::from(byte(i)))
    }
}

fn whole_numbers(dtype: &str) -> Option<WholeNumber> {
    let (order, kind) = dtype.split_at_checked(1)?;
    let (signed, bytes) = match kind {
        "i1" | "i2" | "i4" | "i8" => (true, &kind[1..]),
        "u1" | "u2" | "u4" | "u8" => (false, &kind[1..]),
        _ => return None,
    };
    Some(WholeNumber {
        bytes: bytes.parse().ok()?,
        signed,
        big_endian: order == ">",
    })
}

/// The parts that are there, at least two.
fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.as_os_str().is_empty() {
        return Err(Error::setting(format!(
            "{NAME} needs the folder with its files, got an empty name"
        )));
    }
    let names: Vec<String> = (0..PARTS).map(|i| format!("{NAME}_part{i}.npz")).collect();
    find(folder, &names)?;
    let paths = names.iter().map(|name| folder.join(name));
    let paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    match &paths[..] {
        [only] => Err(Error::data(
            folder,
            format!(
                "at least two of the files {} … {}, of which the last one is for tests",
                names[0],
                names[PARTS - 1]
            ),
            format!("only {}", only.file_name().unwrap_or_default().display()),
        )),
        _ => Ok(paths),
    }
}

fn too_many(key: &str, there: usize, place: &Path, given: usize) -> Error {
    Error::setting(format!(
        "`{key}` of {NAME} must be between 1 and {there} (the examples in {}), got {given}",
        place.display()
    ))
}

impl Cifar5m {
    /// Reads the headers and the labels; compressed parts also unpacks.
    ///
    /// # Errors
    /// A setting outside its range; a folder with fewer than two parts; a file that is damaged or of
    /// another format, with its path, what was expected and what was found; compressed parts that
    /// do not fit into memory.
    pub fn new(settings: FileSettings) -> Result<Self> {
        settings.check(NAME)?;
        let paths = parts(&settings.folder)?;
        let archives = paths.iter().map(|path| Archive::open(path));
        let mut archives = archives.collect::<Result<Vec<_>>>()?;
        let Some(test) = archives.pop() else {
            return Err(Error::data(&settings.folder, "two parts", "none"));
        };
        let test_size = settings.test_size.unwrap_or(TEST_SIZE.min(test.len));
        if test_size > test.len {
            return Err(too_many("test_size", test.len, &test.path, test_size));
        }
        let all = archives.iter().map(|archive| archive.len).sum();
        let limit = settings.limit.unwrap_or(all);
        if limit > all {
            return Err(too_many("limit", all, &settings.folder, limit));
        }
        let mut train = Vec::new();
        let mut start = 0;
        for archive in archives {
            let len = archive.len.min(limit - start);
            if len > 0 {
                train.push(archive.part(start, len)?);
            }
            start += len;
        }
        Ok(Self {
            values: if settings.normalize {
                ByteValues::normalised(&MEAN, &STD)
            } else {
                ByteValues::unit(SHAPE[0])
            },
            order: Order::new(limit, settings.epochs, settings.shuffle, settings.seed),
            train,
            test_part: test.part(0, test_size)?,
            test: TestSet::default(),
            settings,
        })
    }

    fn example(&self, part: &Part, row: usize, out: &mut [f32]) -> Result<u32> {
        let mut bytes = [0; PIXELS];
        let read = part.pixels.read(row, &mut bytes);
        read.map_err(|error| Error::io(&part.path, &error))?;
        self.values.interleaved(&bytes, out);
        Ok(part.labels[row].into())
    }
}

impl Stream for Cifar5m {
    fn name(&self) -> &str {
        NAME
    }

    fn input_shape(&self) -> &[usize] {
        &SHAPE
    }

    fn targets(&self) -> Targets {
        Targets::Classes(CLASSES.into())
    }

    fn len(&self) -> Option<u64> {
        Some(self.order.len())
    }

    fn positions(&self) -> Option<u64> {
        self.order.positions()
    }

    fn batch(&self, start: u64, size: usize) -> Result<Batch> {
        let examples = self.order.examples(NAME, start, size)?;
        generate::fallible_classes(size, &SHAPE, |i, out| {
            let before = self.train.partition_point(|part| part.start <= examples[i]);
            let part = &self.train[before - 1];
            self.example(part, examples[i] - part.start, out)
        })
    }

    fn test_set(&self) -> Result<Arc<Batch>> {
        self.test.get(|| {
            let part = &self.test_part;
            generate::fallible_classes(part.labels.len(), &SHAPE, |i, out| {
                self.example(part, i, out)
            })
        })
    }

    /// Also the files used, since they decide what is trained on.
    fn settings(&self) -> serde_json::Value {
        let name = |part: &Part| part.path.file_name().map(|n| n.display().to_string());
        let mut settings = serde_json::json!(self.settings);
        settings["train_files"] = self.train.iter().map(name).collect();
        settings["test_file"] = name(&self.test_part).into();
        settings["test_size"] = self.test_part.labels.len().into();
        settings
    }
}

#[cfg(test)]
mod tests;
