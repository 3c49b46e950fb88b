//! Copies of parts of a matrix in the order in which the inner loop reads them: panels of `width`
//! rows (or columns), step by step.

/// A matrix inside a slice: entry (i, p) at `ptr + i · row + p · step`, where `i` counts along the
/// panels' width and `p` along the summed dimension.
#[derive(Debug, Clone, Copy)]
pub struct Source<T> {
    /// Entry (0, 0).
    pub ptr: *const T,
    /// Distance along the panels' width.
    pub row: usize,
    /// Distance along the summed dimension.
    pub step: usize,
}

// SAFETY: tasks only read through it, while the slice it came from is borrowed.
unsafe impl<T: Sync> Send for Source<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Source<T> {}

impl<T: Copy> Source<T> {
    /// The same matrix from entry (i, p) on.
    ///
    /// # Safety
    /// The entry lies inside the slice.
    #[inline(always)]
    pub unsafe fn from(self, i: usize, p: usize) -> Self {
        // SAFETY: the caller keeps to the slice
        let ptr = unsafe { self.ptr.add(i * self.row + p * self.step) };
        Self { ptr, ..self }
    }

    #[inline(always)]
    unsafe fn at(self, i: usize, p: usize) -> T {
        // SAFETY: the caller keeps to the slice
        unsafe { *self.ptr.add(i * self.row + p * self.step) }
    }
}

/// Panels that are packed together where rows lie side by side, so that whole cache lines are read.
const SIDE_BY_SIDE: usize = 4;

/// Writes `rows × steps` entries as panels of `width` rows: panel, then step, then row. Missing rows
/// of the last panel become 0.
///
/// # Safety
/// The source covers `rows × steps`; `dst` has room for `rows` rounded up to `width`, times `steps`.
#[inline(always)]
pub unsafe fn pack<T: Copy + Default>(
    dst: *mut T,
    width: usize,
    source: Source<T>,
    rows: usize,
    steps: usize,
) {
    let mut i = 0;
    // SAFETY: as the caller promises
    unsafe {
        if source.row == 1 && width == 8 {
            while i + SIDE_BY_SIDE * 8 <= rows {
                side_by_side::<T>(dst.add(i * steps), source.from(i, 0), steps);
                i += SIDE_BY_SIDE * 8;
            }
        }
        while i < rows {
            let (panel, from, here) = (dst.add(i * steps), source.from(i, 0), width.min(rows - i));
            match (from.row, here == width, width) {
                (1, true, 8) => contiguous::<T, 8>(panel, from, steps),
                (1, true, 16) => contiguous::<T, 16>(panel, from, steps),
                (1, true, 32) => contiguous::<T, 32>(panel, from, steps),
                _ => strided(panel, width, from, here, steps),
            }
            i += width;
        }
    }
}

#[inline(always)]
unsafe fn side_by_side<T: Copy>(dst: *mut T, from: Source<T>, steps: usize) {
    // SAFETY: as for `pack`
    unsafe {
        for p in 0..steps {
            let line = from.from(0, p).ptr.cast::<[[T; 8]; SIDE_BY_SIDE]>().read();
            for (panel, part) in line.into_iter().enumerate() {
                dst.add((panel * steps + p) * 8)
                    .cast::<[T; 8]>()
                    .write(part);
            }
        }
    }
}

#[inline(always)]
unsafe fn contiguous<T: Copy, const N: usize>(dst: *mut T, from: Source<T>, steps: usize) {
    // SAFETY: as for `pack`
    unsafe {
        for p in 0..steps {
            let part = from.from(0, p).ptr.cast::<[T; N]>().read();
            dst.add(p * N).cast::<[T; N]>().write(part);
        }
    }
}

#[inline(always)]
unsafe fn strided<T: Copy + Default>(
    dst: *mut T,
    width: usize,
    from: Source<T>,
    here: usize,
    steps: usize,
) {
    // SAFETY: as for `pack`
    unsafe {
        let mut first = 0;
        if here == width && width.is_multiple_of(8) && from.step == 1 && transposes::<T>() {
            first = steps / 8 * 8;
            for p in (0..first).step_by(8) {
                for j in (0..width).step_by(8) {
                    let src = from.from(j, p).ptr.cast();
                    transpose(dst.add(p * width + j).cast(), width, src, from.row);
                }
            }
        }
        for p in first..steps {
            for j in 0..width {
                let value = if j < here {
                    from.at(j, p)
                } else {
                    T::default()
                };
                *dst.add(p * width + j) = value;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposes<T>() -> bool {
    size_of::<T>() == 4 && std::arch::is_x86_feature_detected!("avx")
}

#[cfg(not(target_arch = "x86_64"))]
fn transposes<T>() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn transpose(_: *mut f32, _: usize, _: *const f32, _: usize) {}

/// Transposes 8 × 8 numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
#[inline]
unsafe fn transpose(dst: *mut f32, dst_row: usize, src: *const f32, src_row: usize) {
    use std::arch::x86_64::*;
    // SAFETY: as for `pack`
    unsafe {
        let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(src.add(i * src_row)));
        let pair = |i: usize| {
            (
                _mm256_unpacklo_ps(r[i], r[i + 1]),
                _mm256_unpackhi_ps(r[i], r[i + 1]),
            )
        };
        let quad = |i: usize| {
            let ((l0, h0), (l1, h1)) = (pair(i), pair(i + 2));
            [
                _mm256_shuffle_ps::<0x44>(l0, l1),
                _mm256_shuffle_ps::<0xEE>(l0, l1),
                _mm256_shuffle_ps::<0x44>(h0, h1),
                _mm256_shuffle_ps::<0xEE>(h0, h1),
            ]
        };
        let (top, bottom) = (quad(0), quad(4));
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]);
            let high = _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]);
            _mm256_storeu_ps(dst.add(i * dst_row), low);
            _mm256_storeu_ps(dst.add((i + 4) * dst_row), high);
        }
    }
}
