//! Sums with vectors along the pixels of an image's row.
//!
//! An image is copied as `[row, channel, phase, column]` with its borders: a row's columns are split
//! by their remainder modulo the stride, so that a tap reads adjacent numbers for adjacent outputs.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::matmul::Vector;
use super::super::matmul::kernel::{Right, Run};
use super::super::scratch;
use super::sum::{Packed, Panel, Place, Sum, TASK, tile};
use super::{LOW, TALL, tile_sizes};

/// Steps of a block of channels: filters and rows of the image then stay in the nearer caches.
const STEPS: usize = 640;
/// Batches of fewer images are split inside images too.
const IMAGES: usize = 8;

/// How an image lies in the copy.
#[derive(Debug, Clone, Copy)]
pub struct Copy2d {
    /// Row and column of the image that the copy starts with; negative inside the border.
    pub origin: [isize; 2],
    /// Rows and columns of the image.
    pub size: [usize; 2],
    pub channels: usize,
    /// Columns between places of the filter.
    pub stride: usize,
    /// Columns of each phase.
    pub columns: usize,
}

impl Copy2d {
    /// A copy that `count` windows of the given width cover.
    pub fn new(
        origin: [isize; 2],
        size: [usize; 2],
        channels: usize,
        count: usize,
        kernel: usize,
        stride: usize,
    ) -> Self {
        let columns = ((count - 1) * stride + kernel.max(1)).div_ceil(stride);
        Self {
            origin,
            size,
            channels,
            stride,
            columns,
        }
    }

    /// Distance between channels.
    pub fn channel(&self) -> usize {
        self.stride * self.columns
    }

    /// Distance between rows.
    pub fn row(&self) -> usize {
        self.channels * self.channel()
    }

    /// Offset of column `k` of a window that starts at a multiple of the stride.
    pub fn column(&self, k: usize) -> usize {
        k % self.stride * self.columns + k / self.stride
    }

    /// Copies some rows, which are counted from the origin, of the image at `from`.
    ///
    /// # Safety
    /// `from` covers the image and `to` the rows.
    #[inline(always)]
    pub unsafe fn fill<T: Vector>(&self, from: *const T, to: *mut T, rows: Range<usize>) {
        let [height, width] = self.size;
        let (channel, zero) = (self.channel(), T::default());
        for (i, row) in rows.enumerate() {
            let at = self.origin[0] + row as isize;
            // SAFETY: as the caller promises
            let to = unsafe { std::slice::from_raw_parts_mut(to.add(i * self.row()), self.row()) };
            if at < 0 || at >= height as isize {
                to.fill(zero);
                continue;
            }
            for c in 0..self.channels {
                // SAFETY: row `at` of channel `c`
                let from = unsafe {
                    let start = from.add((c * height + at as usize) * width);
                    std::slice::from_raw_parts(start, width)
                };
                let to = &mut to[c * channel..][..channel];
                for phase in 0..self.stride {
                    let to = &mut to[phase * self.columns..][..self.columns];
                    self.fill_phase(from, to, self.origin[1] + phase as isize);
                }
            }
        }
    }

    #[inline(always)]
    fn fill_phase<T: Vector>(&self, from: &[T], to: &mut [T], first: isize) {
        let (stride, zero) = (self.stride, T::default());
        let left = ((-first).max(0) as usize).div_ceil(stride).min(to.len());
        let (border, to) = to.split_at_mut(left);
        border.fill(zero);
        let start = (first + (left * stride) as isize).max(0) as usize;
        let from = from.get(start..).unwrap_or_default();
        let count = from.len().div_ceil(stride).min(to.len());
        let (to, border) = to.split_at_mut(count);
        if stride == 1 {
            to.copy_from_slice(&from[..count]);
        } else {
            to.iter_mut()
                .zip(from.iter().step_by(stride))
                .for_each(|(to, from)| *to = *from);
        }
        border.fill(zero);
    }
}

