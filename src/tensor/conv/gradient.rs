//! The gradient of the filters: products of the taps' inputs with the gradient of the output, summed
//! over places and images.
//!
//! Vectors lie along output channels, in a transposed copy of the output's gradient; inputs are read
//! one number at a time from the same copies as in the forward pass.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::matmul::kernel::{Right, Rows, Run, Target, store, tile_runs};
use super::super::matmul::pack::transpose_into;
use super::super::matmul::{Shared, Vector};
use super::super::scratch;
use super::lanes::{Transpose, Transposed, for_taps};
use super::pixels::Copy2d;
use super::sum::TASK;
use super::way::{self, Way};
use super::{LOW, Sizes, TALL, area, tile_sizes};

/// Steps between additions to the result: the output's part stays in the first-level cache.
const STEPS: usize = 256;
/// Partial sums over images.
const PARTS: usize = 8;
/// Tasks of the transposed way.
const TASKS: usize = 16;

/// `gw[k, o] (+)= alpha · Σ over images and places of x[n, place, k] · gy[n, o, place]`.
pub struct Gradient<'a, T> {
    pub sizes: &'a Sizes,
    /// `None` for the faster one.
    pub way: Option<Way>,
    pub x: *const T,
    /// Distance between images.
    pub x_image: usize,
    pub inputs: usize,
    pub gy: *const T,
    pub gy_image: usize,
    pub outputs: usize,
    /// `[taps · inputs, outputs]`.
    pub gw: Shared<T>,
    /// Distance between rows.
    pub gw_row: usize,
    pub alpha: T,
    pub accumulate: bool,
}

// SAFETY: tasks read what the slices cover, and each writes its own part of `gw`
unsafe impl<T: Sync> Sync for Gradient<'_, T> {}

