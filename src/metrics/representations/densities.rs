//! Distances of densities, of preactivations for instance, between members of two sets.

use candle_core::Tensor;
use rayon::prelude::*;

use super::members::Members;
use super::pairwise::Pairwise;
use super::{kolmogorov, wasserstein};
use crate::error::{Error, ErrorKind, Result};

/// Both distances for a set of pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Distances {
    /// W₁, in the units of the numbers.
    pub wasserstein: Pairwise,
    /// Kolmogorov–Smirnov statistic, in 0..=1.
    pub kolmogorov_smirnov: Pairwise,
}

/// Distances of the densities of two sets.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityDistance {
    /// Every member against every member of the reference.
    pub between: Distances,
    /// Among the members themselves, as another seed of the same width has them: `None` for one member, or
    /// if not wanted.
    pub floor: Option<Distances>,
    /// The same among members of the reference.
    pub reference_floor: Option<Distances>,
    /// W₁ of all members' numbers together.
    pub pooled_wasserstein: f64,
    /// Kolmogorov–Smirnov statistic of all members' numbers together.
    pub pooled_kolmogorov_smirnov: f64,
    /// Members that have not diverged, of both sets.
    pub count: [usize; 2],
    /// Members left out of what is pooled, because they diverged.
    pub excluded: [usize; 2],
}

/// Distances of the densities of `a [members, …]` from those of `reference [members, …]`, each member's
/// numbers taken together: over units, and points if there are several. Numbers of members and units
/// may differ. Nothing is standardised: the scale is part of what is compared. With `floor`, members of
/// each set are compared among themselves too.
///
/// # Errors
/// If a tensor has no axis but that of members, or no number, or all of its members have diverged.
pub fn density_distance(a: &Tensor, reference: &Tensor, floor: bool) -> Result<DensityDistance> {
    let what = "density_distance";
    let shape = "[members, …]";
    let sets = [
        Members::read(what, a, 1, shape)?,
        Members::read("density_distance, reference", reference, 1, shape)?,
    ];
    let kept = [
        sets[0].finite_members(what)?,
        sets[1].finite_members("density_distance, reference")?,
    ];
    let in_order = |set: &Members| -> Vec<Option<Vec<f64>>> {
        let members = (0..set.count).into_par_iter();
        members
            .map(|m| {
                let mut numbers = set.finite(m)?.to_vec();
                numbers.sort_unstable_by(f64::total_cmp);
                Some(numbers)
            })
            .collect()
    };
    let [rows, columns] = [in_order(&sets[0]), in_order(&sets[1])];
    let pooled = |members: &[Option<Vec<f64>>]| {
        let mut all: Vec<f64> = members.iter().flatten().flatten().copied().collect();
        all.par_sort_unstable_by(f64::total_cmp);
        all
    };
    let [all, all_reference] = [pooled(&rows), pooled(&columns)];
    Ok(DensityDistance {
        between: distances(&rows, Some(&columns)),
        floor: (floor && rows.len() > 1).then(|| distances(&rows, None)),
        reference_floor: (floor && columns.len() > 1).then(|| distances(&columns, None)),
        pooled_wasserstein: wasserstein::of_sorted(&all, &all_reference),
        pooled_kolmogorov_smirnov: kolmogorov::statistic(&all, &all_reference),
        count: [kept[0].len(), kept[1].len()],
        excluded: [0, 1].map(|i| sets[i].count - kept[i].len()),
    })
}

fn distances(rows: &[Option<Vec<f64>>], columns: Option<&[Option<Vec<f64>>]>) -> Distances {
    let pairs = |f: fn(&[f64], &[f64]) -> f64| {
        let others = columns.unwrap_or(rows);
        let of = |i: usize, j: usize| match (&rows[i], &others[j]) {
            (Some(a), Some(b)) => f(a, b),
            _ => f64::NAN,
        };
        match columns {
            Some(columns) => Pairwise::between(rows.len(), columns.len(), of),
            None => Pairwise::within(rows.len(), of),
        }
    };
    Distances {
        wasserstein: pairs(wasserstein::of_sorted),
        kolmogorov_smirnov: pairs(kolmogorov::statistic),
    }
}

/// A sample in ascending order; `what` and `name` are for errors.
pub(super) fn sorted(what: &str, name: &str, sample: &[f64]) -> Result<Vec<f64>> {
    if sample.is_empty() {
        return Err(Error::shape(format!("{what}: {name} has no numbers")));
    }
    if let Some(i) = sample.iter().position(|x| !x.is_finite()) {
        let message = format!(
            "{what}: {name}: number {i} of {} is {}",
            sample.len(),
            sample[i]
        );
        return Err(Error::new(ErrorKind::Diverged, message)
            .with_help("density_distance leaves diverged members out and counts them"));
    }
    let mut sample = sample.to_vec();
    sample.sort_unstable_by(f64::total_cmp);
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};

    #[test]
    fn distances_of_members_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("densities.{name}"));
        let found = density_distance(&of("a").to_tensor(), &of("b").to_tensor(), true).unwrap();
        let close = |name: &str, pairs: &Pairwise| {
            assert_close(name, &pairs.matrix.concat(), &of(name).values, 1e-13);
        };
        close("wasserstein", &found.between.wasserstein);
        close("statistic", &found.between.kolmogorov_smirnov);
        close("floor", &found.floor.unwrap().wasserstein);
        close(
            "reference_floor",
            &found.reference_floor.unwrap().kolmogorov_smirnov,
        );
        let pooled = [found.pooled_wasserstein, found.pooled_kolmogorov_smirnov];
        assert_close(
            "pooled",
            &pooled,
            &fixture.numbers("/densities/pooled"),
            1e-13,
        );
    }

    #[test]
    fn diverged_members_are_left_out_and_counted() {
        let a = testing::normal(1, &[3, 4, 5], 1.0);
        let b = testing::normal(2, &[2, 4, 7], 1.0);
        let found = density_distance(&testing::spoil(&a, 0, f64::NAN), &b, true).unwrap();
        let clean =
            density_distance(&a.narrow(0, 1, 2).unwrap().contiguous().unwrap(), &b, true).unwrap();
        assert!(
            found.between.wasserstein.matrix[0]
                .iter()
                .all(|x| x.is_nan())
        );
        assert_eq!(
            found.between.wasserstein.matrix[1..],
            clean.between.wasserstein.matrix
        );
        assert_eq!(found.pooled_wasserstein, clean.pooled_wasserstein);
        assert_eq!((found.count, found.excluded), ([2, 2], [1, 0]));
        assert_eq!(
            found.floor.unwrap().wasserstein.summary().unwrap().excluded,
            2
        );
        let none = testing::normal(1, &[2, 4], f64::NAN);
        let error = density_distance(&none, &b, true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Diverged);
        assert!(error.message.contains("all 2 diverged"), "{error}");
    }

    #[test]
    fn a_single_member_has_no_floor() {
        let one = testing::normal(3, &[1, 20], 1.0);
        let found = density_distance(&one, &one, true).unwrap();
        assert!(found.floor.is_none() && found.reference_floor.is_none());
        assert_eq!(found.pooled_wasserstein, 0.0);
        assert!(density_distance(&one.flatten_all().unwrap(), &one, true).is_err());
    }
}
