//! Arrays of numpy as tensors: `.npy` files, and members of `.npz` archives.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::{DType, Device, Tensor, WithDType};

use super::npz::{Array, Npz, array_of, broken};
use crate::error::{Error, Result};
use crate::memory;

/// Reads the array of a `.npy` file, or the one called `member` of a `.npz` archive. Types that tensors
/// lack become the next one that holds all their numbers: f16 becomes f32, small integers i64 or u32,
/// bool u8.
///
/// # Errors
/// The file cannot be read, is none of numpy's or a cut one; there is no such member, or none is named
/// where there are several; its numbers are of a type that no tensor has, or do not fit into memory.
pub fn read_numpy(path: &Path, member: Option<&str>) -> Result<Tensor> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match (ending.as_deref(), member) {
        (Some("npz"), member) => {
            let mut archive = Npz::open(path)?;
            let name = match member {
                Some(name) => name.to_string(),
                None => archive.only()?,
            };
            let array = archive.array(&name)?;
            let size = number(path, &array)?;
            archive.check(&array, size as u64)?;
            let bytes = archive.bytes(&array, array.count() * size)?;
            tensor(path, &array, &bytes)
        }
        (_, Some(_)) => Err(Error::data(
            path,
            "an archive .npz with members",
            "one array",
        )),
        _ => {
            let io = |e| Error::io(path, &e);
            let file = File::open(path).map_err(io)?;
            let length = file.metadata().map_err(io)?.len();
            let mut file = BufReader::new(file);
            let array = array_of(path, "the file", length, &mut file)?;
            let size = number(path, &array)?;
            array.check(path, size as u64)?;
            let what = path.display().to_string();
            memory::room(&what, &[array.count()], size)?;
            let mut bytes = memory::numbers(&what, &[array.count() * size])?;
            let read = file.read_exact(&mut bytes);
            read.map_err(|error| broken(path, "the file", &error))?;
            tensor(path, &array, &bytes)
        }
    }
}

/// Bytes of a number.
fn number(path: &Path, array: &Array) -> Result<usize> {
    match array.dtype.as_str() {
        "<f8" | "<i8" | "<u8" => Ok(8),
        "<f4" | "<i4" | "<u4" => Ok(4),
        "<f2" | "<i2" | "<u2" => Ok(2),
        "|i1" | "|u1" | "|b1" => Ok(1),
        other => Err(Error::data(
            path,
            format!(
                "{} of floats, integers or bools, in little-endian order",
                array.name
            ),
            format!("numbers of numpy's type {other}"),
        )
        .with_help("numpy's astype, such as x.astype('<f4'), makes it one")),
    }
}

