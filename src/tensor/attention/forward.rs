//! The forward pass of one example and head.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::strip::{
    KEYS, PANEL, Place, STRIP, copy_rows, cut, exponentials, largest, pack_channels,
    pack_positions, score_row, scores, seen, tiles,
};
use super::{Rows, RowsMut, Sizes};
use crate::tensor::elem::Elem;
use crate::tensor::math::{exp, ln};
use crate::tensor::matmul::kernel::Left;

/// Numbers of scratch that a task needs.
pub fn scratch_len(s: &Sizes) -> usize {
    let size = s.head_size.next_multiple_of(PANEL);
    let packed = 2 * s.positions.next_multiple_of(PANEL) * size;
    packed + STRIP * (2 * size + score_row(s.positions))
}

/// Some queries of one example and head.
pub struct Forward<'a, T> {
    pub s: &'a Sizes,
    pub queries: Range<usize>,
    pub q: Rows<T>,
    pub k: Rows<T>,
    pub v: Rows<T>,
    pub y: RowsMut<T>,
    /// Where the logs of the sums of all positions go.
    pub logs: *mut T,
    pub scratch: &'a mut [T],
}

impl<T: Elem> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `super::forward` checked the slices
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.run::<S, 8>(simd);
            } else {
                self.run::<S, 4>(simd);
            }
        }
    }
}

impl<T: Elem> Forward<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(mut self, simd: S) {
        let width = 2 * T::lanes::<S>();
        let (size, positions) = (self.s.head_size, self.s.positions);
        let padded = size.next_multiple_of(PANEL);
        let row = score_row(positions);
        let keys = seen(self.s.causal, positions, self.queries.end);
        let scratch = &mut self.scratch;
        let k = cut(scratch, positions.next_multiple_of(PANEL) * size);
        let v = cut(scratch, positions * padded);
        let q = cut(scratch, STRIP * size);
        let sums = cut(scratch, STRIP * padded);
        let p = cut(scratch, STRIP * row);
        // SAFETY: as for `with_simd`; buffers are as large as `scratch_len` says
        unsafe {
            pack_positions(self.k, keys, size, width, k);
            pack_channels(self.v, keys, size, width, v);
            for first in self.queries.clone().step_by(STRIP) {
                let queries = STRIP.min(self.queries.end - first);
                copy_rows(self.q, first, queries, size, T::of(self.s.scale), q);
                sums.fill(T::of(0.0));
                let mut shift = [T::neg_infinity(); STRIP];
                let mut total = [T::of(0.0); STRIP];
                let end = seen(self.s.causal, positions, first + queries);
                for start in (0..end).step_by(KEYS) {
                    let at = Place {
                        first,
                        queries,
                        keys: (start, end.min(start + KEYS)),
                        causal: self.s.causal,
                        row,
                    };
                    scores::<S, T, MR>(simd, at, q, size, k, p);
                    for i in 0..queries {
                        let seen = at.seen(i + 1);
                        if seen == 0 {
                            continue;
                        }
                        let p = &mut p[i * row..][..seen.next_multiple_of(width.max(16))];
                        p[seen..].fill(T::neg_infinity());
                        let greatest = largest(p);
                        if greatest > shift[i] {
                            let factor = exp(shift[i] - greatest);
                            shift[i] = greatest;
                            total[i] *= factor;
                            if start > 0 {
                                let sums = &mut sums[i * padded..][..padded];
                                sums.iter_mut().for_each(|x| *x *= factor);
                            }
                        }
                        total[i] += exponentials(p, shift[i]);
                    }
                    for i in (0..queries).step_by(MR) {
                        let a = Left {
                            ptr: p.as_ptr().add(i * row),
                            row,
                            step: 1,
                        };
                        let b = (v.as_ptr().add(start * width), keys * width);
                        let c = (sums.as_mut_ptr().add(i * padded), padded);
                        tiles::<S, T, MR>(simd, at.seen(i + MR), a, b, size, c);
                    }
                }
                for i in 0..queries {
                    let to = self.y.ptr.add((first + i) * self.y.stride);
                    let to = std::slice::from_raw_parts_mut(to, size);
                    let factor = T::of(1.0) / total[i];
                    for (to, sum) in to.iter_mut().zip(&sums[i * padded..]) {
                        *to = factor * *sum;
                    }
                    *self.logs.add(first + i) = shift[i] + ln(total[i]);
                }
            }
        }
    }
}
