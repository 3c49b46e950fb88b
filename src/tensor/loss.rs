//! Losses of one member with their gradient, in one pass.

use super::elem::Elem;

/// Cross-entropy, −log of the softmax at the class, mean over rows, for `outputs [rows, width]` and
/// one class, below `width`, per row; with `gradient` (same shape) also its gradient. Sums over rows
/// are taken in f64 in row order.
pub fn cross_entropy<T: Elem>(
    outputs: &[T],
    width: usize,
    classes: &[u32],
    gradient: Option<&mut [T]>,
) -> f64 {
    per_row(outputs, width, gradient, |row, z, g| {
        cross_entropy_row(z, classes[row] as usize, g)
    })
}

/// Squared error, mean over rows and outputs as PyTorch's `MSELoss`, for `outputs` and `targets [rows,
/// width]`; with `gradient` (same shape) also its gradient. Sums over rows are taken in f64 in row
/// order.
pub fn mse<T: Elem>(
    outputs: &[T],
    width: usize,
    targets: &[f64],
    gradient: Option<&mut [T]>,
) -> f64 {
    per_row(outputs, width, gradient, |row, z, g| {
        squared_row(z, &targets[row * width..][..width], g)
    })
}

/// Mean of `row_loss(row, outputs, gradient)` over rows.
fn per_row<T: Elem>(
    outputs: &[T],
    width: usize,
    gradient: Option<&mut [T]>,
    row_loss: impl Fn(usize, &[T], Option<&mut [T]>) -> f64,
) -> f64 {
    let rows = outputs.len() / width.max(1);
    let z = outputs.chunks_exact(width.max(1)).enumerate();
    let sum: f64 = match gradient {
        None => z.map(|(row, z)| row_loss(row, z, None)).sum(),
        Some(gradient) => {
            let scale = T::of(1.0 / rows as f64);
            z.zip(gradient.chunks_exact_mut(width.max(1)))
                .map(|((row, z), g)| {
                    let loss = row_loss(row, z, Some(g));
                    g.iter_mut().for_each(|g| *g *= scale);
                    loss
                })
                .sum()
        }
    };
    sum / rows as f64
}

fn cross_entropy_row<T: Elem>(z: &[T], class: usize, gradient: Option<&mut [T]>) -> f64 {
    let max = z
        .iter()
        .copied()
        .fold(T::neg_infinity(), num_traits::Float::max);
    let sum: T = z.iter().map(|&z| (z - max).exp()).sum();
    if let Some(gradient) = gradient {
        for (j, (g, &z)) in gradient.iter_mut().zip(z).enumerate() {
            let target = if j == class { T::one() } else { T::zero() };
            *g = (z - max).exp() / sum - target;
        }
    }
    (max + sum.ln() - z[class]).f64()
}

fn squared_row<T: Elem>(z: &[T], target: &[f64], gradient: Option<&mut [T]>) -> f64 {
    let n = z.len() as f64;
    if let Some(gradient) = gradient {
        for ((g, &z), &y) in gradient.iter_mut().zip(z).zip(target) {
            *g = T::of(2.0 / n) * (z - T::of(y));
        }
    }
    let squares = z.iter().zip(target).map(|(z, y)| (z.f64() - y).powi(2));
    squares.sum::<f64>() / n
}
