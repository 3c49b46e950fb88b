//! Attention in bf16, on tensor cores, against the CPU in f64 from the same numbers.
//!
//! How far they may be apart follows from what is rounded to bf16, each time by at most [`U`] of the number: the
//! probabilities p and the scores' gradients e = p (h − delta) as factors of the second products, and what is
//! written. delta = Σ y gy has the rounded y. So, with sums of the sizes of all terms,
//!
//! - of y, U (Σ p |v| + |y|), and of delta, Σ |gy| times that;
//! - of values' gradients, U (Σ p |gy| + |gv|);
//! - of queries' gradients, scale Σ (U |e| + p · that of delta) |k| + U |gq|, and of keys' likewise.
//!
//! That is the worst case. As errors are rather independent and uniform, root mean squares are at most U/√3 of the
//! numbers' for each rounding: √(2/3) U for outputs and values' gradients, with two, and U for the others, with
//! delta's as a third.

use half::bf16;

use crate::gpu::{Gpu, Stored, Workspace};
use crate::nn::layers::{Attention, AttentionScale};
use crate::nn::{GpuForward, GpuPass, GpuPasses, Span};
use crate::tensor::attention::{Heads, Sizes, Was, backward, forward, probabilities};
use crate::tensor::rng::Key;

/// Half of the distance from 1 to the next number of bf16.
const U: f64 = 1.0 / 256.0;
/// For sums in f32 and for products of errors.
const SLACK: f64 = 1.05;
const MEMBERS: usize = 2;

/// Numbers of all members, with `skip` others before each member's.
struct Numbers<T> {
    all: Vec<T>,
    skip: usize,
    stride: usize,
}

impl<T: Copy> Numbers<T> {
    fn new(count: usize, skip: usize, mut each: impl FnMut() -> T) -> Self {
        let stride = count + skip;
        Self {
            all: (0..MEMBERS * stride).map(|_| each()).collect(),
            skip,
            stride,
        }
    }

    fn span(&mut self) -> Span {
        Span {
            at: self.all[self.skip..].as_mut_ptr() as u64,
            stride: self.stride,
        }
    }

    fn of(&self, member: usize) -> &[T] {
        &self.all[member * self.stride + self.skip..(member + 1) * self.stride]
    }
}

impl Numbers<bf16> {
    fn normal(name: &str, count: usize, skip: usize) -> Self {
        let mut rng = Key::new(5).label(name).rng();
        Self::new(count, skip, || bf16::from_f64(rng.normal()))
    }

    fn nan(count: usize, skip: usize) -> Self {
        Self::new(count, skip, || bf16::NAN)
    }

    fn exact(&self, member: usize) -> Vec<f64> {
        self.of(member).iter().map(|x| x.to_f64()).collect()
    }
}

/// What the passes give.
struct Given {
    y: Numbers<bf16>,
    saved: Numbers<f32>,
    gx: Numbers<bf16>,
}

fn on_gpu(layer: &Attention, s: &Sizes, x: &mut Numbers<bf16>, gy: &mut Numbers<bf16>) -> Given {
    let (gpu, workspace) = (Gpu::emulated(), Workspace::default());
    let width = s.heads * s.head_size;
    let (input, output) = ([s.positions, 3 * width], [s.positions, width]);
    let at = GpuPass {
        gpu: &gpu,
        workspace: &workspace,
        stored: Stored::Bf16,
        members: MEMBERS,
        batch: s.batch,
        input: &input,
        output: &output,
        params: &[],
        x: x.span(),
        raw: None,
        training: false,
        noise: None,
    };
    let mut given = Given {
        y: Numbers::nan(s.numbers(), x.skip),
        saved: Numbers::new(s.saved(), 0, || f32::NAN),
        gx: Numbers::nan(3 * s.numbers(), x.skip),
    };
    let (y, saved) = (given.y.span(), given.saved.span());
    layer.gpu_forward(at, y, saved).unwrap();
    let was = GpuForward { y, saved };
    layer
        .gpu_backward(at, was, gy.span(), &[], Some(given.gx.span()))
        .unwrap();
    given
}

/// Rows of a head among `parts` side by side.
fn rows<'a>(
    s: &Sizes,
    all: &'a [f64],
    (pair, part, parts): (usize, usize, usize),
) -> Vec<&'a [f64]> {
    let (example, head) = (pair / s.heads, pair % s.heads);
    let row = |i: usize| ((example * s.positions + i) * parts + part) * s.heads + head;
    (0..s.positions)
        .map(|i| &all[row(i) * s.head_size..(row(i) + 1) * s.head_size])
        .collect()
}

/// Numbers as they should be and how far from them they may be.
#[derive(Default)]
struct Wanted {
    found: Vec<f64>,
    exact: Vec<f64>,
    bound: Vec<f64>,
}

impl Wanted {
    fn add(&mut self, found: &[f64], exact: &[f64], terms: &[f64]) {
        self.found.extend(found);
        self.exact.extend(exact);
        let bounds = exact
            .iter()
            .zip(terms)
            .map(|(x, t)| SLACK * (t + U * x.abs()));
        self.bound.extend(bounds);
    }

    /// Checks each number and, where `rms` is given, the root mean square.
    fn check(&self, what: &str, rms: Option<f64>) {
        let (mut errors, mut squares) = (0.0, 0.0);
        for ((found, exact), bound) in self.found.iter().zip(&self.exact).zip(&self.bound) {
            let apart = (found - exact).abs();
            // NaN is not within it
            let close = apart <= *bound;
            assert!(close, "{what}: {found} {exact}, bound {bound}");
            errors += apart * apart;
            squares += exact * exact;
        }
        if let Some(rms) = rms {
            let apart = (errors / squares).sqrt();
            assert!(apart < rms, "{what}: root mean square {apart} of {rms}");
        }
    }
}

