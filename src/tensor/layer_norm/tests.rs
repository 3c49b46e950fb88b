use proptest::prelude::*;

use super::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = crate::tensor::rng::Key::new(seed).rng();
    (0..n).map(|_| 2.0 * rng.normal()).collect()
}

const EPS: f64 = 1e-3;
const SCALES: [f64; 2] = [1.5, -0.5];

/// Input, gain and bias, which is empty where there is none.
type Point = [Vec<f64>; 3];

fn point<const CENTRED: bool>(seed: u64, rows: usize, f: usize) -> Point {
    let biases = if CENTRED { f } else { 0 };
    [rows * f, f, biases].map(|n| numbers(seed.wrapping_add(n as u64), n))
}

fn scaled(value: &[f64], i: usize) -> Scaled<'_, f64> {
    Scaled {
        value,
        multiplier: SCALES[i],
    }
}

fn run_forward<const CENTRED: bool>([x, gain, bias]: &Point) -> (Vec<f64>, Vec<f64>) {
    let mut y = vec![f64::NAN; x.len()];
    let mut saved = vec![f64::NAN; saved_per_row(CENTRED) * (x.len() / gain.len())];
    let (gain, bias) = (scaled(gain, 0), scaled(bias, 1));
    forward::<f64, CENTRED>(x, gain, bias, EPS, &mut y, &mut saved);
    (y, saved)
}

/// Gradients of input, gain and bias.
fn run_backward<const CENTRED: bool>(p: &Point, gy: &[f64], with_input: bool) -> Point {
    let saved = run_forward::<CENTRED>(p).1;
    let mut to = p.clone().map(|v| vec![f64::NAN; v.len()]);
    let [input, gain, bias] = &mut to;
    let to_gradients = Gradients {
        gain,
        bias,
        input: with_input.then_some(input.as_mut_slice()),
    };
    let gains = scaled(&p[1], 0);
    backward::<f64, CENTRED>(&p[0], gains, SCALES[1], &saved, gy, to_gradients);
    to
}

fn run_backward_tangent<const CENTRED: bool>(
    p: &Point,
    dp: &Point,
    gy: &[f64],
    dgy: &[f64],
) -> Point {
    let saved = run_forward::<CENTRED>(p).1;
    let mut to = p.clone().map(|v| vec![f64::NAN; v.len()]);
    let [input, gain, bias] = &mut to;
    let to_gradients = Gradients {
        gain,
        bias,
        input: Some(input),
    };
    let x = (&p[0][..], Some(&dp[0][..]));
    let gains = (scaled(&p[1], 0), &dp[1][..]);
    backward_tangent::<f64, CENTRED>(x, gains, SCALES[1], &saved, (gy, dgy), to_gradients);
    to
}

/// The formula itself.
fn definition<const CENTRED: bool>([x, gain, bias]: &Point) -> Vec<f64> {
    let f = gain.len();
    let mut y = Vec::new();
    for row in x.chunks(f) {
        let mean = match CENTRED {
            true => row.iter().sum::<f64>() / f as f64,
            false => 0.0,
        };
        let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f as f64;
        for (i, x) in row.iter().enumerate() {
            let normalised = (x - mean) / (var + EPS).sqrt();
            let shift = bias.get(i).map_or(0.0, |b| SCALES[1] * b);
            y.push(SCALES[0] * gain[i] * normalised + shift);
        }
    }
    y
}

fn moved(p: &Point, dp: &Point, h: f64) -> Point {
    let mut moved = p.clone();
    for (to, d) in moved.iter_mut().zip(dp) {
        to.iter_mut().zip(d).for_each(|(to, d)| *to += h * d);
    }
    moved
}

/// The derivative of `f` at 0 by central differences.
fn slope(f: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
    let h = 1e-6;
    let pairs = f(h).into_iter().zip(f(-h));
    pairs.map(|(a, b)| (a - b) / (2.0 * h)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = 1.0 + b.iter().fold(0.0, |m: f64, b| m.max(b.abs()));
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(
            0.0,
            |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) },
        )
}

