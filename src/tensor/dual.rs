//! Dual numbers: a value with its derivative along one direction.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::elem::Elem;
use super::number::{Number, Numbers};

/// `value + tangent · ε` with ε² = 0. A formula in dual numbers computes its derivative along the
/// tangents of its inputs, exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual<T> {
    /// The value.
    pub value: T,
    /// Its derivative.
    pub tangent: T,
}

impl<T: Elem> Dual<T> {
    /// The number with this tangent.
    #[inline(always)]
    pub fn new(value: T, tangent: T) -> Self {
        Self { value, tangent }
    }
}

impl<T: Elem> Add for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.tangent + other.tangent)
    }
}

impl<T: Elem> Sub for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self::new(self.value - other.value, self.tangent - other.tangent)
    }
}

impl<T: Elem> Neg for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self::new(-self.value, -self.tangent)
    }
}

impl<T: Elem> Mul for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let tangent = self
            .tangent
            .mul_add(other.value, self.value * other.tangent);
        Self::new(self.value * other.value, tangent)
    }
}

impl<T: Elem> Div for Dual<T> {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self::new(value, (self.tangent - value * other.tangent) / other.value)
    }
}

impl<T: Elem> Number for Dual<T> {
    type Real = T;
    type Wide = Dual<f64>;

    #[inline(always)]
    fn constant(x: T) -> Self {
        Self::new(x, T::zero())
    }
    #[inline(always)]
    fn value(self) -> T {
        self.value
    }
    #[inline(always)]
    fn part(self) -> T {
        self.tangent
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        let tangent = self.value.mul_add(factor.tangent, term.tangent);
        Self::new(
            self.value.mul_add(factor.value, term.value),
            self.tangent.mul_add(factor.value, tangent),
        )
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        let root = num_traits::Float::sqrt(self.value);
        Self::new(root, self.tangent / (root + root))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let value = super::math::exp(self.value);
        Self::new(value, value * self.tangent)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Self::new(super::math::ln(self.value), self.tangent / self.value)
    }
    #[inline(always)]
    fn wide(self) -> Dual<f64> {
        Dual::new(self.value.f64(), self.tangent.f64())
    }
    #[inline(always)]
    fn narrow(wide: Dual<f64>) -> Self {
        Self::new(T::of(wide.value), T::of(wide.tangent))
    }
}

/// Values and tangents.
impl<T: Elem> Numbers<Dual<T>> for (&[T], &[T]) {
    #[inline(always)]
    fn count(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = Dual<T>> {
        let pairs = self.0.iter().zip(self.1);
        pairs.map(
            #[inline(always)]
            |(value, tangent)| Dual::new(*value, *tangent),
        )
    }
    #[inline(always)]
    fn at(self, i: usize) -> Dual<T> {
        Dual::new(self.0[i], self.1[i])
    }
    #[inline(always)]
    fn slice(self, start: usize, len: usize) -> Self {
        (&self.0[start..][..len], &self.1[start..][..len])
    }
    #[inline(always)]
    fn group<const LANES: usize>(self, i: usize) -> [Dual<T>; LANES] {
        let (values, tangents): ([T; LANES], [T; LANES]) =
            (self.0.as_chunks().0[i], self.1.as_chunks().0[i]);
        let mut duals = [Dual::new(values[0], tangents[0]); LANES];
        for j in 0..LANES {
            duals[j] = Dual::new(values[j], tangents[j]);
        }
        duals
    }
}
