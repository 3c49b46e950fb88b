use super::{cross_entropy, mse};
use proptest::prelude::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = crate::tensor::rng::Key::new(seed).rng();
    (0..n).map(|_| 3.0 * rng.normal()).collect()
}

fn labels(seed: u64, rows: usize, width: usize) -> Vec<u32> {
    let mut rng = crate::tensor::rng::Key::new(seed).label("classes").rng();
    (0..rows).map(|_| rng.below(width as u64) as u32).collect()
}

/// Cross-entropy by its definition.
fn definition(logits: &[f64], width: usize, classes: &[u32]) -> f64 {
    let row = |(z, &class): (&[f64], &u32)| {
        let max = z.iter().copied().fold(f64::MIN, f64::max);
        max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln() - z[class as usize]
    };
    let losses = logits.chunks(width).zip(classes).map(row);
    losses.sum::<f64>() / classes.len() as f64
}

/// The derivative of `f` at `x` along `dx` by central differences.
fn slope(x: &[f64], dx: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let h = 1e-5;
    let at = |h: f64| {
        f(&x.iter()
            .zip(dx)
            .map(|(x, dx)| x + h * dx)
            .collect::<Vec<_>>())
    };
    at(h)
        .iter()
        .zip(at(-h))
        .map(|(a, b)| (a - b) / (2.0 * h))
        .collect()
}

fn close(a: &[f64], b: &[f64], bound: f64) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= bound * (1.0 + b.abs()))
}

/// Checks a loss of `(outputs, gradient)` and the tangent of its gradient.
fn check(
    z: &[f64],
    dz: &[f64],
    loss: impl Fn(&[f64], Option<&mut [f64]>) -> f64,
    tangent: impl Fn(&mut [f64]),
) -> std::result::Result<(), TestCaseError> {
    let mut gradient = vec![f64::NAN; z.len()];
    let value = loss(z, Some(&mut gradient));
    prop_assert_eq!(value.to_bits(), loss(z, None).to_bits());
    let along = gradient.iter().zip(dz).map(|(g, dz)| g * dz).sum::<f64>();
    let difference = slope(z, dz, |z| vec![loss(z, None)]);
    prop_assert!(
        close(&[along], &difference, 1e-7),
        "{} {:?}",
        along,
        difference
    );
    let mut dgradient = vec![f64::NAN; z.len()];
    tangent(&mut dgradient);
    let differences = slope(z, dz, |z| {
        let mut gradient = vec![f64::NAN; z.len()];
        loss(z, Some(&mut gradient));
        gradient
    });
    prop_assert!(close(&dgradient, &differences, 1e-7));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cross_entropy_and_its_derivatives(
        rows in 1usize..12, width in prop_oneof![1usize..20, 25usize..140], seed in any::<u64>(),
    ) {
        let (z, dz) = (numbers(seed, rows * width), numbers(seed ^ 1, rows * width));
        let classes = labels(seed, rows, width);
        let want = definition(&z, width, &classes);
        let found = cross_entropy::forward(&z, width, &classes, None);
        prop_assert!(close(&[found], &[want], 1e-14), "{} {}", found, want);
        check(
            &z,
            &dz,
            |z, g| cross_entropy::forward(z, width, &classes, g),
            |dg| cross_entropy::tangent(&z, &dz, width, dg),
        )?;
    }

    #[test]
    fn mse_and_its_derivatives(n in 1usize..300, seed in any::<u64>()) {
        let [z, dz, y] = [0, 1, 2].map(|i| numbers(seed.wrapping_add(i), n));
        let want = z.iter().zip(&y).map(|(z, y)| (z - y).powi(2)).sum::<f64>() / n as f64;
        prop_assert!(close(&[mse::forward(&z, &y, None)], &[want], 1e-14));
        check(&z, &dz, |z, g| mse::forward(z, &y, g), |dg| mse::tangent(&dz, dg))?;
    }
}

#[test]
fn many_classes_in_f32() {
    let (rows, width) = (3, 50_003);
    let z: Vec<f32> = numbers(5, rows * width).iter().map(|&z| z as f32).collect();
    let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
    let classes = labels(5, rows, width);
    let mut gradient = vec![f32::NAN; z.len()];
    let loss = cross_entropy::forward(&z, width, &classes, Some(&mut gradient));
    let want = definition(&wide, width, &classes);
    assert!((loss - want).abs() < 1e-6, "{loss} {want}");
    let mut exact = vec![f64::NAN; z.len()];
    cross_entropy::forward(&wide, width, &classes, Some(&mut exact));
    for (g, e) in gradient.iter().zip(exact) {
        assert!(
            (f64::from(*g) - e).abs() < 1e-6 * e.abs() + 1e-12,
            "{g} {e}"
        );
    }
}

#[test]
fn extreme_logits() {
    let loss = |z: &[f32], class| {
        let mut gradient = vec![f32::NAN; z.len()];
        let loss = cross_entropy::forward(z, z.len(), &[class], Some(&mut gradient));
        (loss, gradient)
    };
    assert_eq!(loss(&[1e30, 0.0], 0), (0.0, vec![0.0, 0.0]));
    assert_eq!(loss(&[1e30, 0.0], 1), (f64::from(1e30f32), vec![1.0, -1.0]));
    assert_eq!(loss(&[f32::NEG_INFINITY, 5.0], 1), (0.0, vec![0.0, 0.0]));
    assert!(loss(&[f32::NAN, 0.0], 1).0.is_nan());
    assert!(loss(&[f32::INFINITY, 0.0], 1).0.is_nan());
    assert!(cross_entropy::forward::<f32>(&[], 3, &[], None).is_nan());
}

#[test]
fn classes_out_of_range() {
    assert!(cross_entropy::forward(&[0.0, 1.0], 2, &[2], None).is_nan());
}

#[test]
fn tangents_of_nothing() {
    cross_entropy::tangent::<f64>(&[], &[], 3, &mut []);
    cross_entropy::tangent::<f64>(&[], &[], 0, &mut []);
    mse::tangent::<f64>(&[], &mut []);
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (rows, width) in [(700, 256), (20_000, 10), (2, 70_000)] {
        let z = numbers(1, rows * width);
        let y = numbers(2, rows * width);
        let classes = labels(1, rows, width);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let [mut g, mut h, mut d] = [0; 3].map(|_| vec![0.0; z.len()]);
            let losses = pool.install(|| {
                let entropy = cross_entropy::forward(&z, width, &classes, Some(&mut g));
                let losses = (entropy, mse::forward(&z, &y, Some(&mut h)));
                cross_entropy::tangent(&z, &y, width, &mut d);
                losses
            });
            (losses, g, h, d)
        };
        assert_eq!(run(1), run(3));
    }
}
