//! Sizes that an update of a matrix can be given.

use crate::tensor::elem::Elem;
use crate::tensor::elementwise::squared_norm;
use crate::tensor::matmul::{Matrix, matmul};
use crate::tensor::scratch;

/// Power iterations from a random vector; later steps go on from where the last one ended.
pub const POWER_ITERATIONS: usize = 20;

/// An estimate from below of the spectral norm of a matrix of `[rows, columns]` by power iteration (arXiv 2512.05620,
/// spectral normalisation): one iteration from `vector`, of length `columns`, that the last step left, or
/// several from a random one where `first`.
pub fn spectral_norm<T: Elem>(
    matrix: &[T],
    [rows, columns]: [usize; 2],
    vector: &mut [T],
    first: bool,
) -> f64 {
    let m = Matrix::row_major(matrix, columns);
    scratch::with(rows, |image: &mut [T]| {
        let mut norm = 0.0;
        for _ in 0..if first { POWER_ITERATIONS } else { 1 } {
            matmul(
                image,
                (rows, 1, columns),
                T::of(1.0),
                m,
                Matrix::row_major(vector, 1),
            );
            norm = squared_norm(image).sqrt();
            if norm == 0.0 || !norm.is_finite() {
                return norm;
            }
            scratch::with(columns, |next: &mut [T]| {
                let image = Matrix::row_major(image, 1);
                matmul(
                    next,
                    (columns, 1, rows),
                    T::of(1.0 / norm),
                    m.transposed(),
                    image,
                );
                let length = squared_norm(next).sqrt();
                if length > 0.0 {
                    vector
                        .iter_mut()
                        .zip(&*next)
                        .for_each(|(v, n)| *v = *n / T::of(length));
                }
            });
        }
        norm
    })
}

/// The Frobenius norm of the step that Adam would take with the learning rate 1, from the first moment; takes
/// the gradient into the second moment.
pub fn adam_norm<T: Elem>(
    grad: &[T],
    first: &[T],
    second: &mut [T],
    [beta1, beta2]: [f64; 2],
    eps: f64,
    step: u64,
) -> f64 {
    let steps = step.min(i32::MAX as u64) as i32;
    let of = |beta: f64| 1.0 - beta.powi(steps);
    let rest = 1.0 - beta2;
    let mut sum = 0.0;
    for ((s, g), m) in second.iter_mut().zip(grad).zip(first) {
        let square = beta2 * s.f64() + rest * g.f64() * g.f64();
        *s = T::of(square);
        let part = (m.f64() / of(beta1)) / ((square / of(beta2)).sqrt() + eps);
        sum += part * part;
    }
    sum.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_iteration_finds_the_largest_singular_value() {
        // singular values 3, 1 between rotated axes
        let (c, s) = (0.6f64, 0.8);
        let matrix = [3.0 * c, -s, 0.0, 3.0 * s, c, 0.0];
        let mut vector = [0.5, 0.5, 0.5];
        let norm = spectral_norm(&matrix, [2, 3], &mut vector, true);
        assert!((norm - 3.0).abs() < 1e-12, "{norm}");
        let again = spectral_norm(&matrix, [2, 3], &mut vector, false);
        assert!((again - 3.0).abs() < 1e-12 && (vector[0].abs() - 1.0).abs() < 1e-12);
        assert_eq!(spectral_norm(&[0.0; 6], [2, 3], &mut vector, false), 0.0);
        assert!(
            (vector[0].abs() - 1.0).abs() < 1e-12,
            "a zero matrix leaves the vector"
        );
    }

    #[test]
    fn adams_first_step_has_the_norm_of_its_signs() {
        let grad = [3.0, -0.1, 0.0, 7.0];
        let first = grad.map(|g: f64| 0.1 * g);
        let mut second = [0.0; 4];
        let norm = adam_norm(&grad, &first, &mut second, [0.9, 0.99], 1e-300, 1);
        assert!((norm - 3f64.sqrt()).abs() < 1e-12, "{norm}");
        assert!((second[3] - 0.49).abs() < 1e-12);
    }
}
