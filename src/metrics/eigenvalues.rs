//! The largest eigenvalues of each member's Hessian or Gauss–Newton matrix, in units of learning rates.

use candle_core::Tensor;
use serde::Serialize;

use super::gpu_spaces::largest_on_gpu;
use super::hessian::{CurvatureMatrix, Hessian, random_direction, values};
use super::lanczos::{Eigenvalues, Search, largest};
use super::objective::Loss;
use super::rates::{Coordinates, Rates};
use super::reduced::Reduced;
use super::spaces::Symmetric;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::memory::{self, Need, Number};
use crate::model::Model;
use crate::optim::ParamRates;
use crate::tensor::elem::{Elem, dispatch};

/// How eigenvalues are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EigenvalueSettings {
    /// How many, from the algebraically largest down.
    pub count: usize,
    /// Most products of a matrix with a vector.
    pub products: usize,
    /// A value has converged when its residual is at most this share of it; of values smaller than the root
    /// of one rounding times the norm, this share of that.
    pub tolerance: f64,
    /// Seed of the first vector, which all members share.
    pub seed: u64,
    /// Whose eigenvalues.
    pub matrix: CurvatureMatrix,
}

impl Default for EigenvalueSettings {
    fn default() -> Self {
        Self {
            count: 1,
            products: 60,
            tolerance: 1e-3,
            seed: 0,
            matrix: CurvatureMatrix::Hessian,
        }
    }
}

/// The algebraically largest eigenvalues of each member's matrix `D^(1/2) M D^(1/2)`: `M` is the Hessian of
/// `loss` on `batch`, or its Gauss–Newton matrix, over the trained parameters, and `D` the diagonal of
/// `rates`; without rates, of `M` for the parameters as they are stored.
///
/// By Lanczos' iteration with full reorthogonalisation and exact products, see [`Hessian`]: one Krylov
/// space for each member, all of whose vectors are kept, and all members in each product. The residual of a
/// value is a bound on the distance to the nearest eigenvalue of the matrix, by the last entry of the
/// tridiagonal matrix's eigenvector, and at least one rounding of the matrix's norm; the rounding of the
/// products themselves is not in it. Equal eigenvalues are found once until the Krylov space is exhausted.
///
/// Where a first linear layer has more inputs than there are examples, products are formed in the
/// coordinates of the examples' span; outside of it all eigenvalues are 0, which is taken into account. So
/// are parameters with learning rate 0.
///
/// # Errors
/// If `count` is 0, above `products` or above the number of trained parameters; if `tolerance` is not
/// positive; if rates do not fit the model, or are negative or not finite; as for [`Hessian::new`]; if
/// memory for the vectors cannot be had.
pub fn hessian_eigenvalues(
    model: &Model,
    batch: &Batch,
    loss: Loss,
    rates: Option<&Rates>,
    settings: EigenvalueSettings,
) -> Result<Eigenvalues> {
    eigenvalues_in(None, model, batch, loss, rates, settings)
}

fn eigenvalues_in(
    reduce: Option<bool>,
    model: &Model,
    batch: &Batch,
    loss: Loss,
    rates: Option<&Rates>,
    settings: EigenvalueSettings,
) -> Result<Eigenvalues> {
    check(model, settings)?;
    let one = Rates::one(model);
    let rates = rates.unwrap_or(&one);
    check_rates(model, rates)?;
    let mut inputs = model.shaped(&batch.inputs)?;
    let (mut values, mut start) = (values(model), random_direction(model, settings.seed)?);
    if let (true, Some(first), Some(ParamRates::PerMember(_))) = (
        model.reads_by_product(),
        values.first(),
        rates.params().first(),
    ) {
        let (points, sizes) = (inputs.dims()[0], first.dims());
        let pays = Reduced::pays(points, sizes[1], sizes[2], settings.products);
        if reduce.unwrap_or(pays) && points > 0 {
            let reduced = Reduced::new(&inputs)?;
            inputs = reduced.inputs(first)?;
            values[0] = reduced.weight(first)?;
            start[0] = reduced.weight(&start[0])?;
        }
    }
    let like = values.clone();
    let (hessian, image) =
        Hessian::at(model, &inputs, values, &batch.labels, loss, settings.matrix)?;
    let Some(first) = like.first() else {
        return Err(Error::setting(
            "a network without parameters has no Hessian",
        ));
    };
    dispatch!(first, T => {
        let coordinates = Coordinates::<T>::new(model, rates, &like)?;
        check_vectors::<T>(model, &coordinates, settings)?;
        let begin = coordinates.gather(&start)?;
        let matrix = InUnits {
            zeros: coordinates.zeros(),
            all: model.param_count(),
            coordinates,
            hessian,
            // the start has been copied, and is 0 where nothing is trained
            direction: start,
            image,
        };
        let search = Search {
            count: settings.count,
            products: settings.products,
            tolerance: settings.tolerance,
            seed: settings.seed,
        };
        match model.place().gpu() {
            Some(gpu) => largest_on_gpu(gpu, matrix, begin, search),
            None => largest(&matrix, begin, search),
        }
    })
}

