//! Matrix products.

use super::Stored;

/// A matrix of a product, or one for each of a batch: `rows` of numbers at distance `row`, and `stride` numbers
/// from one matrix of the batch to the next (0 if there is one for all).
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Address of the first number.
    pub at: u64,
    /// Type of the numbers.
    pub stored: Stored,
    /// Numbers from one row to the next.
    pub row: usize,
    /// Numbers from one matrix to the next.
    pub stride: usize,
    /// Whether the product takes its transpose; not for the result.
    pub transposed: bool,
}

impl Matrix {
    /// Its transpose.
    pub fn t(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }
}

/// `c = alpha · a b + beta · c` for each of a batch: `a [m, k]`, `b [k, n]`, `c [m, n]`, each by rows. `a` and `b`
/// have the same type; `c` has it too, or is the arithmetic type of it.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Numbers of each sum.
    pub k: usize,
    /// Matrices of each.
    pub batch: usize,
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of what is there, 0 where it is not read.
    pub beta: f64,
    /// Left factor.
    pub a: Matrix,
    /// Right factor.
    pub b: Matrix,
    /// Result.
    pub c: Matrix,
    /// Whether factors of f32 may be rounded to 10 bits; set by the GPU.
    pub tf32: bool,
}

impl Gemm {
    /// The product `a b` into `c`.
    pub fn new([m, n, k]: [usize; 3], batch: usize, a: Matrix, b: Matrix, c: Matrix) -> Self {
        Self {
            m,
            n,
            k,
            batch,
            alpha: 1.0,
            beta: 0.0,
            a,
            b,
            c,
            tf32: false,
        }
    }

    /// The same times a factor.
    pub fn times(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// The same, added to what is there times `beta`.
    pub fn plus(self, beta: f64) -> Self {
        Self { beta, ..self }
    }
}
