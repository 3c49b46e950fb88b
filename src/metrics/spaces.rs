//! Vectors of the Krylov spaces of all members, where they are kept.

use rayon::prelude::*;

use crate::error::Result;
use crate::memory::{self, Number};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::{accumulate, dot, scale};
use crate::tensor::rng::{Key, Rng};

/// An orthonormal basis of each member, with its matrix.
pub(super) trait Spaces {
    /// Of each member: how many numbers of its vectors may be other than 0, and how many eigenvalues 0 its
    /// matrix has beside those of this space.
    fn dimensions(&self, member: usize) -> (usize, usize);

    /// Unit roundoff of the vectors' type.
    fn rounding(&self) -> f64;

    /// The image `v` of the last vector `q` of each member that is `wanted`, without what it has in common with the
    /// basis: `qᵀ v` of the whole image, and the length of what is left.
    ///
    /// # Errors
    /// If a product fails.
    fn multiply(&mut self, wanted: &[bool]) -> Result<Vec<[f64; 2]>>;

    /// Adds a vector to each member's basis.
    ///
    /// # Errors
    /// If memory for it cannot be had.
    fn add(&mut self, next: &[Next]) -> Result<()>;
}

/// The next vector of a basis.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// None is needed.
    Nothing,
    /// What was left of the image, of this length.
    Image(f64),
    /// A random one, orthogonal to the basis.
    Random(Key),
}

/// Numbers of a random vector.
pub(super) fn random<T: Elem + Number>(mut rng: Rng, size: usize) -> Result<Vec<T>> {
    let mut vector = memory::numbers::<T>("a Lanczos vector", &[size])?;
    vector.iter_mut().for_each(|x| *x = T::of(rng.normal()));
    Ok(vector)
}

/// Products of all members' matrices with a vector each, and the directions in which these may point.
pub(super) trait Symmetric<T>: Sync {
    /// The image of each member's vector.
    ///
    /// # Errors
    /// If a product fails.
    fn product(&self, vectors: &[&[T]]) -> Result<Vec<Vec<T>>>;

    /// Sets to 0 what vectors may not have, since the member's matrix has no image of it.
    fn mask(&self, member: usize, vector: &mut [T]);

    /// As [`Spaces::dimensions`].
    fn dimensions(&self, member: usize) -> (usize, usize);
}

/// Vectors on the host.
pub(super) struct OnHost<'a, M, T> {
    matrix: &'a M,
    /// Of each member; the last is the one to be multiplied next.
    bases: Vec<Vec<Vec<T>>>,
    images: Vec<Vec<T>>,
}

impl<'a, T: Elem + Number, M: Symmetric<T>> OnHost<'a, M, T> {
    /// Spaces that begin with these vectors.
    pub fn new(matrix: &'a M, start: Vec<Vec<T>>) -> Self {
        let begin = |(member, mut vector): (usize, Vec<T>)| {
            matrix.mask(member, &mut vector);
            normalise(&mut vector);
            vec![vector]
        };
        Self {
            matrix,
            images: start.iter().map(|_| Vec::new()).collect(),
            bases: start.into_iter().enumerate().map(begin).collect(),
        }
    }
}

/// Gives a vector the length 1, if it has one.
pub(super) fn normalise<T: Elem>(vector: &mut [T]) {
    let norm = dot(vector, vector).sqrt();
    if norm > 0.0 {
        scale(vector, 1.0 / norm);
    }
}

/// Removes what a vector has in common with the basis, twice, for once leaves what cancellation does.
fn orthogonalise<T: Elem>(basis: &[Vec<T>], vector: &mut [T]) {
    for _ in 0..2 {
        for q in basis {
            let along = dot(q, vector);
            accumulate(vector, q, -along);
        }
    }
}

impl<T: Elem + Number, M: Symmetric<T>> Spaces for OnHost<'_, M, T> {
    fn dimensions(&self, member: usize) -> (usize, usize) {
        self.matrix.dimensions(member)
    }

    fn rounding(&self) -> f64 {
        match size_of::<T>() {
            4 => f64::from(f32::EPSILON),
            _ => f64::EPSILON,
        }
    }

    fn multiply(&mut self, wanted: &[bool]) -> Result<Vec<[f64; 2]>> {
        let last = self.bases.iter().filter_map(|basis| basis.last());
        let vectors: Vec<&[T]> = last.map(|v| &**v).collect();
        self.images = self.matrix.product(&vectors)?;
        let all = self.images.par_iter_mut().zip(&self.bases).zip(wanted);
        let found = all.map(|((image, basis), wanted)| {
            if !wanted {
                return [f64::NAN; 2];
            }
            let alpha = basis.last().map_or(0.0, |q| dot(q, image));
            orthogonalise(basis, image);
            [alpha, dot(image, image).sqrt()]
        });
        Ok(found.collect())
    }

    fn add(&mut self, next: &[Next]) -> Result<()> {
        let images = self.images.par_iter_mut().map(std::mem::take);
        let all = self.bases.par_iter_mut().zip(images).zip(next).enumerate();
        all.try_for_each(|(member, ((basis, mut image), next))| {
            match next {
                Next::Nothing => return Ok(()),
                Next::Image(length) => scale(&mut image, 1.0 / length),
                Next::Random(key) => {
                    image = random(key.rng(), image.len())?;
                    self.matrix.mask(member, &mut image);
                    orthogonalise(basis, &mut image);
                    normalise(&mut image);
                }
            }
            basis.push(image);
            Ok(())
        })
    }
}