impl<T: Vector> Gradient<'_, T> {
    pub fn run(self) {
        let work = self.sizes.work() / self.sizes.groups;
        let (mr, nr) = tile_sizes::<T>();
        if self.sizes.batch == 0 {
            return self.target(None).clear(self.rows(), self.outputs);
        }
        match self
            .way
            .unwrap_or_else(|| way::of_gradient(self.sizes, nr / 2))
        {
            Way::Pixels => self.pixels(work, (mr, nr)),
            Way::Lanes => self.lanes(work, (mr, nr)),
        }
    }

    fn rows(&self) -> usize {
        self.sizes.taps() * self.inputs
    }

    /// Outputs in a panel of the output's gradient.
    fn panel(&self, nr: usize) -> usize {
        if self.outputs <= nr / 2 { nr / 2 } else { nr }
    }

    fn target(&self, part: Option<*mut T>) -> Target<T> {
        match part {
            None => Target {
                ptr: self.gw.ptr(),
                row: self.gw_row,
                alpha: self.alpha,
                accumulate: self.accumulate,
            },
            Some(ptr) => Target {
                ptr,
                row: self.outputs,
                alpha: self.alpha,
                accumulate: false,
            },
        }
    }

    /// Tasks by images, whose partial sums are added in order.
    fn pixels(&self, work: usize, (mr, nr): (usize, usize)) {
        let s = self.sizes;
        let [oh, ow] = s.output();
        let (rows, outputs) = (self.rows(), self.outputs);
        let copy = Copy2d::new(
            s.padding.map(|p| -(p as isize)),
            s.image,
            self.inputs,
            ow,
            s.kernel[1],
            s.stride[1],
        );
        let copied = (oh - 1) * s.stride[0] + s.kernel[0];
        let parts = if work < TASK { 1 } else { PARTS.min(s.batch) };
        let per = s.batch.div_ceil(parts);
        let parts = s.batch.div_ceil(per);
        let output = outputs.next_multiple_of(self.panel(nr)) * oh * ow;
        scratch::with((parts - 1) * rows * outputs, |others: &mut [T]| {
            let shared = Shared::new(others);
            let one = |part: usize| {
                // SAFETY: each part has its own numbers
                let c = self.target(
                    part.checked_sub(1)
                        .map(|p| unsafe { shared.ptr().add(p * rows * outputs) }),
                );
                scratch::with(
                    copied * copy.row() + output + mr * nr,
                    |buffer: &mut [T]| {
                        scratch::with(oh, |runs: &mut [Run]| {
                            scratch::with(rows, |offsets: &mut [usize]| {
                                self.offsets(copy, offsets);
                                let images = part * per..((part + 1) * per).min(s.batch);
                                Arch::new().dispatch(Pixels {
                                    job: self,
                                    copy,
                                    offsets,
                                    images,
                                    c,
                                    buffer,
                                    runs,
                                });
                            });
                        });
                    },
                );
            };
            if parts == 1 {
                one(0);
            } else {
                (0..parts).into_par_iter().for_each(one);
            }
            let others = &*others;
            let add = |k: usize| {
                // SAFETY: row k of the result; the tasks are done
                let to = unsafe {
                    std::slice::from_raw_parts_mut(self.gw.ptr().add(k * self.gw_row), outputs)
                };
                for part in others.chunks_exact(rows * outputs) {
                    let from = &part[k * outputs..];
                    to.iter_mut()
                        .zip(from)
                        .for_each(|(to, &from)| *to = *to + from);
                }
            };
            if others.len() < TASK {
                (0..rows).for_each(add);
            } else {
                (0..rows).into_par_iter().with_min_len(64).for_each(add);
            }
        });
    }

    /// Where the inputs of each row of the result start in a copy of an image.
    fn offsets(&self, copy: Copy2d, offsets: &mut [usize]) {
        for (k, offset) in offsets.iter_mut().enumerate() {
            let (tap, channel) = (k / self.inputs, k % self.inputs);
            let (ky, kx) = (tap / self.sizes.kernel[1], tap % self.sizes.kernel[1]);
            *offset = ky * copy.row() + copy.column(kx) + channel * copy.channel();
        }
    }

    /// Tasks by rows of the result.
    fn lanes(&self, work: usize, (mr, nr): (usize, usize)) {
        let s = self.sizes;
        let parallel = work >= TASK;
        let images = Transposed {
            channels: self.inputs,
            pixels: area(s.image),
            lanes: nr,
            batch: s.batch,
        };
        let (places, taps) = (area(s.output()), s.taps());
        let pw = self.panel(nr);
        let panels = self.outputs.div_ceil(pw);
        // the output's gradient as [panel, place, image, output]
        let gy_panel = places * s.batch * pw;
        scratch::with(images.len(), |x: &mut [T]| {
            // SAFETY: the images of the job
            unsafe { images.fill(self.x, self.x_image, x.as_mut_ptr(), parallel) };
            scratch::with(panels * gy_panel, |gy: &mut [T]| {
                let to = Shared::new(gy);
                let turn = |i: usize| {
                    let (n, panel) = (i / panels, i % panels);
                    // SAFETY: one image's part of one panel
                    unsafe {
                        let outputs = pw.min(self.outputs - panel * pw);
                        Arch::new().dispatch(Transpose {
                            to: (to.ptr().add(panel * gy_panel + n * pw), s.batch * pw),
                            from: (self.gy.add(n * self.gy_image + panel * pw * places), places),
                            size: (outputs, places),
                        });
                    }
                };
                if parallel {
                    (0..s.batch * panels).into_par_iter().for_each(turn);
                } else {
                    (0..s.batch * panels).for_each(turn);
                }
                // sources[tap · places + place]: the pixel, or none
                scratch::with(taps * places, |sources: &mut [usize]| {
                    sources.fill(usize::MAX);
                    for_taps(s, false, |place, tap, source| {
                        sources[tap * places + place] = source
                    });
                    let groups = self.inputs.div_ceil(mr);
                    let units = taps * groups;
                    let per = if parallel {
                        units.div_ceil(TASKS)
                    } else {
                        units
                    };
                    let one = |task: usize| {
                        let units = task * per..((task + 1) * per).min(units);
                        scratch::with(mr * nr, |edge: &mut [T]| {
                            scratch::with(places, |runs: &mut [Run]| {
                                Arch::new().dispatch(Lanes {
                                    job: self,
                                    images: &images,
                                    x,
                                    gy,
                                    sources,
                                    units,
                                    edge,
                                    runs,
                                });
                            });
                        });
                    };
                    if parallel {
                        (0..units.div_ceil(per)).into_par_iter().for_each(one);
                    } else {
                        one(0);
                    }
                });
            });
        });
    }
}

