//! The hyperbolic tangent and the logistic function.

use super::{Real, at_most, exp, exp::reduced};

/// tanh x = e / (e + 2) with e = exp(2 x) − 1, which is found without cancellation.
#[inline(always)]
pub fn tanh<T: Real>(x: T) -> T {
    let (rounded, p) = reduced(T::TWO * at_most(x.abs(), T::TANH_MAX));
    let power = T::power_of_two(rounded);
    let e = power.mul_add(p, power - T::one());
    (e / (e + T::TWO)).copysign(x)
}

/// 1 / (1 + exp(−x)).
#[inline(always)]
pub fn sigmoid<T: Real>(x: T) -> T {
    sigmoid_pair(x).0
}

/// σ(x) = 1 / (1 + exp(−x)) and 1 − σ(x), both to full relative precision.
#[inline(always)]
pub fn sigmoid_pair<T: Real>(x: T) -> (T, T) {
    let e = exp(-x.abs());
    let large = (T::one() + e).recip();
    let small = e * large;
    if x < T::zero() {
        (small, large)
    } else {
        (large, small)
    }
}
