//! Images as rows of patches.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::linear_map::{LinearMap, Shapes, linear_map};
use crate::error::{Error, Result};
use crate::nn::{Jacobian, Layer, ParamSpec};
use crate::tensor::elem::Elem;

/// Cuts an image `[channels, height, width]` into patches side by side, row after row: `[patches,
/// channels · patch height · patch width]`, each as PyTorch's `unfold` lays it out (Dosovitskiy et al., arXiv
/// 2010.11929). A linear layer behind it is the patch embedding.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    /// Height and width of a patch.
    pub size: [usize; 2],
}

impl Layer for Patches {
    fn kind(&self) -> &'static str {
        "patches"
    }

    fn settings(&self) -> Value {
        json!({ "size": self.size })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let [h, w] = self.size;
        match *input {
            [channels, height, width]
                if h > 0 && w > 0 && height % h == 0 && width % w == 0 && height * width > 0 =>
            {
                Ok(vec![(height / h) * (width / w), channels * h * w])
            }
            _ => Err(Error::shape(format!(
                "patches of {h} × {w} take images [channels, height, width] with a multiple of {h} rows and of {w} columns, got {input:?}"
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

impl Patches {
    /// Calls `f` with where each row of a patch starts in the image and in the patches.
    fn rows(&self, input: &[usize], mut f: impl FnMut(usize, usize)) {
        let (&[channels, height, width], [h, w]) = (input, self.size) else {
            return;
        };
        let mut to = 0;
        for top in (0..height).step_by(h) {
            for left in (0..width).step_by(w) {
                for channel in 0..channels {
                    for row in top..top + h {
                        f((channel * height + row) * width + left, to);
                        to += w;
                    }
                }
            }
        }
    }
}

impl LinearMap for Patches {
    fn apply<T: Elem>(&self, shapes: Shapes<'_>, x: &[T], y: &mut [T]) {
        let (size, w) = (shapes.input.iter().product::<usize>().max(1), self.size[1]);
        let examples = y.par_chunks_exact_mut(size).zip(x.par_chunks_exact(size));
        examples.for_each(|(y, x)| {
            self.rows(shapes.input, |from, to| {
                y[to..to + w].copy_from_slice(&x[from..from + w]);
            });
        });
    }

    fn transpose<T: Elem>(&self, shapes: Shapes<'_>, gy: &[T], gx: &mut [T]) {
        let (size, w) = (shapes.input.iter().product::<usize>().max(1), self.size[1]);
        let examples = gx.par_chunks_exact_mut(size).zip(gy.par_chunks_exact(size));
        examples.for_each(|(gx, gy)| {
            self.rows(shapes.input, |from, to| {
                gx[from..from + w].copy_from_slice(&gy[to..to + w]);
            });
        });
    }
}

linear_map!(Patches);
