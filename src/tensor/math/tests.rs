use super::*;
use crate::tensor::simd::simd;

/// One of these functions and libm's in f64.
type Pair<T> = (&'static str, fn(T) -> T, fn(f64) -> f64);

fn exact_sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}
fn exact_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}
fn exact_gaussian(x: f64) -> f64 {
    libm::exp(-0.5 * x * x)
}

fn all<T: Real>() -> [Pair<T>; 7] {
    [
        ("exp", exp, libm::exp),
        ("ln", ln, libm::log),
        ("tanh", tanh, libm::tanh),
        ("erf", erf, libm::erf),
        ("sigmoid", sigmoid, exact_sigmoid),
        ("normal_cdf", normal_cdf, exact_cdf),
        ("gaussian", gaussian, exact_gaussian),
    ]
}

/// The bound in units of the last place that the module's table gives.
fn bound(name: &str) -> f64 {
    match name {
        "tanh" => 2.5,
        "erf" | "gaussian" => 1.5,
        "sigmoid" => 3.0,
        "normal_cdf" => 7.0,
        _ => 1.1,
    }
}

/// Values of `function` at all of `x`, vectorised.
fn map<T: Real>(x: &[T], function: impl Fn(T) -> T) -> Vec<T> {
    let mut y = x.to_vec();
    simd(
        #[inline(always)]
        || y.iter_mut().for_each(|y| *y = function(*y)),
    );
    y
}

#[test]
fn f32_against_f64() {
    // every 20011th float of either sign: all exponents, 160 numbers in each octave pair
    let x: Vec<f32> = (0..0x7f80_0000u32)
        .step_by(20_011)
        .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
        .collect();
    for (name, function, exact) in all::<f32>() {
        for (x, y) in x.iter().zip(map(&x, function)) {
            let want = exact(f64::from(*x));
            if want.is_nan() || want.abs() > f64::from(f32::MAX) {
                assert!(f64::from(y) == f64::from(want as f32) || y.is_nan() == want.is_nan());
                continue;
            }
            let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
            let ulps = (f64::from(y) - want).abs() / (exponent - 23.0).exp2();
            assert!(ulps <= bound(name), "{name}({x:e}) = {y:e}: {ulps} ulp");
        }
    }
}

#[test]
fn f64_against_libm() {
    // libm's own error is at most 1 ulp, more where we compose functions
    for (name, function, exact) in all::<f64>() {
        for range in [1e-300, 1e-3, 0.3, 1.0, 6.0, 38.0, 700.0] {
            let x: Vec<f64> = (-2000..2000)
                .map(|i| range * (f64::from(i) + 0.37) / 2000.0)
                .collect();
            for (x, y) in x.iter().zip(map(&x, function)) {
                let want = exact(*x);
                if want.is_nan() {
                    assert!(y.is_nan(), "{name}({x:e}) = {y:e}");
                    continue;
                }
                let composed = matches!(name, "normal_cdf" | "gaussian" | "sigmoid");
                // the argument's rounding, which the reference does not make good
                let slack = if composed { 2.0 + x * x } else { 1.0 };
                let ulp = want.abs().max(f64::MIN_POSITIVE) * f64::EPSILON;
                let ulps = (y - want).abs() / ulp;
                assert!(
                    ulps <= bound(name) + slack,
                    "{name}({x:e}) = {y:e}: {ulps} ulp"
                );
            }
        }
    }
}

fn special_values<T: Real + std::fmt::Debug>() {
    let (zero, one, infinity) = (T::zero(), T::one(), T::infinity());
    let x = [infinity, -infinity, zero, -zero, T::nan()];
    let wanted = [
        ("exp", [infinity, zero, one, one]),
        ("ln", [infinity, T::nan(), -infinity, -infinity]),
        ("tanh", [one, -one, zero, -zero]),
        ("erf", [one, -one, zero, -zero]),
        ("sigmoid", [one, zero, T::HALF, T::HALF]),
        ("normal_cdf", [one, zero, T::HALF, T::HALF]),
        ("gaussian", [zero, zero, one, one]),
    ];
    for ((name, function, _), (same, wanted)) in all::<T>().into_iter().zip(wanted) {
        assert_eq!(name, same);
        let found = map(&x, function);
        assert!(found[4].is_nan(), "{name}(NaN) = {:?}", found[4]);
        for ((x, y), want) in x.iter().zip(found).zip(wanted) {
            let signs = y.is_sign_negative() == want.is_sign_negative();
            let right = y == want && signs || y.is_nan() && want.is_nan();
            assert!(right, "{name}({x:?}) = {y:?}, not {want:?}");
        }
    }
}

#[test]
fn special_values_of_both_types() {
    special_values::<f32>();
    special_values::<f64>();
}

#[test]
fn subnormal_numbers() {
    let tiny = [
        f32::from_bits(1),
        f32::from_bits(77_777),
        -f32::from_bits(3),
    ];
    assert_eq!(map(&tiny, tanh), tiny);
    assert_eq!(map(&tiny[..2], erf)[0], tiny[0]);
    assert_eq!(map(&[-103.0f32, -104.5], exp), [f32::from_bits(1), 0.0]);
    assert_eq!(map(&[-745.0f64, -745.5], exp), [f64::from_bits(1), 0.0]);
    assert!((map(&[f64::from_bits(1)], ln)[0] + 744.440_071_921_381_3).abs() < 2e-13);
}

#[test]
fn both_parts_of_the_sigmoid() {
    for x in [-800.0, -40.0, -1.0, 0.0, 0.3, 2.0, 36.8, 709.0] {
        let (s, rest) = sigmoid_pair(x);
        assert!((s - exact_sigmoid(x)).abs() <= 1e-15 * s, "{x}");
        assert!((rest - exact_sigmoid(-x)).abs() <= 1e-15 * rest, "{x}");
    }
}
