//! The factors of a linear layer's gradients.

use std::ops::Range;

use super::products::{Products, Shape, pieces};
use crate::tensor::elem::Elem;
use crate::tensor::matmul::{Matrix, matmul};

/// Inputs `[examples, positions, inputs]` and signals `[examples, outputs, positions, channels]` of a
/// linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T> {
    /// Examples.
    pub examples: usize,
    /// Positions of each.
    pub positions: usize,
    /// The layer's inputs.
    pub x: &'a [T],
    /// Gradients of the network's outputs with respect to the layer's output.
    pub signals: &'a [T],
    /// Outputs of the layer.
    pub channels: usize,
}

impl<T: Elem> Products<T> for Rows<'_, T> {
    fn shape(&self) -> Shape {
        let rows = (self.examples * self.positions).max(1);
        Shape {
            examples: self.examples,
            positions: self.positions,
            inputs: self.x.len() / rows,
            columns: self.signals.len() / rows,
        }
    }

    fn inputs<'a>(&'a self, examples: Range<usize>, _space: &'a mut Vec<T>) -> &'a [T] {
        let size = self.x.len() / self.examples;
        &self.x[examples.start * size..examples.end * size]
    }

    fn signals<'a>(
        &'a self,
        examples: Range<usize>,
        columns: Range<usize>,
        space: &'a mut Vec<T>,
    ) -> &'a [T] {
        let size = self.signals.len() / self.examples;
        let here = &self.signals[examples.start * size..examples.end * size];
        if self.positions == 1 && columns.len() == size {
            return here;
        }
        space.clear();
        for example in here.chunks_exact(size) {
            for position in 0..self.positions {
                for (output, channels) in pieces(columns.clone(), self.channels) {
                    let row = (output * self.positions + position) * self.channels;
                    space.extend_from_slice(&example[row + channels.start..row + channels.end]);
                }
            }
        }
        space
    }

    fn gradient(&self, example: usize, columns: Range<usize>, to: &mut [T]) {
        let shape = self.shape();
        let (p, inputs) = (self.positions, shape.inputs);
        let x = &self.x[example * p * inputs..][..p * inputs];
        let signals = &self.signals[example * p * shape.columns..][..p * shape.columns];
        let mut rest = to;
        for (output, channels) in pieces(columns, self.channels) {
            let (here, after) = rest.split_at_mut(inputs * channels.len());
            let x = Matrix::row_major(x, inputs).transposed();
            let from = &signals[output * p * self.channels + channels.start..];
            let signals = Matrix::row_major(from, self.channels);
            matmul(here, (inputs, channels.len(), p), T::of(1.0), x, signals);
            rest = after;
        }
    }
}
