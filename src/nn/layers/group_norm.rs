//! Group normalisation over images.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Activation;
use crate::error::{Error, Result};
use crate::nn::{
    Forward, Layer, ParamAxis, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents, Weights,
};
use crate::tensor::elem::Elem;
use crate::tensor::group_norm::{self, Gradients};
use crate::tensor::linear::Scaled;

/// Normalises inputs `[channels, …]` in groups of channels, as PyTorch's `GroupNorm`, with gain and
/// shift per channel.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm {
    /// Number of groups, which divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether a relu follows in the same pass.
    pub relu: bool,
}

impl GroupNorm {
    /// With PyTorch's eps and no relu.
    pub fn new(groups: usize) -> Self {
        Self {
            groups,
            eps: 1e-5,
            relu: false,
        }
    }

    fn sizes(&self, batch: usize, input: &[usize]) -> group_norm::Sizes {
        let (&channels, rest) = input.split_first().unwrap_or((&1, &[]));
        group_norm::Sizes {
            batch,
            channels,
            pixels: rest.iter().product(),
            groups: self.groups,
        }
    }

    fn bind<'a, T: Elem>(&self, at: &Pass<'a, T>) -> group_norm::GroupNorm<'a, T> {
        let scaled = |i: usize| Scaled {
            value: at.params.value(i),
            multiplier: at.params.multiplier(i),
        };
        group_norm::GroupNorm {
            sizes: self.sizes(at.batch, at.input),
            gain: scaled(0),
            shift: scaled(1),
            eps: self.eps,
            relu: self.relu,
        }
    }
}

impl Layer for GroupNorm {
    fn kind(&self) -> &'static str {
        "group_norm"
    }

    fn settings(&self) -> Value {
        json!({ "groups": self.groups, "eps": self.eps, "relu": self.relu })
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
            Some(&channels)
                if channels > 0 && self.groups > 0 && channels.is_multiple_of(self.groups) =>
            {
                Ok(input.to_vec())
            }
            _ => Err(Error::shape(format!(
                "group_norm with {} groups cannot take an input of shape {input:?}",
                self.groups
            ))
            .with_help("groups must divide the number of channels, which is the first axis")),
        }
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::First)
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let channels = input.first().copied().unwrap_or(1);
        [("weight", ParamKind::Gain), ("bias", ParamKind::Shift)]
            .map(|(path, kind)| ParamSpec {
                path: path.into(),
                shape: vec![channels],
                kind,
                fan_in: 1,
                fan_out: channels,
            })
            .to_vec()
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        self.sizes(batch, input).saved()
    }
}

fn tangents_of<'a, T: Elem>(
    params: &Weights<'a, T>,
    input: Option<&'a [T]>,
) -> group_norm::Tangents<'a, T> {
    group_norm::Tangents {
        gain: params.value(0),
        shift: params.value(1),
        input,
    }
}

impl<T: Elem> Passes<T> for GroupNorm {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        self.bind(&at).forward(at.x, y, saved);
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
        let [gain, shift] = grads.take()?;
        let to = Gradients {
            gain,
            shift,
            input: gx,
        };
        self.bind(&at).backward(at.x, was.saved, gy, to);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let d = tangents_of(&tangents.params, tangents.x);
        self.bind(&at).tangent(at.x, was.saved, d, dy);
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
        let [gain, shift] = dgrads.take()?;
        let to = Gradients {
            gain,
            shift,
            input: dgx,
        };
        let d = tangents_of(&tangents.params, tangents.x);
        self.bind(&at)
            .backward_tangent(at.x, was.saved, d, gradient, to);
        Ok(())
    }
}
