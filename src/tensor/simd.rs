//! The best instruction set that the processor has, found at run time.

/// Runs `work` compiled for the best instruction set at hand: AVX-512, AVX2 with FMA, or NEON.
///
/// `work` must be a closure marked `#[inline(always)]`, made of loops over slices and of functions
/// marked the same; what is not inlined into it is compiled for the plain instruction set, where
/// [`f32::mul_add`] is a slow call. Inside, the compiler vectorises the loops and `mul_add` is one
/// instruction. Results are the same bits on every instruction set: the compiler neither reorders
/// sums nor contracts products, and `mul_add` rounds once everywhere.
///
/// Hand slices to an `#[inline(always)]` function rather than capturing them for use in the closure
/// itself: only as arguments are they known not to overlap.
#[inline(always)]
pub fn simd<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_bits_of_the_plain_code() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut fast, mut plain) = (vec![0f32; 1000], vec![0f32; 1000]);
        let run = |y: &mut [f32]| {
            for (y, x) in y.iter_mut().zip(&x) {
                *y = x.mul_add(*x, -0.3) / (1.0 + x * 1.1);
            }
        };
        simd(
            #[inline(always)]
            || run(&mut fast),
        );
        run(&mut plain);
        assert_eq!(fast, plain);
    }
}
