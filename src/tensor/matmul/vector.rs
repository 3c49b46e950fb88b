//! The few vector operations that the inner loop of a product is made of, for each element type.

use pulp::Simd;

/// An element type with vectors of the instruction set `S`.
pub trait Vector: Copy + Default + Send + Sync + std::ops::Add<Output = Self> + 'static {
    /// A vector register.
    type V<S: Simd>: Copy;

    /// Numbers in a register.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::V<S>>() / size_of::<Self>()
    }

    /// `x` in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::V<S>;

    /// `a · b`.
    fn mul<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;

    /// `a · b + c`, rounded once where the machine can.
    fn mul_add<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;
}

macro_rules! vector {
    ($t:ty, $v:ident, $splat:ident, $mul:ident, $mul_add:ident) => {
        impl Vector for $t {
            type V<S: Simd> = S::$v;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> Self::V<S> {
                simd.$splat(x)
            }

            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S> {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: Self::V<S>,
                b: Self::V<S>,
                c: Self::V<S>,
            ) -> Self::V<S> {
                simd.$mul_add(a, b, c)
            }
        }
    };
}

vector!(f32, f32s, splat_f32s, mul_f32s, mul_add_e_f32s);
vector!(f64, f64s, splat_f64s, mul_f64s, mul_add_e_f64s);
