//! The mean over all pixels of an image.

use serde_json::{Value, json};

use super::linear_map::{LinearMap, Shapes, linear_map};
use crate::error::{Error, Result};
use crate::nn::{Jacobian, Layer, ParamSpec};
use crate::tensor::elem::Elem;
use crate::tensor::pool;

/// The mean of every channel: `[channels, …]` to `[channels]`.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAvgPool;

impl Layer for GlobalAvgPool {
    fn kind(&self) -> &'static str {
        "global_avg_pool"
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_first() {
            Some((&channels, rest)) if rest.iter().product::<usize>() > 0 => Ok(vec![channels]),
            _ => Err(Error::shape(format!(
                "global_avg_pool cannot take an input of shape {input:?}"
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

impl LinearMap for GlobalAvgPool {
    fn apply<T: Elem>(&self, shapes: Shapes<'_>, x: &[T], y: &mut [T]) {
        pool::mean(pixels(shapes), x, y);
    }

    fn transpose<T: Elem>(&self, shapes: Shapes<'_>, gy: &[T], gx: &mut [T]) {
        pool::mean_gradient(pixels(shapes), gy, gx);
    }
}

fn pixels(shapes: Shapes<'_>) -> usize {
    shapes.input[1..].iter().product()
}

linear_map!(GlobalAvgPool);
