//! Sums with vectors along the images of the batch.
//!
//! Images are transposed to `[pixel, channel, image]`, two vectors of images at a time. Every output
//! place then sums over the taps that fall inside the image, each a small matrix product.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::matmul::kernel::{Right, Run};
use super::super::matmul::pack::transpose_into;
use super::super::matmul::{Shared, Vector};
use super::super::scratch;
use super::sum::{Packed, Panel, Place, Sum, TASK, tile};
use super::{LOW, Sizes, TALL, area, tile_sizes};

/// Steps of a block of channels: its part of the image stays in the first-level cache.
const STEPS: usize = 320;
/// Most tasks for two vectors of images.
const TASKS: usize = 16;

/// `[pixel, channel, image]` for groups of `lanes` images.
#[derive(Debug, Clone, Copy)]
pub struct Transposed {
    pub channels: usize,
    pub pixels: usize,
    /// Images of a group.
    pub lanes: usize,
    pub batch: usize,
}

impl Transposed {
    pub fn groups(&self) -> usize {
        self.batch.div_ceil(self.lanes)
    }

    /// Images in a group.
    pub fn images(&self, group: usize) -> usize {
        self.lanes.min(self.batch - group * self.lanes)
    }

    pub fn group(&self) -> usize {
        self.pixels * self.channels * self.lanes
    }

    pub fn len(&self) -> usize {
        self.groups() * self.group()
    }

    /// Transposes images that are `image` apart.
    ///
    /// # Safety
    /// `from` covers the images, `to` has [`Transposed::len`] numbers.
    pub unsafe fn fill<T: Vector>(&self, from: *const T, image: usize, to: *mut T, parallel: bool) {
        let (from, to) = (Shared::new_const(from), Shared::at(to));
        let this = *self;
        let one = move |i: usize| {
            let (group, channel) = (i / this.channels, i % this.channels);
            // SAFETY: one channel of one group, as the caller promises
            unsafe {
                let from = from
                    .ptr()
                    .cast_const()
                    .add(group * this.lanes * image + channel * this.pixels);
                let to = to.ptr().add(group * this.group() + channel * this.lanes);
                Arch::new().dispatch(Transpose {
                    to: (to, this.channels * this.lanes),
                    from: (from, image),
                    size: (this.images(group), this.pixels),
                });
            }
        };
        let all = self.groups() * self.channels;
        if parallel {
            (0..all).into_par_iter().with_min_len(8).for_each(one);
        } else {
            (0..all).for_each(one);
        }
    }
}

/// See [`transpose_into`].
pub struct Transpose<T> {
    pub to: (*mut T, usize),
    pub from: (*const T, usize),
    pub size: (usize, usize),
}

impl<T: Vector> WithSimd for Transpose<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // SAFETY: whoever makes it keeps to its buffers
        unsafe { transpose_into(self.to, self.from, self.size) }
    }
}

/// Calls `f(place, tap, source)` for every tap of every place that falls inside the image; `transposed`,
/// for the places of the input.
pub fn for_taps(s: &Sizes, transposed: bool, mut f: impl FnMut(usize, usize, usize)) {
    let ([_, width], [oh, ow]) = (s.image, s.output());
    for oy in 0..oh {
        for ky in 0..s.kernel[0] {
            let Some(y) = s.source(0, oy, ky) else {
                continue;
            };
            for ox in 0..ow {
                for kx in 0..s.kernel[1] {
                    let Some(x) = s.source(1, ox, kx) else {
                        continue;
                    };
                    let (input, output) = (y * width + x, oy * ow + ox);
                    let tap = ky * s.kernel[1] + kx;
                    if transposed {
                        f(input, tap, output);
                    } else {
                        f(output, tap, input);
                    }
                }
            }
        }
    }
}

/// Runs the sum.
pub fn run<T: Vector>(sum: &Sum<'_, T>, work: usize) {
    let (mr, nr) = tile_sizes::<T>();
    let s = sum.sizes;
    let parallel = work >= TASK;
    let from = Transposed {
        channels: sum.channels,
        pixels: area(sum.source_size()),
        lanes: nr,
        batch: s.batch,
    };
    let places = area(sum.target_size());
    let taps = s.taps();
    let to_group = sum.rows * places * nr;
    sum.with_packed(STEPS, |packed| {
        scratch::with(from.len(), |x: &mut [T]| {
            // SAFETY: the images of the sum
            unsafe { from.fill(sum.from, sum.from_image, x.as_mut_ptr(), parallel) };
            scratch::with(places * taps, |runs: &mut [Run]| {
                scratch::with(places, |counts: &mut [usize]| {
                    counts.fill(0);
                    for_taps(s, sum.transposed, |place, tap, source| {
                        let run = Run {
                            a: packed.at(tap, 0),
                            b: source * sum.channels * nr,
                        };
                        runs[place * taps + counts[place]] = run;
                        counts[place] += 1;
                    });
                    scratch::with(from.groups() * to_group, |y: &mut [T]| {
                        let job = Job {
                            sum,
                            packed,
                            from: &from,
                            x,
                            runs,
                            counts,
                            y: Shared::new(y),
                        };
                        job.run(mr, nr, parallel);
                    });
                });
            });
        });
    });
}