fn tensor(path: &Path, array: &Array, bytes: &[u8]) -> Result<Tensor> {
    match array.dtype.as_str() {
        "<f8" => shaped(array, each(bytes, f64::from_le_bytes)),
        "<f4" => shaped(array, each(bytes, f32::from_le_bytes)),
        "<f2" => {
            let count = bytes.len() / 2;
            let half = Tensor::from_raw_buffer(bytes, DType::F16, &[count], &Device::Cpu)?;
            shaped(array, half.to_dtype(DType::F32)?.to_vec1::<f32>()?)
        }
        "<i8" => shaped(array, each(bytes, i64::from_le_bytes)),
        "<i4" => shaped(array, each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        "<i2" => shaped(array, each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        "|i1" => shaped(array, each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        "<u4" => shaped(array, each(bytes, u32::from_le_bytes)),
        "<u2" => shaped(array, each(bytes, |b| u32::from(u16::from_le_bytes(b)))),
        "<u8" => {
            let signed = |b| i64::try_from(u64::from_le_bytes(b)).ok();
            let all: Option<Vec<i64>> = each(bytes, signed).into_iter().collect();
            let large = || Error::data(path, "integers below 2^63", "a larger one");
            shaped(array, all.ok_or_else(large)?)
        }
        _ => shaped(array, bytes.to_vec()),
    }
}

fn each<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|b| number(*b)).collect()
}

/// Numbers in the order of the file as a tensor, whose last axis runs fastest.
fn shaped<T: WithDType>(array: &Array, numbers: Vec<T>) -> Result<Tensor> {
    let mut shape: Vec<usize> = array.shape.iter().map(|&n| n as usize).collect();
    if !array.fortran_order {
        return Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?);
    }
    shape.reverse();
    let axes: Vec<usize> = (0..shape.len()).rev().collect();
    let turned = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
    Ok(turned.permute(axes)?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::elem::to_f64;

    fn file(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let text =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut all = b"\x93NUMPY\x01\x00".to_vec();
        all.extend((text.len() as u16).to_le_bytes());
        all.extend(text.as_bytes());
        all.extend(data);
        all
    }

    fn read(bytes: &[u8]) -> Result<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, bytes).unwrap();
        read_numpy(&path, None)
    }

    #[test]
    fn every_type_keeps_its_numbers() {
        let bytes = |numbers: &[i16]| {
            numbers
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<_>>()
        };
        for (descr, data, dtype, expected) in [
            (
                "<f8",
                [1.5f64, -2.0].map(f64::to_le_bytes).concat(),
                DType::F64,
                [1.5, -2.0],
            ),
            (
                "<f4",
                [1.5f32, -2.0].map(f32::to_le_bytes).concat(),
                DType::F32,
                [1.5, -2.0],
            ),
            // numpy.float16(1.5).tobytes() is 00 3e, that of −2 00 c0
            ("<f2", vec![0, 0x3e, 0, 0xc0], DType::F32, [1.5, -2.0]),
            (
                "<i8",
                [7i64, -8].map(i64::to_le_bytes).concat(),
                DType::I64,
                [7.0, -8.0],
            ),
            (
                "<i4",
                [7i32, -8].map(i32::to_le_bytes).concat(),
                DType::I64,
                [7.0, -8.0],
            ),
            ("<i2", bytes(&[7, -8]), DType::I64, [7.0, -8.0]),
            ("|i1", vec![7, 248], DType::I64, [7.0, -8.0]),
            (
                "<u8",
                [7u64, 8].map(u64::to_le_bytes).concat(),
                DType::I64,
                [7.0, 8.0],
            ),
            (
                "<u4",
                [7u32, 8].map(u32::to_le_bytes).concat(),
                DType::U32,
                [7.0, 8.0],
            ),
            ("<u2", bytes(&[7, 8]), DType::U32, [7.0, 8.0]),
            ("|u1", vec![7, 255], DType::U8, [7.0, 255.0]),
            ("|b1", vec![0, 1], DType::U8, [0.0, 1.0]),
        ] {
            let found = read(&file(descr, false, "(2,)", &data)).unwrap();
            assert_eq!((found.dtype(), found.dims()), (dtype, &[2][..]), "{descr}");
            let found = found.to_dtype(DType::F64).unwrap();
            assert_eq!(to_f64(&found).unwrap(), expected, "{descr}");
        }
    }

    #[test]
    fn both_orders_and_numbers_without_axes() {
        let data: Vec<u8> = (1..=6).collect();
        let rows = |fortran| {
            let found = read(&file("|u1", fortran, "(2, 3)", &data)).unwrap();
            found.to_vec2::<u8>().unwrap()
        };
        assert_eq!(rows(false), [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(rows(true), [[1, 3, 5], [2, 4, 6]]);
        let one = read(&file("<f8", false, "()", &2.5f64.to_le_bytes())).unwrap();
        assert_eq!(one.to_scalar::<f64>().unwrap(), 2.5);
        let none = read(&file("<f4", false, "(0, 3)", &[])).unwrap();
        assert_eq!(none.dims(), [0, 3]);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let short = file("<f8", false, "(2,)", &[0; 15]);
        let huge = file("<f8", false, "(99999999999999999999,)", &[0; 8]);
        for (bytes, message) in [
            (short.as_slice(), "bytes, as its header says, found"),
            (&short[..30], "expected a whole array in the file"),
            (b"width,loss\n64,0.5", "no array of numpy"),
            (
                &file(">f8", false, "(1,)", &[0; 8]),
                "numbers of numpy's type >f8",
            ),
            (
                &file("<c16", false, "(1,)", &[0; 16]),
                "numbers of numpy's type <c16",
            ),
            (
                &file("<u8", false, "(1,)", &[255; 8]),
                "expected integers below 2^63",
            ),
            (&huge, "the header of an array"),
            (
                &file("<f8", false, "(4294967296, 4294967296)", &[0; 8]),
                "as its header says",
            ),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
    }
}
