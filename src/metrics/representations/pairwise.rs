//! A number for every pair of members of two sets.

use rayon::prelude::*;

use crate::error::Result;
use crate::metrics::stats::Summary;

/// A number for every member of one set against every member of another, or of the same set.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairwise {
    /// `[member][reference member]`; NaN where it is not defined, or a member has diverged.
    pub matrix: Vec<Vec<f64>>,
    /// Whether both sets are the same one, so that the diagonal compares members with themselves.
    pub within: bool,
}

impl Pairwise {
    /// All pairs of two sets.
    pub(super) fn between(
        rows: usize,
        columns: usize,
        f: impl Fn(usize, usize) -> f64 + Sync,
    ) -> Self {
        let all: Vec<f64> = (0..rows * columns)
            .into_par_iter()
            .map(|at| f(at / columns, at % columns))
            .collect();
        Self {
            matrix: all.chunks(columns.max(1)).map(<[f64]>::to_vec).collect(),
            within: false,
        }
    }

    /// All pairs of one set; `f` must be symmetric.
    pub(super) fn within(members: usize, f: impl Fn(usize, usize) -> f64 + Sync) -> Self {
        let below: Vec<(usize, usize)> = (0..members)
            .flat_map(|i| (0..=i).map(move |j| (i, j)))
            .collect();
        let values: Vec<f64> = below.par_iter().map(|&(i, j)| f(i, j)).collect();
        let mut matrix = vec![vec![0.0; members]; members];
        for (&(i, j), value) in below.iter().zip(values) {
            matrix[i][j] = value;
            matrix[j][i] = value;
        }
        Self {
            matrix,
            within: true,
        }
    }

    /// Over all pairs; within one set over pairs of different members, each once.
    ///
    /// Undefined and diverged pairs are left out and counted. Errors: none is left.
    pub fn summary(&self) -> Result<Summary> {
        let rows = self.matrix.iter().enumerate();
        let values: Vec<f64> = rows
            .flat_map(|(i, row)| match self.within {
                true => &row[..i],
                false => row,
            })
            .copied()
            .collect();
        Summary::of(&values)
    }

    /// How many pairs the summary is over.
    pub fn pairs(&self) -> usize {
        let rows = self.matrix.len();
        match self.within {
            true => rows * rows.saturating_sub(1) / 2,
            false => rows * self.matrix.first().map_or(0, Vec::len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_one_set_are_counted_once() {
        let within = Pairwise::within(3, |i, j| (i + j) as f64);
        assert_eq!(within.matrix[0], [0.0, 1.0, 2.0]);
        let summary = within.summary().unwrap();
        assert_eq!((summary.mean, summary.count, within.pairs()), (2.0, 3, 3));
        let between = Pairwise::between(2, 3, |i, j| if i == 1 { f64::NAN } else { j as f64 });
        let summary = between.summary().unwrap();
        assert_eq!((summary.mean, summary.count, summary.excluded), (1.0, 3, 3));
        assert!(!between.within && between.pairs() == 6);
        assert!(Pairwise::within(1, |_, _| 0.0).summary().is_err());
    }
}
