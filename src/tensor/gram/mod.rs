//! Gram matrices: inner products of rows, and of gradients that are products.

mod products;
mod rows;

use rayon::prelude::*;

use super::elem::Elem;
use super::matmul::{self, Into, Matrix, Shared, matmul_into};
pub use products::{Products, Shape, add_product_gram, pieces};
pub use rows::Rows;

/// Rows per task.
const ROWS: usize = 64;
/// Up to so many rows, and from so many times as many features on, tasks sum over features.
const LONG: (usize, usize) = (1024, 4);

/// Adds `scale · a aᵀ` to the lower triangle of `gram [n, n]`, for `a [n, features]`. Entries above
/// the diagonal are left undefined; [`mirror`] fills them.
pub fn add_gram<T: Elem>(gram: &mut [T], n: usize, a: &[T], scale: f64) {
    let features = a.len() / n.max(1);
    if n <= LONG.0 && features >= LONG.1 * n {
        return matmul::gram(gram, (n, features), T::of(scale), a);
    }
    let all = Shared::new(gram);
    (0..n.div_ceil(ROWS)).into_par_iter().for_each(|task| {
        let (start, end) = (task * ROWS, ((task + 1) * ROWS).min(n));
        // SAFETY: each task has its own rows
        let rows =
            unsafe { std::slice::from_raw_parts_mut(all.ptr().add(start * n), (end - start) * n) };
        let into = Into {
            data: rows,
            row_stride: n,
            accumulate: true,
        };
        let left = Matrix::row_major(&a[start * features..end * features], features);
        let right = Matrix::row_major(&a[..end * features], features).transposed();
        matmul_into(
            into,
            (end - start, end, features),
            T::of(scale),
            left,
            right,
        );
    });
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
