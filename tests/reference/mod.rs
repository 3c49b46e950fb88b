//! Reads the reference fixtures: numbers from outside programs, described in README.md beside this
//! file.
//!
//! Tests use `crate::reference`, unit tests and those of `tests/suite` alike.

// Each test crate that includes this file uses another part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// One fixture: its JSON document and its tensors.
pub struct Fixture {
    path: PathBuf,
    /// The whole document; [`Fixture::number`] and [`Fixture::numbers`] read parts of it.
    pub json: serde_json::Value,
    bytes: Vec<u8>,
}

/// A tensor of a fixture, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The elements; `f32` and class numbers too are given as `f64`.
    pub values: Vec<f64>,
}

impl Fixture {
    /// The committed fixture `name`; if the environment's `WIDTHWISE_FIXTURES` names a folder, the
    /// fixture of that name in there.
    pub fn load(name: &str) -> Self {
        let folder = match std::env::var_os("WIDTHWISE_FIXTURES") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures"),
        };
        Self::open(&folder.join(name))
    }

    /// The fixture `path`.json with `path`.safetensors.
    pub fn open(path: &Path) -> Self {
        let read = |extension: &str| {
            let path = path.with_extension(extension);
            std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        Self {
            path: path.to_owned(),
            json: serde_json::from_slice(&read("json")).expect("fixture is not JSON"),
            bytes: read("safetensors"),
        }
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Array {
        let file = SafeTensors::deserialize(&self.bytes).expect("fixture is not safetensors");
        let view = file
            .tensor(name)
            .unwrap_or_else(|e| panic!("{}: {name}: {e}", self.path.display()));
        let values = match view.dtype() {
            Dtype::F64 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect(),
            Dtype::F32 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
            Dtype::U32 => view
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from(u32::from_le_bytes(*b)))
                .collect(),
            Dtype::U8 => view.data().iter().map(|&b| f64::from(b)).collect(),
            other => panic!("{name} has type {other:?}"),
        };
        Array {
            shape: view.shape().to_vec(),
            values,
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("fixture is not safetensors");
        let mut names: Vec<String> = file.names().into_iter().map(String::from).collect();
        names.sort();
        names
    }

    /// The part of the document at a JSON pointer such as `/runs/0/widths`.
    pub fn at(&self, pointer: &str) -> &serde_json::Value {
        self.json
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{}: no {pointer}", self.path.display()))
    }

    /// The number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> f64 {
        self.at(pointer)
            .as_f64()
            .unwrap_or_else(|| panic!("{pointer} is not a number"))
    }

    /// The list of numbers at a JSON pointer.
    pub fn numbers(&self, pointer: &str) -> Vec<f64> {
        self.at(pointer)
            .as_array()
            .and_then(|list| list.iter().map(serde_json::Value::as_f64).collect())
            .unwrap_or_else(|| panic!("{pointer} is not a list of numbers"))
    }
}

impl Array {
    /// The same numbers with the last two axes exchanged: PyTorch's `[out, in]` to `[in, out]`.
    pub fn transposed(&self) -> Self {
        let axes = self.shape.len();
        assert!(axes >= 2, "{:?} has nothing to transpose", self.shape);
        let (rows, columns) = (self.shape[axes - 2], self.shape[axes - 1]);
        let mut shape = self.shape.clone();
        shape.swap(axes - 2, axes - 1);
        let mut values = Vec::with_capacity(self.values.len());
        for matrix in self.values.chunks(rows * columns) {
            for column in 0..columns {
                values.extend((0..rows).map(|row| matrix[row * columns + column]));
            }
        }
        Self { shape, values }
    }

    /// Element `index` of the first axis: a batch of many, a member.
    pub fn index(&self, index: usize) -> Self {
        let shape = self.shape[1..].to_vec();
        let size: usize = shape.iter().product();
        Self {
            values: self.values[index * size..(index + 1) * size].to_vec(),
            shape,
        }
    }

    /// The same tensor with a new first axis of size one: a model of one member.
    pub fn with_member_axis(mut self) -> Self {
        self.shape.insert(0, 1);
        self
    }

    /// As a tensor of candle on the CPU, in `f64`.
    pub fn to_tensor(&self) -> candle_core::Tensor {
        candle_core::Tensor::from_vec(
            self.values.clone(),
            self.shape.as_slice(),
            &candle_core::Device::Cpu,
        )
        .expect("shape of the fixture")
    }

    /// As a `u32` tensor of candle on the CPU: class numbers.
    pub fn to_classes(&self) -> candle_core::Tensor {
        let classes: Vec<u32> = self.values.iter().map(|&x| x as u32).collect();
        candle_core::Tensor::from_vec(classes, self.shape.as_slice(), &candle_core::Device::Cpu)
            .expect("shape of the fixture")
    }
}

/// Fails unless `found` and `expected` have equal lengths and differ by at most `tolerance` relative
/// to the larger of 1 and the expected number's size.
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        // written so that NaN fails
        let near = (f - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(near, "{what}[{i}]: found {f}, expected {e}");
    }
}
