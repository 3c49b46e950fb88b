use super::pointwise::{backward, backward_tangent, forward, tangent};
use super::*;
use proptest::prelude::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = crate::tensor::rng::Key::new(seed).rng();
    (0..n).map(|_| 2.0 * rng.normal()).collect()
}

#[test]
fn derivatives_by_central_differences() {
    let h = 1e-5;
    for activation in Activation::ALL {
        for i in -60..60 {
            let x = 0.1 * f64::from(i) + 0.037;
            let slope = |f: &dyn Fn(f64) -> f64| (f(x + h) - f(x - h)) / (2.0 * h);
            let first = slope(&|x| activation.value(x));
            assert!(
                (activation.derivative(x) - first).abs() < 1e-8,
                "{activation:?}' at {x}"
            );
            let second = slope(&|x| activation.derivative(x));
            let found = activation.second_derivative(x);
            assert!(
                (found - second).abs() < 1e-8,
                "{activation:?}'' at {x}: {found} {second}"
            );
        }
    }
}

#[test]
fn derivatives_far_out_are_their_limits() {
    fn check<T: Elem>(far: &[f64]) {
        for activation in Activation::ALL {
            let (left, right) = match activation {
                Activation::Identity => (1.0, 1.0),
                Activation::Quadratic => continue,
                Activation::Tanh | Activation::Erf => (0.0, 0.0),
                _ => (0.0, 1.0),
            };
            for &x in far {
                let x = <T as Elem>::of(x);
                for (x, slope) in [(-x, left), (x, right)] {
                    assert_eq!(
                        activation.derivative(x).f64(),
                        slope,
                        "{activation:?}' at {x}"
                    );
                    assert_eq!(
                        activation.second_derivative(x).f64(),
                        0.0,
                        "{activation:?}'' at {x}"
                    );
                }
            }
        }
    }
    check::<f32>(&[200.0, 1e13, 1e38]);
    check::<f64>(&[800.0, 1e20, 1e110, 1e300]);
}

#[test]
fn lower_tails_keep_their_precision() {
    // x Φ(x) at −6, where 1 + erf has lost all digits in f32; from scipy: -6 * norm.cdf(-6)
    let wanted = -5.9195258702261885e-09;
    for (found, bound) in [
        (Activation::Gelu.value(-6.0f64), 1e-14),
        (f64::from(Activation::Gelu.value(-6.0f32)), 1e-6),
    ] {
        assert!((found / wanted - 1.0).abs() < bound, "{found:e}");
    }
}

#[test]
fn nan_passes_through() {
    for activation in Activation::ALL {
        assert!(activation.value(f32::NAN).is_nan(), "{activation:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn slices_hold_the_values(n in 0usize..200, seed in any::<u64>()) {
        let [x, dx, gy, dgy] = [0, 1, 2, 3].map(|i| numbers(seed.wrapping_add(i), n));
        for a in Activation::ALL {
            let mut y = vec![f64::NAN; n];
            forward(a, &x, &mut y);
            prop_assert!((0..n).all(|i| y[i].to_bits() == a.value(x[i]).to_bits()));
            backward(a, &x, &gy, &mut y);
            prop_assert!((0..n).all(|i| y[i] == gy[i] * a.derivative(x[i])));
            tangent(a, &x, &dx, &mut y);
            prop_assert!((0..n).all(|i| y[i] == dx[i] * a.derivative(x[i])));
            backward_tangent(a, (&x, &dx), (&gy, &dgy), &mut y);
            for i in 0..n {
                let second = gy[i] * a.second_derivative(x[i]) * dx[i];
                let want = dgy[i] * a.derivative(x[i]) + second;
                prop_assert!((y[i] - want).abs() < 1e-14 * (1.0 + want.abs() + second.abs()));
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_position() {
    let x: Vec<f32> = numbers(1, 100_003).iter().map(|&x| x as f32).collect();
    for activation in Activation::ALL {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut y = vec![0f32; x.len()];
            pool.install(|| forward(activation, &x, &mut y));
            y
        };
        let all = run(1);
        assert_eq!(all, run(3));
        let mut part = vec![0f32; 1000];
        forward(activation, &x[50_001..51_001], &mut part);
        assert_eq!(part, all[50_001..51_001]);
    }
}
