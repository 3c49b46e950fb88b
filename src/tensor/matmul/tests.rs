//! Products against the definition, against double precision, and on several threads.

use super::*;
use crate::tensor::rng::Key;
use proptest::prelude::*;

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Key::new(seed).rng();
    (0..n).map(|_| rng.normal()).collect()
}

fn check(m: usize, n: usize, k: usize, ta: bool, tb: bool, pad: usize, accumulate: bool) {
    let (a, b) = (numbers(1, m * k), numbers(2, k * n));
    let view = |data, rows, cols, transposed: bool| {
        if transposed {
            Matrix::row_major(data, rows).transposed()
        } else {
            Matrix::row_major(data, cols)
        }
    };
    let (va, vb) = (view(&a, m, k, ta), view(&b, k, n, tb));
    let before = numbers(3, m * (n + pad));
    let mut c = before.clone();
    let mut panels = vec![0.0; panels_len::<f64>(m, k)];
    pack_left(&mut panels, (m, k), va);
    let packed = Left {
        matrix: va,
        panels: Some(&panels),
    };
    let mut by_panels = before.clone();
    for (to, left) in [(&mut c, va.into()), (&mut by_panels, packed)] {
        let into = Into {
            data: to,
            row_stride: n + pad,
            accumulate,
        };
        matmul_into(into, (m, n, k), 0.5, left, vb);
    }
    assert_eq!(c, by_panels, "{m} × {n} × {k}: panels give other numbers");
    let at = |v: &Matrix<'_, f64>, i: usize, j: usize| v.data[i * v.row_stride + j * v.col_stride];
    for i in 0..m {
        for j in 0..n + pad {
            let place = i * (n + pad) + j;
            let sum: f64 = (0..k)
                .map(|p| {
                    if j < n {
                        at(&va, i, p) * at(&vb, p, j)
                    } else {
                        0.0
                    }
                })
                .sum();
            let kept = accumulate || j >= n;
            let wanted = 0.5 * sum + if kept { before[place] } else { 0.0 };
            assert!(
                (c[place] - wanted).abs() < 1e-10,
                "{m} × {n} × {k} {ta} {tb}: ({i}, {j}) {} {wanted}",
                c[place]
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_the_definition(
        m in 0usize..40, n in 0usize..40, k in 0usize..40, ta in any::<bool>(), tb in any::<bool>(),
        pad in 0usize..3, accumulate in any::<bool>(),
    ) {
        check(m, n, k, ta, tb, pad, accumulate);
    }
}

#[test]
fn agrees_with_the_definition_where_it_is_split() {
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        check(33, 50, 2100, ta, tb, 1, true);
        check(300, 270, 41, ta, tb, 0, false);
        check(75, 300, 300, ta, tb, 2, false);
        check(513, 65, 70, ta, tb, 0, true);
    }
}

#[test]
fn parts_have_the_numbers_of_the_whole() {
    for (m, n, k) in [(700, 40, 300), (130, 17, 600), (5, 3, 2), (9, 4, 0)] {
        let (a, b) = (numbers(1, m * k), numbers(2, k * n));
        // a weight's gradient: the left side is read by columns
        let (va, vb) = (
            Matrix::row_major(&a, m).transposed(),
            Matrix::row_major(&b, n),
        );
        let mut whole = vec![0.0; m * n];
        matmul(&mut whole, (m, n, k), 0.5, va, vb);
        let mut panels = vec![0.0; panels_len::<f64>(m, k)];
        pack_left(&mut panels, (m, k), va);
        let packed = Left {
            matrix: va,
            panels: Some(&panels),
        };
        for left in [va.into(), packed] {
            let parts = std::sync::Mutex::new(vec![f64::NAN; m * n]);
            matmul_parts((m, n, k), 0.5, left, vb, &|first, rows: &[f64]| {
                parts.lock().unwrap()[first * n..][..rows.len()].copy_from_slice(rows);
            });
            assert_eq!(parts.into_inner().unwrap(), whole, "{m} × {n} × {k}");
        }
    }
}

#[test]
fn single_precision_agrees_with_double() {
    for (m, n, k) in [
        (128, 64, 700),
        (300, 300, 90),
        (9, 1000, 300),
        (100, 10, 64),
        (31, 47, 17),
    ] {
        let (a, b) = (numbers(1, m * k), numbers(2, k * n));
        let single = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let (sa, sb) = (single(&a), single(&b));
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut c, mut sc) = (vec![0.0; m * n], vec![0f32; m * n]);
            macro_rules! views {
                ($a:expr, $b:expr) => {
                    (
                        if ta {
                            Matrix::row_major($a, m).transposed()
                        } else {
                            Matrix::row_major($a, k)
                        },
                        if tb {
                            Matrix::row_major($b, k).transposed()
                        } else {
                            Matrix::row_major($b, n)
                        },
                    )
                };
            }
            let (va, vb) = views!(&a, &b);
            matmul(&mut c, (m, n, k), 1.0, va, vb);
            let (va, vb) = views!(&sa, &sb);
            matmul(&mut sc, (m, n, k), 1.0, va, vb);
            for (x, y) in c.iter().zip(&sc) {
                assert!(
                    (x - f64::from(*y)).abs() < 1e-4 * (k as f64).sqrt(),
                    "{m} {n} {k} {x} {y}"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (m, n, k) in [(128, 300, 257), (40, 30, 4000), (700, 64, 128)] {
        let a: Vec<f32> = numbers(1, m * k).iter().map(|&x| x as f32).collect();
        let b: Vec<f32> = numbers(2, k * n).iter().map(|&x| x as f32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut c = vec![0f32; m * n];
            let (a, b) = (Matrix::row_major(&a, k), Matrix::row_major(&b, n));
            pool.install(|| matmul(&mut c, (m, n, k), 1.0, a, b));
            c
        };
        assert_eq!(run(1), run(3));
    }
}