impl<T: Vector> Target<T> {
    fn clear(self, rows: usize, cols: usize) {
        if self.accumulate {
            return;
        }
        for k in 0..rows {
            // SAFETY: a row of the result
            unsafe {
                std::slice::from_raw_parts_mut(self.ptr.add(k * self.row), cols).fill(T::default())
            }
        }
    }
}

/// One tile of the result.
///
/// # Safety
/// All addresses lie inside their buffers.
#[inline(always)]
unsafe fn tile<S: Simd, T: Vector, const MR: usize>(
    simd: S,
    runs: (&[Run], usize),
    a: Rows<T, MR>,
    (b, step): (*const T, usize),
    c: Target<T>,
    (height, width): (usize, usize),
    edge: *mut T,
) {
    let lanes = T::lanes::<S>();
    let whole = height == MR && (width == lanes || width == 2 * lanes);
    let to = if whole {
        c
    } else {
        Target {
            ptr: edge,
            row: 2 * lanes,
            accumulate: false,
            ..c
        }
    };
    // SAFETY: as the caller promises
    unsafe {
        if width > lanes {
            let b = Right {
                ptr: [b, b.add(lanes)],
                step,
            };
            let acc = tile_runs::<S, T, MR, 2, false>(simd, runs, a, b);
            store(simd, acc, [to.ptr, to.ptr.add(lanes)], to);
        } else {
            let b = Right { ptr: [b], step };
            let acc = tile_runs::<S, T, MR, 1, false>(simd, runs, a, b);
            store(simd, acc, [to.ptr], to);
        }
        if !whole {
            for i in 0..height {
                for j in 0..width {
                    let value = *edge.add(i * 2 * lanes + j);
                    let at = c.ptr.add(i * c.row + j);
                    *at = if c.accumulate { *at + value } else { value };
                }
            }
        }
    }
}

/// Some images, one after the other.
struct Pixels<'a, T> {
    job: &'a Gradient<'a, T>,
    copy: Copy2d,
    /// Where the inputs of each row of the result start in the copy.
    offsets: &'a [usize],
    images: Range<usize>,
    c: Target<T>,
    buffer: &'a mut [T],
    runs: &'a mut [Run],
}

impl<T: Vector> WithSimd for Pixels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `Gradient::pixels` made the buffers large enough; parts do not overlap
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.compute::<S, TALL>(simd);
            } else {
                self.compute::<S, LOW>(simd);
            }
        }
    }
}

