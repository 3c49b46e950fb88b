//! Sums and scalings of slices and whole tensors, in an order that does not depend on threads.

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{Elem, dispatch, read, write};
use super::parallel::{CHUNK, PARALLEL, chunks};
use crate::error::{Error, Result};

/// `y = skip + scale · branch`, the join of a residual block.
pub fn add_scaled<T: Elem>(y: &mut [T], skip: &[T], branch: &[T], scale: f64) {
    let scale = T::of(scale);
    chunks(y, |at, y| {
        for ((y, s), b) in y.iter_mut().zip(&skip[at..]).zip(&branch[at..]) {
            *y = *s + scale * *b;
        }
    });
}

/// `dst += scale · src`.
pub fn accumulate<T: Elem>(dst: &mut [T], src: &[T], scale: f64) {
    let scale = T::of(scale);
    chunks(dst, |at, dst| {
        for (d, s) in dst.iter_mut().zip(&src[at..]) {
            *d += scale * *s;
        }
    });
}

/// `dst = scale · src`.
pub fn copy_scaled<T: Elem>(dst: &mut [T], src: &[T], scale: f64) {
    let scale = T::of(scale);
    chunks(dst, |at, dst| {
        for (d, s) in dst.iter_mut().zip(&src[at..]) {
            *d = scale * *s;
        }
    });
}

/// Limits every number to [−limit, limit].
pub fn clamp<T: Elem>(numbers: &mut [T], limit: f64) {
    let limit = T::of(limit);
    chunks(numbers, |_, c| {
        c.iter_mut()
            .for_each(|x| *x = num_traits::clamp(*x, -limit, limit));
    });
}

/// Multiplies every number by `factor`.
pub fn scale<T: Elem>(numbers: &mut [T], factor: f64) {
    if factor != 1.0 {
        let factor = T::of(factor);
        chunks(numbers, |_, c| c.iter_mut().for_each(|x| *x *= factor));
    }
}

/// Sum of squares, in f64.
pub fn squared_norm<T: Elem>(numbers: &[T]) -> f64 {
    dot(numbers, numbers)
}

/// Inner product, in f64.
pub fn dot<T: Elem>(a: &[T], b: &[T]) -> f64 {
    let sum = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
    if a.len() < PARALLEL {
        return a.chunks(CHUNK).zip(b.chunks(CHUNK)).map(sum).sum();
    }
    let partial: Vec<f64> = a
        .par_chunks(CHUNK)
        .zip(b.par_chunks(CHUNK))
        .map(sum)
        .collect();
    partial.iter().sum()
}

/// Copies the numbers of `src` into `dst`, of the same element type.
///
/// # Errors
/// If the sizes differ.
pub fn copy(dst: &Tensor, src: &Tensor) -> Result<()> {
    if dst.elem_count() != src.elem_count() {
        return Err(Error::shape(format!(
            "copy: {:?} and {:?} must have the same shape",
            dst.dims(),
            src.dims()
        )));
    }
    dispatch!(dst, T => read(src, |src: &[T]| write(dst, |dst: &mut [T]| {
        copy_scaled(dst, src, 1.0);
        Ok(())
    })))
}

/// Sum of squares of each member's part of `t [members, …]`, in f64.
///
/// # Errors
/// If the tensor is not a contiguous f32 or f64 tensor.
pub fn squared_norms(t: &Tensor) -> Result<Vec<f64>> {
    let members = t.dims().first().copied().unwrap_or(1);
    let per_member = (t.elem_count() / members.max(1)).max(1);
    dispatch!(t, T => read(t, |data: &[T]| Ok(data.chunks(per_member).map(squared_norm).collect())))
}
