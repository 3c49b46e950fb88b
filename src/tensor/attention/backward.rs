//! The backward pass of one example and head.

use pulp::{Simd, WithSimd};

use super::strip::{
    KEYS, PANEL, Place, STRIP, copy_rows, cut, dot, pack_channels, pack_positions, score_row,
    scores, seen, tiles,
};
use super::{Rows, RowsMut, Sizes};
use crate::tensor::elem::Elem;
use crate::tensor::math::exp;
use crate::tensor::matmul::kernel::Left;

/// Numbers of scratch that a task needs.
pub fn scratch_len(s: &Sizes) -> usize {
    let size = s.head_size.next_multiple_of(PANEL);
    let whole = 5 * s.positions.next_multiple_of(PANEL) * size;
    whole + STRIP * (5 * size + 2 * score_row(s.positions))
}

/// One example and head.
pub struct Backward<'a, T> {
    pub s: &'a Sizes,
    pub q: Rows<T>,
    pub k: Rows<T>,
    pub v: Rows<T>,
    pub y: Rows<T>,
    pub gy: Rows<T>,
    pub logs: &'a [T],
    /// Of queries, keys and values.
    pub gradients: [RowsMut<T>; 3],
    pub scratch: &'a mut [T],
}

impl<T: Elem> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `super::backward` checked the slices
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.run::<S, 8>(simd);
            } else {
                self.run::<S, 4>(simd);
            }
        }
    }
}

/// `g = p (g − delta)` with the probabilities p = exp(score − log).
#[inline(always)]
fn probabilities<T: Elem>(p: &mut [T], g: &mut [T], log: T, delta: T) {
    for (p, g) in p.iter_mut().zip(g) {
        *p = exp(*p - log);
        *g = *p * (*g - delta);
    }
}

impl<T: Elem> Backward<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize>(mut self, simd: S) {
        let width = 2 * T::lanes::<S>();
        let (size, positions) = (self.s.head_size, self.s.positions);
        let (padded, whole) = (
            size.next_multiple_of(PANEL),
            positions.next_multiple_of(PANEL),
        );
        let (row, scale) = (score_row(positions), T::of(self.s.scale));
        let scratch = &mut self.scratch;
        // keys and values with positions along the lanes, keys with channels along them
        let [kt, vt] = [0, 1].map(|_| cut(scratch, whole * size));
        let kc = cut(scratch, positions * padded);
        let [gk, gv] = [0, 1].map(|_| cut(scratch, whole * padded));
        // of a strip: queries and output gradients as rows and as panels of channels
        let [q, gy] = [0, 1].map(|_| cut(scratch, STRIP * size));
        let [qc, gyc] = [0, 1].map(|_| cut(scratch, STRIP * padded));
        let gq = cut(scratch, STRIP * padded);
        let [p, gs] = [0, 1].map(|_| cut(scratch, STRIP * row));
        // SAFETY: as for `with_simd`; buffers are as large as `scratch_len` says
        unsafe {
            pack_positions(self.k, positions, size, width, kt);
            pack_positions(self.v, positions, size, width, vt);
            pack_channels(self.k, positions, size, width, kc);
            gk.fill(T::of(0.0));
            gv.fill(T::of(0.0));
            for first in (0..positions).step_by(STRIP) {
                let queries = STRIP.min(positions - first);
                copy_rows(self.q, first, queries, size, scale, q);
                copy_rows(self.gy, first, queries, size, T::of(1.0), gy);
                for (from, to) in [(&*q, &mut *qc), (&*gy, &mut *gyc)] {
                    let rows = Rows {
                        ptr: from.as_ptr(),
                        stride: size,
                    };
                    pack_channels(rows, queries, size, width, to);
                }
                let mut delta = [T::of(0.0); STRIP];
                for i in 0..queries {
                    let y = self.y.ptr.add((first + i) * self.y.stride);
                    let y = std::slice::from_raw_parts(y, size);
                    delta[i] = dot(&gy[i * size..][..size], y);
                }
                gq.fill(T::of(0.0));
                let end = seen(self.s.causal, positions, first + queries);
                for start in (0..end).step_by(KEYS) {
                    let at = Place {
                        first,
                        queries,
                        keys: (start, end.min(start + KEYS)),
                        causal: self.s.causal,
                        row,
                    };
                    scores::<S, T, MR>(simd, at, q, size, kt, p);
                    scores::<S, T, MR>(simd, at, gy, size, vt, gs);
                    for i in 0..queries {
                        let seen = at.seen(i + 1);
                        let len = seen.next_multiple_of(width.max(16));
                        let p = &mut p[i * row..][..len];
                        p[seen..].fill(T::neg_infinity());
                        let gs = &mut gs[i * row..][..len];
                        gs[seen..].fill(T::of(0.0));
                        probabilities(p, gs, self.logs[first + i], delta[i]);
                    }
                    for i in (0..queries).step_by(MR) {
                        let a = Left {
                            ptr: gs.as_ptr().add(i * row),
                            row,
                            step: 1,
                        };
                        let b = (kc.as_ptr().add(start * width), positions * width);
                        let c = (gq.as_mut_ptr().add(i * padded), padded);
                        tiles::<S, T, MR>(simd, at.seen(i + MR), a, b, size, c);
                    }
                    for j in (0..at.seen(queries)).step_by(MR) {
                        let skipped = if at.causal {
                            (start + j).saturating_sub(first)
                        } else {
                            0
                        };
                        let key = start + j;
                        for (from, panels, to) in [(&*p, &*gyc, &mut *gv), (&*gs, &*qc, &mut *gk)] {
                            let a = Left {
                                ptr: from.as_ptr().add(skipped * row + j),
                                row: 1,
                                step: row,
                            };
                            let b = (panels.as_ptr().add(skipped * width), queries * width);
                            let c = (to.as_mut_ptr().add(key * padded), padded);
                            tiles::<S, T, MR>(simd, queries - skipped, a, b, size, c);
                        }
                    }
                }
                self.write(0, (first, queries), gq, scale);
            }
            self.write(1, (0, positions), gk, T::of(1.0));
            self.write(2, (0, positions), gv, T::of(1.0));
        }
    }

    /// Writes `factor` times `from [count, padded size]` to rows of a gradient.
    #[inline(always)]
    unsafe fn write(&self, part: usize, (first, count): (usize, usize), from: &[T], factor: T) {
        let (to, size) = (self.gradients[part], self.s.head_size);
        let padded = size.next_multiple_of(PANEL);
        for (i, from) in from.chunks_exact(padded).take(count).enumerate() {
            // SAFETY: as for `with_simd`; other tasks write other rows
            let to = unsafe {
                std::slice::from_raw_parts_mut(to.ptr.add((first + i) * to.stride), size)
            };
            for (to, x) in to.iter_mut().zip(from) {
                *to = factor * *x;
            }
        }
    }
}
