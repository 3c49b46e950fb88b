//! The error function, and the normal distribution.

use super::{Real, at_most, exp, polynomial};

/// exp(−s x²), `scale` being s, a power of two, for finite x. The square is kept in two parts, since
/// its rounding error would be a relative error of the result.
#[inline(always)]
fn exp_of_square<T: Real>(x: T, scale: T) -> T {
    let square = x * x;
    let rest = x.mul_add(x, -square);
    let e = exp(-scale * square);
    (-scale * rest).mul_add(e, e)
}

/// exp(x²) erfc(x) for x from 0 to where erfc is 0.
#[inline(always)]
fn scaled_erfc<T: Real>(x: T) -> T {
    polynomial(x, T::ERFCX_NUMERATOR) / polynomial(x, T::ERFCX_DENOMINATOR)
}

/// The error function.
#[inline(always)]
pub fn erf<T: Real>(x: T) -> T {
    let a = at_most(x.abs(), T::GAUSSIAN_MAX);
    let small = polynomial(a * a, T::ERF).mul_add(a, a);
    let large = T::one() - exp_of_square(a, T::one()) * scaled_erfc(a);
    (if a < T::ERF_SMALL { small } else { large }).copysign(x)
}

/// exp(−x²/2).
#[inline(always)]
pub fn gaussian<T: Real>(x: T) -> T {
    exp_of_square(at_most(x.abs(), T::GAUSSIAN_MAX), T::HALF)
}

/// The distribution function of the standard normal distribution, precise in its lower tail too.
#[inline(always)]
pub fn normal_cdf<T: Real>(x: T) -> T {
    let tail =
        T::HALF * gaussian(x) * scaled_erfc(at_most(x.abs(), T::GAUSSIAN_MAX) * T::FRAC_1_SQRT_2);
    if x > T::zero() { T::one() - tail } else { tail }
}
