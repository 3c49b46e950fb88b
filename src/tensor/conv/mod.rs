//! Two-dimensional convolution over one member, in the layout `[batch, channels, height, width]`.
//!
//! As in every deep-learning library it is a cross-correlation. Filters have the layout
//! `[kernel height, kernel width, inputs / groups, outputs]` (as in JAX and TensorFlow): seen as a
//! matrix, that is `[fan_in, fan_out]`. PyTorch's `[outputs, inputs / groups, height, width]` is
//! this layout's `permute(3, 2, 0, 1)`.
//!
//! No matrix of patches is made. There are two ways, chosen by shapes alone:
//! - `pixels`: vectors lie along the pixels of an image's row. Each image is copied with its
//!   borders, so that every tap of the filter reads whole vectors, for every stride.
//! - `lanes`: vectors lie along the images of the batch. Images are transposed before and after,
//!   which small images with many channels repay: borders cost nothing, since taps that fall outside
//!   are left out, and neither do strides.

mod gradient;
mod gram;
mod lanes;
mod pixels;
mod sum;
#[cfg(test)]
mod tests;
mod way;

use pulp::{Arch, Simd, WithSimd};

use super::matmul::{Into, Shared, Vector, matmul_into};
use gradient::Gradient;
pub use gram::Patches;
use sum::{Filters, Sum};
use way::Way;

/// Height of a tile in registers where there are 32 vector registers.
const TALL: usize = 8;
/// Height of a tile where there are 16; it divides usual numbers of channels.
const LOW: usize = 4;

struct Tile<T>(std::marker::PhantomData<T>);

/// Height and width of a tile in registers, on this machine.
fn tile_sizes<T: Vector>() -> (usize, usize) {
    Arch::new().dispatch(Tile::<T>(std::marker::PhantomData))
}

impl<T: Vector> WithSimd for Tile<T> {
    type Output = (usize, usize);
    fn with_simd<S: Simd>(self, _simd: S) -> (usize, usize) {
        let height = if S::REGISTER_COUNT >= 32 { TALL } else { LOW };
        (height, 2 * T::lanes::<S>())
    }
}

/// Sizes of a convolution's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Examples.
    pub batch: usize,
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Height and width of the input.
    pub image: [usize; 2],
    /// Height and width of the filters.
    pub kernel: [usize; 2],
    /// Distance between the filter's places, down and across.
    pub stride: [usize; 2],
    /// Rows and columns of zeros at each border.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Sizes {
    /// Height and width of the output; `None` if the filter is larger than the padded image, a size
    /// is zero, or channels do not divide into the groups.
    pub fn checked_output(&self) -> Option<[usize; 2]> {
        let divides = |channels: usize| channels > 0 && channels.is_multiple_of(self.groups);
        if self.groups == 0 || !divides(self.inputs) || !divides(self.outputs) {
            return None;
        }
        let side = |i: usize| {
            window_count(
                self.image[i],
                self.kernel[i],
                self.stride[i],
                self.padding[i],
            )
        };
        Some([side(0)?, side(1)?])
    }

    /// Height and width of the output.
    ///
    /// # Panics
    /// If there is none, see [`Sizes::checked_output`].
    pub fn output(&self) -> [usize; 2] {
        match self.checked_output() {
            Some(output) => output,
            None => panic!("no convolution of these sizes: {self:?}"),
        }
    }

    /// Multiply-adds of a pass, taps on the border included.
    fn work(&self) -> usize {
        let [oh, ow] = self.output();
        self.batch * oh * ow * self.outputs * self.fan_in()
    }

    /// Inputs that each output sums over.
    pub fn fan_in(&self) -> usize {
        self.inputs / self.groups.max(1) * self.kernel[0] * self.kernel[1]
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The source of tap `k` at output place `o` along an axis, if it is inside the image.
    fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let at = o * self.stride[axis] + k;
        let at = at.checked_sub(self.padding[axis])?;
        (at < self.image[axis]).then_some(at)
    }

    /// Whether the convolution is a plain product per pixel.
    fn is_product(&self) -> bool {
        (self.kernel, self.stride, self.padding) == ([1, 1], [1, 1], [0, 0])
    }
}

/// How many places a window has along an axis, as PyTorch counts them (rounding down); `None` if there
/// is none.
pub fn window_count(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    if size == 0 || kernel == 0 || stride == 0 {
        return None;
    }
    Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
}

/// `y (+)= multiplier · conv(x, w)`: `x [batch, inputs, h, w]`, `w [kh, kw, inputs / groups, outputs]`,
/// `y [batch, outputs, oh, ow]`.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn forward<T: Vector>(s: &Sizes, x: &[T], w: (&[T], T), y: &mut [T], accumulate: bool) {
    forward_by(None, s, x, w, y, accumulate);
}