fn agrees<const CENTRED: bool>(
    (rows, f): (usize, usize),
    seed: u64,
) -> std::result::Result<(), TestCaseError> {
    let (p, dp) = (
        point::<CENTRED>(seed, rows, f),
        point::<CENTRED>(seed ^ 1, rows, f),
    );
    let (gy, dgy) = (numbers(seed ^ 2, rows * f), numbers(seed ^ 3, rows * f));
    let (y, saved) = run_forward::<CENTRED>(&p);
    prop_assert!(distance(&y, &definition::<CENTRED>(&p)) < 1e-12);

    let mut dy = vec![f64::NAN; y.len()];
    let (x, gains) = (
        (&p[0][..], Some(&dp[0][..])),
        (scaled(&p[1], 0), &dp[1][..]),
    );
    tangent::<f64, CENTRED>(x, gains, scaled(&dp[2], 1), &saved, &mut dy);
    let difference = slope(|h| definition::<CENTRED>(&moved(&p, &dp, h)));
    prop_assert!(distance(&dy, &difference) < 1e-6);

    let gradients = run_backward::<CENTRED>(&p, &gy, true);
    let along: f64 = gradients.iter().zip(&dp).map(|(g, d)| dot(g, d)).sum();
    let size = dot(&dy, &dy).sqrt() * dot(&gy, &gy).sqrt();
    prop_assert!((along - dot(&dy, &gy)).abs() < 1e-12 * (1.0 + size));
    prop_assert_eq!(
        &run_backward::<CENTRED>(&p, &gy, false)[1..],
        &gradients[1..]
    );

    let tangents = run_backward_tangent::<CENTRED>(&p, &dp, &gy, &dgy);
    for (i, tangent) in tangents.iter().enumerate() {
        let difference = slope(|h| {
            let gy: Vec<f64> = gy.iter().zip(&dgy).map(|(g, d)| g + h * d).collect();
            run_backward::<CENTRED>(&moved(&p, &dp, h), &gy, true)[i].clone()
        });
        prop_assert!(distance(tangent, &difference) < 1e-5, "{i}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn agrees_with_the_formula_and_its_derivatives(
        rows in 1usize..40, f in prop_oneof![2usize..20, 30usize..140], seed in any::<u64>(),
    ) {
        agrees::<true>((rows, f), seed)?;
        agrees::<false>((rows, f), seed)?;
    }
}

fn same_bits<const CENTRED: bool>(rows: usize, f: usize) {
    let (p, dp) = (point::<CENTRED>(1, rows, f), point::<CENTRED>(2, rows, f));
    let gy = numbers(3, rows * f);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            (
                run_forward::<CENTRED>(&p),
                run_backward::<CENTRED>(&p, &gy, true),
                run_backward_tangent::<CENTRED>(&p, &dp, &gy, &gy),
            )
        })
    };
    let one = run(1);
    assert!(distance(&one.0.0, &definition::<CENTRED>(&p)) < 1e-11);
    assert_eq!(one, run(3));
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (rows, f) in [(1000, 256), (9000, 9), (5, 20_001)] {
        same_bits::<true>(rows, f);
        same_bits::<false>(rows, f);
    }
}

#[test]
fn no_rows_and_no_features() {
    let empty = [vec![], vec![1.0; 3], vec![1.0; 3]];
    let gradients = run_backward::<true>(&empty, &[], true);
    assert_eq!(gradients, [vec![], vec![0.0; 3], vec![0.0; 3]]);
    let to = Gradients::<f32> {
        gain: &mut [],
        bias: &mut [],
        input: None,
    };
    let nothing = Scaled {
        value: &[][..],
        multiplier: 1.0,
    };
    forward::<f32, true>(&[], nothing, nothing, EPS, &mut [], &mut []);
    backward::<f32, true>(&[], nothing, 1.0, &[], &[], to);
}
