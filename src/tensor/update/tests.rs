use super::*;
use proptest::prelude::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = crate::tensor::rng::Key::new(seed).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn close(found: &[f64], wanted: &[f64]) -> bool {
    found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(a, b)| (a - b).abs() <= 1e-14 * (1.0 + b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sgd_follows_its_formula(
        n in 0usize..70, momentum in prop_oneof![Just(0.0), Just(0.9)],
        nesterov in any::<bool>(), weight_decay in prop_oneof![Just(0.0), Just(0.1)],
    ) {
        let sgd = Sgd { lr: 0.3, momentum, nesterov, weight_decay };
        let (start, grad, velocity) = (numbers(1, n), numbers(2, n), numbers(3, n));
        let with_decay = |i: usize| grad[i] + weight_decay * start[i];
        let mut p = start.clone();
        sgd.update(&mut p, &grad, None);
        let plain: Vec<f64> = (0..n).map(|i| start[i] - 0.3 * with_decay(i)).collect();
        prop_assert!(close(&p, &plain));

        let (mut p, mut v) = (start.clone(), velocity.clone());
        sgd.update(&mut p, &grad, Some(&mut v));
        let moved: Vec<f64> = (0..n).map(|i| momentum * velocity[i] + with_decay(i)).collect();
        prop_assert!(close(&v, &moved));
        let wanted: Vec<f64> = (0..n)
            .map(|i| {
                let step = if nesterov { with_decay(i) + momentum * moved[i] } else { moved[i] };
                start[i] - 0.3 * step
            })
            .collect();
        prop_assert!(close(&p, &wanted));
    }

    #[test]
    fn adam_follows_its_formula(n in 0usize..70, decoupled in any::<bool>(), step in 1u64..1000) {
        let adam = Adam {
            lr: 0.01, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.1, decoupled, step,
        };
        let (start, grad, first) = (numbers(1, n), numbers(2, n), numbers(3, n));
        let second: Vec<f64> = numbers(4, n).iter().map(|x| x * x).collect();
        let (mut p, mut m, mut v) = (start.clone(), first.clone(), second.clone());
        adam.update(&mut p, &grad, &mut m, &mut v);
        for i in 0..n {
            let g = grad[i] + if decoupled { 0.0 } else { 0.1 * start[i] };
            let keep = if decoupled { 1.0 - 0.01 * 0.1 } else { 1.0 };
            let wanted_m = 0.8 * first[i] + 0.2 * g;
            let wanted_v = 0.95 * second[i] + 0.05 * g * g;
            let corrected = |x: f64, beta: f64| x / (1.0 - beta.powi(step as i32));
            let size = corrected(wanted_v, 0.95).sqrt() + 1e-3;
            let wanted = keep * start[i] - 0.01 * corrected(wanted_m, 0.8) / size;
            prop_assert!(close(&[m[i], v[i], p[i]], &[wanted_m, wanted_v, wanted]));
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_memory() {
    let n = 90_001;
    let narrow = |seed| {
        numbers(seed, n + 3)
            .iter()
            .map(|&x| x as f32)
            .collect::<Vec<_>>()
    };
    let [start, grad, moments] = [1, 2, 3].map(narrow);
    let adam = Adam {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
        step: 3,
    };
    let sgd = Sgd {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 0.1,
    };
    let run = |threads: usize, offset: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        // the same numbers at another distance from a cache line
        let place = |x: &[f32]| [vec![0.0; offset], x[..n].to_vec()].concat();
        let (mut p, mut m, mut v) = (place(&start), place(&moments), place(&moments));
        v.iter_mut().for_each(|v| *v = v.abs());
        pool.install(|| {
            adam.update(
                &mut p[offset..],
                &grad[..n],
                &mut m[offset..],
                &mut v[offset..],
            );
            sgd.update(&mut p[offset..], &grad[..n], Some(&mut m[offset..]));
        });
        p.split_off(offset)
    };
    let one = run(1, 0);
    assert_eq!(one, run(3, 0));
    assert_eq!(one, run(2, 3));
}
