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

/// Panels that are packed together where rows lie side by side, so that whole cache lines are read, and
/// several in a row, before the next step lies a page or more further on.
pub const fn side_by_side(width: usize) -> usize {
    if width == 6 { 8 } else { 4 }
}

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
        let together = side_by_side(width) * width;
        while source.row == 1 && i + together <= rows {
            let (to, from) = (dst.add(i * steps), source.from(i, 0));
            match width {
                4 => lines::<T, 4, { side_by_side(4) }>(to, from, steps),
                6 => lines::<T, 6, { side_by_side(6) }>(to, from, steps),
                8 => lines::<T, 8, { side_by_side(8) }>(to, from, steps),
                16 => lines::<T, 16, { side_by_side(16) }>(to, from, steps),
                32 => lines::<T, 32, { side_by_side(32) }>(to, from, steps),
                _ => break,
            }
            i += together;
        }
        while i < rows {
            let (panel, from, here) = (dst.add(i * steps), source.from(i, 0), width.min(rows - i));
            match (from.row, here == width, width) {
                (1, true, 4) => contiguous::<T, 4>(panel, from, steps),
                (1, true, 6) => contiguous::<T, 6>(panel, from, steps),
                (1, true, 8) => contiguous::<T, 8>(panel, from, steps),
                (1, true, 16) => contiguous::<T, 16>(panel, from, steps),
                (1, true, 32) => contiguous::<T, 32>(panel, from, steps),
                (_, true, 6) if from.step == 1 && transposes::<T>() => six(panel, from, steps),
                _ => strided(panel, width, from, here, steps),
            }
            i += width;
        }
    }
}

/// Steps by which [`lines`] reads ahead: the next step may lie in another page, where the processor does
/// not look by itself. Measured: 5 to 15 % on products whose right operand is in memory.
const AHEAD: usize = 12;

/// Asks for the cache lines of some numbers that are read soon; any address will do.
#[inline(always)]
pub fn prefetch<T>(at: *const T, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in 0..(count * size_of::<T>()).div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of a wrong address does nothing
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(64 * i)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, count);
}

#[inline(always)]
unsafe fn lines<T: Copy, const WIDTH: usize, const PANELS: usize>(
    dst: *mut T,
    from: Source<T>,
    steps: usize,
) {
    // SAFETY: as for `pack`
    unsafe {
        for p in 0..steps {
            let ahead = from.ptr.wrapping_add((p + AHEAD) * from.step);
            prefetch(ahead, WIDTH * PANELS);
            let line = from.from(0, p).ptr.cast::<[[T; WIDTH]; PANELS]>().read();
            for (panel, part) in line.into_iter().enumerate() {
                dst.add((panel * steps + p) * WIDTH)
                    .cast::<[T; WIDTH]>()
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

/// Six rows that lie step after step, 8 steps at a time. Each line of 8 numbers that the transposition
/// writes ends in 2 of the next step, which the next line overwrites.
#[inline(always)]
unsafe fn six<T: Copy + Default>(dst: *mut T, from: Source<T>, steps: usize) {
    let mut p = 0;
    // SAFETY: as for `pack`; the last line ends inside the panel, since a ninth step follows
    unsafe {
        while p + 9 <= steps {
            let src = from.from(0, p).ptr.cast();
            transpose::<6>(dst.add(p * 6).cast(), 6, src, from.row);
            p += 8;
        }
        for p in p..steps {
            for j in 0..6 {
                *dst.add(p * 6 + j) = from.at(j, p);
            }
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
                    transpose::<8>(dst.add(p * width + j).cast(), width, src, from.row);
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

/// `dst[c · dst_row + r] = src[r · src_row + c]` for `rows × cols` entries.
///
/// # Safety
/// Both cover their entries.
#[inline(always)]
pub unsafe fn transpose_into<T: Copy>(
    (dst, dst_row): (*mut T, usize),
    (src, src_row): (*const T, usize),
    (rows, cols): (usize, usize),
) {
    let (mut whole_rows, mut whole_cols) = (0, 0);
    // SAFETY: as the caller promises
    unsafe {
        if transposes::<T>() {
            (whole_rows, whole_cols) = (rows / 8 * 8, cols / 8 * 8);
            for c in (0..whole_cols).step_by(8) {
                for r in (0..whole_rows).step_by(8) {
                    let (to, from) = (dst.add(c * dst_row + r), src.add(r * src_row + c));
                    transpose::<8>(to.cast(), dst_row, from.cast(), src_row);
                }
            }
        }
        for r in 0..rows {
            let first = if r < whole_rows { whole_cols } else { 0 };
            for c in first..cols {
                *dst.add(c * dst_row + r) = *src.add(r * src_row + c);
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
unsafe fn transpose<const ROWS: usize>(_: *mut f32, _: usize, _: *const f32, _: usize) {}

/// Transposes `ROWS × 8` numbers, at most 8 rows; rows that are missing are taken as 0.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
#[inline]
unsafe fn transpose<const ROWS: usize>(
    dst: *mut f32,
    dst_row: usize,
    src: *const f32,
    src_row: usize,
) {
    use std::arch::x86_64::*;
    // SAFETY: as for `pack`
    unsafe {
        let mut r = [_mm256_setzero_ps(); 8];
        for (i, row) in r.iter_mut().enumerate().take(ROWS) {
            *row = _mm256_loadu_ps(src.add(i * src_row));
        }
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
        // from the first line to the last, as `six` needs
        for i in 0..4 {
            let line = _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]);
            _mm256_storeu_ps(dst.add(i * dst_row), line);
        }
        for i in 0..4 {
            let line = _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]);
            _mm256_storeu_ps(dst.add((i + 4) * dst_row), line);
        }
    }
}
