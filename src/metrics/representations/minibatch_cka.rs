//! Centred kernel alignment over minibatches, without the kernel of all points.

use candle_core::Tensor;

use super::feature_kernel::feature_kernel_of;
use super::hsic::{Centred, Form};
use super::pairwise::Pairwise;
use crate::error::{Error, Result};
use crate::tensor::elem::to_f64;

/// Alignments from minibatches.
#[derive(Debug, Clone, PartialEq)]
pub struct MinibatchCka {
    /// Every member of one set against every member of the other.
    pub pairs: Pairwise,
    /// Minibatches that were averaged over.
    pub minibatches: usize,
    /// Points that did not fill a minibatch and were left out.
    pub left_out: usize,
}

/// What makes features `[members, points, …]` of inputs `[points, …]`.
pub type Features<'a> = dyn FnMut(&Tensor) -> Result<Tensor> + 'a;

/// Centred kernel alignment of features on the same inputs, from sums of unbiased HSIC over minibatches
/// (Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327, equation 2):
/// `Σ_b HSIC₁(K_b, L_b) / √(Σ_b HSIC₁(K_b, K_b) · Σ_b HSIC₁(L_b, L_b))`. Memory is that of one minibatch.
/// Points behind the last whole minibatch are left out; fewer points than a minibatch are one.
///
/// # Errors
/// If the minibatch or the inputs are fewer than 4, or the features do not fit.
pub fn minibatch_cka(
    a: &mut Features<'_>,
    b: &mut Features<'_>,
    inputs: &Tensor,
    minibatch: usize,
) -> Result<MinibatchCka> {
    let what = "minibatch_cka";
    let points = inputs.dims().first().copied().unwrap_or(0);
    for (name, found) in [("points", points), ("points in a minibatch", minibatch)] {
        if found < 4 {
            return Err(Error::setting(format!(
                "{what}: needs at least 4 {name}, found {found}"
            )));
        }
    }
    let size = minibatch.min(points);
    let mut sums: Option<Sums> = None;
    for start in (0..=points - size).step_by(size) {
        let part = inputs.narrow(0, start, size)?;
        let kernels = [a(&part)?, b(&part)?].map(|features| {
            if features.dims().get(1) != Some(&size) {
                return Err(Error::shape(format!(
                    "{what}: expected features of {size} points, found shape {:?}",
                    features.dims()
                )));
            }
            let kernel = feature_kernel_of(&features, false)?;
            Ok((to_f64(&kernel)?, kernel.dims()[0]))
        });
        let [(first, rows), (second, columns)] = {
            let [first, second] = kernels;
            [first?, second?]
        };
        let sums = sums.get_or_insert_with(|| Sums::new(rows, columns));
        sums.add(&first, &second, size);
    }
    let sums = sums.ok_or_else(|| Error::other("no minibatch"))?;
    Ok(MinibatchCka {
        pairs: sums.pairs(),
        minibatches: points / size,
        left_out: points % size,
    })
}

/// The same of features `[members, points, …]` that are at hand.
///
/// # Errors
/// As for [`minibatch_cka`], and if the numbers of points differ.
pub fn minibatch_cka_of(a: &Tensor, b: &Tensor, minibatch: usize) -> Result<MinibatchCka> {
    for x in [a, b] {
        if x.rank() < 3 {
            return Err(Error::shape(format!(
                "minibatch_cka: expected features of shape [members, points, …], found {:?}",
                x.dims()
            )));
        }
    }
    let points = a.dims()[1];
    if b.dims()[1] != points {
        return Err(Error::shape(format!(
            "minibatch_cka: features of {points} and of {} points",
            b.dims()[1]
        ))
        .with_help("take both at the same inputs"));
    }
    // inputs are the numbers of the points
    let numbers = Tensor::arange(0_u32, points as u32, a.device())?;
    let part = |x: &Tensor, inputs: &Tensor| -> Result<Tensor> {
        let first = inputs.to_vec1::<u32>()?[0];
        Ok(x.narrow(1, first as usize, inputs.dims()[0])?)
    };
    minibatch_cka(
        &mut |i| part(a, i),
        &mut |i| part(b, i),
        &numbers,
        minibatch,
    )
}

