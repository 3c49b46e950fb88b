//! Making the examples of a batch in parallel, each from its own position.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::stream::{Batch, Labels};
use crate::error::Result;
use crate::memory::{self, Number};

/// Zeros, or an error where memory for them cannot be had.
fn zeros<T: Number>(name: &str, size: usize, each: usize) -> Result<Vec<T>> {
    let help = "a smaller batch or `test_size` needs less";
    let name = format!("{name} of {size} examples");
    memory::room(&name, &[size, each], size_of::<T>())
        .and_then(|()| memory::numbers(&name, &[size, each]))
        .map_err(|e| e.with_help(help))
}

/// Makes `size` examples with `f(index, input, target)`, where `input` has `inputs` numbers and
/// `target` has `targets`; both are zero on entry. Threads share the examples, never one example.
/// An error is that of the first example that fails.
fn fill<T: Number + Send>(
    size: usize,
    inputs: usize,
    targets: usize,
    f: impl Fn(usize, &mut [f32], &mut [T]) -> Result<()> + Sync,
) -> Result<(Vec<f32>, Vec<T>)> {
    let mut x = zeros("inputs", size, inputs)?;
    let mut y = zeros("labels", size, targets)?;
    let failed = x
        .par_chunks_exact_mut(inputs)
        .zip(y.par_chunks_exact_mut(targets))
        .enumerate()
        // the first one that fails, whichever thread comes first
        .find_map_first(|(i, (x, y))| f(i, x, y).err());
    match failed {
        Some(error) => Err(error),
        None => Ok((x, y)),
    }
}

fn with_batch_axis(size: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(size).chain(shape.iter().copied()).collect()
}

/// A batch of classified examples: `f(index, input)` fills the input and gives its class.
pub(crate) fn classes(
    size: usize,
    shape: &[usize],
    f: impl Fn(usize, &mut [f32]) -> u32 + Sync,
) -> Result<Batch> {
    fallible_classes(size, shape, |i, x| Ok(f(i, x)))
}

/// A batch of classified examples that may fail, for instance to be read.
pub(crate) fn fallible_classes(
    size: usize,
    shape: &[usize],
    f: impl Fn(usize, &mut [f32]) -> Result<u32> + Sync,
) -> Result<Batch> {
    fallible_classes_at(size, shape, &[], |i, x, y| {
        y[0] = f(i, x)?;
        Ok(())
    })
}

/// A batch with a class at each of several positions: `f(index, input, classes)` fills both.
pub(crate) fn classes_at(
    size: usize,
    shape: &[usize],
    positions: &[usize],
    f: impl Fn(usize, &mut [f32], &mut [u32]) + Sync,
) -> Result<Batch> {
    fallible_classes_at(size, shape, positions, |i, x, y| {
        f(i, x, y);
        Ok(())
    })
}

fn fallible_classes_at(
    size: usize,
    shape: &[usize],
    positions: &[usize],
    f: impl Fn(usize, &mut [f32], &mut [u32]) -> Result<()> + Sync,
) -> Result<Batch> {
    let (inputs, targets) = (shape.iter().product(), positions.iter().product());
    let (x, y) = fill(size, inputs, targets, f)?;
    let classes = Tensor::from_vec(y, with_batch_axis(size, positions), &Device::Cpu)?;
    Ok(Batch {
        inputs: Tensor::from_vec(x, with_batch_axis(size, shape), &Device::Cpu)?,
        labels: Labels::Classes(classes),
    })
}

/// A batch of examples with real targets: `f(index, input, target)` fills both.
pub(crate) fn values(
    size: usize,
    shape: &[usize],
    outputs: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> Result<Batch> {
    let inputs = shape.iter().product();
    let (x, y) = fill(size, inputs, outputs, |i, x, y| {
        f(i, x, y);
        Ok(())
    })?;
    Ok(Batch {
        inputs: Tensor::from_vec(x, with_batch_axis(size, shape), &Device::Cpu)?,
        labels: Labels::Values(Tensor::from_vec(y, (size, outputs), &Device::Cpu)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn too_large_a_batch_is_an_error() {
        for (size, shape) in [(usize::MAX, 2), (1 << 24, 1 << 36)] {
            let error = classes(size, &[shape], |_, _| 0).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Memory);
            let start = format!("not enough memory: inputs of {size} examples ");
            assert!(error.message.starts_with(&start), "{error}");
        }
    }
}
