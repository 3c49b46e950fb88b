//! What forward pass and input gradient have in common: sums over taps and channels.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::matmul::kernel::{Right, Rows, Run, Target, store, tile_runs};
use super::super::matmul::pack::{Source, pack};
use super::super::matmul::{Matrix, Shared, Vector};
use super::super::scratch;
use super::way::{self, Way};
use super::{Sizes, lanes, pixels, tile_sizes};

/// Filters as the sum reads them: entry (tap, channel, row) at
/// `ptr + tap · self.tap + channel · self.channel + row · self.row`.
#[derive(Debug, Clone, Copy)]
pub struct Filters<T> {
    pub ptr: *const T,
    pub tap: usize,
    pub channel: usize,
    pub row: usize,
}

/// `to[n, r, o] (+)= alpha · Σ over taps and channels of filters[t, c, r] · from[n, c, place(o, t)]`.
///
/// The forward pass sums over input channels for each output place; `transposed`, the input gradient
/// sums over output channels for each input place.
pub struct Sum<'a, T> {
    pub sizes: &'a Sizes,
    /// `None` for the faster one.
    pub way: Option<Way>,
    pub transposed: bool,
    pub from: *const T,
    /// Distance between images.
    pub from_image: usize,
    pub channels: usize,
    pub to: Shared<T>,
    pub to_image: usize,
    pub rows: usize,
    pub filters: Filters<T>,
    pub alpha: T,
    pub accumulate: bool,
}

// SAFETY: tasks read what the slices cover, and each writes its own part of `to`
unsafe impl<T: Sync> Sync for Sum<'_, T> {}

impl<T: Vector> Sum<'_, T> {
    /// Height and width of what is read.
    pub fn source_size(&self) -> [usize; 2] {
        if self.transposed {
            self.sizes.output()
        } else {
            self.sizes.image
        }
    }

    /// Height and width of what is written.
    pub fn target_size(&self) -> [usize; 2] {
        if self.transposed {
            self.sizes.image
        } else {
            self.sizes.output()
        }
    }

    pub fn run(self) {
        let work = self.sizes.work() / self.sizes.groups;
        let lanes = tile_sizes::<T>().1 / 2;
        if self.way.is_none() && self.sizes.is_product() {
            return self.product();
        }
        match self
            .way
            .unwrap_or_else(|| way::of_sum(self.sizes, self.transposed, lanes))
        {
            Way::Pixels => pixels::run(&self, work),
            Way::Lanes => lanes::run(&self, work),
        }
    }

    /// A filter of one pixel: a matrix product per image.
    fn product(&self) {
        let plane = super::area(self.sizes.image);
        let f = self.filters;
        // SAFETY: what the slices of the public functions cover
        let a = unsafe {
            let len = (self.channels - 1) * f.channel + (self.rows - 1) * f.row + 1;
            Matrix {
                data: std::slice::from_raw_parts(f.ptr, len),
                row_stride: f.row,
                col_stride: f.channel,
            }
        };
        let image = |n: usize| {
            // SAFETY: as above; each image is written by one task
            let (b, c) = unsafe {
                let b = self.from.add(n * self.from_image);
                let c = self.to.ptr().add(n * self.to_image);
                (
                    std::slice::from_raw_parts(b, self.channels * plane),
                    std::slice::from_raw_parts_mut(c, self.rows * plane),
                )
            };
            let c = super::Into {
                data: c,
                row_stride: plane,
                accumulate: self.accumulate,
            };
            let shape = (self.rows, plane, self.channels);
            super::matmul_into(c, shape, self.alpha, a, Matrix::row_major(b, plane));
        };
        let batch = self.sizes.batch;
        if self.sizes.work() / self.sizes.groups < TASK {
            (0..batch).for_each(image);
        } else {
            (0..batch).into_par_iter().for_each(image);
        }
    }

    /// Packs the filters and calls `f` with them.
    pub fn with_packed<R: Send>(&self, most_steps: usize, f: impl FnOnce(&Packed<T>) -> R) -> R {
        let (mr, _) = tile_sizes::<T>();
        let taps = self.sizes.taps();
        let blocks = (self.channels * taps)
            .div_ceil(most_steps)
            .min(self.channels);
        let block = self.channels.div_ceil(blocks);
        let padded = self.rows.next_multiple_of(mr);
        scratch::with(padded * self.channels * taps, |numbers: &mut [T]| {
            let packed = Packed {
                ptr: Shared::new(numbers),
                rows: padded,
                channels: self.channels,
                block,
            };
            let parts = packed.blocks().count();
            let one = |i: usize| {
                let (tap, channels) = (i / parts, packed.blocks().nth(i % parts));
                let Some(channels) = channels else { return };
                let f = self.filters;
                // SAFETY: each task writes the part of one tap and block
                let work = unsafe {
                    PackFilters {
                        dst: packed.ptr.ptr().add(packed.at(tap, channels.start)),
                        source: Source {
                            ptr: f.ptr.add(tap * f.tap + channels.start * f.channel),
                            row: f.row,
                            step: f.channel,
                        },
                        rows: self.rows,
                        steps: channels.len(),
                        width: mr,
                    }
                };
                Arch::new().dispatch(work);
            };
            if numbers.len() < 1 << 16 {
                (0..taps * parts).for_each(one);
            } else {
                (0..taps * parts).into_par_iter().for_each(one);
            }
            f(&packed)
        })
    }
}

