//! Batch normalisation over images and vectors.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Activation;
use crate::error::{Error, Result};
use crate::nn::{Forward, Layer, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::batch_norm::{self, Moments, Running};
use crate::tensor::elem::Elem;
use crate::tensor::group_norm::{self, Gradients, Sizes};
use crate::tensor::linear::Scaled;

/// Normalises inputs `[channels, …]` channel by channel, as PyTorch's `BatchNorm`, with gain and shift per
/// channel.
///
/// In training a channel's moments are those over the batch's examples and positions, and running
/// estimates follow them. Outside training the running estimates take their place; then an example's
/// output does not depend on the others.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Share of the batch's moments in the new running estimates.
    pub momentum: f64,
    /// Whether a relu follows in the same pass.
    pub relu: bool,
}

impl Default for BatchNorm {
    /// PyTorch's numbers.
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: 0.1,
            relu: false,
        }
    }
}

fn sizes(batch: usize, input: &[usize]) -> Sizes {
    let (&channels, rest) = input.split_first().unwrap_or((&1, &[]));
    Sizes {
        batch,
        channels,
        pixels: rest.iter().product(),
        groups: 1,
    }
}

impl BatchNorm {
    fn bind<'a, T: Elem>(&self, at: &Pass<'a, T>) -> batch_norm::BatchNorm<'a, T> {
        let scaled = |i: usize| Scaled {
            value: at.params.value(i),
            multiplier: at.params.multiplier(i),
        };
        batch_norm::BatchNorm {
            sizes: sizes(at.batch, at.input),
            gain: scaled(0),
            shift: scaled(1),
            eps: self.eps,
            relu: self.relu,
        }
    }
}

/// The batch's moments as the forward pass saved them, or the running estimates.
fn moments<'a, T: Elem>(at: &Pass<'a, T>, saved: &'a [T]) -> Moments<'a, T> {
    let (mean, var) = if at.training {
        saved.split_at(saved.len() / 2)
    } else {
        (at.params.value(2), at.params.value(3))
    };
    Moments {
        mean,
        var,
        own: at.training,
    }
}

/// Where gradients go; running estimates are not trained and have none.
fn gradients<'a, T: Elem>(
    grads: Parts<'a, T>,
    input: Option<&'a mut [T]>,
) -> Result<Gradients<'a, T>> {
    let [gain, shift, mean, var] = grads.take()?;
    mean.fill(T::zero());
    var.fill(T::zero());
    Ok(Gradients { gain, shift, input })
}

fn tangents_of<'a, T: Elem>(tangents: &Tangents<'a, T>) -> group_norm::Tangents<'a, T> {
    group_norm::Tangents {
        gain: tangents.params.value(0),
        shift: tangents.params.value(1),
        input: tangents.x,
    }
}

impl Layer for BatchNorm {
    fn kind(&self) -> &'static str {
        "batch_norm"
    }

    fn settings(&self) -> Value {
        json!({ "eps": self.eps, "momentum": self.momentum, "relu": self.relu })
    }

    fn apart(&self) -> Option<(Arc<dyn Layer>, Activation)> {
        let alone = Self {
            relu: false,
            ..*self
        };
        self.relu
            .then(|| (Arc::new(alone) as Arc<dyn Layer>, Activation::Relu))
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.first() {
            Some(&channels) if channels > 0 => Ok(input.to_vec()),
            _ => Err(Error::shape(format!(
                "batch_norm needs an input [channels, …], got {input:?}"
            ))),
        }
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let channels = input.first().copied().unwrap_or(1);
        [
            ("weight", ParamKind::Gain),
            ("bias", ParamKind::Shift),
            ("running_mean", ParamKind::RunningMean),
            ("running_var", ParamKind::RunningVar),
        ]
        .map(|(path, kind)| ParamSpec {
            path: path.into(),
            shape: vec![channels],
            kind,
            fan_in: 1,
            fan_out: channels,
        })
        .to_vec()
    }

    fn mixes_examples(&self, training: bool) -> bool {
        training
    }

    fn saved(&self, _batch: usize, input: &[usize]) -> usize {
        2 * sizes(1, input).channels
    }
}

impl<T: Elem> Passes<T> for BatchNorm {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        let norm = self.bind(&at);
        if at.training {
            if norm.sizes.batch * norm.sizes.pixels < 2 {
                return Err(Error::shape(format!(
                    "batch_norm cannot train on one example of shape {:?}: one number per channel has no variance",
                    at.input
                ))
                .with_help("train on batches of at least 2 examples"));
            }
            let (mean, var) = saved.split_at_mut(saved.len() / 2);
            norm.moments(at.x, mean, var);
        }
        norm.forward(at.x, moments(&at, saved), y);
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let to = gradients(grads, gx)?;
        self.bind(&at)
            .backward(at.x, moments(&at, was.saved), gy, to);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let d = tangents_of(&tangents);
        self.bind(&at).tangent(at.x, moments(&at, was.saved), d, dy);
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        gradient: (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let to = gradients(dgrads, dgx)?;
        let (d, moments) = (tangents_of(&tangents), moments(&at, was.saved));
        self.bind(&at)
            .backward_tangent(at.x, moments, d, gradient, to);
        Ok(())
    }

    fn update_estimates(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        params: Parts<'_, T>,
    ) -> Result<()> {
        if !at.training {
            return Ok(());
        }
        let sizes = sizes(at.batch, at.input);
        let [_, _, mean, var] = params.take()?;
        let batch = moments(&at, was.saved);
        Running { mean, var }.update(batch, self.momentum, sizes.batch * sizes.pixels);
        Ok(())
    }
}
