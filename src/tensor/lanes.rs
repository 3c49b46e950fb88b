//! Sums and largest numbers of rows, taken in lanes side by side: vectorised, and in an order given
//! by the length alone. They are meant for the inside of [`super::simd::simd`].

use super::elem::Elem;

/// Partial results that are kept side by side.
const LANES: usize = 32;

/// Joins partial results pairwise, always in the same order.
#[inline(always)]
fn across<T: Copy>(lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    // kept in memory: otherwise the compiler lets this part, rather than the loop before it, decide
    // how the lanes are spread over vectors, and takes short ones
    let mut lanes = std::hint::black_box(lanes);
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] = join(lanes[j], lanes[j + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The greater of both; `a` if `b` is NaN.
#[inline(always)]
fn greater<T: PartialOrd>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The largest number of a row, −∞ of none; NaN are passed over.
#[inline(always)]
pub fn largest<T: Elem>(row: &[T]) -> T {
    let (groups, rest) = row.as_chunks::<LANES>();
    let mut max = T::neg_infinity();
    if !groups.is_empty() {
        let mut lanes = [max; LANES];
        for group in groups {
            for j in 0..LANES {
                lanes[j] = greater(lanes[j], group[j]);
            }
        }
        max = across(lanes, greater);
    }
    for x in rest {
        max = greater(max, *x);
    }
    max
}

/// Sums of `terms` over rows of the length of the first.
///
/// Arrays are filled by loops here, since what `map` and `from_fn` call is not always inlined.
#[inline(always)]
pub fn sums<T: Elem, M: Elem, const ROWS: usize, const SUMS: usize>(
    rows: [&[T]; ROWS],
    terms: impl Fn([T; ROWS]) -> [M; SUMS],
) -> [M; SUMS] {
    let n = rows[0].len();
    let mut totals = [M::zero(); SUMS];
    let whole = n - n % LANES;
    if whole > 0 {
        let mut lanes = [[M::zero(); LANES]; SUMS];
        for i in 0..whole / LANES {
            let mut groups = [rows[0].as_chunks::<LANES>().0[i]; ROWS];
            for r in 1..ROWS {
                groups[r] = rows[r].as_chunks().0[i];
            }
            for j in 0..LANES {
                let mut row = [groups[0][j]; ROWS];
                for r in 1..ROWS {
                    row[r] = groups[r][j];
                }
                let terms = terms(row);
                for k in 0..SUMS {
                    lanes[k][j] += terms[k];
                }
            }
        }
        for k in 0..SUMS {
            totals[k] = across(
                lanes[k],
                #[inline(always)]
                |a, b| a + b,
            );
        }
    }
    for (i, &first) in rows[0].iter().enumerate().skip(whole) {
        let mut row = [first; ROWS];
        for r in 1..ROWS {
            row[r] = rows[r][i];
        }
        let terms = terms(row);
        for k in 0..SUMS {
            totals[k] += terms[k];
        }
    }
    totals
}
