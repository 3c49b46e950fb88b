//! The assignment of rows to columns with the smallest total cost.

use crate::error::{Error, Result};

/// For each row of `costs [rows, columns]`, at most as many as columns, the column that it is assigned
/// to, so that no column is taken twice and the total cost is smallest: the Hungarian method with
/// potentials, `O(rows² columns)` (Kuhn 1955; Jonker and Volgenant 1987).
///
/// # Errors
/// If there are more rows than columns, rows are of unequal length, or a cost is not finite.
pub fn assignment(costs: &[Vec<f64>]) -> Result<Vec<usize>> {
    let (rows, columns) = (costs.len(), costs.first().map_or(0, Vec::len));
    if costs.iter().any(|row| row.len() != columns) {
        return Err(Error::shape("assignment: rows of unequal length"));
    }
    if rows > columns {
        return Err(Error::shape(format!(
            "assignment: {rows} rows cannot each have one of {columns} columns"
        )));
    }
    if costs.iter().flatten().any(|c| !c.is_finite()) {
        return Err(Error::other("assignment: a cost is not finite"));
    }
    // row and column 0 stand for none
    let mut of_rows = vec![0.0; rows + 1];
    let mut of_columns = vec![0.0; columns + 1];
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        let mut slack = vec![f64::INFINITY; columns + 1];
        let mut before = vec![0; columns + 1];
        let mut done = vec![false; columns + 1];
        let mut column = 0;
        row_of[0] = row;
        // a shortest augmenting path from this row to a free column
        while row_of[column] != 0 {
            done[column] = true;
            let at = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in 1..=columns {
                if done[j] {
                    continue;
                }
                let reduced = costs[at - 1][j - 1] - of_rows[at] - of_columns[j];
                if reduced < slack[j] {
                    (slack[j], before[j]) = (reduced, column);
                }
                if slack[j] < step {
                    (step, next) = (slack[j], j);
                }
            }
            for j in 0..=columns {
                if done[j] {
                    of_rows[row_of[j]] += step;
                    of_columns[j] -= step;
                } else {
                    slack[j] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    let mut found = vec![0; rows];
    for (column, &row) in row_of.iter().enumerate().skip(1) {
        if row != 0 {
            found[row - 1] = column - 1;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};
    use proptest::prelude::*;

    fn total(costs: &[Vec<f64>], columns: &[usize]) -> f64 {
        costs.iter().zip(columns).map(|(row, &c)| row[c]).sum()
    }

    #[test]
    fn assignments_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        for name in ["square", "wide"] {
            let array = fixture.tensor(&format!("assignment.{name}"));
            let costs: Vec<Vec<f64>> = array
                .values
                .chunks(array.shape[1])
                .map(<[f64]>::to_vec)
                .collect();
            let found: Vec<f64> = assignment(&costs)
                .unwrap()
                .iter()
                .map(|&c| c as f64)
                .collect();
            assert_close(
                name,
                &found,
                &fixture.numbers(&format!("/assignment/{name}")),
                0.0,
            );
        }
    }

    /// The smallest total over all orders of the columns.
    fn smallest(costs: &[Vec<f64>], used: &mut Vec<bool>, row: usize) -> f64 {
        if row == costs.len() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for column in 0..used.len() {
            if !used[column] {
                used[column] = true;
                best = best.min(costs[row][column] + smallest(costs, used, row + 1));
                used[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_assignment_costs_less(rows in 1..6usize, more in 0..2usize, seed in any::<u64>()) {
            let columns = rows + more;
            let numbers = testing::normal(seed, &[rows, columns], 1.0);
            let costs: Vec<Vec<f64>> = numbers.to_vec2().unwrap();
            let found = assignment(&costs).unwrap();
            let mut once = found.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), rows);
            let best = smallest(&costs, &mut vec![false; columns], 0);
            prop_assert!((total(&costs, &found) - best).abs() < 1e-12);
        }
    }

    #[test]
    fn ties_and_what_cannot_be_assigned() {
        assert_eq!(
            assignment(&[vec![0.0, 0.0], vec![0.0, 0.0]]).unwrap().len(),
            2
        );
        assert!(assignment(&[]).unwrap().is_empty());
        assert!(assignment(&[vec![1.0], vec![1.0]]).is_err());
        assert!(assignment(&[vec![f64::NAN]]).is_err());
        assert!(assignment(&[vec![1.0, 2.0], vec![1.0]]).is_err());
    }
}