/// The output places that are computed together: one remainder modulo the stride along each axis.
struct Grid {
    /// First place, distance between places, number of places; down and across.
    first: [usize; 2],
    step: [usize; 2],
    count: [usize; 2],
    /// Where the filter starts for the first place.
    origin: [isize; 2],
    /// Size of the filter's part that is used.
    kernel: [usize; 2],
    /// Distance between the filter's places in the source.
    stride: [usize; 2],
}

/// Runs the sum.
pub fn run<T: Vector>(sum: &Sum<'_, T>, work: usize) {
    let (mr, nr) = tile_sizes::<T>();
    sum.with_packed(STEPS, |packed| {
        for_grids(sum, |grid, tap| {
            let copy = Copy2d::new(
                grid.origin,
                sum.source_size(),
                sum.channels,
                grid.count[1],
                grid.kernel[1],
                grid.stride[1],
            );
            let batch = sum.sizes.batch;
            let parts = if work < TASK {
                1
            } else {
                IMAGES.div_ceil(batch).min(grid.count[0])
            };
            let height = grid.count[0].div_ceil(parts);
            let parts = grid.count[0].div_ceil(height);
            let one = |task: usize| {
                let (n, part) = (task / parts, task % parts);
                let rows = part * height..((part + 1) * height).min(grid.count[0]);
                let copied = (rows.len() - 1) * grid.stride[0] + grid.kernel[0].max(1);
                scratch::with(copied * copy.row() + nr + mr * nr, |buffer: &mut [T]| {
                    let taps = grid.kernel[0] * grid.kernel[1];
                    scratch::with(taps, |runs: &mut [Run]| {
                        Arch::new().dispatch(Image {
                            sum,
                            packed,
                            grid: &grid,
                            copy,
                            tap: &tap,
                            n,
                            rows,
                            buffer,
                            runs,
                        });
                    });
                });
            };
            if work < TASK {
                (0..batch * parts).for_each(one);
            } else {
                (0..batch * parts).into_par_iter().for_each(one);
            }
        });
    });
}

/// Calls `f` with every grid of the sum, and the filter's tap behind row and column of its part.
fn for_grids<T: Vector>(
    sum: &Sum<'_, T>,
    f: impl Fn(Grid, &(dyn Fn(usize, usize) -> usize + Sync)),
) {
    let s = sum.sizes;
    let (stride, pad) = (s.stride, s.padding.map(|p| p as isize));
    if !sum.transposed {
        let grid = Grid {
            first: [0, 0],
            step: [1, 1],
            count: sum.target_size(),
            origin: [-pad[0], -pad[1]],
            kernel: s.kernel,
            stride,
        };
        return f(grid, &|ky, kx| ky * s.kernel[1] + kx);
    }
    // Input place i receives from output place o through tap k where i + padding = o · stride + k.
    // Places with the same remainder r of i + padding use the taps k = r + m · stride; in the order of
    // falling k, they read output places in rising order.
    let size = sum.target_size();
    for y in 0..stride[0].min(size[0]) {
        for x in 0..stride[1].min(size[1]) {
            let first = [y, x];
            let rest: [usize; 2] = std::array::from_fn(|i| (first[i] + s.padding[i]) % stride[i]);
            let kernel: [usize; 2] =
                std::array::from_fn(|i| s.kernel[i].saturating_sub(rest[i]).div_ceil(stride[i]));
            let origin = std::array::from_fn(|i| {
                ((first[i] + s.padding[i]) / stride[i]) as isize - kernel[i] as isize + 1
            });
            let grid = Grid {
                first,
                step: stride,
                count: std::array::from_fn(|i| (size[i] - first[i]).div_ceil(stride[i])),
                origin,
                kernel,
                stride: [1, 1],
            };
            f(grid, &move |m, l| {
                let (ky, kx) = (
                    rest[0] + (kernel[0] - 1 - m) * stride[0],
                    rest[1] + (kernel[1] - 1 - l) * stride[1],
                );
                ky * s.kernel[1] + kx
            });
        }
    }
}

