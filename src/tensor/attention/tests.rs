use super::*;
use crate::tensor::rng::Key;
use proptest::prelude::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Key::new(seed).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn sizes(batch: usize, positions: usize, heads: usize, head_size: usize, causal: bool) -> Sizes {
    Sizes {
        batch,
        positions,
        heads,
        head_size,
        causal,
        scale: 0.7 / (head_size as f64).sqrt(),
    }
}

/// The definition: one query at a time.
fn plain(s: Sizes, x: &[f64]) -> Vec<f64> {
    let heads = Heads::fused(&s, x);
    let mut y = vec![0.0; s.numbers()];
    for pair in 0..s.pairs() {
        let at = |part: usize, t: usize, c: usize| {
            x[heads[part].start(&s, pair) + t * heads[part].position + c]
        };
        let to = Heads::<f64>::part(&s, &[], 0, 1);
        for i in 0..s.positions {
            let keys = if s.causal { i + 1 } else { s.positions };
            let score = |j| {
                s.scale
                    * (0..s.head_size)
                        .map(|c| at(0, i, c) * at(1, j, c))
                        .sum::<f64>()
            };
            let weights: Vec<f64> = (0..keys).map(|j| score(j).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for c in 0..s.head_size {
                let value: f64 = (0..keys).map(|j| weights[j] * at(2, j, c)).sum();
                y[to.start(&s, pair) + i * to.position + c] = value / sum;
            }
        }
    }
    y
}

fn run_forward<T: Elem>(s: Sizes, x: &[T]) -> (Vec<T>, Vec<T>) {
    let mut y = vec![T::nan(); s.numbers()];
    let mut saved = vec![T::nan(); s.saved()];
    forward(s, Heads::fused(&s, x), &mut y, &mut saved);
    (y, saved)
}

fn run_backward<T: Elem>(s: Sizes, x: &[T], gy: &[T]) -> Vec<T> {
    let (y, saved) = run_forward(s, x);
    let mut gx = vec![T::nan(); x.len()];
    let was = Was {
        y: &y,
        saved: &saved,
        gy,
    };
    backward(s, Heads::fused(&s, x), was, &mut gx);
    gx
}

fn moved(x: &[f64], dx: &[f64], by: f64) -> Vec<f64> {
    x.iter().zip(dx).map(|(x, dx)| x + by * dx).collect()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < tolerance * (1.0 + b.abs()), "{i}: {a} {b}");
    }
}

/// Central difference of `f` at `x` along `dx`.
fn difference(f: impl Fn(&[f64]) -> Vec<f64>, x: &[f64], dx: &[f64]) -> Vec<f64> {
    let h = 1e-5;
    let (a, b) = (f(&moved(x, dx, h)), f(&moved(x, dx, -h)));
    a.iter().zip(&b).map(|(a, b)| (a - b) / (2.0 * h)).collect()
}

