//! Which of the two ways a convolution goes, by shapes alone.

use super::Sizes;

/// Along what the vectors lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The pixels of an image's row.
    Pixels,
    /// The images of the batch.
    Lanes,
}

/// The faster way for a forward pass or, `transposed`, an input gradient, with vectors of `lanes`
/// numbers. Costs are estimates in units of a whole vector's multiply-adds, fitted to measured times of
/// 3 to 512 channels on images of 4 to 32 pixels.
pub fn of_sum(s: &Sizes, transposed: bool, lanes: usize) -> Way {
    let output = s.output();
    let strided = s.stride != [1, 1];
    let rounded = |n: usize| n.next_multiple_of(lanes) as f64 / n.max(1) as f64;
    // numbers that are copied or stored, for each multiply-add of the pass
    let (inputs, outputs) = (
        s.inputs * super::area(s.image),
        s.outputs * super::area(output),
    );
    let copied = (inputs + outputs) as f64 / (outputs * s.fan_in()).max(1) as f64;
    let by_lanes = rounded(s.batch) * (inside(s, 0) * inside(s, 1) + 40.0 * copied);
    let (width, per_copied) = match (transposed, strided) {
        (false, false) => (output[1], 20.0),
        (false, true) => (output[1], 60.0),
        (true, false) => (s.image[1], 20.0),
        (true, true) => (s.image[1].div_ceil(s.stride[1]), 120.0),
    };
    let by_pixels = rounded(width) + per_copied * copied;
    if by_lanes < by_pixels {
        Way::Lanes
    } else {
        Way::Pixels
    }
}

/// The faster way for a gradient of the filters.
pub fn of_gradient(s: &Sizes, lanes: usize) -> Way {
    let (inputs, width) = (s.inputs / s.groups, s.output()[1]);
    let small = width < lanes || (width == lanes && inputs >= 64);
    // single rows of the image are short sums, and so are small batches
    if small && inputs >= 8 && s.batch >= width {
        Way::Lanes
    } else {
        Way::Pixels
    }
}

/// The share of taps along an axis that fall inside the image.
fn inside(s: &Sizes, axis: usize) -> f64 {
    let (places, taps) = (s.output()[axis], s.kernel[axis]);
    let count = |o: usize| {
        (0..taps)
            .filter(|&k| s.source(axis, o, k).is_some())
            .count()
    };
    (0..places).map(count).sum::<usize>() as f64 / (places * taps) as f64
}
