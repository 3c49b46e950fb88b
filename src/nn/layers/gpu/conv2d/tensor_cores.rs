//! Convolutions of bf16 on tensor cores: products of filters and tiles of pixels, without patches in memory, see
//! `kernels/conv_tile.cuh`. Each of a pass's products that is worth it is computed so, whatever the filter's size and
//! stride.

mod multiply;
mod weights;

use super::products::Conv;
use super::tiles::Axis;
use crate::gpu::{Grid, Stored};
use crate::nn::Span;

/// Threads of a block.
const BLOCK_THREADS: usize = 128;
/// Inputs, and outputs, of the matrices that tensor cores multiply.
const MATRIX: usize = 16;
/// Outputs of the smallest tile.
const OUTPUTS: usize = 64;
/// Of the numbers that are multiplied, one in so many must be the convolution's; the others fill up tiles. The
/// patches of convolutions with fewer, as of single channels each for itself, cost less than the tiles would.
const MOST_FILLING: usize = 16;

/// Whether tiles of `outputs` and `inputs` (those of a group, and the multiples to which tiles fill them up) are
/// worth it.
fn pays(outputs: (usize, usize), inputs: (usize, usize)) -> bool {
    let filled = |(n, of): (usize, usize)| n.next_multiple_of(of);
    let numbers = outputs.0 * inputs.0;
    numbers > 0 && filled(outputs) * filled(inputs) <= MOST_FILLING * numbers
}

/// Whether all members' numbers begin at even places.
fn even(span: Span) -> bool {
    span.at.is_multiple_of(4) && span.stride.is_multiple_of(2)
}

impl Conv<'_> {
    /// Channels and outputs of a group.
    fn of_group(&self) -> (usize, usize) {
        let groups = self.layer.groups;
        (self.input[0] / groups, self.output[0] / groups)
    }

    fn can(&self) -> bool {
        self.at.stored == Stored::Bf16 && self.at.batch > 0
    }

    /// An axis of the windows of outputs.
    fn axis(&self, i: usize) -> Axis {
        Axis {
            size: self.input[1 + i],
            pixels: self.output[1 + i],
            step: self.layer.stride[i],
            first: -(self.layer.padding[i] as isize),
            taps: self.layer.kernel[i],
        }
    }

    /// Blocks for each member and group.
    fn blocks(&self, blocks: usize, shared: usize) -> Grid {
        Grid {
            blocks: [blocks, self.at.members, self.layer.groups],
            threads: BLOCK_THREADS,
            shared,
        }
    }
}
