//! What the elementary functions need to know of a floating-point type.

use num_traits::Float;

/// A floating-point type with its bits and its coefficients.
pub trait Real: Float + Send + Sync + 'static {
    /// 1.5 · 2^(bits of the mantissa): `x + ROUND` holds the whole number nearest to `x` in its low
    /// bits, and `x + ROUND - ROUND` is that number.
    const ROUND: Self;
    /// 1 / ln 2.
    const LOG2_E: Self;
    /// ln 2, rounded to so few bits that products with exponents are exact.
    const LN_2_HIGH: Self;
    /// What [`Self::LN_2_HIGH`] lacks.
    const LN_2_LOW: Self;
    /// 1 / √2.
    const FRAC_1_SQRT_2: Self;
    /// One half.
    const HALF: Self;
    /// Two.
    const TWO: Self;
    /// Below this number, exp is 0.
    const EXP_MIN: Self;
    /// Above this number, exp is infinite.
    const EXP_MAX: Self;
    /// Beyond this number, tanh is 1.
    const TANH_MAX: Self;
    /// Beyond this number, exp(−x²/2) is 0.
    const GAUSSIAN_MAX: Self;
    /// (exp(r) − 1 − r) / r² for |r| ≤ ln(2)/2.
    const EXP: &'static [Self];
    /// (ln((1 + s)/(1 − s)) − 2 s) / s³ in s², for 1 + s between √½ and √2 times 1 − s.
    const LN: &'static [Self];
    /// Up to here, erf is found from [`Self::ERF`].
    const ERF_SMALL: Self;
    /// erf(x)/x − 1 in x².
    const ERF: &'static [Self];
    /// Numerator of exp(x²) erfc(x).
    const ERFCX_NUMERATOR: &'static [Self];
    /// Denominator of exp(x²) erfc(x).
    const ERFCX_DENOMINATOR: &'static [Self];

    /// `self · 2^n` for `rounded = n + ROUND`. Exact but for results that are not normal, as long as
    /// n is at most twice the largest exponent.
    fn times_power_of_two(self, rounded: Self) -> Self;
    /// 2^n for `rounded = n + ROUND`, n the exponent of a normal number.
    fn power_of_two(rounded: Self) -> Self;
    /// Mantissa between √½ and √2, and exponent, of a positive finite number.
    fn split(self) -> (Self, Self);
}

macro_rules! bits {
    ($float:ty, $uint:ty, $int:ty, mantissa: $mantissa:expr, bias: $bias:expr) => {
        #[inline(always)]
        fn times_power_of_two(self, rounded: Self) -> Self {
            // 2^n in two factors, since n may exceed the range of exponents
            let n = (rounded.to_bits() as $int).wrapping_sub(Self::ROUND.to_bits() as $int);
            let half = n >> 1;
            let power =
                |n: $int| <$float>::from_bits((n.wrapping_add($bias) << $mantissa) as $uint);
            self * power(half) * power(n.wrapping_sub(half))
        }

        #[inline(always)]
        fn power_of_two(rounded: Self) -> Self {
            let n = (rounded.to_bits() as $int).wrapping_sub(Self::ROUND.to_bits() as $int);
            <$float>::from_bits((n.wrapping_add($bias) << $mantissa) as $uint)
        }

        #[inline(always)]
        fn split(self) -> (Self, Self) {
            let scale = ((1 as $uint) << ($mantissa + 1)) as $float;
            let tiny = self < Self::MIN_POSITIVE;
            let bits = (if tiny { self * scale } else { self }).to_bits() as $int;
            let n = bits.wrapping_sub(Self::FRAC_1_SQRT_2.to_bits() as $int) >> $mantissa;
            let mantissa = <$float>::from_bits(bits.wrapping_sub(n << $mantissa) as $uint);
            let exponent =
                <$float>::from_bits((Self::ROUND.to_bits() as $int).wrapping_add(n) as $uint)
                    - Self::ROUND;
            let shift = if tiny { ($mantissa + 1) as $float } else { 0.0 };
            (mantissa, exponent - shift)
        }
    };
}
pub(super) use bits;
