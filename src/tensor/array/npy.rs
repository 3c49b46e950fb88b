//! Tensors as files that `numpy.load` reads.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// The bytes of a `.npy` file (format version 1.0) with the tensor's numbers: row by row, little-endian,
/// in the tensor's type; bf16, which numpy lacks, as f32.
///
/// # Errors
/// If the type is none of numpy's.
pub fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.to_device(&Device::Cpu)?;
    let tensor = match tensor.dtype() {
        DType::BF16 => tensor.to_dtype(DType::F32)?,
        _ => tensor,
    };
    let flat = tensor.flatten_all()?;
    let (kind, data) = match tensor.dtype() {
        DType::F64 => (
            "<f8",
            flat.to_vec1::<f64>()?
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        DType::F32 => (
            "<f4",
            flat.to_vec1::<f32>()?
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        DType::I64 => (
            "<i8",
            flat.to_vec1::<i64>()?
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        DType::U32 => (
            "<u4",
            flat.to_vec1::<u32>()?
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        ),
        DType::U8 => ("|u1", flat.to_vec1::<u8>()?),
        other => {
            return Err(Error::other(format!(
                "a tensor of {other:?} has no type of numpy's"
            )));
        }
    };
    let shape: String = tensor.dims().iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!(
        "{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}",
        shape.trim_end()
    );
    // the data begins at a multiple of 64 bytes; 10 are before the header, and a line feed ends it
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend::<Vec<u8>>(data);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reader_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let cpu = Device::Cpu;
        for tensor in [
            Tensor::new(&[[1f64, -2.5, 1e-300], [f64::NAN, 4.0, 5.0]], &cpu).unwrap(),
            Tensor::new(&[1f32, 0.1], &cpu).unwrap(),
            Tensor::new(&[[[7u32]], [[9]]], &cpu).unwrap(),
            Tensor::new(&[-3i64, i64::MAX], &cpu).unwrap(),
            Tensor::new(2.5f64, &cpu).unwrap(),
        ] {
            let written = bytes(&tensor).unwrap();
            let data = tensor.elem_count() * tensor.dtype().size_in_bytes();
            assert!((written.len() - data).is_multiple_of(64));
            std::fs::write(&path, written).unwrap();
            let back = Tensor::read_npy(&path).unwrap();
            assert_eq!((back.dims(), back.dtype()), (tensor.dims(), tensor.dtype()));
            assert_eq!(format!("{back}"), format!("{tensor}"));
        }
    }
}
