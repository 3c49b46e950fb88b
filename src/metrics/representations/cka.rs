//! Centred kernel alignment.

use candle_core::Tensor;

use super::hsic::{Form, cosines, cosines_within};
use super::kernels::{Kernels, same_points};
use super::members::two_members;
use super::pairwise::Pairwise;
use crate::error::{Error, Result};

/// Centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414),
/// `HSIC(K, K') / √(HSIC(K, K) HSIC(K', K'))`, of every kernel of one set with every kernel of
/// another: `[points, points]` or `[members, points, points]` on the same points, not centred before.
/// With `debiased`, HSIC is the estimate without bias of Song et al. 2012 (as in Nguyen, Raghu,
/// Kornblith 2021, arXiv 2010.15327), which few points and many features need; it can be negative.
///
/// # Errors
/// If shapes do not fit, or a matrix is no kernel: not symmetric, or not positive semi-definite within
/// rounding; if there are fewer than 2 points, or 4 with `debiased`. A kernel that is constant over
/// points, or of a member that has diverged, has NaN.
pub fn cka(kernels: &Tensor, reference: &Tensor, debiased: bool) -> Result<Pairwise> {
    Kernels::with("cka", kernels, |a| {
        Kernels::with("cka, reference", reference, |b| {
            same_points("cka", a, b)?;
            Ok(cosines(a, b, form("cka", a.points, debiased)?))
        })
    })
}

/// The same of every kernel of one set with every other.
///
/// # Errors
/// As for [`cka`], and if there are fewer than two members.
pub fn cka_within(kernels: &Tensor, debiased: bool) -> Result<Pairwise> {
    Kernels::with("cka_within", kernels, |a| {
        two_members("cka_within", a.count)?;
        Ok(cosines_within(a, form("cka_within", a.points, debiased)?))
    })
}

fn form(what: &str, points: usize, debiased: bool) -> Result<Form> {
    let (form, least) = match debiased {
        true => (Form::Unbiased, 4),
        false => (Form::Biased, 2),
    };
    if points < least {
        return Err(Error::setting(format!(
            "{what}: needs at least {least} points, found {points}"
        )));
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::representations::feature_kernel_of;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};
    use crate::tensor::eigen::orthogonal_basis;
    use candle_core::Device;
    use proptest::prelude::*;

    #[test]
    fn alignments_are_those_of_numpy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("kernels.{name}"));
        let (a, b) = (of("a").to_tensor(), of("b").to_tensor());
        for (name, debiased) in [("cka", false), ("cka_debiased", true)] {
            let found = cka(&a, &b, debiased).unwrap();
            assert_close(name, &found.matrix.concat(), &of(name).values, 1e-12);
        }
        let found = cka_within(&a, false).unwrap();
        assert_close(
            "within",
            &found.matrix.concat(),
            &of("cka_within").values,
            1e-12,
        );
    }

    proptest! {
        #[test]
        fn rotations_and_scales_of_features_do_not_count(
            points in 5..12usize, units in 2..9usize, scale in 0.1..10.0f64, seed in any::<u64>()
        ) {
            let features = testing::normal(seed, &[1, points, units], 1.0);
            let square = testing::normal(seed ^ 1, &[units, units], 1.0);
            let square: Vec<f64> = square.flatten_all().unwrap().to_vec1().unwrap();
            let q = orthogonal_basis(&square, units).unwrap();
            let q = Tensor::from_vec(q, (1, units, units), &Device::Cpu).unwrap();
            let turned = features.matmul(&q).unwrap().affine(scale, 0.0).unwrap();
            let moved = turned.broadcast_add(&testing::normal(seed ^ 2, &[1, 1, units], 3.0)).unwrap();
            let [one, two, three] = [features, turned, moved].map(|x| feature_kernel_of(&x, false).unwrap());
            for debiased in [false, true] {
                let found = cka(&one, &two, debiased).unwrap().matrix[0][0];
                prop_assert!((found - 1.0).abs() < 1e-9, "{}", found);
            }
            let found = cka(&one, &three, false).unwrap().matrix[0][0];
            prop_assert!((found - 1.0).abs() < 1e-9, "a shift of all points: {}", found);
        }
    }

    #[test]
    fn the_debiased_estimate_of_unrelated_features_is_about_zero() {
        let features =
            |seed| feature_kernel_of(&testing::normal(seed, &[8, 20, 400], 1.0), false).unwrap();
        let (a, b) = (features(1), features(2));
        let biased = cka(&a, &b, false).unwrap().summary().unwrap();
        let debiased = cka(&a, &b, true).unwrap().summary().unwrap();
        assert!(biased.mean > 0.9, "{biased:?}");
        assert!(
            debiased.mean.abs() < 3.0 * debiased.standard_error().unwrap(),
            "{debiased:?}"
        );
    }

    #[test]
    fn too_few_points_and_constant_kernels_are_flagged() {
        let x = testing::normal(1, &[2, 3, 9], 1.0);
        let kernel = x.matmul(&x.t().unwrap()).unwrap();
        let error = cka(&kernel, &kernel, true).unwrap_err();
        assert_eq!(error.message, "cka: needs at least 4 points, found 3");
        assert!(cka(&kernel, &kernel, false).is_ok());
        let ones = kernel.affine(0.0, 1.0).unwrap();
        let found = cka(&ones, &kernel, false).unwrap();
        assert!(found.matrix.concat().iter().all(|x| x.is_nan()));
        let one = kernel.narrow(0, 0, 1).unwrap();
        assert!(
            cka_within(&one, false)
                .unwrap_err()
                .message
                .contains("at least 2 members")
        );
    }
}