struct Job<'a, T> {
    sum: &'a Sum<'a, T>,
    packed: &'a Packed<T>,
    from: &'a Transposed,
    x: &'a [T],
    runs: &'a [Run],
    counts: &'a [usize],
    /// `[group, row, place, image]`.
    y: Shared<T>,
}

impl<T: Vector> Job<'_, T> {
    fn run(&self, mr: usize, nr: usize, parallel: bool) {
        let (sum, places) = (self.sum, self.counts.len());
        let groups = self.from.groups();
        let panels = sum.rows.div_ceil(mr);
        let tasks = if parallel { TASKS } else { 1 };
        // tasks share the images if they split rows, and the filters if they split places: whichever is less
        let by_rows = panels >= tasks && sum.sizes.taps() * sum.rows >= self.from.pixels * nr;
        let units = if by_rows { panels } else { places };
        let per = units.div_ceil(tasks);
        let tasks = units.div_ceil(per);
        let compute = |task: usize| {
            let (group, part) = (task / tasks, task % tasks);
            let part = part * per..((part + 1) * per).min(units);
            let (rows, places) = if by_rows {
                (part.start * mr..(part.end * mr).min(sum.rows), 0..places)
            } else {
                (0..sum.rows, part)
            };
            scratch::with(mr * nr, |edge: &mut [T]| {
                scratch::with(sum.sizes.taps(), |now: &mut [Run]| {
                    Arch::new().dispatch(Task {
                        job: self,
                        group,
                        rows,
                        places,
                        edge,
                        now,
                    });
                });
            });
        };
        let rows_out = |i: usize, back: bool| {
            let (group, row) = (i / sum.rows, i % sum.rows);
            // SAFETY: one row of one group
            unsafe {
                let inner = self.y.ptr().add(i * places * nr);
                let outer = sum.to.ptr().add(group * nr * sum.to_image + row * places);
                let images = self.from.images(group);
                if back {
                    let size = (images, places);
                    Arch::new().dispatch(Transpose {
                        to: (inner, nr),
                        from: (outer, sum.to_image),
                        size,
                    });
                } else {
                    let size = (places, images);
                    Arch::new().dispatch(Transpose {
                        to: (outer, sum.to_image),
                        from: (inner, nr),
                        size,
                    });
                }
            }
        };
        let all = groups * sum.rows;
        if parallel {
            if sum.accumulate {
                (0..all).into_par_iter().for_each(|i| rows_out(i, true));
            }
            (0..groups * tasks).into_par_iter().for_each(compute);
            (0..all)
                .into_par_iter()
                .with_min_len(8)
                .for_each(|i| rows_out(i, false));
        } else {
            if sum.accumulate {
                (0..all).for_each(|i| rows_out(i, true));
            }
            (0..groups * tasks).for_each(compute);
            (0..all).for_each(|i| rows_out(i, false));
        }
    }
}

struct Task<'a, T> {
    job: &'a Job<'a, T>,
    group: usize,
    rows: Range<usize>,
    places: Range<usize>,
    edge: &'a mut [T],
    now: &'a mut [Run],
}

impl<T: Vector> WithSimd for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `run` made the buffers large enough; each task has its own rows or places
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.compute::<S, TALL>(simd);
            } else {
                self.compute::<S, LOW>(simd);
            }
        }
    }
}

impl<T: Vector> Task<'_, T> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const MR: usize>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let nr = 2 * lanes;
        let job = self.job;
        let sum = job.sum;
        let taps = sum.sizes.taps();
        let all = job.counts.len();
        let images = job.from.images(self.group);
        // SAFETY: as above
        unsafe {
            let x = job.x.as_ptr().add(self.group * job.from.group());
            let y = job.y.ptr().add(self.group * sum.rows * all * nr);
            for channels in job.packed.blocks() {
                for place in self.places.clone() {
                    let count = job.counts[place];
                    let now = &mut self.now[..count];
                    let start = job.packed.at(0, channels.start);
                    for (now, run) in now.iter_mut().zip(&job.runs[place * taps..]) {
                        *now = Run {
                            a: run.a + start,
                            b: run.b + channels.start * nr,
                        };
                    }
                    let runs = (&*now, channels.len());
                    for row in self.rows.clone().step_by(MR) {
                        let panel = Panel {
                            filters: job.packed.ptr().add(row * channels.len()),
                            height: MR.min(self.rows.end - row),
                            row: all * nr,
                            alpha: sum.alpha,
                            accumulate: sum.accumulate || channels.start > 0,
                        };
                        let to = y.add((row * all + place) * nr);
                        let lane = |v: usize| Place {
                            ptr: to.add(v * lanes),
                            count: lanes,
                            step: 1,
                        };
                        let edge = self.edge.as_mut_ptr();
                        if images > lanes {
                            let b = Right {
                                ptr: [x, x.add(lanes)],
                                step: nr,
                            };
                            tile::<S, T, MR, 2>(simd, runs, panel, b, [lane(0), lane(1)], edge);
                        } else {
                            let b = Right { ptr: [x], step: nr };
                            tile::<S, T, MR, 1>(simd, runs, panel, b, [lane(0)], edge);
                        }
                    }
                }
            }
        }
    }
}
