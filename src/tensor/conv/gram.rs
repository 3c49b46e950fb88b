//! The factors of the gradients of filters, for kernels.

use std::ops::Range;

use super::{Sizes, area, weight_gradient};
use crate::tensor::elem::Elem;
use crate::tensor::gram::{Products, Shape, pieces};
use crate::tensor::group_norm::sum;
use crate::tensor::simd::simd;

/// One group of a convolution of images `[batch, inputs, height, width]`, with signals
/// `[batch, outputs of the network, outputs, height, width]`.
#[derive(Debug, Clone, Copy)]
pub struct Patches<'a, T> {
    /// Sizes of the convolution.
    pub sizes: &'a Sizes,
    /// Which of its groups.
    pub group: usize,
    /// Its input.
    pub x: &'a [T],
    /// Gradients of the network's outputs with respect to its output.
    pub signals: &'a [T],
}

impl<T: Elem> Patches<'_, T> {
    /// Channels of a group: of its input and of its output.
    fn channels(&self) -> (usize, usize) {
        let s = self.sizes;
        (s.inputs / s.groups, s.outputs / s.groups)
    }

    fn places(&self) -> usize {
        area(self.sizes.output())
    }

    /// The group's part of an example's input.
    fn image(&self, example: usize) -> &[T] {
        let ((channels, _), plane) = (self.channels(), area(self.sizes.image));
        let first = (example * self.sizes.inputs + self.group * channels) * plane;
        &self.x[first..first + channels * plane]
    }

    /// Signals of an example from an output of the network and one of the group's channels on.
    fn signal(&self, example: usize, output: usize, channel: usize) -> &[T] {
        let per_example = self.signals.len() / self.sizes.batch;
        let row = output * self.sizes.outputs + self.group * self.channels().1 + channel;
        let (start, end) = (example * per_example, (example + 1) * per_example);
        &self.signals[start + row * self.places()..end]
    }
}

impl<T: Elem> Products<T> for Patches<'_, T> {
    fn shape(&self) -> Shape {
        let s = self.sizes;
        let places = self.places();
        Shape {
            examples: s.batch,
            positions: places,
            inputs: s.fan_in(),
            columns: self.signals.len() / (s.batch * places * s.groups).max(1),
        }
    }

    fn inputs<'a>(&'a self, examples: Range<usize>, space: &'a mut Vec<T>) -> &'a [T] {
        let (s, [height, width]) = (self.sizes, self.sizes.output());
        let plane = area(s.image);
        space.clear();
        for example in examples {
            let image = self.image(example);
            for place in 0..height * width {
                for tap in 0..s.taps() {
                    let row = s.source(0, place / width, tap / s.kernel[1]);
                    let column = s.source(1, place % width, tap % s.kernel[1]);
                    let channels = 0..self.channels().0;
                    match (row, column) {
                        (Some(row), Some(column)) => {
                            let at = row * s.image[1] + column;
                            space.extend(channels.map(|c| image[c * plane + at]));
                        }
                        _ => space.extend(channels.map(|_| T::of(0.0))),
                    }
                }
            }
        }
        space
    }

    fn signals<'a>(
        &'a self,
        examples: Range<usize>,
        columns: Range<usize>,
        space: &'a mut Vec<T>,
    ) -> &'a [T] {
        let (places, width) = (self.places(), columns.len());
        space.resize(examples.len() * places * width, T::of(0.0));
        let rows = space.chunks_exact_mut((places * width).max(1));
        for (example, rows) in examples.zip(rows) {
            let mut at = 0;
            for (output, channels) in pieces(columns.clone(), self.channels().1) {
                let count = channels.len();
                let from = self.signal(example, output, channels.start);
                for plane in from.chunks_exact(places).take(count) {
                    for (row, &signal) in rows.chunks_exact_mut(width).zip(plane) {
                        row[at] = signal;
                    }
                    at += 1;
                }
            }
        }
        space
    }

    // planes are summed where they are
    fn sums(&self, example: usize, to: &mut [T], _space: &mut Vec<T>) {
        let (places, per) = (self.places(), self.channels().1);
        for (output, sums) in to.chunks_mut(per.max(1)).enumerate() {
            let planes = self.signal(example, output, 0).chunks_exact(places);
            simd(
                #[inline(always)]
                || {
                    for (to, plane) in sums.iter_mut().zip(planes) {
                        *to = sum::<T, 16>(plane, |x| x);
                    }
                },
            );
        }
    }

    fn gradient(&self, example: usize, columns: Range<usize>, to: &mut [T]) {
        let (s, (inputs, outputs)) = (self.sizes, self.channels());
        // without groups, channels of one output of the network lie behind those of another
        let per = match s.groups {
            1 => self.shape().columns,
            _ => outputs,
        };
        let mut rest = to;
        for (output, channels) in pieces(columns, per) {
            let (here, after) = rest.split_at_mut(s.fan_in() * channels.len());
            let sizes = Sizes {
                batch: 1,
                inputs,
                outputs: channels.len(),
                groups: 1,
                ..*s
            };
            let signal = self.signal(example, output, channels.start);
            let to = (here, T::of(1.0));
            weight_gradient(&sizes, self.image(example), signal, to, false);
            rest = after;
        }
    }
}
