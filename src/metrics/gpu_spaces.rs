//! Vectors of the Krylov spaces of all members on a GPU: the host sees rows of the tridiagonal matrices alone.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::eigenvalues::InUnits;
use super::gpu_vectors::GpuVectors;
use super::lanczos::{Eigenvalues, Search, largest_in};
use super::spaces::{Next, Spaces, Symmetric, normalise, random};
use crate::error::Result;
use crate::gpu::{Gpu, address};
use crate::memory::{self, Number};
use crate::nn::Span;
use crate::tensor::elem::Elem;

/// The spaces, and the matrices between roots of learning rates.
pub(super) struct GpuSpaces<T> {
    gpu: Arc<Gpu>,
    matrix: InUnits<T>,
    vectors: GpuVectors,
    /// Of each trained parameter.
    parts: Vec<Part>,
    basis: Vec<Tensor>,
    /// The image of the last vector.
    image: Tensor,
    active: Tensor,
}

/// Where a trained parameter is.
struct Part {
    /// Its place among all.
    place: usize,
    /// Numbers of a member, and where they begin in a vector.
    size: usize,
    start: usize,
    roots: Tensor,
    /// Whether each number has its own root.
    each: bool,
}

impl<T: Elem + Number> GpuSpaces<T> {
    /// Spaces of the matrix that begin with these vectors.
    pub fn new(gpu: &Arc<Gpu>, matrix: InUnits<T>, mut begin: Vec<Vec<T>>) -> Result<Self> {
        let (members, size) = (begin.len(), matrix.coordinates.size());
        let (device, mut start) = (gpu.device(), 0);
        let mut parts = Vec::new();
        for (place, size, roots, each) in matrix.coordinates.parts() {
            let name = "roots of learning rates";
            let on_gpu = memory::zeros(name, &[roots.len().max(1)], T::DTYPE, device)?;
            gpu.upload(roots, address(&on_gpu)?)?;
            parts.push(Part {
                place,
                size,
                start,
                roots: on_gpu,
                each,
            });
            start += size;
        }
        let vectors = GpuVectors::new(gpu, T::DTYPE, members, size)?;
        let first = vectors.room("a Lanczos vector", size)?;
        for (member, vector) in begin.iter_mut().enumerate() {
            matrix.mask(member, vector);
            normalise(vector);
        }
        gpu.upload(&begin.concat(), address(&first)?)?;
        Ok(Self {
            image: vectors.room("a Lanczos vector", size)?,
            active: memory::zeros("wanted members", &[members], DType::U32, device)?,
            basis: vec![first],
            gpu: gpu.clone(),
            matrix,
            vectors,
            parts,
        })
    }

    /// Where a member's numbers of one are in a vector, and in a tensor like the parameter.
    fn spans(&self, part: &Part, vector: &Tensor, tensor: &Tensor) -> Result<[Span; 2]> {
        let stride = self.matrix.coordinates.size();
        let at = address(vector)? + (size_of::<T>() * part.start) as u64;
        let like = Span {
            at: address(tensor)?,
            stride: part.size,
        };
        Ok([Span { at, stride }, like])
    }

    /// Says which members are meant.
    fn set_active(&self, on: impl Iterator<Item = bool>) -> Result<u64> {
        let words: Vec<u32> = on.map(u32::from).collect();
        let at = address(&self.active)?;
        self.gpu.upload(&words, at)?;
        Ok(at)
    }
}

impl<T: Elem + Number> Spaces for GpuSpaces<T> {
    fn dimensions(&self, member: usize) -> (usize, usize) {
        self.matrix.dimensions(member)
    }

    fn rounding(&self) -> f64 {
        T::epsilon().f64()
    }

    fn multiply(&mut self, wanted: &[bool]) -> Result<Vec<[f64; 2]>> {
        let (direction, image) = (&self.matrix.direction, &self.matrix.image);
        if let Some(last) = self.basis.last() {
            for part in &self.parts {
                let [from, to] = self.spans(part, last, &direction[part.place])?;
                let roots = (&part.roots, part.each);
                self.vectors.rooted(part.size, from, to, roots)?;
            }
        }
        self.matrix.hessian.product(direction, image)?;
        for part in &self.parts {
            let [to, from] = self.spans(part, &self.image, &image[part.place])?;
            let roots = (&part.roots, part.each);
            self.vectors.rooted(part.size, from, to, roots)?;
        }
        let active = self.set_active(wanted.iter().copied())?;
        let rows = self
            .vectors
            .orthogonalise(&self.basis, &self.image, active)?;
        let rows = rows
            .into_iter()
            .map(|[alpha, square]| [alpha, square.sqrt()]);
        Ok(rows.collect())
    }

    fn add(&mut self, next: &[Next]) -> Result<()> {
        let size = self.matrix.coordinates.size();
        let is_random = |n: &Next| matches!(n, Next::Random(_));
        let mut factors: Vec<f64> = next
            .iter()
            .map(|n| match n {
                Next::Image(length) => 1.0 / length,
                Next::Nothing | Next::Random(_) => 0.0,
            })
            .collect();
        if next.iter().any(is_random) {
            for (member, next) in next.iter().enumerate() {
                let Next::Random(key) = next else { continue };
                let mut vector = random::<T>(key.rng(), size)?;
                self.matrix.mask(member, &mut vector);
                let at = address(&self.image)? + (size_of::<T>() * member * size) as u64;
                self.gpu.upload(&vector, at)?;
            }
            let active = self.set_active(next.iter().map(is_random))?;
            let rows = self
                .vectors
                .orthogonalise(&self.basis, &self.image, active)?;
            for ((factor, next), [_, square]) in factors.iter_mut().zip(next).zip(rows) {
                if is_random(next) && square > 0.0 {
                    *factor = 1.0 / square.sqrt();
                }
            }
        }
        if next.iter().all(|n| matches!(n, Next::Nothing)) {
            return Ok(());
        }
        let vector = self.vectors.room("a Lanczos vector", size)?;
        self.vectors.scaled(&self.image, &vector, &factors)?;
        self.basis.push(vector);
        Ok(())
    }
}

/// The largest eigenvalues of the matrix, as [`largest`](super::lanczos::largest) on the host.
///
/// # Errors
/// If a product fails or the user interrupts; if memory for the vectors cannot be had.
pub(super) fn largest_on_gpu<T: Elem + Number>(
    gpu: &Arc<Gpu>,
    matrix: InUnits<T>,
    begin: Vec<Vec<T>>,
    search: Search,
) -> Result<Eigenvalues> {
    let members = begin.len();
    let mut spaces = GpuSpaces::new(gpu, matrix, begin)?;
    largest_in(&mut spaces, members, search)
}
