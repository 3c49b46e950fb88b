//! Activations over slices. All slices of a call have the same length.

use super::Activation;
use super::formula::Formula;
use crate::tensor::elem::Elem;
use crate::tensor::parallel::chunks;
use crate::tensor::simd::simd;

/// Runs an expression with `$formula` set to the activation's formula.
macro_rules! with_formula {
    ($activation:expr, $formula:ident => $body:expr) => {
        match $activation {
            $crate::tensor::activation::Activation::Relu => {
                let $formula = $crate::tensor::activation::formula::Relu;
                $body
            }
            $crate::tensor::activation::Activation::Gelu => {
                let $formula = $crate::tensor::activation::formula::Gelu;
                $body
            }
            $crate::tensor::activation::Activation::GeluTanh => {
                let $formula = $crate::tensor::activation::formula::GeluTanh;
                $body
            }
            $crate::tensor::activation::Activation::Tanh => {
                let $formula = $crate::tensor::activation::formula::Tanh;
                $body
            }
            $crate::tensor::activation::Activation::Erf => {
                let $formula = $crate::tensor::activation::formula::Erf;
                $body
            }
            $crate::tensor::activation::Activation::Silu => {
                let $formula = $crate::tensor::activation::formula::Silu;
                $body
            }
            $crate::tensor::activation::Activation::Identity => {
                let $formula = $crate::tensor::activation::formula::Identity;
                $body
            }
            $crate::tensor::activation::Activation::Quadratic => {
                let $formula = $crate::tensor::activation::formula::Quadratic;
                $body
            }
        }
    };
}
pub(super) use with_formula;

/// `y = φ(x)`.
pub fn forward<T: Elem>(activation: Activation, x: &[T], y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    with_formula!(activation, formula => chunks(y, |start, y| {
        let x = &x[start..][..y.len()];
        simd(#[inline(always)] || values(formula, x, y));
    }));
}

/// `gx = gy · φ'(x)`.
pub fn backward<T: Elem>(activation: Activation, x: &[T], gy: &[T], gx: &mut [T]) {
    debug_assert_eq!((x.len(), gy.len()), (gx.len(), gx.len()));
    with_formula!(activation, formula => chunks(gx, |start, gx| {
        let [x, gy] = [x, gy].map(|s| &s[start..][..gx.len()]);
        simd(#[inline(always)] || slopes(formula, x, gy, gx));
    }));
}

/// The derivative of [`forward`] along `dx`: `dy = φ'(x) · dx`.
pub fn tangent<T: Elem>(activation: Activation, x: &[T], dx: &[T], dy: &mut [T]) {
    backward(activation, x, dx, dy);
}

/// The derivative of [`backward`] along `dx` and `dgy`: `dgx = dgy · φ'(x) + gy · φ''(x) · dx`.
pub fn backward_tangent<T: Elem>(
    activation: Activation,
    (x, dx): (&[T], &[T]),
    (gy, dgy): (&[T], &[T]),
    dgx: &mut [T],
) {
    debug_assert_eq!((x.len(), dx.len()), (dgx.len(), dgx.len()));
    debug_assert_eq!((gy.len(), dgy.len()), (dgx.len(), dgx.len()));
    with_formula!(activation, formula => chunks(dgx, |start, dgx| {
        let [x, dx, gy, dgy] = [x, dx, gy, dgy].map(|s| &s[start..][..dgx.len()]);
        simd(#[inline(always)] || bends(formula, [x, dx, gy, dgy], dgx));
    }));
}

#[inline(always)]
fn values<T: Elem>(formula: impl Formula, x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = formula.value(*x);
    }
}

#[inline(always)]
fn slopes<T: Elem>(formula: impl Formula, x: &[T], gy: &[T], gx: &mut [T]) {
    for (gx, (x, gy)) in gx.iter_mut().zip(x.iter().zip(gy)) {
        *gx = *gy * formula.first(*x);
    }
}

#[inline(always)]
fn bends<T: Elem>(formula: impl Formula, [x, dx, gy, dgy]: [&[T]; 4], dgx: &mut [T]) {
    let at = x.iter().zip(dx).zip(gy.iter().zip(dgy));
    for (dgx, ((x, dx), (gy, dgy))) in dgx.iter_mut().zip(at) {
        let along = *gy * *dx;
        *dgx = formula.second(*x).mul_add(along, *dgy * formula.first(*x));
    }
}
