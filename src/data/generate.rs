//! Making the examples of a batch in parallel, each from its own position.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::stream::{Batch, Labels};
use crate::error::Result;

/// Makes `size` examples with `f(index, input, target)`, where `input` has `inputs` numbers and
/// `target` has `targets`; both are zero on entry. Threads share the examples, never one example.
fn fill<T: Copy + Default + Send>(
    size: usize,
    inputs: usize,
    targets: usize,
    f: impl Fn(usize, &mut [f32], &mut [T]) + Sync,
) -> (Vec<f32>, Vec<T>) {
    let mut x = vec![0f32; size * inputs];
    let mut y = vec![T::default(); size * targets];
    x.par_chunks_exact_mut(inputs)
        .zip(y.par_chunks_exact_mut(targets))
        .enumerate()
        .for_each(|(i, (x, y))| f(i, x, y));
    (x, y)
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
    let inputs = shape.iter().product();
    let (x, y) = fill(size, inputs, 1, |i, x, y: &mut [u32]| y[0] = f(i, x));
    Ok(Batch {
        inputs: Tensor::from_vec(x, with_batch_axis(size, shape), &Device::Cpu)?,
        labels: Labels::Classes(Tensor::from_vec(y, size, &Device::Cpu)?),
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
    let (x, y) = fill(size, inputs, outputs, f);
    Ok(Batch {
        inputs: Tensor::from_vec(x, with_batch_axis(size, shape), &Device::Cpu)?,
        labels: Labels::Values(Tensor::from_vec(y, (size, outputs), &Device::Cpu)?),
    })
}
