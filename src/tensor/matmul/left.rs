//! Left operands, and copies of them that several products share.

use super::block::{Operand, Packed};
use super::{Matrix, Vector, pack_all, panel_sizes, source, tasks};

/// The left operand of a product, with its [panels](pack_left) where it has been packed for several
/// products.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a, T> {
    /// The matrix.
    pub matrix: Matrix<'a, T>,
    /// Its panels.
    pub panels: Option<&'a [T]>,
}

impl<'a, T> From<Matrix<'a, T>> for Left<'a, T> {
    fn from(matrix: Matrix<'a, T>) -> Self {
        Self {
            matrix,
            panels: None,
        }
    }
}

impl<T: Vector> Left<'_, T> {
    /// Whether there are as many numbers as `rows × steps` need.
    pub(super) fn covers(&self, rows: usize, steps: usize) -> bool {
        let packed = |panels: &[T]| panels.len() >= panels_len::<T>(rows, steps);
        self.matrix.covers(rows, steps) && self.panels.is_none_or(packed)
    }

    /// The operand of a product whose left side has `rows`.
    pub(super) fn operand(&self, rows: usize) -> Operand<T> {
        match self.panels {
            Some(panels) => Operand::Packed(Packed {
                ptr: panels.as_ptr(),
                padded: rows.next_multiple_of(panel_sizes::<T>().0),
                first: 0,
            }),
            None => Operand::View(source(self.matrix)),
        }
    }
}

/// Numbers that [`pack_left`] writes.
pub fn panels_len<T: Vector>(rows: usize, steps: usize) -> usize {
    rows.next_multiple_of(panel_sizes::<T>().0) * steps
}

/// Writes the panels of `a [rows, steps]`, for the left side of several products. They give the same
/// numbers as the matrix itself.
///
/// # Panics
/// If a slice is too short.
pub fn pack_left<T: Vector>(panels: &mut [T], (rows, steps): (usize, usize), a: Matrix<'_, T>) {
    assert!(
        a.covers(rows, steps) && panels.len() >= panels_len::<T>(rows, steps),
        "packing {rows} × {steps} numbers reaches outside their slices"
    );
    let (height, _) = panel_sizes::<T>();
    pack_all(
        source(a),
        (rows, steps),
        height,
        tasks(rows * steps * height),
        panels,
    );
}
