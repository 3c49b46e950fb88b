//! Rotary positions (*RoFormer*, arXiv 2104.09864): pairs of channels of queries and keys turn by an
//! angle that grows with the position, so that scores depend on distances alone.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::elem::Elem;
use super::parallel::{CHUNK, PARALLEL};

/// Which channels of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Channels 2i and 2i + 1, as in the paper and in Meta's Llama.
    Adjacent,
    /// Channels i and i + head_size/2, as in GPT-NeoX and the Llama of Hugging Face's transformers.
    Halves,
}

/// Cosine and sine of every position and pair, `[positions, head_size/2]` of two numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    positions: usize,
    pairs: usize,
    numbers: Vec<[f64; 2]>,
}

impl Angles {
    /// Position `t` turns pair `i` by `t · base^(−2 i / head_size)`.
    pub fn new(positions: usize, head_size: usize, base: f64) -> Self {
        let pairs = head_size / 2;
        let angle = |t: usize, i: usize| t as f64 * base.powf(-2.0 * i as f64 / head_size as f64);
        let pair = |t: usize, i: usize| {
            let (sin, cos) = angle(t, i).sin_cos();
            [cos, sin]
        };
        Self {
            positions,
            pairs,
            numbers: (0..positions)
                .flat_map(|t| (0..pairs).map(move |i| pair(t, i)))
                .collect(),
        }
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

/// Turns queries and keys of `x [batch, positions, 3 · width]` (queries, keys and values side by side,
/// `width` a number of heads) and copies the values. With `back`, the other way round: that is the
/// backward pass.
pub fn rotate<T: Elem>(
    x: &[T],
    angles: &Angles,
    pairs: Pairs,
    (positions, width): (usize, usize),
    back: bool,
    y: &mut [T],
) {
    let row = (3 * width).max(1);
    let turn = |first: usize, y: &mut [T]| {
        for (i, y) in y.chunks_exact_mut(row).enumerate() {
            let position = (first + i) % positions.max(1);
            let x = &x[(first + i) * row..][..row];
            let angles = &angles.numbers[position * angles.pairs..][..angles.pairs];
            let (turned, kept) = y.split_at_mut(2 * width);
            kept.copy_from_slice(&x[2 * width..]);
            let size = (2 * angles.len()).max(1);
            for (y, x) in turned.chunks_exact_mut(size).zip(x.chunks_exact(size)) {
                turn_head(x, angles, pairs, back, y);
            }
        }
    };
    if y.len() < PARALLEL {
        turn(0, y);
    } else {
        let rows = (CHUNK / row).max(1);
        y.par_chunks_mut(rows * row)
            .enumerate()
            .for_each(|(i, y)| turn(i * rows, y));
    }
}

fn turn_head<T: Elem>(x: &[T], angles: &[[f64; 2]], pairs: Pairs, back: bool, y: &mut [T]) {
    let half = angles.len();
    let sign = if back { -1.0 } else { 1.0 };
    let turned = |a: T, b: T, [cos, sin]: [f64; 2]| {
        let (cos, sin) = (T::of(cos), T::of(sign * sin));
        (a * cos - b * sin, a * sin + b * cos)
    };
    match pairs {
        Pairs::Adjacent => {
            let both = x.chunks_exact(2).zip(y.chunks_exact_mut(2));
            for ((x, y), &angle) in both.zip(angles) {
                (y[0], y[1]) = turned(x[0], x[1], angle);
            }
        }
        Pairs::Halves => {
            let ((xa, xb), (ya, yb)) = (x.split_at(half), y.split_at_mut(half));
            let (x, y) = (xa.iter().zip(xb), ya.iter_mut().zip(yb));
            for (((&a, &b), (ya, yb)), &angle) in x.zip(y).zip(angles) {
                (*ya, *yb) = turned(a, b, angle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::rng::Key;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    /// The definition by complex numbers, against both conventions.
    #[test]
    fn agrees_with_the_definition() {
        let (batch, positions, heads, size) = (2, 5, 3, 6);
        let width = heads * size;
        let angles = Angles::new(positions, size, 100.0);
        let x = numbers(1, batch * positions * 3 * width);
        for pairs in [Pairs::Adjacent, Pairs::Halves] {
            let mut y = vec![f64::NAN; x.len()];
            rotate(&x, &angles, pairs, (positions, width), false, &mut y);
            for row in 0..batch * positions {
                let (t, at) = (row % positions, row * 3 * width);
                assert_eq!(
                    y[at + 2 * width..at + 3 * width],
                    x[at + 2 * width..at + 3 * width]
                );
                for head in 0..2 * heads {
                    for i in 0..size / 2 {
                        let (a, b) = match pairs {
                            Pairs::Adjacent => (2 * i, 2 * i + 1),
                            Pairs::Halves => (i, i + size / 2),
                        };
                        let (a, b) = (at + head * size + a, at + head * size + b);
                        let angle = t as f64 * 100f64.powf(-2.0 * i as f64 / size as f64);
                        let wanted = x[a] * angle.cos() - x[b] * angle.sin();
                        assert!((y[a] - wanted).abs() < 1e-12);
                        let wanted = x[a] * angle.sin() + x[b] * angle.cos();
                        assert!((y[b] - wanted).abs() < 1e-12);
                    }
                }
            }
            let mut back = vec![f64::NAN; x.len()];
            rotate(&y, &angles, pairs, (positions, width), true, &mut back);
            for (a, b) in back.iter().zip(&x) {
                assert!((a - b).abs() < 1e-12);
            }
        }
    }
}