fn forward_by<T: Vector>(
    way: Option<Way>,
    s: &Sizes,
    x: &[T],
    w: (&[T], T),
    y: &mut [T],
    accumulate: bool,
) {
    let (plane, out) = (area(s.image), area(s.output()));
    s.check(x.len(), w.0.len(), y.len());
    let (ci, co) = (s.inputs / s.groups, s.outputs / s.groups);
    for g in 0..s.groups {
        Sum {
            sizes: s,
            way,
            transposed: false,
            // SAFETY: the group's part, inside the slices just checked
            from: unsafe { x.as_ptr().add(g * ci * plane) },
            from_image: s.inputs * plane,
            channels: ci,
            // SAFETY: as above
            to: Shared::new(y).offset(g * co * out),
            to_image: s.outputs * out,
            rows: co,
            filters: Filters {
                // SAFETY: as above
                ptr: unsafe { w.0.as_ptr().add(g * co) },
                tap: ci * s.outputs,
                channel: s.outputs,
                row: 1,
            },
            alpha: w.1,
            accumulate,
        }
        .run();
    }
}

/// `gx (+)= multiplier · convᵀ(gy, w)`: the gradient of the input.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn input_gradient<T: Vector>(
    s: &Sizes,
    gy: &[T],
    w: (&[T], T),
    gx: &mut [T],
    accumulate: bool,
) {
    input_gradient_by(None, s, gy, w, gx, accumulate);
}

fn input_gradient_by<T: Vector>(
    way: Option<Way>,
    s: &Sizes,
    gy: &[T],
    w: (&[T], T),
    gx: &mut [T],
    accumulate: bool,
) {
    let (plane, out) = (area(s.image), area(s.output()));
    s.check(gx.len(), w.0.len(), gy.len());
    let (ci, co) = (s.inputs / s.groups, s.outputs / s.groups);
    for g in 0..s.groups {
        Sum {
            sizes: s,
            way,
            transposed: true,
            // SAFETY: the group's part, inside the slices just checked
            from: unsafe { gy.as_ptr().add(g * co * out) },
            from_image: s.outputs * out,
            channels: co,
            // SAFETY: as above
            to: Shared::new(gx).offset(g * ci * plane),
            to_image: s.inputs * plane,
            rows: ci,
            filters: Filters {
                // SAFETY: as above
                ptr: unsafe { w.0.as_ptr().add(g * co) },
                tap: ci * s.outputs,
                channel: 1,
                row: s.outputs,
            },
            alpha: w.1,
            accumulate,
        }
        .run();
    }
}

/// `gw (+)= multiplier · Σ over images and places of x ⊗ gy`: the gradient of the filters.
///
/// # Panics
/// If a slice is too short: callers check shapes first.
pub fn weight_gradient<T: Vector>(
    s: &Sizes,
    x: &[T],
    gy: &[T],
    gw: (&mut [T], T),
    accumulate: bool,
) {
    weight_gradient_by(None, s, x, gy, gw, accumulate);
}

fn weight_gradient_by<T: Vector>(
    way: Option<Way>,
    s: &Sizes,
    x: &[T],
    gy: &[T],
    (gw, multiplier): (&mut [T], T),
    accumulate: bool,
) {
    let (plane, out) = (area(s.image), area(s.output()));
    s.check(x.len(), gw.len(), gy.len());
    let (ci, co) = (s.inputs / s.groups, s.outputs / s.groups);
    for g in 0..s.groups {
        Gradient {
            sizes: s,
            way,
            // SAFETY: the group's part, inside the slices just checked
            x: unsafe { x.as_ptr().add(g * ci * plane) },
            x_image: s.inputs * plane,
            inputs: ci,
            // SAFETY: as above
            gy: unsafe { gy.as_ptr().add(g * co * out) },
            gy_image: s.outputs * out,
            outputs: co,
            // SAFETY: as above
            gw: Shared::new(gw).offset(g * co),
            gw_row: s.outputs,
            alpha: multiplier,
            accumulate,
        }
        .run();
    }
}

impl Sizes {
    fn check(&self, x: usize, w: usize, y: usize) {
        let fits = x >= self.batch * self.inputs * area(self.image)
            && w >= self.fan_in() * self.outputs
            && y >= self.batch * self.outputs * area(self.output());
        assert!(
            fits,
            "convolution {self:?} reaches outside its slices: {x}, {w}, {y}"
        );
    }
}

fn area([height, width]: [usize; 2]) -> usize {
    height * width
}
