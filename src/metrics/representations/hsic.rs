//! Inner products of kernels: as they are, centred, and without bias.

use super::kernels::Kernels;
use super::pairwise::Pairwise;

/// Sums that run beside each other.
const LANES: usize = 8;

/// A kernel of which, while it is read, terms of row and column are subtracted:
/// `K[i, j] − r[i] − r[j] + m`.
pub(super) struct Centred<'a> {
    kernel: &'a [f64],
    points: usize,
    rows: Vec<f64>,
    mean: f64,
    diagonal: bool,
    /// Its inner product with itself.
    pub square: f64,
}

impl<'a> Centred<'a> {
    /// The kernel itself.
    fn plain(kernel: &'a [f64], points: usize) -> Self {
        Self::with(kernel, points, vec![0.0; points], 0.0, true)
    }

    /// `H K H` with `H = I − 1 1ᵀ / P`. Inner products are `tr(H K H L)`, of which
    /// `HSIC = tr(H K H L) / (P − 1)²` is the estimate with bias (Gretton et al. 2005).
    fn biased(kernel: &'a [f64], points: usize, rounding: f64) -> Self {
        let n = points as f64;
        let rows: Vec<f64> = row_sums(kernel, points).map(|sum| sum / n).collect();
        let mean = rows.iter().sum::<f64>() / n;
        Self::with(kernel, points, rows, mean, true).unless_rounding(rounding)
    }

    /// The kernel centred without its diagonal (Székely and Rizzo 2014). Inner products over
    /// `P (P − 3)` are HSIC₁ of Song et al., JMLR 13 (2012), equation 5, which has no bias:
    /// `[tr(K̃ L̃) + 1ᵀK̃1 1ᵀL̃1 / ((P − 1)(P − 2)) − 2/(P − 2) 1ᵀK̃L̃1] / (P (P − 3))`, with K̃, L̃ the kernels
    /// with diagonals of zeros. At least 4 points.
    fn unbiased(kernel: &'a [f64], points: usize, rounding: f64) -> Self {
        let n = points as f64;
        let sums = row_sums(kernel, points).enumerate();
        let sums: Vec<f64> = sums.map(|(i, sum)| sum - kernel[i * points + i]).collect();
        let mean = sums.iter().sum::<f64>() / ((n - 1.0) * (n - 2.0));
        let rows = sums.iter().map(|sum| sum / (n - 2.0)).collect();
        Self::with(kernel, points, rows, mean, false).unless_rounding(rounding)
    }

    fn with(kernel: &'a [f64], points: usize, rows: Vec<f64>, mean: f64, diagonal: bool) -> Self {
        let mut made = Self {
            kernel,
            points,
            rows,
            mean,
            diagonal,
            square: 0.0,
        };
        made.square = made.inner(&made);
        made
    }

    /// Sets the square to zero where nothing is left of the kernel but rounding.
    fn unless_rounding(mut self, rounding: f64) -> Self {
        let whole: f64 = self.kernel.iter().map(|x| x * x).sum();
        if self.square <= rounding * rounding * whole {
            self.square = 0.0;
        }
        self
    }

    /// The sum over entries of the products of two kernels.
    pub fn inner(&self, other: &Self) -> f64 {
        let n = self.points;
        let mut sum = 0.0;
        for i in 0..n {
            let (a, b) = (&self.kernel[i * n..][..n], &other.kernel[i * n..][..n]);
            let (own, others) = (self.mean - self.rows[i], other.mean - other.rows[i]);
            let term = |j: usize| (a[j] - self.rows[j] + own) * (b[j] - other.rows[j] + others);
            let mut lanes = [0.0; LANES];
            let whole = n - n % LANES;
            for start in (0..whole).step_by(LANES) {
                for (lane, sum) in lanes.iter_mut().enumerate() {
                    *sum += term(start + lane);
                }
            }
            let mut row = lanes.iter().sum::<f64>() + (whole..n).map(term).sum::<f64>();
            if !self.diagonal {
                row -= term(i);
            }
            sum += row;
        }
        sum
    }

    /// The cosine of two kernels; NaN where one is zero.
    pub fn cosine(&self, other: &Self) -> f64 {
        match self.square > 0.0 && other.square > 0.0 {
            // two roots: the product can overflow or underflow
            true => self.inner(other) / self.square.sqrt() / other.square.sqrt(),
            false => f64::NAN,
        }
    }
}

fn row_sums(kernel: &[f64], points: usize) -> impl Iterator<Item = f64> {
    kernel.chunks_exact(points).map(|row| row.iter().sum())
}

/// How kernels are centred before their inner product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Not at all.
    Plain,
    /// [`Centred::biased`].
    Biased,
    /// [`Centred::unbiased`].
    Unbiased,
}

impl Form {
    /// The kernel `[points, points]`, where numbers have this relative rounding.
    pub fn of(self, kernel: &[f64], points: usize, rounding: f64) -> Centred<'_> {
        match self {
            Self::Plain => Centred::plain(kernel, points),
            Self::Biased => Centred::biased(kernel, points, rounding),
            Self::Unbiased => Centred::unbiased(kernel, points, rounding),
        }
    }
}

/// Cosines of all kernels of two sets, in one form.
pub(super) fn cosines(a: &Kernels<'_>, b: &Kernels<'_>, form: Form) -> Pairwise {
    let (rows, columns) = (a.each(form), b.each(form));
    Pairwise::between(rows.len(), columns.len(), |i, j| {
        cosine(&rows[i], &columns[j])
    })
}

/// The same within one set.
pub(super) fn cosines_within(a: &Kernels<'_>, form: Form) -> Pairwise {
    let rows = a.each(form);
    Pairwise::within(rows.len(), |i, j| cosine(&rows[i], &rows[j]))
}

fn cosine(a: &Option<Centred<'_>>, b: &Option<Centred<'_>>) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) => a.cosine(b),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn estimates_are_those_of_their_definitions() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("kernels.{name}"));
        let (a, b) = (of("a").index(0), of("b").index(0));
        let n = a.shape[0];
        let points = n as f64;
        for (name, form, factor) in [
            ("biased", Form::Biased, (points - 1.0).powi(-2)),
            ("unbiased", Form::Unbiased, 1.0 / points / (points - 3.0)),
        ] {
            let (a, b) = (form.of(&a.values, n, 1e-13), form.of(&b.values, n, 1e-13));
            let found = [a.inner(&b) * factor, a.square * factor];
            let expected = fixture.numbers(&format!("/hsic/{name}"));
            assert_close(name, &found, &expected, 1e-12);
        }
    }

    #[test]
    fn a_constant_kernel_has_nothing_left_when_centred() {
        let kernel = vec![0.1; 49];
        assert_eq!(Centred::biased(&kernel, 7, 1e-13).square, 0.0);
        assert_eq!(Centred::unbiased(&kernel, 7, 1e-13).square, 0.0);
        let plain = Centred::plain(&kernel, 7);
        assert!((plain.cosine(&plain) - 1.0).abs() < 1e-15);
        let zero = Centred::biased(&kernel, 7, 1e-13);
        assert!(zero.cosine(&plain).is_nan());
    }
}