/// Sums of HSIC over minibatches.
struct Sums {
    rows: Vec<f64>,
    columns: Vec<f64>,
    products: Vec<f64>,
}

impl Sums {
    fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows: vec![0.0; rows],
            columns: vec![0.0; columns],
            products: vec![0.0; rows * columns],
        }
    }

    fn add(&mut self, a: &[f64], b: &[f64], points: usize) {
        fn centred(kernels: &[f64], points: usize) -> Vec<Centred<'_>> {
            let each = kernels.chunks_exact(points * points);
            // f32 features that are constant over points are so exactly
            each.map(|k| Form::Unbiased.of(k, points, 1e-12)).collect()
        }
        let (a, b) = (centred(a, points), centred(b, points));
        for (sum, k) in self.rows.iter_mut().zip(&a) {
            *sum += k.square;
        }
        for (sum, k) in self.columns.iter_mut().zip(&b) {
            *sum += k.square;
        }
        let products = Pairwise::between(a.len(), b.len(), |i, j| a[i].inner(&b[j]));
        for (sum, x) in self.products.iter_mut().zip(products.matrix.concat()) {
            *sum += x;
        }
    }

    fn pairs(&self) -> Pairwise {
        let columns = self.columns.len();
        Pairwise::between(self.rows.len(), columns, |i, j| {
            let (own, others) = (self.rows[i], self.columns[j]);
            match own > 0.0 && others > 0.0 {
                true => self.products[i * columns + j] / own.sqrt() / others.sqrt(),
                false => f64::NAN,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::representations::cka;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn alignments_are_those_of_numpy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("kernels.{name}"));
        let [a, b] = ["features", "other_features"].map(|name| of(name).to_tensor());
        let size = fixture.number("/minibatch_cka/minibatch") as usize;
        let found = minibatch_cka_of(&a, &b, size).unwrap();
        assert_close(
            "cka",
            &found.pairs.matrix.concat(),
            &of("minibatch_cka").values,
            1e-12,
        );
        let of = |name: &str| fixture.number(&format!("/minibatch_cka/{name}")) as usize;
        assert_eq!(
            (found.minibatches, found.left_out),
            (of("minibatches"), of("left_out"))
        );
    }

    #[test]
    fn one_minibatch_is_the_debiased_alignment() {
        let (a, b) = (
            testing::normal(1, &[2, 9, 5], 1.0),
            testing::normal(2, &[3, 9, 7], 1.0),
        );
        let found = minibatch_cka_of(&a, &b, 20).unwrap();
        assert_eq!((found.minibatches, found.left_out), (1, 0));
        let [a, b] = [a, b].map(|x| feature_kernel_of(&x, false).unwrap());
        let expected = cka(&a, &b, true).unwrap();
        assert_close(
            "cka",
            &found.pairs.matrix.concat(),
            &expected.matrix.concat(),
            1e-12,
        );
    }

    #[test]
    fn diverged_members_are_nan_and_what_does_not_fit_is_refused() {
        let a = testing::normal(1, &[2, 12, 5], 1.0);
        let spoilt = testing::spoil(&a, 0, f64::NAN);
        let found = minibatch_cka_of(&spoilt, &a, 4).unwrap().pairs;
        assert!(found.matrix[0].iter().all(|x| x.is_nan()) && found.matrix[1][0].is_finite());
        assert!(
            minibatch_cka_of(&a, &a, 3)
                .unwrap_err()
                .message
                .contains("at least 4")
        );
        let fewer = a.narrow(1, 0, 8).unwrap();
        assert!(
            minibatch_cka_of(&a, &fewer, 4)
                .unwrap_err()
                .message
                .contains("12 and of 8")
        );
    }
}
