//! The matrix of all probabilities, for those who want to look at it.

use rayon::prelude::*;

use super::{Heads, Sizes};
use crate::tensor::elem::Elem;

/// `softmax(scale · q kᵀ)` of each example and head, written to `to [batch, heads, queries, keys]`,
/// in `f64` from queries and keys of any type. Keys that the causal mask hides have 0.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn probabilities<T: Elem>(s: Sizes, q: Heads<'_, T>, k: Heads<'_, T>, to: &mut [f64]) {
    let n = s.positions;
    if s.numbers() == 0 {
        return;
    }
    to.par_chunks_exact_mut(n * n)
        .take(s.pairs())
        .enumerate()
        .for_each(|(pair, map)| {
            let row = |part: &Heads<'_, T>, position: usize| -> Vec<f64> {
                let start = part.start(&s, pair) + position * part.position;
                let numbers = &part.data[start..start + s.head_size];
                numbers.iter().map(|x| x.f64()).collect()
            };
            let keys: Vec<Vec<f64>> = (0..n).map(|j| row(&k, j)).collect();
            for (i, to) in map.chunks_exact_mut(n).enumerate() {
                let query = row(&q, i);
                let (seen, hidden) = to.split_at_mut(if s.causal { i + 1 } else { n });
                for (score, key) in seen.iter_mut().zip(&keys) {
                    let product: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    *score = s.scale * product;
                }
                // NaN is not seen by max, and reaches the sum
                let largest = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                seen.iter_mut().for_each(|x| *x = (*x - largest).exp());
                let sum: f64 = seen.iter().sum();
                seen.iter_mut().for_each(|x| *x /= sum);
                hidden.fill(0.0);
            }
        });
}