/// All passes against the definition and its differences.
fn check(s: Sizes) {
    let n = s.numbers();
    let (x, dx) = (numbers(1, 3 * n), numbers(2, 3 * n));
    let (gy, dgy) = (numbers(3, n), numbers(4, n));
    let (y, saved) = run_forward(s, &x);
    close(&y, &plain(s, &x), 1e-12);

    let mut dy = vec![f64::NAN; n];
    tangent(
        s,
        Heads::fused(&s, &x),
        Heads::fused(&s, &dx),
        &saved,
        &mut dy,
    );
    close(&dy, &difference(|x| plain(s, x), &x, &dx), 1e-7);

    let gx = run_backward(s, &x, &gy);
    let along: f64 = gx.iter().zip(&dx).map(|(g, d)| g * d).sum();
    let wanted: f64 = gy.iter().zip(&dy).map(|(g, d)| g * d).sum();
    assert!(
        (along - wanted).abs() < 1e-9 * (1.0 + wanted.abs()) * (n as f64).sqrt(),
        "{along} {wanted}"
    );

    let mut dgx = vec![f64::NAN; 3 * n];
    let was = Was {
        y: &y,
        saved: &saved,
        gy: &gy,
    };
    backward_tangent(
        s,
        Heads::fused(&s, &x),
        Heads::fused(&s, &dx),
        was,
        &dgy,
        &mut dgx,
    );
    let joint = [x.as_slice(), &gy].concat();
    let direction = [dx.as_slice(), &dgy].concat();
    let wanted = difference(
        |at| run_backward(s, &at[..3 * n], &at[3 * n..]),
        &joint,
        &direction,
    );
    close(&dgx, &wanted, 1e-6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn agrees_with_the_definition(
        batch in 1usize..3, positions in 1usize..70, heads in 1usize..3, size in 1usize..40,
        causal in any::<bool>(),
    ) {
        check(sizes(batch, positions, heads, size, causal));
    }
}

#[test]
fn agrees_with_the_definition_beyond_one_block() {
    for causal in [false, true] {
        check(sizes(1, 300, 1, 8, causal));
        let s = sizes(1, 1100, 1, 3, causal);
        let x = numbers(5, 3 * s.numbers());
        close(&run_forward(s, &x).0, &plain(s, &x), 1e-12);
        let (gy, dx) = (numbers(6, s.numbers()), numbers(7, x.len()));
        let gx = run_backward(s, &x, &gy);
        let along: f64 = gx.iter().zip(&dx).map(|(g, d)| g * d).sum();
        let dy = difference(|x| plain(s, x), &x, &dx);
        let wanted: f64 = gy.iter().zip(&dy).map(|(g, d)| g * d).sum();
        assert!(
            (along - wanted).abs() < 1e-5 * wanted.abs().max(1.0),
            "{along} {wanted}"
        );
    }
}

#[test]
fn single_precision_agrees_with_double() {
    for s in [
        sizes(2, 128, 2, 64, true),
        sizes(1, 77, 3, 20, false),
        sizes(1, 1, 1, 1, true),
    ] {
        let (x, gy) = (numbers(1, 3 * s.numbers()), numbers(2, s.numbers()));
        let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let double = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (sx, sgy) = (single(&x), single(&gy));
        close(&double(&run_forward(s, &sx).0), &run_forward(s, &x).0, 2e-5);
        close(
            &double(&run_backward(s, &sx, &sgy)),
            &run_backward(s, &x, &gy),
            1e-4,
        );
    }
}

/// Scores far from 0 neither overflow nor lose their differences.
#[test]
fn large_scores_are_safe() {
    let s = Sizes {
        scale: 1.0,
        ..sizes(1, 600, 1, 1, true)
    };
    let mut x = vec![0f32; 3 * 600];
    for t in 0..600 {
        x[3 * t] = 1.0;
        x[3 * t + 1] = t as f32 * 10.0;
        x[3 * t + 2] = t as f32;
    }
    let (y, saved) = run_forward(s, &x);
    for t in 0..600 {
        assert!(
            (y[t] - t as f32).abs() < 1e-3 * (1.0 + t as f32),
            "{t}: {}",
            y[t]
        );
        assert!((saved[t] - t as f32 * 10.0).abs() < 1e-2);
    }
}

#[test]
fn queries_keys_and_values_may_lie_apart() {
    let s = sizes(2, 9, 2, 5, true);
    let n = s.numbers();
    let x = numbers(1, 3 * n);
    let mut parts = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
    for (i, part) in parts.iter_mut().enumerate() {
        for (row, to) in part.chunks_exact_mut(10).enumerate() {
            to.copy_from_slice(&x[row * 30 + i * 10..][..10]);
        }
    }
    let heads = [0, 1, 2].map(|i| Heads::part(&s, &parts[i], 0, 1));
    let (mut y, mut saved) = (vec![0.0; n], vec![0.0; s.saved()]);
    forward(s, heads, &mut y, &mut saved);
    assert_eq!(y, run_forward(s, &x).0);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let s = sizes(3, 300, 2, 20, true);
    let single = |seed, n| {
        numbers(seed, n)
            .iter()
            .map(|&x| x as f32)
            .collect::<Vec<_>>()
    };
    let (x, gy) = (single(1, 3 * s.numbers()), single(2, s.numbers()));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| (run_forward(s, &x), run_backward(s, &x, &gy)))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn no_positions_no_work() {
    let s = sizes(2, 0, 2, 5, true);
    assert_eq!(run_forward::<f32>(s, &[]), (vec![], vec![]));
}

#[test]
fn probabilities_weigh_the_values() {
    for causal in [false, true] {
        let s = sizes(2, 5, 3, 4, causal);
        let x = numbers(7, 3 * s.numbers());
        let [q, k, v] = Heads::fused(&s, &x);
        let mut maps = vec![f64::NAN; s.batch * s.heads * s.positions * s.positions];
        probabilities(s, q, k, &mut maps);
        let (y, _) = run_forward(s, &x);
        let to = Heads::<f64>::part(&s, &[], 0, 1);
        for (pair, map) in maps.chunks(s.positions * s.positions).enumerate() {
            for (i, row) in map.chunks(s.positions).enumerate() {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                for c in 0..s.head_size {
                    let value = |j: usize| x[v.start(&s, pair) + j * v.position + c];
                    let sum: f64 = row.iter().enumerate().map(|(j, p)| p * value(j)).sum();
                    let found = y[to.start(&s, pair) + i * to.position + c];
                    assert!((sum - found).abs() < 1e-13, "{causal} {pair} {i} {c}");
                }
            }
        }
    }
}
