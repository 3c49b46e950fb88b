//! Alignment of kernels with each other and with targets, as they are.

use candle_core::{DType, Device, Tensor};

use super::hsic::{Form, cosines, cosines_within};
use super::kernels::{Kernels, same_points};
use super::members::two_members;
use super::pairwise::Pairwise;
use crate::data::Labels;
use crate::error::{Error, Result};
use crate::memory;
use crate::tensor::elem::to_f64;
use crate::tensor::gram::{add_gram, mirror};

/// The cosine `⟨K, K'⟩ / (‖K‖ ‖K'‖)` in the Frobenius inner product (Cristianini et al. 2001) of every
/// kernel of one set with every kernel of another: `[points, points]` or `[members, points, points]` on
/// the same points. It does not centre, so that the mean activation counts; see [`cka`](super::cka()).
///
/// # Errors
/// If shapes do not fit, or a matrix is no kernel: not symmetric, or not positive semi-definite within
/// rounding. A kernel of zeros, or of a member that has diverged, has NaN.
pub fn kernel_alignment(kernels: &Tensor, reference: &Tensor) -> Result<Pairwise> {
    Kernels::with("kernel_alignment", kernels, |a| {
        Kernels::with("kernel_alignment, reference", reference, |b| {
            same_points("kernel_alignment", a, b)?;
            Ok(cosines(a, b, Form::Plain))
        })
    })
}

/// The same of every kernel of one set with every other.
///
/// # Errors
/// As for [`kernel_alignment`], and if there are fewer than two members.
pub fn kernel_alignment_within(kernels: &Tensor) -> Result<Pairwise> {
    Kernels::with("kernel_alignment_within", kernels, |a| {
        two_members("kernel_alignment_within", a.count)?;
        Ok(cosines_within(a, Form::Plain))
    })
}

/// How well each kernel is aligned with targets: the cosine of `K` and `Y Yᵀ`, for one output
/// `yᵀ K y / (‖K‖ |y|²)` (Cristianini et al. 2001); `centred`, of `H K H` and `H Y Yᵀ H` (Cortes, Mohri,
/// Rostamizadeh 2012). Classes become one-hot rows of `Y`. One number per member.
///
/// # Errors
/// As for [`kernel_alignment`], and if there are not as many targets as points, or one is not finite.
pub fn kernel_target_alignment(
    kernels: &Tensor,
    targets: &Labels,
    centred: bool,
) -> Result<Vec<f64>> {
    let what = "kernel_target_alignment";
    let (y, points) = outputs(what, targets)?;
    Kernels::with(what, kernels, |kernels| {
        if kernels.points != points {
            return Err(Error::shape(format!(
                "{what}: a kernel on {} points, targets of {points}",
                kernels.points
            )));
        }
        let mut products = memory::numbers::<f64>("products of targets", &[points, points])?;
        add_gram(&mut products, points, &y, 1.0);
        mirror(&mut products, points);
        let form = match centred {
            true => Form::Biased,
            false => Form::Plain,
        };
        let ideal = form.of(&products, points, 1e-12);
        let kernels = kernels.each(form);
        let each = kernels.iter();
        Ok(each
            .map(|k| k.as_ref().map_or(f64::NAN, |k| k.cosine(&ideal)))
            .collect())
    })
}

/// Target values `[points, outputs]`, and how many points there are.
fn outputs(what: &str, targets: &Labels) -> Result<(Vec<f64>, usize)> {
    let (y, points) = match targets {
        Labels::Values(values) => (to_f64(values)?, values.dims().first().copied().unwrap_or(0)),
        Labels::Classes(classes) => {
            let classes = classes.to_device(&Device::Cpu)?.to_dtype(DType::I64)?;
            let classes: Vec<i64> = classes.flatten_all()?.to_vec1()?;
            let points = classes.len();
            if let Some(bad) = classes.iter().find(|c| **c < 0) {
                return Err(Error::shape(format!("{what}: {bad} is no class")));
            }
            // classes that are not there change nothing, so that their number need not be known
            let mut present = classes.clone();
            present.sort_unstable();
            present.dedup();
            let mut y = vec![0.0; points * present.len()];
            for (row, class) in y.chunks_exact_mut(present.len().max(1)).zip(&classes) {
                if let Ok(at) = present.binary_search(class) {
                    row[at] = 1.0;
                }
            }
            (y, points)
        }
    };
    match y.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(Error::shape(format!("{what}: a target is {x}"))),
        None => Ok((y, points)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn alignments_are_those_of_numpy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("kernels.{name}"));
        let (a, b) = (of("a").to_tensor(), of("b").to_tensor());
        let found = kernel_alignment(&a, &b).unwrap();
        assert_close(
            "alignment",
            &found.matrix.concat(),
            &of("alignment").values,
            1e-13,
        );
        let within = kernel_alignment_within(&a).unwrap();
        assert!(within.within && (within.matrix[0][0] - 1.0).abs() < 1e-14);
        let classes = Labels::Classes(of("classes").to_classes());
        let values = Labels::Values(of("values").to_tensor());
        for (name, targets, centred) in [
            ("classes", &classes, false),
            ("classes_centred", &classes, true),
            ("values", &values, false),
            ("values_centred", &values, true),
        ] {
            let found = kernel_target_alignment(&a, targets, centred).unwrap();
            let expected = fixture.numbers(&format!("/kernel_target_alignment/{name}"));
            assert_close(name, &found, &expected, 1e-13);
        }
    }

    #[test]
    fn a_kernel_of_the_targets_is_aligned_with_them() {
        let y = testing::normal(1, &[1, 6, 3], 1.0);
        let kernel = y.matmul(&y.t().unwrap()).unwrap();
        let targets = Labels::Values(y.squeeze(0).unwrap());
        for centred in [false, true] {
            let found = kernel_target_alignment(&kernel, &targets, centred).unwrap();
            assert_close("alignment", &found, &[1.0], 1e-13);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_diverged_kernels_are_nan() {
        let x = testing::normal(1, &[2, 5, 9], 1.0);
        let kernel = x.matmul(&x.t().unwrap()).unwrap();
        let fewer = kernel.narrow(1, 0, 4).unwrap().narrow(2, 0, 4).unwrap();
        let error = kernel_alignment(&kernel, &fewer).unwrap_err();
        assert_eq!(
            error.message,
            "kernel_alignment: kernels on 5 and on 4 points"
        );
        let one = kernel.narrow(0, 0, 1).unwrap();
        assert!(kernel_alignment_within(&one).is_err());
        let targets = Labels::Values(testing::normal(1, &[4, 1], 1.0));
        assert!(kernel_target_alignment(&kernel, &targets, false).is_err());
        let spoilt = testing::spoil(&kernel, 1, f64::NAN);
        let found = kernel_alignment(&spoilt, &kernel).unwrap();
        assert!(found.matrix[1].iter().all(|x| x.is_nan()) && found.matrix[0][1].is_finite());
        assert_eq!(found.summary().unwrap().excluded, 2);
        let zero = kernel.affine(0.0, 0.0).unwrap();
        let found = kernel_alignment(&zero, &kernel).unwrap();
        assert!(found.summary().is_err());
    }
}
