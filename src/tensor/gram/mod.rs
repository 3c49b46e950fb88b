//! Gram matrices: inner products of rows, and of gradients that are products.

mod products;
mod rows;

use std::ops::Range;

use rayon::prelude::*;

use super::elem::Elem;
use super::matmul::{self, Into, Matrix, Shared, matmul_into};
pub use products::{Products, Shape, add_product_gram, pieces};
pub use rows::Rows;

/// Rows per task.
const ROWS: usize = 64;
/// Up to so many rows, and from so many times as many features on, tasks sum over features.
const LONG: (usize, usize) = (1024, 4);
/// From so many features on, products are halved until they are small: each of them is worth two tasks.
const WIDE: usize = 256;

/// Adds `scale · a aᵀ` to the lower triangle of `gram [n, n]`, for `a [n, features]`. Entries above
/// the diagonal are left undefined; [`mirror`] fills them.
pub fn add_gram<T: Elem>(gram: &mut [T], n: usize, a: &[T], scale: f64) {
    let features = a.len() / n.max(1);
    if n <= LONG.0 && features >= LONG.1 * n {
        return matmul::gram(gram, (n, features), T::of(scale), a);
    }
    if features >= WIDE {
        halves(gram, n, a, scale, 0..n);
    }
    let all = Shared::new(gram);
    (0..n.div_ceil(ROWS)).into_par_iter().for_each(|task| {
        let (start, end) = (task * ROWS, ((task + 1) * ROWS).min(n));
        // SAFETY: each task has its own rows
        let rows =
            unsafe { std::slice::from_raw_parts_mut(all.ptr().add(start * n), (end - start) * n) };
        let first = if features >= WIDE { start } else { 0 };
        block(&mut rows[first..], n, a, scale, (start..end, first..end));
    });
}

/// What lies below the blocks of [`ROWS`] rows on the diagonal, of the rows and columns `part`: the
/// largest square is one product, whose tasks share the packed operands.
fn halves<T: Elem>(gram: &mut [T], n: usize, a: &[T], scale: f64, part: Range<usize>) {
    if part.len() <= ROWS {
        return;
    }
    let middle = part.start + (part.len() / 2).next_multiple_of(ROWS);
    let (above, below) = (part.start..middle, middle..part.end);
    let to = &mut gram[middle * n + part.start..];
    block(to, n, a, scale, (below.clone(), above.clone()));
    halves(gram, n, a, scale, above);
    halves(gram, n, a, scale, below);
}

/// Adds the inner products of some rows of `a` with others to `gram`, which starts at the first of them.
fn block<T: Elem>(
    gram: &mut [T],
    n: usize,
    a: &[T],
    scale: f64,
    (rows, cols): (Range<usize>, Range<usize>),
) {
    let features = a.len() / n.max(1);
    let some = |range: &Range<usize>| {
        Matrix::row_major(&a[range.start * features..range.end * features], features)
    };
    let into = Into {
        data: gram,
        row_stride: n,
        accumulate: true,
    };
    let shape = (rows.len(), cols.len(), features);
    matmul_into(
        into,
        shape,
        T::of(scale),
        some(&rows),
        some(&cols).transposed(),
    );
}

/// Copies the lower triangle of `gram [n, n]` to the upper one.
pub fn mirror<T: Elem>(gram: &mut [T], n: usize) {
    for i in 0..n {
        for j in i + 1..n {
            gram[i * n + j] = gram[j * n + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::rng::Key;

    #[test]
    fn gram_matrices_agree_with_the_definition() {
        for (n, features) in [
            (1, 1),
            (5, 3),
            (64, 10),
            (130, 70),
            (3, 0),
            (1, 300),
            (7, 29),
            (33, 700),
            (70, 3001),
            (200, 300),
            (131, 256),
        ] {
            let mut rng = Key::new(1).rng();
            let a: Vec<f64> = (0..n * features).map(|_| rng.normal()).collect();
            let mut gram = vec![1.0; n * n];
            add_gram(&mut gram, n, &a, 0.5);
            mirror(&mut gram, n);
            for i in 0..n {
                for j in 0..n {
                    let (x, y) = (
                        &a[i * features..][..features],
                        &a[j * features..][..features],
                    );
                    let wanted = 1.0 + 0.5 * x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
                    assert!(
                        (gram[i * n + j] - wanted).abs() < 1e-11,
                        "{n} {features} ({i}, {j})"
                    );
                }
            }
        }
    }
}
