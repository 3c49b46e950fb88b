//! What training minimises, and curvature is measured of.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use crate::data::{Labels, Targets};
use crate::error::{Error, Result};
use crate::nn::Curvature;
use crate::tensor::elem::{Elem, dispatch, read, to_f64, write};
use crate::tensor::loss;

/// A loss, mean over the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// −log of the softmax at the class.
    CrossEntropy,
    /// Squared error, mean over outputs as PyTorch's `MSELoss`; classes become one-hot targets.
    Mse,
}

impl Loss {
    /// The name in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Mse => "mse",
        }
    }

    /// The usual loss for a stream's targets: cross-entropy for classes, squared error for values.
    pub fn usual(targets: Targets) -> Self {
        match targets {
            Targets::Classes(_) => Self::CrossEntropy,
            Targets::Values(_) => Self::Mse,
        }
    }

    /// Loss of each member, `[members]`, for `outputs [members, batch, …, outputs]`; with `gradient`
    /// (same shape) also the gradient of each member's loss with respect to its outputs.
    ///
    /// # Errors
    /// If labels do not fit the outputs in number or kind, or a class is out of range.
    pub fn evaluate(
        self,
        outputs: &Tensor,
        labels: &Labels,
        gradient: Option<&Tensor>,
    ) -> Result<Vec<f64>> {
        let [_, rows @ .., width] = outputs.dims() else {
            return Err(Error::shape(format!(
                "{}: outputs must have shape [members, batch, …, outputs], got {:?}",
                self.name(),
                outputs.dims()
            )));
        };
        let (rows, width) = (rows.iter().product(), *width);
        Goal::new(self, labels, rows, width)?.evaluate(outputs, gradient)
    }
}

fn check_count(name: &str, found: usize, wanted: usize, outputs: [usize; 2]) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{name}: outputs {outputs:?} need {wanted} labels, got {found}"
    )))
}

/// The classes of `rows` places of a network with `width` outputs.
///
/// # Errors
/// If there are more or fewer, or one is out of range.
pub(super) fn checked_classes(
    name: &str,
    classes: &Tensor,
    rows: usize,
    width: usize,
) -> Result<Vec<u32>> {
    let classes = classes.flatten_all()?.to_vec1::<u32>()?;
    check_count(name, classes.len(), rows, [rows, width])?;
    match classes.iter().find(|&&class| class as usize >= width) {
        None => Ok(classes),
        Some(bad) => Err(Error::shape(format!(
            "{name}: class {bad} does not fit a network with {width} outputs"
        ))),
    }
}

/// What the outputs for one batch should be, checked.
#[derive(Debug)]
pub struct Goal {
    width: usize,
    targets: Checked,
}

#[derive(Debug)]
enum Checked {
    Classes(Vec<u32>),
    Values(Vec<f64>),
}

impl Goal {
    /// The labels of a batch for a network with `width` outputs at `rows` places: examples, or examples
    /// times positions. The loss is the mean over them.
    ///
    /// # Errors
    /// If labels do not fit the outputs in number or kind, or a class is out of range.
    pub fn new(loss: Loss, labels: &Labels, rows: usize, width: usize) -> Result<Self> {
        let name = loss.name();
        let targets = match (loss, labels) {
            (_, Labels::Classes(classes)) => {
                let classes = checked_classes(name, classes, rows, width)?;
                match loss {
                    Loss::CrossEntropy => Checked::Classes(classes),
                    Loss::Mse => {
                        let mut targets = vec![0.0; rows * width];
                        for (row, &class) in targets.chunks_mut(width.max(1)).zip(&classes) {
                            row[class as usize] = 1.0;
                        }
                        Checked::Values(targets)
                    }
                }
            }
            (Loss::Mse, Labels::Values(values)) => {
                let targets = to_f64(values)?;
                check_count(name, targets.len(), rows * width, [rows, width])?;
                Checked::Values(targets)
            }
            (Loss::CrossEntropy, Labels::Values(_)) => {
                return Err(Error::setting(
                    "cross_entropy needs class labels, but the stream has real targets",
                )
                .with_help("use loss: \"mse\" with this stream"));
            }
        };
        Ok(Self { width, targets })
    }

    /// Classes, or values of all outputs.
    pub(crate) fn targets(&self) -> (Option<&[u32]>, &[f64]) {
        match &self.targets {
            Checked::Classes(classes) => (Some(classes), &[]),
            Checked::Values(values) => (None, values),
        }
    }

    /// Loss of each member for `outputs [members, batch, width]`; with `gradient` (same shape) also the
    /// gradient of each member's loss.
    ///
    /// # Errors
    /// If the tensors are not contiguous f32 or f64 tensors.
    pub fn evaluate(&self, outputs: &Tensor, gradient: Option<&Tensor>) -> Result<Vec<f64>> {
        let members = outputs.dims().first().copied().unwrap_or(1);
        let size = (outputs.elem_count() / members.max(1)).max(1);
        dispatch!(outputs, T => read(outputs, |zs: &[T]| match gradient {
            None => Ok(zs.par_chunks(size).map(|z| self.loss(z, None)).collect()),
            Some(gradient) => write(gradient, |gs: &mut [T]| {
                let members = gs.par_chunks_mut(size).zip(zs.par_chunks(size));
                Ok(members.map(|(g, z)| self.loss(z, Some(g))).collect())
            }),
        }))
    }

    /// The loss of one member's `outputs [batch, width]`; with `gradient` (same shape) also its
    /// gradient.
    pub fn loss<T: Elem>(&self, outputs: &[T], gradient: Option<&mut [T]>) -> f64 {
        match &self.targets {
            Checked::Classes(classes) => {
                loss::cross_entropy::forward(outputs, self.width, classes, gradient)
            }
            Checked::Values(values) => loss::mse::forward(outputs, values, gradient),
        }
    }
}

impl<T: Elem> Curvature<T> for Goal {
    fn apply(&self, outputs: &[T], tangent: &[T], gradient_tangent: &mut [T]) {
        match &self.targets {
            Checked::Classes(_) => {
                loss::cross_entropy::tangent(outputs, tangent, self.width, gradient_tangent);
            }
            Checked::Values(_) => loss::mse::tangent(tangent, gradient_tangent),
        }
    }
}
