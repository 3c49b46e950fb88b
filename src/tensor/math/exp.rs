//! The exponential function.

use super::{Real, at_least, at_most, polynomial};

/// `x` between the numbers where exp is 0 and infinite, as `n ln 2 + r` with |r| ≤ ln(2)/2: `n +
/// ROUND`, and exp(r) − 1.
#[inline(always)]
pub(super) fn reduced<T: Real>(x: T) -> (T, T) {
    let rounded = x.mul_add(T::LOG2_E, T::ROUND);
    let n = rounded - T::ROUND;
    let r = n.mul_add(-T::LN_2_LOW, n.mul_add(-T::LN_2_HIGH, x));
    (rounded, (polynomial(r, T::EXP) * r).mul_add(r, r))
}

/// e^x.
#[inline(always)]
pub fn exp<T: Real>(x: T) -> T {
    let (rounded, p) = reduced(at_least(at_most(x, T::EXP_MAX), T::EXP_MIN));
    (p + T::one()).times_power_of_two(rounded)
}