fn add_to(sum: &mut [f64], factor: f64, row: &[f64]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum += factor * x.abs();
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn check(layer: Attention, positions: usize, skip: usize) {
    let head_size = layer.head_size;
    // enough that heads, examples and members are told apart; long ones take their time
    let heads = if positions > 64 { 1 } else { 2 };
    let input = [positions, 3 * heads * head_size];
    let s = layer.sizes_for(if positions > 17 { 1 } else { 2 }, &input);
    let mut x = Numbers::normal("x", 3 * s.numbers(), skip);
    let mut gy = Numbers::normal("gy", s.numbers(), skip);
    let given = on_gpu(&layer, &s, &mut x, &mut gy);
    let what = format!("{layer:?}, {positions} positions, skip {skip}");
    let [mut outputs, mut queries, mut keys, mut values] = [(); 4].map(|()| Wanted::default());
    for member in 0..MEMBERS {
        let (x, gy) = (x.exact(member), gy.exact(member));
        let (mut y, mut saved) = (vec![0.0; s.numbers()], vec![0.0; s.saved()]);
        let fused = Heads::fused(&s, &x);
        forward(s, fused, &mut y, &mut saved);
        let was = Was {
            y: &y,
            saved: &saved,
            gy: &gy,
        };
        let mut gx = vec![0.0; x.len()];
        backward(s, fused, was, &mut gx);
        for (found, exact) in given.saved.of(member).iter().zip(&saved) {
            let close = (f64::from(*found) - exact).abs() <= 1e-5 * (1.0 + exact.abs());
            assert!(close, "{what}: {found} {exact}");
        }
        let n = positions;
        let mut p = vec![0.0; s.batch * s.heads * n * n];
        probabilities(s, fused[0], fused[1], &mut p);
        let (found_y, found_gx) = (given.y.exact(member), given.gx.exact(member));
        for (pair, p) in p.chunks_exact(n * n).enumerate() {
            let [q, k, v] = [0, 1, 2].map(|part| rows(&s, &x, (pair, part, 3)));
            let [gy, y] = [&gy, &y].map(|all| rows(&s, all, (pair, 0, 1)));
            let zeros = || vec![vec![0.0; head_size]; n];
            let [mut of_y, mut of_q, mut of_k, mut of_v] = [(); 4].map(|()| zeros());
            for i in 0..n {
                for j in 0..n {
                    add_to(&mut of_y[i], U * p[i * n + j], v[j]);
                }
                let rounded = of_y[i].iter().zip(y[i]).map(|(t, y)| t + U * y.abs());
                let of_delta: f64 = rounded.zip(gy[i]).map(|(t, g)| t * g.abs()).sum();
                let delta = dot(gy[i], y[i]);
                for j in 0..n {
                    let p = p[i * n + j];
                    let e = p * (dot(gy[i], v[j]) - delta);
                    let of_e = s.scale.abs() * (U * e.abs() + p * of_delta);
                    add_to(&mut of_q[i], of_e, k[j]);
                    add_to(&mut of_k[j], of_e, q[i]);
                    add_to(&mut of_v[j], U * p, gy[i]);
                }
            }
            let found = rows(&s, &found_y, (pair, 0, 1));
            for i in 0..n {
                outputs.add(found[i], y[i], &of_y[i]);
            }
            let parts = [(&mut queries, of_q), (&mut keys, of_k), (&mut values, of_v)];
            for (part, (wanted, terms)) in parts.into_iter().enumerate() {
                let [found, exact] = [&found_gx, &gx].map(|all| rows(&s, all, (pair, part, 3)));
                for i in 0..n {
                    wanted.add(found[i], exact[i], &terms[i]);
                }
            }
        }
    }
    let two = Some((2.0f64 / 3.0).sqrt() * U);
    // a single score has no gradient, nor have those that do not count
    let three = (positions > 1 && s.scale != 0.0).then_some(U);
    outputs.check(&format!("{what}: outputs"), two);
    queries.check(&format!("{what}: queries"), three);
    keys.check(&format!("{what}: keys"), three);
    values.check(&format!("{what}: values"), two);
}

fn layer(head_size: usize, causal: bool) -> Attention {
    Attention {
        head_size,
        causal,
        scale: AttentionScale::InverseSqrt,
    }
}

#[test]
fn bf16_is_as_exact_as_its_roundings_at_odd_shapes() {
    for head_size in [8, 20, 64, 72, 128, 256] {
        for positions in [1, 17, 64, 130] {
            for causal in [true, false] {
                check(layer(head_size, causal), positions, 0);
            }
        }
    }
}

/// Members that begin at addresses which are no multiples of 16 bytes, or not all.
#[test]
fn bf16_at_odd_addresses() {
    check(layer(64, true), 70, 1);
    check(layer(16, false), 33, 4);
    check(layer(32, true), 40, 8);
}

/// Scales that no one would choose but anyone may write.
#[test]
fn bf16_with_scales_of_any_sign() {
    for scale in [-0.2, 0.0, 1e-3] {
        let scale = AttentionScale::Number(scale);
        check(
            Attention {
                scale,
                ..layer(20, true)
            },
            70,
            0,
        );
        check(
            Attention {
                scale,
                ..layer(64, false)
            },
            33,
            0,
        );
    }
}