struct PackFilters<T> {
    dst: *mut T,
    source: Source<T>,
    rows: usize,
    steps: usize,
    width: usize,
}

impl<T: Vector> WithSimd for PackFilters<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // SAFETY: see `with_packed`
        unsafe { pack(self.dst, self.width, self.source, self.rows, self.steps) }
    }
}

/// Multiply-adds for which work is given to other threads.
pub const TASK: usize = 1 << 20;

/// Filters in the order in which tiles read them: tap, block of channels, panel of rows, channel, row.
pub struct Packed<T> {
    ptr: Shared<T>,
    /// Number of rows rounded up to whole panels.
    rows: usize,
    channels: usize,
    /// Channels in a block.
    block: usize,
}

impl<T> Packed<T> {
    /// The blocks of channels.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (all, block) = (self.channels, self.block);
        (0..all)
            .step_by(block)
            .map(move |c| c..(c + block).min(all))
    }

    /// Where the panels of a tap and of the block from `channel` on start.
    pub fn at(&self, tap: usize, channel: usize) -> usize {
        self.rows * (tap * self.channels + channel)
    }

    pub fn ptr(&self) -> *const T {
        self.ptr.ptr().cast_const()
    }
}

/// Where the lanes of a tile's vector go: the first `count` of them, `step` apart.
#[derive(Debug, Clone, Copy)]
pub struct Place<T> {
    /// Lane 0 of row 0.
    pub ptr: *mut T,
    pub count: usize,
    pub step: usize,
}

/// A tile's rows of filters and where its rows go.
#[derive(Debug, Clone, Copy)]
pub struct Panel<T> {
    /// A packed panel.
    pub filters: *const T,
    /// Rows of it that count.
    pub height: usize,
    /// Distance between rows in the destination.
    pub row: usize,
    pub alpha: T,
    pub accumulate: bool,
}

/// One tile: sums over runs, stored whole where the destination allows it.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
pub unsafe fn tile<S: Simd, T: Vector, const MR: usize, const NV: usize>(
    simd: S,
    runs: (&[Run], usize),
    panel: Panel<T>,
    b: Right<T, NV>,
    to: [Place<T>; NV],
    edge: *mut T,
) {
    let lanes = T::lanes::<S>();
    let a = Rows {
        ptr: panel.filters,
        rows: [0; MR],
        step: MR,
    };
    // SAFETY: as the caller promises
    unsafe {
        let acc = tile_runs::<S, T, MR, NV, true>(simd, runs, a, b);
        let whole = panel.height == MR && to.iter().all(|p| p.count == lanes && p.step == 1);
        let c = Target {
            ptr: edge,
            row: panel.row,
            alpha: panel.alpha,
            accumulate: panel.accumulate,
        };
        if whole {
            store(simd, acc, to.map(|p| p.ptr), c);
            return;
        }
        let c = Target {
            row: NV * lanes,
            accumulate: false,
            ..c
        };
        store(simd, acc, std::array::from_fn(|v| edge.add(v * lanes)), c);
        for i in 0..panel.height {
            for (v, place) in to.iter().enumerate() {
                for lane in 0..place.count {
                    let value = *edge.add((i * NV + v) * lanes + lane);
                    let at = place.ptr.add(i * panel.row + lane * place.step);
                    *at = if panel.accumulate { *at + value } else { value };
                }
            }
        }
    }
}