fn check(model: &Model, s: EigenvalueSettings) -> Result<()> {
    let wrong = |text: String| Err(Error::setting(text));
    let params = model.param_count();
    if s.count == 0 || s.products < s.count {
        return wrong(format!(
            "count must be between 1 and products, which is {}, found {}",
            s.products, s.count
        ));
    }
    if s.count > params {
        return wrong(format!(
            "a matrix of {params} trained parameters has no {} eigenvalues",
            s.count
        ));
    }
    if !(s.tolerance > 0.0 && s.tolerance.is_finite()) {
        return wrong(format!("tolerance must be positive, found {}", s.tolerance));
    }
    Ok(())
}

/// Checks that rates are those of the model's parameters, and numbers that have a root. Those of a member
/// that has diverged may be NaN.
pub(super) fn check_rates(model: &Model, rates: &Rates) -> Result<()> {
    let (params, members) = (model.params(), model.members());
    if rates.params().len() != params.len() {
        return Err(Error::shape(format!(
            "{} parameters have {} learning rates",
            params.len(),
            rates.params().len()
        )));
    }
    for (param, rates) in params.iter().zip(rates.params()) {
        let (given, wanted) = match rates {
            ParamRates::PerMember(rates) => (rates, members),
            ParamRates::PerNumber(rates) => (rates, param.value.elem_count()),
        };
        if given.len() != wanted {
            return Err(Error::shape(format!(
                "{}: {} learning rates, expected {wanted}",
                param.info.path,
                given.len()
            )));
        }
        if let Some(bad) = given.iter().find(|r| **r < 0.0 || r.is_infinite()) {
            return Err(Error::setting(format!(
                "{}: a learning rate of {bad} gives no units for curvature",
                param.info.path
            )));
        }
    }
    Ok(())
}

/// Checks that the vectors of all Krylov spaces fit into memory.
fn check_vectors<T: Elem + Number>(
    model: &Model,
    coordinates: &Coordinates<T>,
    settings: EigenvalueSettings,
) -> Result<()> {
    let (members, size) = (model.members(), coordinates.size());
    let need = |products: usize| Need {
        name: "Lanczos vectors".into(),
        // two more: a direction and its image, or on a GPU an image and roots of learning rates
        shape: vec![products.min(size) + 2, members, size],
        number: size_of::<T>(),
    };
    let needs = [need(settings.products)];
    let what = "eigenvalues by Lanczos' iteration";
    memory::check_on(model.place(), what, &needs, |available| {
        let bytes = |products| Some(need(products).bytes());
        match memory::largest(settings.products, available, bytes) {
            0 => {
                "use fewer members, a smaller width, or metrics::sharpness, which keeps no vectors"
                    .into()
            }
            fits => format!("{fits} of {} products would fit", settings.products),
        }
    })
}

/// A matrix of all members between roots of learning rates.
pub(super) struct InUnits<T> {
    pub coordinates: Coordinates<T>,
    pub hessian: Hessian,
    pub direction: Vec<Tensor>,
    pub image: Vec<Tensor>,
    /// Of each member, how many of its numbers have learning rate 0.
    zeros: Vec<usize>,
    /// Trained numbers of a member, those outside the examples' span included.
    all: usize,
}

impl<T: Elem + Number> Symmetric<T> for InUnits<T> {
    fn product(&self, vectors: &[&[T]]) -> Result<Vec<Vec<T>>> {
        self.coordinates.scatter(vectors, &self.direction)?;
        self.hessian.product(&self.direction, &self.image)?;
        self.coordinates.scaled(&self.image)
    }

    fn mask(&self, member: usize, vector: &mut [T]) {
        self.coordinates.mask(member, vector);
    }

    fn dimensions(&self, member: usize) -> (usize, usize) {
        let free = self.coordinates.size() - self.zeros[member];
        // in fewer coordinates there may be more examples than inputs
        (free, self.all.saturating_sub(free))
    }
}
