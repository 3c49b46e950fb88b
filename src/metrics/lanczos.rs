//! The largest eigenvalues of symmetric matrices that are known by their products with vectors, one matrix
//! for each member of an ensemble.

use rayon::prelude::*;
use serde::Serialize;

use super::spaces::{Next, OnHost, Spaces, Symmetric};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::memory::Number;
use crate::tensor::eigen::symmetric_eigen;
use crate::tensor::elem::Elem;
use crate::tensor::rng::Key;

/// Eigenvalues of each member's matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Eigenvalues {
    /// `[member][count]`, the algebraically largest first; NaN for a member whose numbers are not finite.
    pub values: Vec<Vec<f64>>,
    /// Of the same shape: an eigenvalue of the matrix is no further than this from each value.
    pub residuals: Vec<Vec<f64>>,
    /// For each member, whether all its values have converged.
    pub converged: Vec<bool>,
    /// Products with the matrices that were formed, the same for all members.
    pub products: usize,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// How many eigenvalues.
    pub count: usize,
    /// Most products.
    pub products: usize,
    /// Largest residual relative to the value, or to the norm times the root of the rounding if that is more.
    pub tolerance: f64,
    /// Seed of vectors by which an exhausted Krylov space is gone on with.
    pub seed: u64,
}

/// The Lanczos iteration of one member's matrix, with full reorthogonalisation: what is known of it beside the
/// vectors.
struct Krylov {
    /// Where the present Krylov space begins: the spaces before it are invariant.
    begin: usize,
    /// Diagonal and subdiagonal of the tridiagonal matrix.
    alphas: Vec<f64>,
    betas: Vec<f64>,
    /// Eigenvalues of the spaces before this one with their residuals.
    kept: Vec<(f64, f64)>,
    /// How many numbers of its vectors may be other than 0.
    free: usize,
    /// Unit roundoff of the vectors' type.
    rounding: f64,
    /// What the member has found, when it is done.
    found: Option<Found>,
}

#[derive(Debug, Clone)]
struct Found {
    values: Vec<(f64, f64)>,
    converged: bool,
}

/// The largest eigenvalues, by one Krylov space for each member (Lanczos 1950; full reorthogonalisation,
/// Parlett 1998, chapter 13). A member that is done is left as it is, so that its numbers do not depend on
/// the others. Equal eigenvalues are found once until a Krylov space is exhausted, and then again.
///
/// # Errors
/// If a product fails or the user interrupts; if memory for the vectors cannot be had.
pub(super) fn largest_in(
    spaces: &mut impl Spaces,
    members: usize,
    search: Search,
) -> Result<Eigenvalues> {
    let begin = |member| {
        let (free, zeros) = spaces.dimensions(member);
        let mut krylov = Krylov {
            begin: 0,
            alphas: Vec::new(),
            betas: Vec::new(),
            kept: vec![(0.0, 0.0); zeros.min(search.count)],
            free,
            rounding: spaces.rounding(),
            found: None,
        };
        if free == 0 {
            krylov.end(&search);
        }
        krylov
    };
    let mut members: Vec<Krylov> = (0..members).map(begin).collect();
    let mut products = 0;
    while products < search.products && members.iter().any(|m| m.found.is_none()) {
        if interrupt::requested() {
            return Err(Error::interrupted());
        }
        let wanted: Vec<bool> = members.iter().map(|m| m.found.is_none()).collect();
        let rows = spaces.multiply(&wanted)?;
        products += 1;
        let last = products == search.products;
        let next = members
            .par_iter_mut()
            .zip(rows)
            .map(|(krylov, row)| match krylov.found {
                Some(_) => Ok(Next::Nothing),
                None => krylov.take(row, &search, last),
            });
        let next = next.collect::<Result<Vec<_>>>()?;
        spaces.add(&next)?;
    }
    let mut eigenvalues = Eigenvalues {
        values: Vec::new(),
        residuals: Vec::new(),
        converged: Vec::new(),
        products,
    };
    for member in members {
        let found = member.found.unwrap_or(Found {
            values: vec![(f64::NAN, f64::NAN); search.count],
            converged: false,
        });
        let (values, residuals) = found.values.into_iter().unzip();
        eigenvalues.values.push(values);
        eigenvalues.residuals.push(residuals);
        eigenvalues.converged.push(found.converged);
    }
    Ok(eigenvalues)
}

