//! The trace of each member's Hessian or Gauss–Newton matrix, by random signs.

use serde::Serialize;

use super::eigenvalues::check_rates;
use super::hessian::{CurvatureMatrix, Hessian, Products, values};
use super::objective::Loss;
use super::rates::{Coordinates, Rates};
use super::stats;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::memory::{self, Number};
use crate::model::Model;
use crate::tensor::elem::{Elem, dispatch};
use crate::tensor::elementwise::dot;
use crate::tensor::rng::Key;

/// How a trace is estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceSettings {
    /// Vectors of random signs, at least 2.
    pub samples: usize,
    /// Their seed; all members share them.
    pub seed: u64,
    /// Whose trace.
    pub matrix: CurvatureMatrix,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            samples: 32,
            seed: 0,
            matrix: CurvatureMatrix::Hessian,
        }
    }
}

/// Estimated traces.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// Of each member; NaN for one whose numbers are not finite.
    pub trace: Vec<f64>,
    /// Standard error of each.
    pub error: Vec<f64>,
    /// Vectors that were used.
    pub samples: usize,
}

/// Each member's trace of `D^(1/2) M D^(1/2)`, `M` and `D` as for
/// [`hessian_eigenvalues`](super::hessian_eigenvalues): the mean of `sᵀ M s` over vectors `s` of random signs, with
/// its standard error (Hutchinson 1990).
///
/// # Errors
/// If there are fewer than 2 samples; as for [`hessian_eigenvalues`](super::hessian_eigenvalues).
pub fn hessian_trace(
    model: &Model,
    batch: &Batch,
    loss: Loss,
    rates: Option<&Rates>,
    settings: TraceSettings,
) -> Result<Trace> {
    if settings.samples < 2 {
        return Err(Error::setting(format!(
            "samples must be at least 2, for a standard error, found {}",
            settings.samples
        )));
    }
    let one = Rates::one(model);
    let rates = rates.unwrap_or(&one);
    check_rates(model, rates)?;
    let inputs = model.shaped(&batch.inputs)?;
    let like = values(model);
    let Some(first) = like.first() else {
        return Err(Error::setting(
            "a network without parameters has no Hessian",
        ));
    };
    let (labels, matrix) = (&batch.labels, settings.matrix);
    let (hessian, image) = Hessian::at(model, &inputs, like.clone(), labels, loss, matrix)?;
    dispatch!(first, T => {
        let coordinates = Coordinates::<T>::new(model, rates, &like)?;
        let direction = model.like_params("signs")?;
        let products = Products::new(model, &direction)?;
        let mut samples = vec![Vec::new(); model.members()];
        for sample in 0..settings.samples {
            if interrupt::requested() {
                return Err(Error::interrupted());
            }
            let key = Key::new(settings.seed).label("signs").fold(sample as u64);
            let signs = signs::<T>(key, coordinates.size())?;
            let all: Vec<&[T]> = samples.iter().map(|_| signs.as_slice()).collect();
            coordinates.scatter(&all, &direction)?;
            hessian.product(&direction, &image)?;
            if model.place().gpu().is_some() {
                // sᵀ D^(1/2) M D^(1/2) s, without bringing the image to the host
                let found = products.inner(&direction, &image)?;
                samples.iter_mut().zip(found).for_each(|(s, x)| s.push(x));
                continue;
            }
            for (samples, image) in samples.iter_mut().zip(coordinates.scaled(&image)?) {
                samples.push(dot(&signs, &image));
            }
        }
        let estimate = |samples: &Vec<f64>| {
            let found = (stats::mean(samples), stats::standard_error(samples));
            (found.0.unwrap_or(f64::NAN), found.1.unwrap_or(f64::NAN))
        };
        let (trace, error) = samples.iter().map(estimate).unzip();
        Ok(Trace { trace, error, samples: settings.samples })
    })
}

/// Numbers that are 1 or −1.
fn signs<T: Elem + Number>(key: Key, size: usize) -> Result<Vec<T>> {
    let mut signs = memory::numbers::<T>("signs", &[size])?;
    let mut rng = key.rng();
    for part in signs.chunks_mut(64) {
        let bits = rng.bits();
        for (i, sign) in part.iter_mut().enumerate() {
            *sign = T::of(if bits >> i & 1 == 1 { 1.0 } else { -1.0 });
        }
    }
    Ok(signs)
}