/// Some rows of a grid in one image.
struct Image<'a, T> {
    sum: &'a Sum<'a, T>,
    packed: &'a Packed<T>,
    grid: &'a Grid,
    copy: Copy2d,
    tap: &'a (dyn Fn(usize, usize) -> usize + Sync),
    n: usize,
    rows: Range<usize>,
    buffer: &'a mut [T],
    runs: &'a mut [Run],
}

impl<T: Vector> WithSimd for Image<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: `run` made the buffers large enough; each image's rows are written by one task
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                self.compute::<S, TALL>(simd);
            } else {
                self.compute::<S, LOW>(simd);
            }
        }
    }
}

impl<T: Vector> Image<'_, T> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const MR: usize>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let (sum, grid, copy) = (self.sum, self.grid, self.copy);
        let (edge, image) = self.buffer.split_at_mut(MR * 2 * lanes);
        let edge = edge.as_mut_ptr();
        let [height, width] = sum.target_size();
        // SAFETY: as above
        unsafe {
            let from = sum.from.add(self.n * sum.from_image);
            let first = self.rows.start * grid.stride[0];
            let copied = (self.rows.len() - 1) * grid.stride[0] + grid.kernel[0];
            copy.fill(from, image.as_mut_ptr(), first..first + copied);
            let image = image.as_ptr();
            let to = sum.to.ptr().add(self.n * sum.to_image);
            let across = grid.count[1].div_ceil(lanes);
            let vectors = self.rows.len() * across;
            // vector i: where it reads and writes
            let vector = |i: usize| {
                let (row, col) = (i / across, i % across * lanes);
                let y = grid.first[0] + (self.rows.start + row) * grid.step[0];
                let x = grid.first[1] + col * grid.step[1];
                let place = Place {
                    ptr: to.add(y * width + x),
                    count: lanes.min(grid.count[1] - col),
                    step: grid.step[1],
                };
                (image.add(row * grid.stride[0] * copy.row() + col), place)
            };
            for channels in self.packed.blocks() {
                let mut taps = self.runs.iter_mut();
                for ky in 0..grid.kernel[0] {
                    for kx in 0..grid.kernel[1] {
                        if let Some(run) = taps.next() {
                            run.a = self.packed.at((self.tap)(ky, kx), channels.start);
                            run.b =
                                ky * copy.row() + copy.column(kx) + channels.start * copy.channel();
                        }
                    }
                }
                let runs = (&*self.runs, channels.len());
                let panel = |row: usize| Panel {
                    filters: self.packed.ptr().add(row * channels.len()),
                    height: MR.min(sum.rows - row),
                    row: height * width,
                    alpha: sum.alpha,
                    accumulate: sum.accumulate || channels.start > 0,
                };
                for pair in 0..vectors / 2 {
                    let (first, second) = (vector(2 * pair), vector(2 * pair + 1));
                    let b = Right {
                        ptr: [first.0, second.0],
                        step: copy.channel(),
                    };
                    for row in (0..sum.rows).step_by(MR) {
                        let mut to = [first.1, second.1];
                        to.iter_mut()
                            .for_each(|p| p.ptr = p.ptr.add(row * height * width));
                        tile::<S, T, MR, 2>(simd, runs, panel(row), b, to, edge);
                    }
                }
                if vectors % 2 == 1 {
                    let (b, place) = vector(vectors - 1);
                    let b = Right {
                        ptr: [b],
                        step: copy.channel(),
                    };
                    for row in (0..sum.rows).step_by(MR) {
                        let to = Place {
                            ptr: place.ptr.add(row * height * width),
                            ..place
                        };
                        tile::<S, T, MR, 1>(simd, runs, panel(row), b, [to], edge);
                    }
                }
            }
        }
    }
}