/// The same for matrices whose vectors are on the host, and begin with these.
///
/// # Errors
/// As above.
pub(super) fn largest<T: Elem + Number>(
    matrix: &impl Symmetric<T>,
    start: Vec<Vec<T>>,
    search: Search,
) -> Result<Eigenvalues> {
    let members = start.len();
    largest_in(&mut OnHost::new(matrix, start), members, search)
}

impl Krylov {
    /// Takes a row of the tridiagonal matrix: what the next vector is to be.
    fn take(&mut self, [alpha, beta]: [f64; 2], search: &Search, last: bool) -> Result<Next> {
        self.alphas.push(alpha);
        if !(alpha.is_finite() && beta.is_finite()) {
            self.found = Some(Found {
                values: vec![(f64::NAN, f64::NAN); search.count],
                converged: false,
            });
            return Ok(Next::Nothing);
        }
        self.betas.push(beta);
        let noise = 100.0 * self.rounding * self.size();
        let (exhausted, all) = (beta <= noise, self.alphas.len() >= self.free);
        if exhausted || all || last || self.due(search) {
            // one value needs no second space: the first has every value that the matrix has
            let done = all || (exhausted && search.count == 1 && self.begin == 0);
            self.look(search, done, last)?;
        }
        if self.found.is_some() {
            return Ok(Next::Nothing);
        }
        if !exhausted {
            return Ok(Next::Image(beta));
        }
        self.keep()?;
        let key = Key::new(search.seed).label("another space");
        Ok(Next::Random(key.fold(self.alphas.len() as u64)))
    }

    /// Whether eigenvalues are worth looking at: with each of the first products, then with every eighth more.
    fn due(&self, search: &Search) -> bool {
        let steps = self.alphas.len();
        steps >= search.count && (steps <= 16 || steps.is_multiple_of((steps / 8).max(2)))
    }

    /// A bound on the matrix's norm in the spaces so far.
    fn size(&self) -> f64 {
        let before = std::iter::once(&0.0).chain(&self.betas);
        let rows = self.alphas.iter().zip(before).zip(&self.betas);
        rows.map(|((a, b), c)| a.abs() + b.abs() + c.abs())
            .fold(0.0, f64::max)
    }

    /// Eigenvalues of the present space with their residuals, ascending.
    fn ritz(&self) -> Result<Vec<(f64, f64)>> {
        let steps = self.alphas.len() - self.begin;
        let mut matrix = vec![0.0; steps * steps];
        for i in 0..steps {
            matrix[i * steps + i] = self.alphas[self.begin + i];
            if i > 0 {
                matrix[i * steps + i - 1] = self.betas[self.begin + i - 1];
            }
        }
        let eigen = symmetric_eigen(&matrix, steps)?;
        let beta = self.betas.last().copied().unwrap_or(0.0);
        let floor = self.rounding * self.size();
        let last = &eigen.vectors[(steps - 1) * steps..];
        let residuals = last.iter().map(|s| (beta * s).abs().max(floor));
        Ok(eigen.values.into_iter().zip(residuals).collect())
    }

    /// Looks whether the largest values have converged; with `done` nothing more can be found, and with `last`
    /// there are no more products.
    fn look(&mut self, search: &Search, done: bool, last: bool) -> Result<()> {
        let present = self.ritz()?;
        let newest = present.last().copied();
        let mut values = [self.kept.as_slice(), &present].concat();
        values.sort_by(|a, b| b.0.total_cmp(&a.0));
        values.truncate(search.count);
        // a value of the size of rounding has no digits to converge
        let least = self.size() * self.rounding.sqrt();
        let close = |&(value, residual): &(f64, f64)| {
            residual <= search.tolerance * f64::max(value.abs(), least)
        };
        let full = values.len() == search.count;
        // a later space may have another copy of each value: its own largest must be known not to count
        let over = match (self.begin, newest, values.last()) {
            (0, ..) => true,
            (_, Some(newest), Some(least)) => close(&newest) && newest.0 <= least.0,
            _ => false,
        };
        let converged = full && values.iter().all(close) && (over || done);
        if converged || done || last {
            values.resize(search.count, (f64::NAN, f64::NAN));
            self.found = Some(Found { values, converged });
        }
        Ok(())
    }

