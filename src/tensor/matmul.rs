//! Batched matrix products on strided views.

use rayon::prelude::*;

use super::elem::Elem;

/// A batch of equally shaped matrices inside one slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrices<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Distance from one matrix to the next; 0 shares one matrix among the batch.
    pub batch_stride: usize,
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Distance from one column to the next.
    pub col_stride: usize,
}

impl<'a, T> Matrices<'a, T> {
    /// Row-major matrices of `rows × cols`, one after the other (or one shared one).
    pub fn row_major(data: &'a [T], rows: usize, cols: usize, shared: bool) -> Self {
        Self {
            data,
            batch_stride: if shared { 0 } else { rows * cols },
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transposed matrices.
    pub fn transposed(self) -> Self {
        Self {
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn covers(&self, batch: usize, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (batch.saturating_sub(1)) * self.batch_stride
                + (rows - 1) * self.row_stride
                + (cols - 1) * self.col_stride
                < self.data.len()
    }
}

/// Multiply-adds above which one product is split into several tasks.
const SPLIT_WORK: usize = 1 << 21;
/// Most tasks that one product is split into.
const MAX_BLOCKS: usize = 16;

/// Borders of the row or column blocks that one `m × n × k` product is split into; a function of
/// the shape alone, so that results do not depend on threads.
fn blocks(m: usize, n: usize, k: usize) -> (bool, usize) {
    let by_rows = m > n;
    let longest = m.max(n);
    let wanted = (m * n * k / SPLIT_WORK).clamp(1, MAX_BLOCKS);
    let size = longest.div_ceil(wanted).next_multiple_of(32).min(longest);
    (by_rows, size.max(1))
}

/// A pointer that tasks may share because each writes its own block.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

impl<T> Shared<T> {
    /// The address `offset` numbers on.
    ///
    /// # Safety
    /// It must lie inside the slice that the pointer came from.
    unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: the caller keeps to the slice.
        unsafe { self.0.add(offset) }
    }
}

// SAFETY: tasks write disjoint blocks of the destination, see `matmul`.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// For each of the `batch` matrices: `dst = alpha · a · b`, where `dst` is row-major `m × n`, `a` is
/// `m × k` and `b` is `k × n`.
///
/// # Panics
/// If a slice is too short for the given shape: callers check shapes first.
pub fn matmul<T: Elem>(
    dst: &mut [T],
    (batch, m, n, k): (usize, usize, usize, usize),
    alpha: T,
    a: Matrices<'_, T>,
    b: Matrices<'_, T>,
) {
    assert!(
        dst.len() >= batch * m * n && a.covers(batch, m, k) && b.covers(batch, k, n),
        "matrix product of {batch} × ({m} × {k}) · ({k} × {n}) reaches outside its slices"
    );
    if batch * m * n == 0 {
        return;
    }
    if k == 0 {
        dst[..batch * m * n].fill(T::zero());
        return;
    }
    let (by_rows, size) = blocks(m, n, k);
    let per_product = if by_rows { m } else { n }.div_ceil(size);
    let out = Shared(dst.as_mut_ptr());
    let task = |index: usize| {
        let (member, block) = (index / per_product, index % per_product);
        let (r0, c0) = if by_rows {
            (block * size, 0)
        } else {
            (0, block * size)
        };
        let (rows, cols) = if by_rows {
            (size.min(m - r0), n)
        } else {
            (m, size.min(n - c0))
        };
        // SAFETY: the assertion above keeps every address inside its slice, and the blocks of
        // different tasks do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                k,
                out.at(member * m * n + r0 * n + c0),
                1,
                n as isize,
                false,
                a.data
                    .as_ptr()
                    .add(member * a.batch_stride + r0 * a.row_stride),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data
                    .as_ptr()
                    .add(member * b.batch_stride + c0 * b.col_stride),
                b.col_stride as isize,
                b.row_stride as isize,
                T::zero(),
                alpha,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    let tasks = batch * per_product;
    if tasks == 1 || batch * m * n * k < SPLIT_WORK / 4 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::rng::Key;
    use proptest::prelude::*;

    fn numbers(seed: u64, n: usize) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_the_definition(
            batch in 1usize..4, m in 0usize..40, n in 0usize..40, k in 0usize..40,
            shared in any::<bool>(), ta in any::<bool>(), tb in any::<bool>(),
        ) {
            let a = numbers(1, if shared { m * k } else { batch * m * k });
            let b = numbers(2, batch * k * n);
            let view_a = if ta {
                Matrices::row_major(&a, k, m, shared).transposed()
            } else {
                Matrices::row_major(&a, m, k, shared)
            };
            let view_b = if tb {
                Matrices::row_major(&b, n, k, false).transposed()
            } else {
                Matrices::row_major(&b, k, n, false)
            };
            let mut dst = vec![f64::NAN; batch * m * n];
            matmul(&mut dst, (batch, m, n, k), 0.5, view_a, view_b);
            let at = |v: &Matrices<'_, f64>, e: usize, i: usize, j: usize| {
                v.data[e * v.batch_stride + i * v.row_stride + j * v.col_stride]
            };
            for e in 0..batch { for i in 0..m { for j in 0..n {
                let want: f64 = (0..k).map(|p| at(&view_a, e, i, p) * at(&view_b, e, p, j)).sum();
                prop_assert!((dst[(e * m + i) * n + j] - 0.5 * want).abs() < 1e-12);
            }}}
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads_or_batch() {
        let (m, n, k) = (128, 300, 257);
        let a: Vec<f32> = numbers(1, m * k).iter().map(|&x| x as f32).collect();
        let b: Vec<f32> = numbers(2, 3 * k * n).iter().map(|&x| x as f32).collect();
        let run = |threads: usize, b: &[f32], batch: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut dst = vec![0f32; batch * m * n];
            pool.install(|| {
                matmul(
                    &mut dst,
                    (batch, m, n, k),
                    1.0,
                    Matrices::row_major(&a, m, k, true),
                    Matrices::row_major(b, k, n, false),
                );
            });
            dst
        };
        let all = run(1, &b, 3);
        assert_eq!(all, run(3, &b, 3));
        assert_eq!(all[m * n..2 * m * n], run(2, &b[k * n..2 * k * n], 1));
    }
}
