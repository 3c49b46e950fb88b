//! Sums and scalings over whole tensors, in an order that does not depend on threads.

use candle_core::Tensor;
use rayon::prelude::*;

use super::elem::{Elem, dispatch, read, write};
use crate::error::{Error, Result};

/// Numbers per task; also the grain of sums, whose partial results are added in order.
pub(super) const CHUNK: usize = 1 << 14;

fn same_shape(a: &Tensor, b: &Tensor, what: &str) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{what}: {:?} and {:?} must have the same shape",
        a.dims(),
        b.dims()
    )))
}

/// `y = skip + scale · branch`, the join of a residual block. `skip` or `branch` may have one
/// leading entry that all members share.
///
/// # Errors
/// If the shapes do not fit.
pub fn add_scaled(y: &Tensor, skip: &Tensor, branch: &Tensor, scale: f64) -> Result<()> {
    for part in [skip, branch] {
        if part.dims()[1..] != y.dims()[1..] || ![1, y.dims()[0]].contains(&part.dims()[0]) {
            return Err(Error::shape(format!(
                "residual: skip {:?} and branch {:?} must have the same shape",
                &skip.dims()[1..],
                &branch.dims()[1..]
            )));
        }
    }
    dispatch!(y, T => read(skip, |ss: &[T]| read(branch, |bs: &[T]| write(y, |ys: &mut [T]| {
        let scale = <T as Elem>::of(scale);
        let per_member = (ys.len() / y.dims()[0].max(1)).max(1);
        ys.par_chunks_mut(per_member).enumerate().for_each(|(member, ys)| {
            let of = |data: &'_ [T]| if data.len() == per_member { 0 } else { member * per_member };
            let s = &ss[of(ss)..][..per_member];
            let b = &bs[of(bs)..][..per_member];
            for ((y, s), b) in ys.iter_mut().zip(s).zip(b) {
                *y = *s + scale * *b;
            }
        });
        Ok(())
    }))))
}

/// `dst += scale · src`.
///
/// # Errors
/// If the shapes differ.
pub fn accumulate(dst: &Tensor, src: &Tensor, scale: f64) -> Result<()> {
    same_shape(dst, src, "accumulate")?;
    dispatch!(dst, T => read(src, |src: &[T]| write(dst, |dst: &mut [T]| {
        let scale = <T as Elem>::of(scale);
        dst.par_chunks_mut(CHUNK).zip(src.par_chunks(CHUNK)).for_each(|(dst, src)| {
            for (d, s) in dst.iter_mut().zip(src) {
                *d += scale * *s;
            }
        });
        Ok(())
    })))
}

/// `dst = scale · src`.
///
/// # Errors
/// If the sizes differ.
pub fn copy_scaled(dst: &Tensor, src: &Tensor, scale: f64) -> Result<()> {
    if dst.elem_count() != src.elem_count() {
        same_shape(dst, src, "copy")?;
    }
    dispatch!(dst, T => read(src, |src: &[T]| write(dst, |dst: &mut [T]| {
        let scale = <T as Elem>::of(scale);
        dst.par_chunks_mut(CHUNK).zip(src.par_chunks(CHUNK)).for_each(|(dst, src)| {
            for (d, s) in dst.iter_mut().zip(src) {
                *d = scale * *s;
            }
        });
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
    dispatch!(t, T => read(t, |data: &[T]| {
        Ok(data
            .chunks(per_member)
            .map(|member| {
                let partial: Vec<f64> = member
                    .par_chunks(CHUNK)
                    .map(|chunk| chunk.iter().map(|x| x.f64() * x.f64()).sum())
                    .collect();
                partial.iter().sum()
            })
            .collect())
    }))
}

/// Multiplies each member's part of `t [members, …]` by its own factor.
///
/// # Errors
/// If there is not one factor per member.
pub fn scale_members(t: &Tensor, factors: &[f64]) -> Result<()> {
    let members = t.dims().first().copied().unwrap_or(1);
    if factors.len() != members {
        return Err(Error::shape(format!(
            "{} factors for {members} members",
            factors.len()
        )));
    }
    let per_member = (t.elem_count() / members.max(1)).max(1);
    dispatch!(t, T => write(t, |data: &mut [T]| {
        for (part, &factor) in data.chunks_mut(per_member).zip(factors) {
            if factor != 1.0 {
                let factor = <T as Elem>::of(factor);
                part.par_chunks_mut(CHUNK).for_each(|c| c.iter_mut().for_each(|x| *x *= factor));
            }
        }
        Ok(())
    }))
}

/// Limits every number of `t` to [−limit, limit].
///
/// # Errors
/// If the tensor is not a contiguous f32 or f64 tensor.
pub fn clamp(t: &Tensor, limit: f64) -> Result<()> {
    dispatch!(t, T => write(t, |data: &mut [T]| {
        let limit = <T as Elem>::of(limit);
        data.par_chunks_mut(CHUNK).for_each(|c| {
            c.iter_mut().for_each(|x| *x = num_traits::clamp(*x, -limit, limit));
        });
        Ok(())
    }))
}
