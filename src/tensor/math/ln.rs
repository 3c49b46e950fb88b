//! The natural logarithm.

use super::{Real, polynomial};

/// ln x; −∞ at 0, NaN below.
///
/// As in fdlibm: with f = m − 1 and s = f / (2 + f), ln m = 2 s + s³ R(s²) is summed so that small f
/// lose no digits.
#[inline(always)]
pub fn ln<T: Real>(x: T) -> T {
    let (m, n) = x.split();
    let f = m - T::one();
    let s = f / (f + T::TWO);
    let square = s * s;
    let half = T::HALF * f * f;
    let tail = s * (half + square * polynomial(square, T::LN));
    let y = n.mul_add(T::LN_2_HIGH, f - (half - n.mul_add(T::LN_2_LOW, tail)));
    if x > T::zero() && x < T::infinity() {
        y
    } else if x == T::zero() {
        T::neg_infinity()
    } else if x < T::zero() {
        T::nan()
    } else {
        x
    }
}
