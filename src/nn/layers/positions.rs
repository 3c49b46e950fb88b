//! From rows of positions to one row: the first, or the mean.

use serde_json::{Value, json};

use super::linear_map::{LinearMap, Shapes, linear_map};
use crate::error::{Error, Result};
use crate::nn::{Jacobian, Layer, ParamSpec};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::accumulate;

/// Which row of `[positions, width]` goes on, as `[width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionPool {
    /// The first, where a class token is.
    First,
    /// The mean over positions.
    Mean,
}

impl Layer for PositionPool {
    fn kind(&self) -> &'static str {
        match self {
            Self::First => "first_position",
            Self::Mean => "mean_over_positions",
        }
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match *input {
            [positions, width] if positions > 0 => Ok(vec![width]),
            _ => Err(Error::shape(format!(
                "{} takes inputs of shape [positions, width], got {input:?}",
                self.kind()
            ))),
        }
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }
}

impl LinearMap for PositionPool {
    fn apply<T: Elem>(&self, shapes: Shapes<'_>, x: &[T], y: &mut [T]) {
        let (size, width) = sizes(shapes);
        for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(width)) {
            match self {
                Self::First => y.copy_from_slice(&x[..width]),
                Self::Mean => {
                    y.fill(T::of(0.0));
                    x.chunks_exact(width)
                        .for_each(|row| accumulate(y, row, 1.0));
                    let factor = T::of(width as f64 / size as f64);
                    y.iter_mut().for_each(|y| *y *= factor);
                }
            }
        }
    }

    fn transpose<T: Elem>(&self, shapes: Shapes<'_>, gy: &[T], gx: &mut [T]) {
        let (size, width) = sizes(shapes);
        let factor = T::of(width as f64 / size as f64);
        for (gx, gy) in gx.chunks_exact_mut(size).zip(gy.chunks_exact(width)) {
            match self {
                Self::First => {
                    let (first, rest) = gx.split_at_mut(width);
                    first.copy_from_slice(gy);
                    rest.fill(T::of(0.0));
                }
                Self::Mean => {
                    for row in gx.chunks_exact_mut(width) {
                        row.iter_mut().zip(gy).for_each(|(x, g)| *x = *g * factor);
                    }
                }
            }
        }
    }
}

/// Numbers of an example and of a position.
fn sizes(shapes: Shapes<'_>) -> (usize, usize) {
    let width: usize = shapes.output.iter().product();
    (shapes.input.iter().product::<usize>().max(1), width.max(1))
}

linear_map!(PositionPool);
