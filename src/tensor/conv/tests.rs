//! Both ways against the definition, at odd sizes.

use proptest::prelude::*;

use super::*;
use crate::tensor::rng::Key;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Key::new(seed).rng();
    (0..n).map(|_| rng.normal()).collect()
}

/// Calls `f(x index, w index, y index)` for every product that the definition sums.
fn products(s: &Sizes, mut f: impl FnMut(usize, usize, usize)) {
    let ([oh, ow], [h, w]) = (s.output(), s.image);
    let (ci, co) = (s.inputs / s.groups, s.outputs / s.groups);
    for n in 0..s.batch {
        for o in 0..s.outputs {
            for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                for c in 0..ci {
                    for (ky, kx) in
                        (0..s.kernel[0]).flat_map(|y| (0..s.kernel[1]).map(move |x| (y, x)))
                    {
                        let (Some(iy), Some(ix)) = (s.source(0, oy, ky), s.source(1, ox, kx))
                        else {
                            continue;
                        };
                        f(
                            ((n * s.inputs + o / co * ci + c) * h + iy) * w + ix,
                            ((ky * s.kernel[1] + kx) * ci + c) * s.outputs + o,
                            ((n * s.outputs + o) * oh + oy) * ow + ox,
                        );
                    }
                }
            }
        }
    }
}

fn close(name: &str, s: &Sizes, found: &[f64], wanted: &[f64]) {
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (a - b).abs() < 1e-10 * (1.0 + b.abs()),
            "{name} {s:?} [{i}]: {a} {b}"
        );
    }
}

