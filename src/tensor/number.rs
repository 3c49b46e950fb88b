//! What a formula needs of its numbers, so that it is written once for values and for derivatives.
//!
//! A kernel that is generic over [`Number`] computes values with `T` and, with [`Dual<T>`], the
//! derivative along given tangents. It reads [`Numbers`]: a slice of values, or a pair of slices of
//! values and tangents. It writes the [`Number::part`] that is wanted: values, or tangents.
//!
//! [`Dual<T>`]: super::dual::Dual

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::elem::Elem;

/// A real number, or one with a tangent.
pub trait Number:
    Copy
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The type of its parts.
    type Real: Elem;
    /// The same in f64, for sums.
    type Wide: Number<Real = f64>;

    /// A constant.
    fn constant(x: Self::Real) -> Self;
    /// The value.
    fn value(self) -> Self::Real;
    /// What a kernel over these numbers writes: the value, or the tangent if there is one.
    fn part(self) -> Self::Real;
    /// `self · factor + term`.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// e to the power of the number.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// In f64.
    fn wide(self) -> Self::Wide;
    /// From f64.
    fn narrow(wide: Self::Wide) -> Self;
}

impl<T: Elem> Number for T {
    type Real = T;
    type Wide = f64;

    #[inline(always)]
    fn constant(x: T) -> Self {
        x
    }
    #[inline(always)]
    fn value(self) -> T {
        self
    }
    #[inline(always)]
    fn part(self) -> T {
        self
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        num_traits::Float::mul_add(self, factor, term)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        num_traits::Float::sqrt(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        super::math::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        super::math::ln(self)
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self.f64()
    }
    #[inline(always)]
    fn narrow(wide: f64) -> Self {
        T::of(wide)
    }
}

/// Numbers to read.
pub trait Numbers<N>: Copy + Send + Sync {
    /// How many there are.
    fn count(self) -> usize;
    /// All of them. Loops over this are vectorised; loops with [`Self::at`] are not.
    fn iter(self) -> impl Iterator<Item = N>;
    /// One of them.
    fn at(self, i: usize) -> N;
    /// `len` of them from `start` on.
    fn slice(self, start: usize, len: usize) -> Self;
    /// Those from `i · LANES` on.
    fn group<const LANES: usize>(self, i: usize) -> [N; LANES];
}

impl<N: Number> Numbers<N> for &[N] {
    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = N> {
        <[N]>::iter(self).copied()
    }
    #[inline(always)]
    fn at(self, i: usize) -> N {
        self[i]
    }
    #[inline(always)]
    fn slice(self, start: usize, len: usize) -> Self {
        &self[start..][..len]
    }
    #[inline(always)]
    fn group<const LANES: usize>(self, i: usize) -> [N; LANES] {
        self.as_chunks().0[i]
    }
}

/// Partial sums that are kept side by side, so that sums are vectorised in a fixed order.
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

/// The largest value of a row, −∞ of none; NaN are passed over.
#[inline(always)]
pub fn largest<N: Number, A: Numbers<N>>(row: A) -> N::Real {
    let n = row.count();
    let mut max = <N::Real as Elem>::of(f64::NEG_INFINITY);
    let whole = if n < LANES { 0 } else { n - n % LANES };
    if whole > 0 {
        let mut lanes = [max; LANES];
        for i in 0..whole / LANES {
            let group = row.group::<LANES>(i);
            for j in 0..LANES {
                lanes[j] = greater(lanes[j], group[j].value());
            }
        }
        max = across(lanes, greater);
    }
    for i in whole..n {
        max = greater(max, row.at(i).value());
    }
    max
}

/// Sums of `terms` over rows of equal length, in an order given by the length alone.
///
/// Arrays are filled by loops here, since what `map` and `from_fn` call is not always inlined.
#[inline(always)]
pub fn sums<N: Number, M: Number, A: Numbers<N>, const ROWS: usize, const SUMS: usize>(
    rows: [A; ROWS],
    terms: impl Fn([N; ROWS]) -> [M; SUMS],
) -> [M; SUMS] {
    let n = rows[0].count();
    let zero = M::constant(<M::Real as Elem>::of(0.0));
    let mut totals = [zero; SUMS];
    let whole = if n < LANES { 0 } else { n - n % LANES };
    if whole > 0 {
        let mut lanes = [[zero; LANES]; SUMS];
        for i in 0..whole / LANES {
            let mut groups = [rows[0].group::<LANES>(i); ROWS];
            for r in 1..ROWS {
                groups[r] = rows[r].group::<LANES>(i);
            }
            for j in 0..LANES {
                let mut row = [groups[0][j]; ROWS];
                for r in 1..ROWS {
                    row[r] = groups[r][j];
                }
                let terms = terms(row);
                for k in 0..SUMS {
                    lanes[k][j] = lanes[k][j] + terms[k];
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
    for i in whole..n {
        let mut row = [rows[0].at(i); ROWS];
        for r in 1..ROWS {
            row[r] = rows[r].at(i);
        }
        let terms = terms(row);
        for k in 0..SUMS {
            totals[k] = totals[k] + terms[k];
        }
    }
    totals
}
