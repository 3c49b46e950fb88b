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

/// The tangent of the gradient of [`cross_entropy`] from the tangent of the outputs, both `[rows, width]`:
/// `(p ∘ dz − p (p · dz)) / rows` with the softmax `p`.
pub fn cross_entropy_tangent<T: Elem>(outputs: &[T], width: usize, tangent: &[T], to: &mut [T]) {
    let width = width.max(1);
    let scale = T::of(1.0 / (outputs.len() / width) as f64);
    let rows = outputs.chunks_exact(width).zip(tangent.chunks_exact(width));
    for ((z, dz), to) in rows.zip(to.chunks_exact_mut(width)) {
        let max = z
            .iter()
            .copied()
            .fold(T::neg_infinity(), num_traits::Float::max);
        let sum: T = z.iter().map(|&z| (z - max).exp()).sum();
        for (to, &z) in to.iter_mut().zip(z) {
            *to = (z - max).exp() / sum;
        }
        let mean: T = to.iter().zip(dz).map(|(&p, &dz)| p * dz).sum();
        for (to, &dz) in to.iter_mut().zip(dz) {
            *to = scale * *to * (dz - mean);
        }
    }
}

/// The tangent of the gradient of [`mse`]: `2 dz` over the number of outputs.
pub fn mse_tangent<T: Elem>(tangent: &[T], to: &mut [T]) {
    let scale = T::of(2.0 / tangent.len().max(1) as f64);
    for (to, &dz) in to.iter_mut().zip(tangent) {
        *to = scale * dz;
    }
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
