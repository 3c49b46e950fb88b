//! Pooling over one member, in the layout `[batch · channels, height, width]`.
//!
//! Windows may overlap, and need not divide the image; as in PyTorch, places are counted rounding down.

use rayon::prelude::*;

use super::conv::window_count;
use super::elem::Elem;
use super::parallel::CHUNK;

/// Sizes of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Examples times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub image: [usize; 2],
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Distance between windows, down and across.
    pub stride: [usize; 2],
    /// Rows and columns added at each border; at most half the window.
    pub padding: [usize; 2],
}

impl Sizes {
    /// Height and width of the output; `None` if a window is larger than the padded image, some size is
    /// zero, the image has more than 2^24 pixels, or the padding is more than half a window, so that a
    /// window could see nothing.
    pub fn checked_output(&self) -> Option<[usize; 2]> {
        let side = |i: usize| {
            let (kernel, padding) = (self.kernel[i], self.padding[i]);
            (2 * padding <= kernel)
                .then(|| window_count(self.image[i], kernel, self.stride[i], padding))?
        };
        // places are kept as numbers, which are exact up to here in f32
        (self.input() <= 1 << 24).then_some(())?;
        Some([side(0)?, side(1)?])
    }

    /// The pixels, from and to, along an axis that window `o` covers, and how many it covers with the
    /// border.
    fn window(&self, axis: usize, o: usize) -> (usize, usize, usize) {
        let (start, size, pad) = (o * self.stride[axis], self.image[axis], self.padding[axis]);
        let end = (start + self.kernel[axis]).min(size + 2 * pad);
        (
            start.saturating_sub(pad),
            end.saturating_sub(pad).min(size),
            end - start,
        )
    }

    fn input(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Calls `f(output, rows and columns, count with borders)` for every window.
    #[inline(always)]
    fn windows(&self, [oh, ow]: [usize; 2], mut f: impl FnMut(usize, [(usize, usize); 2], usize)) {
        for y in 0..oh {
            let (top, bottom, height) = self.window(0, y);
            for x in 0..ow {
                let (left, right, width) = self.window(1, x);
                f(y * ow + x, [(top, bottom), (left, right)], height * width);
            }
        }
    }
}

/// Runs `f(plane, its numbers)` for planes of `size` numbers of `to`, in parallel if there are many.
fn planes<T: Send>(to: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    if size == 0 {
        return;
    }
    if to.len() <= 4 * CHUNK {
        to.chunks_exact_mut(size)
            .enumerate()
            .for_each(|(i, p)| f(i, p));
    } else {
        let least = CHUNK.div_ceil(size);
        (to.par_chunks_exact_mut(size)
            .enumerate()
            .with_min_len(least))
        .for_each(|(i, p)| f(i, p));
    }
}

/// The largest number of each window; `places` receives its place in the plane, the first one of equals.
/// A NaN is larger than everything, as in PyTorch.
pub fn max<T: Elem>(s: &Sizes, x: &[T], y: &mut [T], places: &mut [T]) {
    let Some(output) = s.checked_output() else {
        return;
    };
    let size = output[0] * output[1];
    let find = |plane: usize, places: &mut [T]| {
        let x = &x[plane * s.input()..][..s.input()];
        s.windows(output, |o, [rows, cols], _| {
            let mut best = rows.0 * s.image[1] + cols.0;
            for row in rows.0..rows.1 {
                for at in row * s.image[1] + cols.0..row * s.image[1] + cols.1 {
                    if x[at] > x[best] || (x[at].is_nan() && !x[best].is_nan()) {
                        best = at;
                    }
                }
            }
            places[o] = T::of(best as f64);
        });
    };
    planes(places, size, find);
    take(s, x, places, y);
}

/// `y[o] = x[places[o]]` in every plane: the maximum, and the tangent of it from that of `x`.
pub fn take<T: Elem>(s: &Sizes, x: &[T], places: &[T], y: &mut [T]) {
    let Some([oh, ow]) = s.checked_output() else {
        return;
    };
    planes(y, oh * ow, |plane, y| {
        let x = &x[plane * s.input()..][..s.input()];
        for (y, &place) in y.iter_mut().zip(&places[plane * oh * ow..]) {
            *y = x[place.f64() as usize];
        }
    });
}

/// The gradient of the input of [`max`]: every window's gradient goes to its largest number.
pub fn max_gradient<T: Elem>(s: &Sizes, places: &[T], gy: &[T], gx: &mut [T]) {
    let Some([oh, ow]) = s.checked_output() else {
        return;
    };
    planes(gx, s.input(), |plane, gx| {
        gx.fill(T::zero());
        let at = plane * oh * ow..(plane + 1) * oh * ow;
        for (&gy, &place) in gy[at.clone()].iter().zip(&places[at]) {
            gx[place.f64() as usize] += gy;
        }
    });
}

/// The mean of each window. With `count_border`, borders count as zeros (PyTorch's
/// `count_include_pad`); else only pixels count.
pub fn average<T: Elem>(s: &Sizes, count_border: bool, x: &[T], y: &mut [T]) {
    let Some(output) = s.checked_output() else {
        return;
    };
    planes(y, output[0] * output[1], |plane, y| {
        let x = &x[plane * s.input()..][..s.input()];
        s.windows(output, |o, [rows, cols], covered| {
            let mut sum = T::zero();
            for row in rows.0..rows.1 {
                let line = &x[row * s.image[1]..];
                line[cols.0..cols.1].iter().for_each(|&x| sum += x);
            }
            y[o] = sum / divisor(rows, cols, covered, count_border);
        });
    });
}

/// The gradient of the input of [`average`].
pub fn average_gradient<T: Elem>(s: &Sizes, count_border: bool, gy: &[T], gx: &mut [T]) {
    let Some(output) = s.checked_output() else {
        return;
    };
    let size = output[0] * output[1];
    planes(gx, s.input(), |plane, gx| {
        gx.fill(T::zero());
        let gy = &gy[plane * size..][..size];
        s.windows(output, |o, [rows, cols], covered| {
            let share = gy[o] / divisor(rows, cols, covered, count_border);
            for row in rows.0..rows.1 {
                let line = &mut gx[row * s.image[1]..];
                line[cols.0..cols.1].iter_mut().for_each(|gx| *gx += share);
            }
        });
    });
}

fn divisor<T: Elem>(
    rows: (usize, usize),
    cols: (usize, usize),
    covered: usize,
    count_border: bool,
) -> T {
    let pixels = (rows.1 - rows.0) * (cols.1 - cols.0);
    T::of(if count_border { covered } else { pixels } as f64)
}

/// The mean of each plane of `pixels` numbers; NaN of no number, as in PyTorch.
pub fn mean<T: Elem>(pixels: usize, x: &[T], y: &mut [T]) {
    if pixels == 0 {
        return y.fill(T::of(f64::NAN));
    }
    let count = T::of(pixels as f64);
    let mean = |(y, x): (&mut T, &[T])| *y = super::group_norm::sum::<T, 16>(x, |x| x) / count;
    if x.len() <= 4 * CHUNK {
        y.iter_mut().zip(x.chunks_exact(pixels)).for_each(mean);
    } else {
        let least = CHUNK.div_ceil(pixels);
        (y.par_iter_mut()
            .zip(x.par_chunks_exact(pixels))
            .with_min_len(least))
        .for_each(mean);
    }
}

/// The gradient of the input of [`mean`].
pub fn mean_gradient<T: Elem>(pixels: usize, gy: &[T], gx: &mut [T]) {
    let count = T::of(pixels as f64);
    planes(gx, pixels, |plane, gx| gx.fill(gy[plane] / count));
}