impl<T: Vector> Pixels<'_, T> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const MR: usize>(self, simd: S) {
        let nr = 2 * T::lanes::<S>();
        let (job, copy) = (self.job, self.copy);
        let s = job.sizes;
        let [oh, ow] = s.output();
        let places = oh * ow;
        let pw = job.panel(nr);
        let panels = job.outputs.div_ceil(pw);
        let copied = (oh - 1) * s.stride[0] + s.kernel[0];
        let (edge, rest) = self.buffer.split_at_mut(MR * nr);
        let (gy, x) = rest.split_at_mut(panels * pw * places);
        let edge = edge.as_mut_ptr();
        let rows = job.rows();
        let chunk = (STEPS / ow).max(1);
        let start = self.images.start;
        // SAFETY: as above
        unsafe {
            for n in self.images {
                copy.fill(job.x.add(n * job.x_image), x.as_mut_ptr(), 0..copied);
                for panel in 0..panels {
                    let outputs = pw.min(job.outputs - panel * pw);
                    let from = job.gy.add(n * job.gy_image + panel * pw * places);
                    let to = gy.as_mut_ptr().add(panel * pw * places);
                    transpose_into((to, pw), (from, places), (outputs, places));
                }
                for panel in 0..panels {
                    let b = gy.as_ptr().add(panel * pw * places);
                    let width = pw.min(job.outputs - panel * pw);
                    for first in (0..oh).step_by(chunk) {
                        let lines = chunk.min(oh - first);
                        let runs = &mut self.runs[..lines];
                        for (i, run) in runs.iter_mut().enumerate() {
                            let y = first + i;
                            *run = Run {
                                a: y * s.stride[0] * copy.row(),
                                b: y * ow * pw,
                            };
                        }
                        for k in (0..rows).step_by(MR) {
                            let a = Rows {
                                ptr: x.as_ptr(),
                                rows: std::array::from_fn(|i| self.offsets[(k + i).min(rows - 1)]),
                                step: 1,
                            };
                            let c = Target {
                                ptr: self.c.ptr.add(k * self.c.row + panel * pw),
                                accumulate: self.c.accumulate || n > start || first > 0,
                                ..self.c
                            };
                            let size = (MR.min(rows - k), width);
                            tile::<S, T, MR>(simd, (runs, ow), a, (b, pw), c, size, edge);
                        }
                    }
                }
            }
        }
    }
}

/// Some rows of the result.
struct Lanes<'a, T> {
    job: &'a Gradient<'a, T>,
    images: &'a Transposed,
    x: &'a [T],
    gy: &'a [T],
    sources: &'a [usize],
    /// Tap and panel of inputs.
    units: Range<usize>,
    edge: &'a mut [T],
    runs: &'a mut [Run],
}

impl<T: Vector> WithSimd for Lanes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `Gradient::lanes` made the buffers large enough; each task has its own rows
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.compute::<S, TALL>(simd);
            } else {
                self.compute::<S, LOW>(simd);
            }
        }
    }
}

impl<T: Vector> Lanes<'_, T> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const MR: usize>(self, simd: S) {
        let nr = 2 * T::lanes::<S>();
        let (job, images) = (self.job, self.images);
        let batch = job.sizes.batch;
        let places = area(job.sizes.output());
        let groups = job.inputs.div_ceil(MR);
        let chunk = (STEPS / images.images(0)).max(1);
        let pw = job.panel(nr);
        for panel in 0..job.outputs.div_ceil(pw) {
            let width = pw.min(job.outputs - panel * pw);
            for first in (0..places).step_by(chunk) {
                let last = (first + chunk).min(places);
                for group in 0..images.groups() {
                    for unit in self.units.clone() {
                        let (tap, channel) = (unit / groups, unit % groups * MR);
                        let mut count = 0;
                        for place in first..last {
                            let source = self.sources[tap * places + place];
                            if source != usize::MAX {
                                let a = source * job.inputs * nr;
                                self.runs[count] = Run {
                                    a,
                                    b: (place * batch + group * nr) * pw,
                                };
                                count += 1;
                            }
                        }
                        let beginning = first == 0 && group == 0;
                        if count == 0 && !beginning {
                            continue;
                        }
                        let height = MR.min(job.inputs - channel);
                        // SAFETY: as above
                        unsafe {
                            let a = Rows {
                                ptr: self.x.as_ptr().add(group * images.group()),
                                rows: std::array::from_fn(|i| (channel + i.min(height - 1)) * nr),
                                step: 1,
                            };
                            let b = self.gy.as_ptr().add(panel * places * batch * pw);
                            let row = tap * job.inputs + channel;
                            let c = job.target(None);
                            let c = Target {
                                ptr: c.ptr.add(row * c.row + panel * pw),
                                accumulate: c.accumulate || !beginning,
                                ..c
                            };
                            let runs = (&self.runs[..count], images.images(group));
                            let edge = self.edge.as_mut_ptr();
                            tile::<S, T, MR>(simd, runs, a, (b, pw), c, (height, width), edge);
                        }
                    }
                }
            }
        }
    }
}
