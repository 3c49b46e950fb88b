//! The noise of minibatch gradients beside the gradient itself.

use serde::Serialize;

use super::eigenvalues::check_rates;
use super::gradient::BatchGradients;
use super::hessian::values;
use super::objective::Loss;
use super::rates::{Coordinates, Rates};
use super::stats;
use crate::data::Stream;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::Model;
use crate::tensor::elem::dispatch;
use crate::tensor::elementwise::{accumulate, dot, scale};

/// Which batches gradients are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseSettings {
    /// Examples of a small batch.
    pub small: usize,
    /// Small batches that make up a big one, at least 2.
    pub parts: usize,
    /// Big batches, at least 2.
    pub batches: usize,
    /// Where in the stream they begin.
    pub start: u64,
}

impl Default for NoiseSettings {
    fn default() -> Self {
        Self {
            small: 32,
            parts: 8,
            batches: 16,
            start: 0,
        }
    }
}

/// The noise of each member's gradient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoiseScale {
    /// `tr Σ / |G|²`, in examples; NaN where the estimate of `|G|²` is not positive.
    pub noise_scale: Vec<f64>,
    /// Standard error of it, by the delta method over the big batches.
    pub noise_scale_error: Vec<f64>,
    /// Estimate of `tr Σ`, the trace of the covariance of single examples' gradients.
    pub trace: Vec<f64>,
    /// Its standard error.
    pub trace_error: Vec<f64>,
    /// Estimate of `|G|²`, the squared norm of the mean gradient; may be negative where noise is all there is.
    pub squared_gradient: Vec<f64>,
    /// Its standard error.
    pub squared_gradient_error: Vec<f64>,
    /// Examples of a small batch.
    pub small: usize,
    /// Examples of a big one.
    pub big: usize,
    /// Big batches.
    pub batches: usize,
}

/// The simple noise scale `B = tr Σ / |G|²` of each member's gradient on a stream (McCandlish et al. 2018,
/// arXiv 1812.06162): the batch size at which the noise of the gradient is as large as the gradient.
///
/// With the squared norms of gradients at two batch sizes, each of their means is unbiased (appendix A.1):
/// `|G|² = (B_big |G_big|² − B_small |G_small|²) / (B_big − B_small)` and
/// `tr Σ = (|G_small|² − |G_big|²) / (1/B_small − 1/B_big)`. Big batches are `parts` small ones in a row; both
/// are averaged over `batches` big ones, and their ratio is taken then. The ratio itself has a bias of the
/// order of 1 over the number of batches.
///
/// With `rates`, every parameter's square counts with its learning rate: `tr(D Σ)` and `GᵀDG`, by how much a small
/// step changes the loss, which do not depend on how a parametrization is written.
///
/// The loss is that of evaluation.
///
/// # Errors
/// If there are fewer than 2 parts or batches, or no example in a small one; if the stream ends, or does not
/// fit the model; if rates do not fit; if memory is short.
pub fn gradient_noise_scale(
    model: &Model,
    stream: &dyn Stream,
    loss: Loss,
    rates: Option<&Rates>,
    settings: NoiseSettings,
) -> Result<NoiseScale> {
    let NoiseSettings {
        small,
        parts,
        batches,
        start,
    } = settings;
    for (name, value, least) in [
        ("small", small, 1),
        ("parts", parts, 2),
        ("batches", batches, 2),
    ] {
        if value < least {
            return Err(Error::setting(format!(
                "{name} must be at least {least}, found {value}"
            )));
        }
    }
    let one = Rates::one(model);
    let rates = rates.unwrap_or(&one);
    check_rates(model, rates)?;
    let passes = BatchGradients::new(model, small, loss)?;
    let like = values(model);
    let Some(first) = like.first() else {
        return Err(Error::setting(
            "a network without parameters has no gradient",
        ));
    };
    let members = model.members();
    let (b, big) = (small as f64, (small * parts) as f64);
    // of each member, in each big batch
    let mut squares = vec![Vec::new(); members];
    let mut traces = vec![Vec::new(); members];
    dispatch!(first, T => {
        let coordinates = Coordinates::<T>::new(model, rates, &like)?;
        for batch in 0..batches {
            let mut sums: Vec<Vec<T>> = Vec::new();
            let mut of_small = vec![0.0; members];
            for part in 0..parts {
                if interrupt::requested() {
                    return Err(Error::interrupted());
                }
                let at = start + ((batch * parts + part) * small) as u64;
                let gradients = coordinates.scaled(passes.of(&stream.batch(at, small)?)?)?;
                for (square, gradient) in of_small.iter_mut().zip(&gradients) {
                    *square += dot(gradient, gradient) / parts as f64;
                }
                if sums.is_empty() {
                    sums = gradients;
                } else {
                    for (sum, gradient) in sums.iter_mut().zip(&gradients) {
                        accumulate(sum, gradient, 1.0);
                    }
                }
            }
            for (member, mut sum) in sums.into_iter().enumerate() {
                scale(&mut sum, 1.0 / parts as f64);
                let (of_small, of_big) = (of_small[member], dot(&sum, &sum));
                squares[member].push((big * of_big - b * of_small) / (big - b));
                traces[member].push((of_small - of_big) / (1.0 / b - 1.0 / big));
            }
        }
        Ok::<_, Error>(())
    })?;
    let mut found = NoiseScale {
        noise_scale: Vec::new(),
        noise_scale_error: Vec::new(),
        trace: Vec::new(),
        trace_error: Vec::new(),
        squared_gradient: Vec::new(),
        squared_gradient_error: Vec::new(),
        small,
        big: small * parts,
        batches,
    };
    for (squares, traces) in squares.iter().zip(&traces) {
        let of = |values: &[f64]| {
            let pair = (stats::mean(values), stats::standard_error(values));
            (pair.0.unwrap_or(f64::NAN), pair.1.unwrap_or(f64::NAN))
        };
        let ((square, square_error), (trace, trace_error)) = (of(squares), of(traces));
        let (ratio, ratio_error) = if square > 0.0 {
            let ratio = trace / square;
            let rest: Vec<f64> = (squares.iter().zip(traces))
                .map(|(s, t)| (t - ratio * s) / square)
                .collect();
            (ratio, of(&rest).1)
        } else {
            (f64::NAN, f64::NAN)
        };
        found.noise_scale.push(ratio);
        found.noise_scale_error.push(ratio_error);
        found.trace.push(trace);
        found.trace_error.push(trace_error);
        found.squared_gradient.push(square);
        found.squared_gradient_error.push(square_error);
    }
    Ok(found)
}
