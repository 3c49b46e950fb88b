//! The formulas of the activations, without branches.
//!
//! Derivatives are written so that they lose no precision where they are small: from both σ and
//! 1 − σ rather than from one of them.

use crate::tensor::elem::Elem;
use crate::tensor::math::{erf, gaussian, normal_cdf, sigmoid, sigmoid_pair, tanh};

/// φ, φ' and φ'' of one activation.
pub(super) trait Formula: Copy + Send + Sync {
    fn value<T: Elem>(self, x: T) -> T;
    fn first<T: Elem>(self, x: T) -> T;
    fn second<T: Elem>(self, x: T) -> T;
}

/// The unit structure of an activation.
macro_rules! formula {
    ($name:ident, $T:ident, $x:ident => $value:expr, $first:expr, $second:expr) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Formula for $name {
            #[inline(always)]
            fn value<$T: Elem>(self, $x: $T) -> $T {
                $value
            }
            #[inline(always)]
            fn first<$T: Elem>(self, $x: $T) -> $T {
                $first
            }
            #[inline(always)]
            #[allow(unused_variables, reason = "some second derivatives are constant")]
            fn second<$T: Elem>(self, $x: $T) -> $T {
                $second
            }
        }
    };
}

// NaN passes through, as in PyTorch
formula!(Relu, T, x =>
    if x < T::zero() { T::zero() } else { x },
    if x <= T::zero() { T::zero() } else { T::one() },
    T::zero());

formula!(Gelu, T, x => x * normal_cdf(x), gelu_first(x), gelu_second(x));

formula!(GeluTanh, T, x => gelu_tanh(x), gelu_tanh_first(x), gelu_tanh_second(x));

formula!(Tanh, T, x => tanh(x), tanh_first(x), T::of(-2.0) * tanh(x) * tanh_first(x));

formula!(Erf, T, x => erf(x), erf_first(x), T::of(-2.0) * limited(x) * erf_first(x));

formula!(Silu, T, x => x * sigmoid(x), silu_first(x), silu_second(x));

formula!(Identity, T, x => x, constant(x, 1.0), constant(x, 0.0));

formula!(Quadratic, T, x => x * x, x + x, constant(x, 2.0));

/// `y`, whatever x is.
#[inline(always)]
fn constant<T: Elem>(_x: T, y: f64) -> T {
    T::of(y)
}

/// `x` within ±50, beyond which everything that decays is 0 and its powers shall stay finite.
#[inline(always)]
fn limited<T: Elem>(x: T) -> T {
    let limit = T::of(50.0);
    let x = if x > limit { limit } else { x };
    if x < -limit { -limit } else { x }
}

/// The density of the standard normal distribution.
#[inline(always)]
fn normal_density<T: Elem>(x: T) -> T {
    T::of(0.398_942_280_401_432_7) * gaussian(x)
}

#[inline(always)]
fn gelu_first<T: Elem>(x: T) -> T {
    limited(x).mul_add(normal_density(x), normal_cdf(x))
}

#[inline(always)]
fn gelu_second<T: Elem>(x: T) -> T {
    let near = limited(x);
    (T::TWO - near * near) * normal_density(x)
}

/// √(8/π): PyTorch's `tanh` approximation ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))) is x σ(u) with
/// u = √(8/π) (x + 0.044715 x³).
const GELU_TANH: f64 = 1.595_769_121_605_730_7;
const GELU_TANH_CUBIC: f64 = 0.044_715;

#[inline(always)]
fn gelu_tanh<T: Elem>(x: T) -> T {
    let u = T::of(GELU_TANH) * x * (x * x).mul_add(T::of(GELU_TANH_CUBIC), T::one());
    x * sigmoid(u)
}

/// σ(u), 1 − σ(u), u' and the x within limits.
#[inline(always)]
fn gelu_tanh_parts<T: Elem>(x: T) -> (T, T, T, T) {
    let x = limited(x);
    let square = x * x;
    let u = T::of(GELU_TANH) * x * square.mul_add(T::of(GELU_TANH_CUBIC), T::one());
    let (s, rest) = sigmoid_pair(u);
    let slope = square.mul_add(T::of(3.0 * GELU_TANH * GELU_TANH_CUBIC), T::of(GELU_TANH));
    (s, rest, slope, x)
}

#[inline(always)]
fn gelu_tanh_first<T: Elem>(x: T) -> T {
    let (s, rest, slope, x) = gelu_tanh_parts(x);
    (x * slope).mul_add(s * rest, s)
}

#[inline(always)]
fn gelu_tanh_second<T: Elem>(x: T) -> T {
    let (s, rest, slope, x) = gelu_tanh_parts(x);
    let bend = T::of(6.0 * GELU_TANH * GELU_TANH_CUBIC) * x;
    let inner = T::TWO * slope + x * (bend + (rest - s) * slope * slope);
    s * rest * inner
}

/// 1 − tanh² = 4 σ(2x) (1 − σ(2x)).
#[inline(always)]
fn tanh_first<T: Elem>(x: T) -> T {
    let (s, rest) = sigmoid_pair(x + x);
    T::of(4.0) * s * rest
}

#[inline(always)]
fn erf_first<T: Elem>(x: T) -> T {
    // exp(−x²) = exp(−½ (√2 x)²); the rounding of √2 x matters only where the result is small
    T::of(std::f64::consts::FRAC_2_SQRT_PI) * gaussian(x * T::of(std::f64::consts::SQRT_2))
}

#[inline(always)]
fn silu_first<T: Elem>(x: T) -> T {
    let (s, rest) = sigmoid_pair(x);
    (x * rest).mul_add(s, s)
}

#[inline(always)]
fn silu_second<T: Elem>(x: T) -> T {
    let (s, rest) = sigmoid_pair(x);
    s * rest * x.mul_add(rest - s, T::TWO)
}
