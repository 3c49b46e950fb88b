//! What training minimises.

use candle_core::Tensor;
use serde::Serialize;

use crate::data::{Labels, Targets};
use crate::error::{Error, Result};
use crate::tensor::elem::to_f64;
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

    /// Loss of each member, `[members]`, for `outputs [members, batch, outputs]`; with `gradient`
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
        match (self, labels) {
            (Self::CrossEntropy, Labels::Classes(classes)) => {
                loss::cross_entropy(outputs, &classes.to_vec1::<u32>()?, gradient)
            }
            (Self::Mse, Labels::Classes(classes)) => {
                let width = outputs.dims3()?.2;
                let classes = classes.to_vec1::<u32>()?;
                let mut targets = vec![0.0; classes.len() * width];
                for (row, &class) in targets.chunks_mut(width.max(1)).zip(&classes) {
                    *row.get_mut(class as usize).ok_or_else(|| {
                        Error::shape(format!(
                            "mse: class {class} does not fit a network with {width} outputs"
                        ))
                    })? = 1.0;
                }
                loss::mse(outputs, &targets, gradient)
            }
            (Self::Mse, Labels::Values(values)) => loss::mse(outputs, &to_f64(values)?, gradient),
            (Self::CrossEntropy, Labels::Values(_)) => Err(Error::setting(
                "cross_entropy needs class labels, but the stream has real targets",
            )
            .with_help("use loss: \"mse\" with this stream")),
        }
    }
}