fn check(s: &Sizes) {
    let x = numbers(1, s.batch * s.inputs * area(s.image));
    let w = numbers(2, s.fan_in() * s.outputs);
    let gy = numbers(3, s.batch * s.outputs * area(s.output()));
    let (mut y, mut gx, mut gw) = (vec![0.0; gy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    products(s, |i, j, k| {
        y[k] += 0.5 * x[i] * w[j];
        gx[i] += 0.5 * gy[k] * w[j];
        gw[j] += 0.5 * gy[k] * x[i];
    });
    for way in [None, Some(Way::Pixels), Some(Way::Lanes)] {
        let name = |part: &str| format!("{part} {way:?}");
        let [mut y2, mut gx2, mut gw2] = [&y, &gx, &gw].map(|v| vec![f64::NAN; v.len()]);
        for times in [1.0, 2.0] {
            let add = times > 1.0;
            forward_by(way, s, &x, (&w, 0.5), &mut y2, add);
            input_gradient_by(way, s, &gy, (&w, 0.5), &mut gx2, add);
            weight_gradient_by(way, s, &x, &gy, (&mut gw2, 0.5), add);
            let scaled = |v: &[f64]| v.iter().map(|v| v / times).collect::<Vec<_>>();
            close(&name("forward"), s, &scaled(&y2), &y);
            close(&name("input gradient"), s, &scaled(&gx2), &gx);
            close(&name("weight gradient"), s, &scaled(&gw2), &gw);
        }
    }
}

fn sizes(batch: usize, channels: [usize; 2], image: [usize; 2], kernel: [usize; 2]) -> Sizes {
    Sizes {
        batch,
        inputs: channels[0],
        outputs: channels[1],
        image,
        kernel,
        stride: [1, 1],
        padding: [0, 0],
        groups: 1,
    }
}

#[test]
fn corner_cases() {
    check(&sizes(1, [1, 1], [1, 1], [1, 1]));
    check(&sizes(5, [3, 2], [1, 1], [1, 1]));
    let wide = sizes(2, [2, 9], [2, 3], [5, 7]);
    check(&Sizes {
        padding: [2, 3],
        ..wide
    });
    // more padding than the filter reaches: outputs that see nothing, a cropped input gradient
    check(&Sizes {
        padding: [4, 5],
        ..sizes(3, [2, 3], [3, 4], [2, 2])
    });
    // columns at the end that no filter reaches
    check(&Sizes {
        stride: [3, 4],
        ..sizes(18, [9, 17], [9, 12], [2, 2])
    });
    check(&Sizes {
        stride: [2, 2],
        padding: [1, 1],
        ..sizes(32, [16, 32], [8, 8], [3, 3])
    });
    check(&Sizes {
        stride: [2, 2],
        ..sizes(33, [8, 16], [8, 8], [1, 1])
    });
    let grouped = sizes(3, [6, 6], [5, 5], [3, 3]);
    check(&Sizes {
        groups: 6,
        padding: [1, 1],
        ..grouped
    });
    check(&Sizes {
        groups: 2,
        ..grouped
    });
    // blocks of channels
    check(&Sizes {
        padding: [1, 1],
        ..sizes(2, [150, 9], [3, 17], [3, 3])
    });
}

#[test]
fn no_images_leave_no_gradient() {
    let s = sizes(0, [2, 3], [4, 4], [3, 3]);
    let mut gw = vec![f64::NAN; 2 * 3 * 9];
    weight_gradient(&s, &[], &[], (&mut gw, 1.0), false);
    assert!(gw.iter().all(|&g| g == 0.0));
    forward::<f64>(&s, &[], (&gw, 1.0), &mut [], false);
    input_gradient::<f64>(&s, &[], (&gw, 1.0), &mut [], false);
}

#[test]
fn sizes_without_an_output_are_known() {
    assert_eq!(sizes(1, [1, 1], [2, 2], [3, 3]).checked_output(), None);
    assert_eq!(
        Sizes {
            groups: 2,
            ..sizes(1, [3, 4], [2, 2], [1, 1])
        }
        .checked_output(),
        None
    );
    assert_eq!(
        Sizes {
            stride: [0, 1],
            ..sizes(1, [3, 4], [2, 2], [1, 1])
        }
        .checked_output(),
        None
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn follows_the_definition(
        batch in 1usize..20, (ci, co) in (1usize..10, 1usize..20), groups in 1usize..4,
        h in 1usize..11, w in 1usize..20,
        kernel in (1usize..5, 1usize..5), stride in (1usize..4, 1usize..4), padding in (0usize..3, 0usize..3),
    ) {
        let s = Sizes {
            stride: [stride.0, stride.1],
            padding: [padding.0, padding.1],
            groups,
            ..sizes(batch, [ci * groups, co * groups], [h, w], [kernel.0, kernel.1])
        };
        if s.checked_output().is_some() && s.work() < 2_000_000 {
            check(&s);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (channels, side, stride) in [([16, 24], 16, 1), ([64, 72], 8, 1), ([32, 32], 9, 2)] {
        let s = Sizes {
            stride: [stride; 2],
            padding: [1, 1],
            ..sizes(32, channels, [side, side], [3, 3])
        };
        let single = |seed, n| {
            numbers(seed, n)
                .into_iter()
                .map(|x| x as f32)
                .collect::<Vec<_>>()
        };
        let x = single(1, s.batch * s.inputs * area(s.image));
        let w = single(2, s.fan_in() * s.outputs);
        let gy = single(3, s.batch * s.outputs * area(s.output()));
        assert!(s.work() > sum::TASK);
        let run = |threads: usize, way| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let (mut y, mut gx, mut gw) = (gy.clone(), x.clone(), w.clone());
            pool.install(|| {
                forward_by(way, &s, &x, (&w, 1.0), &mut y, false);
                input_gradient_by(way, &s, &gy, (&w, 1.0), &mut gx, false);
                weight_gradient_by(way, &s, &x, &gy, (&mut gw, 1.0), false);
            });
            (y, gx, gw)
        };
        for way in [Way::Pixels, Way::Lanes] {
            assert!(run(1, Some(way)) == run(3, Some(way)));
        }
    }
}
