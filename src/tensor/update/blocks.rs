//! A matrix cut into blocks, each with a square matrix for its rows and one for its columns.

use std::ops::Range;

use crate::tensor::elem::Elem;

/// A matrix of `[rows, columns]` in blocks of at most `block` rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Rows of the whole.
    pub rows: usize,
    /// Columns of the whole.
    pub columns: usize,
    /// Largest side of a block; `None` is one block.
    pub block: Option<usize>,
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its columns.
    pub columns: Range<usize>,
    /// Where its matrix of the rows' side is among those of all blocks.
    pub left: Range<usize>,
    /// Where its matrix of the columns' side is.
    pub right: Range<usize>,
}

impl Block {
    /// Rows and columns.
    pub fn sides(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// Numbers.
    pub fn size(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Copies the block out of `matrix` with so many columns.
    pub fn gather<T: Elem>(&self, part: &mut [T], matrix: &[T], columns: usize) {
        let rows = self
            .rows
            .clone()
            .zip(part.chunks_exact_mut(self.columns.len()));
        rows.for_each(|(i, row)| {
            row.copy_from_slice(&matrix[i * columns..][self.columns.clone()]);
        });
    }

    /// Copies the block back.
    pub fn scatter<T: Elem>(&self, matrix: &mut [T], part: &[T], columns: usize) {
        let rows = self.rows.clone().zip(part.chunks_exact(self.columns.len()));
        rows.for_each(|(i, row)| {
            matrix[i * columns..][self.columns.clone()].copy_from_slice(row);
        });
    }
}

impl Blocks {
    /// Numbers of all square matrices of the rows' side and of the columns' side.
    pub fn factor_lens(&self) -> [usize; 2] {
        let last = self.iter().last();
        last.map_or([0, 0], |b| [b.left.end, b.right.end])
    }

    /// Numbers of the largest block.
    pub fn largest(&self) -> usize {
        self.side(self.rows) * self.side(self.columns)
    }

    /// Numbers that the eigenvectors of the largest square matrix need, which are found in f64.
    pub fn eigen_room(&self) -> usize {
        let n = self.side(self.rows).max(self.side(self.columns));
        // the matrix, its vectors, them scaled, their product, and as much again inside
        2 * 8 * n * n
    }

    fn side(&self, n: usize) -> usize {
        self.block.map_or(n, |b| n.min(b.max(1))).max(1)
    }

    /// The blocks, row of blocks by row of blocks.
    pub fn iter(&self) -> impl Iterator<Item = Block> + use<> {
        let (rows, columns) = (self.rows, self.columns);
        let (tall, wide) = (self.side(rows), self.side(columns));
        let mut ends = [0, 0];
        let starts = move |i| (0..columns).step_by(wide).map(move |j| (i, j));
        (0..rows).step_by(tall).flat_map(starts).map(move |(i, j)| {
            let (rows, columns) = (i..(i + tall).min(rows), j..(j + wide).min(columns));
            let [left, right] = ends;
            ends = [
                left + rows.len() * rows.len(),
                right + columns.len() * columns.len(),
            ];
            Block {
                rows,
                columns,
                left: left..ends[0],
                right: right..ends[1],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_a_matrix_once() {
        for (rows, columns, block) in [
            (5, 7, Some(3)),
            (4, 4, None),
            (6, 2, Some(2)),
            (3, 3, Some(9)),
        ] {
            let blocks = Blocks {
                rows,
                columns,
                block,
            };
            let matrix: Vec<f64> = (0..rows * columns).map(|i| i as f64 + 1.0).collect();
            let mut back = vec![0.0; matrix.len()];
            let mut lens = [0, 0];
            for b in blocks.iter() {
                assert_eq!([b.left.start, b.right.start], lens);
                let [tall, wide] = b.sides();
                lens = [lens[0] + tall * tall, lens[1] + wide * wide];
                let mut part = vec![0.0; b.size()];
                assert!(part.len() <= blocks.largest());
                b.gather(&mut part, &matrix, columns);
                b.scatter(&mut back, &part, columns);
            }
            assert_eq!(back, matrix);
            assert_eq!(blocks.factor_lens(), lens);
        }
        let corners: Vec<_> = Blocks {
            rows: 3,
            columns: 3,
            block: Some(2),
        }
        .iter()
        .map(|b| (b.rows, b.columns))
        .collect();
        assert_eq!(
            corners,
            [(0..2, 0..2), (0..2, 2..3), (2..3, 0..2), (2..3, 2..3)]
        );
    }
}