    /// Without any product: every value is one of the zeros that are known.
    fn end(&mut self, search: &Search) {
        let mut values = std::mem::take(&mut self.kept);
        let converged = values.len() == search.count;
        values.resize(search.count, (f64::NAN, f64::NAN));
        self.found = Some(Found { values, converged });
    }

    /// Keeps the eigenvalues of the present space, which is invariant, and begins a new one.
    fn keep(&mut self) -> Result<()> {
        let present = self.ritz()?;
        self.kept.extend(present);
        self.begin = self.alphas.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dense matrices, one for each member.
    struct Dense {
        matrices: Vec<Vec<f64>>,
        size: usize,
        /// Coordinates without an image.
        left_out: usize,
    }

    impl<T: Elem> Symmetric<T> for Dense {
        fn product(&self, vectors: &[&[T]]) -> Result<Vec<Vec<T>>> {
            let product = |(a, x): (&Vec<f64>, &&[T])| {
                let rows = a.chunks(self.size);
                let row = |r: &[f64]| r.iter().zip(*x).map(|(a, x)| a * x.f64()).sum::<f64>();
                rows.map(|r| T::of(row(r))).collect()
            };
            Ok(self.matrices.iter().zip(vectors).map(product).collect())
        }
        fn mask(&self, _: usize, vector: &mut [T]) {
            vector[self.size - self.left_out..].fill(T::of(0.0));
        }
        fn dimensions(&self, _: usize) -> (usize, usize) {
            (self.size - self.left_out, self.left_out)
        }
    }

    fn start<T: Elem>(members: usize, size: usize) -> Vec<Vec<T>> {
        let mut rng = Key::new(9).rng();
        let vector: Vec<T> = (0..size).map(|_| T::of(rng.normal())).collect();
        vec![vector; members]
    }

    /// A symmetric matrix with these eigenvalues in a random basis.
    fn with_values(values: &[f64], seed: u64) -> Vec<f64> {
        let n = values.len();
        let mut rng = Key::new(seed).rng();
        let half: Vec<f64> = (0..n * n).map(|_| rng.normal()).collect();
        let q = crate::tensor::eigen::orthogonal_basis(&half, n).unwrap();
        let entry = |i: usize| {
            let terms = values.iter().enumerate();
            let (row, column) = (i / n, i % n);
            terms
                .map(|(k, v)| q[row * n + k] * v * q[column * n + k])
                .sum()
        };
        (0..n * n).map(entry).collect()
    }

    fn search(count: usize, products: usize, tolerance: f64) -> Search {
        Search {
            count,
            products,
            tolerance,
            seed: 3,
        }
    }

    #[test]
    fn the_largest_values_are_found_and_within_their_residuals() {
        let size = 60;
        let values: Vec<f64> = (0..size).map(|i| (i as f64 / 6.0).powi(2) - 30.0).collect();
        let negative: Vec<f64> = values.iter().map(|v| v - 100.0).collect();
        let matrix = Dense {
            matrices: vec![with_values(&values, 1), with_values(&negative, 2)],
            size,
            left_out: 0,
        };
        let found = largest::<f64>(&matrix, start(2, size), search(3, 60, 1e-9)).unwrap();
        assert_eq!(found.converged, [true, true]);
        for (found, (residuals, values)) in found
            .values
            .iter()
            .zip(found.residuals.iter().zip([&values, &negative]))
        {
            for ((v, r), expected) in found.iter().zip(residuals).zip(values.iter().rev()) {
                assert!((v - expected).abs() <= r + 1e-11, "{v} {expected} {r}");
                assert!((v - expected).abs() < 1e-7);
            }
        }
        let few = largest::<f64>(&matrix, start(2, size), search(3, 6, 1e-9)).unwrap();
        assert_eq!((few.converged, few.products), (vec![false, false], 6));
        for (few, residuals) in few.values.iter().zip(&few.residuals) {
            assert!(few.iter().all(|v| v.is_finite()));
            assert!(residuals[0] > 1e-9 * few[0].abs());
        }
    }

    #[test]
    fn single_precision_reaches_its_rounding() {
        let size = 40;
        let values: Vec<f64> = (0..size).map(|i| 0.5f64.powi(i as i32)).collect();
        let matrix = Dense {
            matrices: vec![with_values(&values, 4)],
            size,
            left_out: 0,
        };
        let found = largest::<f32>(&matrix, start(1, size), search(2, 40, 1e-4)).unwrap();
        assert!(found.converged[0]);
        assert!((found.values[0][0] - 1.0).abs() < 1e-5 && (found.values[0][1] - 0.5).abs() < 1e-4);
        let never = largest::<f32>(&matrix, start(1, size), search(2, 40, 1e-12)).unwrap();
        assert!(!never.converged[0], "{never:?}");
    }

    #[test]
    fn equal_eigenvalues_are_found_when_the_space_is_exhausted() {
        let matrix = Dense {
            matrices: vec![with_values(&[5.0, 5.0, 5.0, 2.0, 2.0, 1.0, -8.0], 5)],
            size: 7,
            left_out: 0,
        };
        let found = largest::<f64>(&matrix, start(1, 7), search(5, 50, 1e-8)).unwrap();
        assert!(found.converged[0], "{found:?}");
        for (value, expected) in found.values[0].iter().zip([5.0, 5.0, 5.0, 2.0, 2.0]) {
            assert!((value - expected).abs() < 1e-10, "{found:?}");
        }
        let one = largest::<f64>(&matrix, start(1, 7), search(1, 50, 1e-8)).unwrap();
        assert!(one.converged[0] && one.products <= 4, "{one:?}");
    }

    #[test]
    fn directions_that_are_left_out_count_as_zeros() {
        let mut matrix = vec![0.0; 16];
        for (i, value) in [-3.0, 2.0, -1.0].iter().enumerate() {
            matrix[5 * i] = *value;
        }
        let matrix = Dense {
            matrices: vec![matrix],
            size: 4,
            left_out: 1,
        };
        let found = largest::<f64>(&matrix, start(1, 4), search(3, 50, 1e-8)).unwrap();
        assert!(found.converged[0]);
        let expected = [2.0, 0.0, -1.0];
        for (value, expected) in found.values[0].iter().zip(expected) {
            assert!((value - expected).abs() < 1e-10, "{found:?}");
        }
        let nothing = Dense {
            left_out: 4,
            ..matrix
        };
        let found = largest::<f64>(&nothing, start(1, 4), search(2, 50, 1e-8)).unwrap();
        assert_eq!(
            (found.values[0].as_slice(), found.products),
            (&[0.0, 0.0][..], 0)
        );
        assert!(found.converged[0]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_flagged_and_the_other_member_goes_on() {
        let size = 5;
        let fine = with_values(&[4.0, 3.0, 2.0, 1.0, 0.0], 7);
        let matrix = Dense {
            matrices: vec![vec![f64::NAN; 25], fine.clone()],
            size,
            left_out: 0,
        };
        let found = largest::<f64>(&matrix, start(2, size), search(1, 50, 1e-8)).unwrap();
        assert_eq!(found.converged, [false, true]);
        assert!(found.values[0][0].is_nan() && found.residuals[0][0].is_nan());
        let alone = Dense {
            matrices: vec![fine],
            size,
            left_out: 0,
        };
        let alone = largest::<f64>(&alone, start(1, size), search(1, 50, 1e-8)).unwrap();
        assert_eq!(found.values[1], alone.values[0]);
    }

    #[test]
    fn a_zero_matrix_has_the_value_zero() {
        let matrix = Dense {
            matrices: vec![vec![0.0; 9]],
            size: 3,
            left_out: 0,
        };
        let found = largest::<f64>(&matrix, start(1, 3), search(1, 10, 1e-3)).unwrap();
        assert_eq!(found.values, [[0.0]]);
        assert!(found.converged[0]);
    }
}
