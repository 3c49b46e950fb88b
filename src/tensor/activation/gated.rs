//! Gated linear units over rows (Shazeer, arXiv 2002.05202): from `x [rows, 2 · width]`, gate `a` before
//! value `b`, to `y [rows, width]` with `y = φ(a) · b`.

use super::Activation;
use super::formula::Formula;
use super::pointwise::with_formula;
use crate::tensor::elem::Elem;
use crate::tensor::parallel::row_blocks;
use crate::tensor::simd::simd;

/// `y = φ(a) · b`.
pub fn forward<T: Elem>(activation: Activation, width: usize, x: &[T], y: &mut [T]) {
    debug_assert_eq!(x.len(), 2 * y.len());
    with_formula!(activation, formula => row_blocks(y, width, |start, y| {
        let x = &x[2 * start..][..2 * y.len()];
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
            let (a, b) = x.split_at(width);
            simd(#[inline(always)] || values(formula, a, b, y));
        }
    }));
}

/// `gx`: `ga = gy · φ'(a) · b` and `gb = gy · φ(a)`.
pub fn backward<T: Elem>(activation: Activation, width: usize, x: &[T], gy: &[T], gx: &mut [T]) {
    debug_assert_eq!((x.len(), 2 * gy.len()), (gx.len(), gx.len()));
    with_formula!(activation, formula => row_blocks(gx, 2 * width, |start, gx| {
        let (x, gy) = (&x[start..][..gx.len()], &gy[start / 2..][..gx.len() / 2]);
        let rows = x.chunks_exact(2 * width).zip(gy.chunks_exact(width));
        for (gx, (x, gy)) in gx.chunks_exact_mut(2 * width).zip(rows) {
            let ((ga, gb), (a, b)) = (gx.split_at_mut(width), x.split_at(width));
            simd(#[inline(always)] || slopes(formula, [a, b, gy], ga, gb));
        }
    }));
}

/// The derivative of [`forward`] along `dx`: `dy = φ'(a) · da · b + φ(a) · db`.
pub fn tangent<T: Elem>(activation: Activation, width: usize, x: &[T], dx: &[T], dy: &mut [T]) {
    debug_assert_eq!((x.len(), dx.len()), (2 * dy.len(), 2 * dy.len()));
    with_formula!(activation, formula => row_blocks(dy, width, |start, dy| {
        let [x, dx] = [x, dx].map(|s| &s[2 * start..][..2 * dy.len()]);
        let rows = x.chunks_exact(2 * width).zip(dx.chunks_exact(2 * width));
        for (dy, (x, dx)) in dy.chunks_exact_mut(width).zip(rows) {
            let ((a, b), (da, db)) = (x.split_at(width), dx.split_at(width));
            simd(#[inline(always)] || along(formula, [a, b, da, db], dy));
        }
    }));
}

/// The derivative of [`backward`] along `dx` and `dgy`.
pub fn backward_tangent<T: Elem>(
    activation: Activation,
    width: usize,
    (x, dx): (&[T], &[T]),
    (gy, dgy): (&[T], &[T]),
    dgx: &mut [T],
) {
    debug_assert_eq!((x.len(), dx.len()), (dgx.len(), dgx.len()));
    debug_assert_eq!((2 * gy.len(), 2 * dgy.len()), (dgx.len(), dgx.len()));
    with_formula!(activation, formula => row_blocks(dgx, 2 * width, |start, dgx| {
        let [x, dx] = [x, dx].map(|s| &s[start..][..dgx.len()]);
        let [gy, dgy] = [gy, dgy].map(|s| &s[start / 2..][..dgx.len() / 2]);
        for (i, dgx) in dgx.chunks_exact_mut(2 * width).enumerate() {
            let [x, dx] = [x, dx].map(|s| s[2 * i * width..][..2 * width].split_at(width));
            let [gy, dgy] = [gy, dgy].map(|s| &s[i * width..][..width]);
            let (ga, gb) = dgx.split_at_mut(width);
            simd(#[inline(always)] || bends(formula, [x.0, x.1, dx.0, dx.1], [gy, dgy], ga, gb));
        }
    }));
}

#[inline(always)]
fn values<T: Elem>(formula: impl Formula, a: &[T], b: &[T], y: &mut [T]) {
    for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
        *y = formula.value(*a) * *b;
    }
}

#[inline(always)]
fn slopes<T: Elem>(formula: impl Formula, [a, b, gy]: [&[T]; 3], ga: &mut [T], gb: &mut [T]) {
    let at = a.iter().zip(b).zip(gy);
    for ((ga, gb), ((a, b), gy)) in ga.iter_mut().zip(gb).zip(at) {
        *ga = *gy * formula.first(*a) * *b;
        *gb = *gy * formula.value(*a);
    }
}

#[inline(always)]
fn along<T: Elem>(formula: impl Formula, [a, b, da, db]: [&[T]; 4], dy: &mut [T]) {
    let at = a.iter().zip(b).zip(da.iter().zip(db));
    for (dy, ((a, b), (da, db))) in dy.iter_mut().zip(at) {
        *dy = (formula.first(*a) * *da).mul_add(*b, formula.value(*a) * *db);
    }
}

#[inline(always)]
fn bends<T: Elem>(
    formula: impl Formula,
    [a, b, da, db]: [&[T]; 4],
    [gy, dgy]: [&[T]; 2],
    ga: &mut [T],
    gb: &mut [T],
) {
    let at = a
        .iter()
        .zip(b)
        .zip(da.iter().zip(db))
        .zip(gy.iter().zip(dgy));
    for ((ga, gb), (((a, b), (da, db)), (gy, dgy))) in ga.iter_mut().zip(gb).zip(at) {
        let (value, first) = (formula.value(*a), formula.first(*a));
        let moved = (formula.second(*a) * *da).mul_add(*b, first * *db);
        *ga = (*dgy * first).mul_add(*b, *gy * moved);
        *gb = (*dgy).mul_add(value, *gy * first * *da);
    }
}
