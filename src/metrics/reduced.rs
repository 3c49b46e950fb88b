//! A network whose inputs span fewer dimensions than they have, in as many as they span.
//!
//! The rows of `X [points, inputs]` lie in a space of at most `points` dimensions. With `X Xᵀ = L Lᵀ`
//! there are orthonormal rows `Q` with `X = L Q`, so a first linear layer sees `X W = L (Q W)`: the
//! network with inputs `L` and first weight `Q W` has the same outputs, and, since `Q` is orthonormal,
//! the same losses, gradients and curvature in every direction that the data can tell apart.

use candle_core::Tensor;

use crate::error::Result;
use crate::memory::numbers;
use crate::tensor::cholesky::{cholesky, solve_lower};
use crate::tensor::elem::{Elem, dispatch, read, to_f64};
use crate::tensor::gram::add_gram;
use crate::tensor::matmul::{Matrix, matmul};

/// Inputs in the coordinates of their span.
#[derive(Debug)]
pub(super) struct Reduced {
    points: usize,
    features: usize,
    x: Tensor,
    l: Vec<f64>,
}

impl Reduced {
    /// For `inputs [points, …]`.
    pub fn new(inputs: &Tensor) -> Result<Self> {
        let points = inputs.dims()[0];
        let features = inputs.elem_count() / points.max(1);
        let x = to_f64(inputs)?;
        let mut l = numbers("inner products of examples", &[points, points])?;
        add_gram(&mut l, points, &x, 1.0);
        cholesky(&mut l, points);
        Ok(Self {
            points,
            features,
            x: inputs.clone(),
            l,
        })
    }

    /// Whether `products` Hessian–vector products are cheaper so, the reduction included: each product
    /// multiplies a first layer's inputs twice by `outputs` numbers, and double precision counts double.
    pub fn pays(points: usize, features: usize, outputs: usize, products: usize) -> bool {
        let [n, d, o, k] = [points, features, outputs, products].map(|x| x as f64);
        let reduction = 2.0 * (n * n * d / 2.0 + n * n * n / 3.0 + 2.0 * n * o * (d + n));
        n < d && reduction < k * 2.0 * n * o * (d - n)
    }

    /// The inputs `[points, points]`, in the type of `like`.
    pub fn inputs(&self, like: &Tensor) -> Result<Tensor> {
        let l = Tensor::from_slice(&self.l, (self.points, self.points), like.device())?;
        Ok(l.to_dtype(like.dtype())?)
    }

    /// `Q w [members, points, outputs]` of a weight, or of a direction, `[members, features, outputs]`.
    ///
    /// `X w` is a product as the network's own would be, in the type of `w`; only what is divided by `L`
    /// needs double precision.
    pub fn weight(&self, w: &Tensor) -> Result<Tensor> {
        let (members, outputs) = (w.dims()[0], w.dims()[2]);
        let (n, d) = (self.points, self.features);
        let x = self.x.to_dtype(w.dtype())?;
        let shape = [members, n, outputs];
        let mut reduced = numbers("a weight in the examples' span", &shape)?;
        dispatch!(w, T => read(&x, |x: &[T]| read(w, |w: &[T]| {
            let mut product = numbers("inputs times a weight", &shape[1..])?;
            for (to, w) in reduced
                .chunks_exact_mut((n * outputs).max(1))
                .zip(w.chunks_exact((d * outputs).max(1)))
            {
                let (x, w) = (Matrix::row_major(x, d), Matrix::row_major(w, outputs));
                matmul(&mut product, (n, outputs, d), <T as Elem>::of(1.0), x, w);
                to.iter_mut().zip(&product).for_each(|(to, &p)| *to = p.f64());
                solve_lower(&self.l, n, to, outputs);
            }
            Ok(())
        })))?;
        let reduced = Tensor::from_vec(reduced, &shape, w.device())?;
        Ok(reduced.to_dtype(w.dtype())?)
    }
}
