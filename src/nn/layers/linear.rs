//! The fully connected layer.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::memory::numbers;
use crate::nn::layer::gram_by_examples;
use crate::nn::{Forward, Layer, ParamKind, ParamSpec, Parts, Pass, Passes, Tangents, Weights};
use crate::tensor::elem::Elem;
use crate::tensor::gram::add_gram;
use crate::tensor::linear::{self, Scaled};

/// `y = x W + b` on the last axis, with `W` of shape `[fan_in, fan_out]`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Number of outputs.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Layer for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn settings(&self) -> Value {
        json!({ "outputs": self.outputs, "bias": self.bias })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        match input.split_last() {
            Some((_, rest)) if self.outputs > 0 => Ok([rest, &[self.outputs]].concat()),
            _ => Err(Error::shape(format!(
                "linear with {} outputs cannot take an input of shape {input:?}",
                self.outputs
            ))),
        }
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let (fan_in, fan_out) = (input.last().copied().unwrap_or(1), self.outputs);
        let spec = |path: &str, shape: Vec<usize>, kind| ParamSpec {
            path: path.into(),
            shape,
            kind,
            fan_in,
            fan_out,
        };
        let mut params = vec![spec("weight", vec![fan_in, fan_out], ParamKind::Weight)];
        if self.bias {
            params.push(spec("bias", vec![fan_out], ParamKind::Bias));
        }
        params
    }
}

impl Linear {
    fn sizes<T: Elem>(&self, at: &Pass<'_, T>) -> linear::Sizes {
        let inputs = at.input.last().copied().unwrap_or(1);
        let positions: usize = at.input[..at.input.len().saturating_sub(1)]
            .iter()
            .product();
        linear::Sizes {
            rows: at.batch * positions,
            inputs,
            outputs: self.outputs,
        }
    }
}

pub(super) fn scaled<'a, T: Elem>(weights: &Weights<'a, T>, i: usize) -> Scaled<'a, T> {
    Scaled {
        value: weights.value(i),
        multiplier: weights.multiplier(i),
    }
}

impl<T: Elem> Passes<T> for Linear {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        let s = self.sizes(&at);
        linear::product(s, at.x, scaled(&at.params, 0), y, false);
        if self.bias {
            linear::add_bias(s, scaled(&at.params, 1), y);
        }
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let weight = scaled(&at.params, 0);
        let gw = if self.bias {
            let [gw, gb] = grads.take()?;
            linear::bias_gradient(s, gy, at.params.multiplier(1), gb);
            gw
        } else {
            let [gw] = grads.take()?;
            gw
        };
        linear::weight_gradient(s, at.x, gy, weight.multiplier, gw, false);
        if let Some(gx) = gx {
            linear::input_gradient(s, gy, weight, gx, false);
        }
        Ok(())
    }

    fn input_gradient(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        linear::input_gradient(self.sizes(&at), gy, scaled(&at.params, 0), gx, false);
        Ok(())
    }

    /// With one row per example the kernel is the product of two Gram matrices, of the inputs (plus 1
    /// for the bias) and of the outputs' gradients; with more, it is that of the examples' gradients.
    fn gram(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        (gy, outputs): (&[T], usize),
        kernel: &mut [T],
    ) -> Result<()> {
        let (s, n) = (self.sizes(&at), at.batch);
        if s.rows != n {
            return gram_by_examples(self, at, was, (gy, outputs), kernel);
        }
        let square = |multiplier: f64| multiplier * multiplier;
        let bias = if self.bias {
            square(at.params.multiplier(1))
        } else {
            0.0
        };
        let mut inputs = numbers::<T>("products of inputs", &[n, n])?;
        inputs.fill(T::of(bias));
        add_gram(&mut inputs, n, at.x, square(at.params.multiplier(0)));
        let mut signals = numbers::<T>("products of gradients", &[n, n])?;
        for gy in gy.chunks_exact((n * s.outputs).max(1)) {
            add_gram(&mut signals, n, gy, 1.0);
        }
        for ((k, x), g) in kernel.iter_mut().zip(&inputs).zip(&signals) {
            *k += *x * *g;
        }
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let s = self.sizes(&at);
        linear::product(s, at.x, scaled(&tangents.params, 0), dy, false);
        if let Some(dx) = tangents.x {
            linear::product(s, dx, scaled(&at.params, 0), dy, true);
        }
        if self.bias {
            linear::add_bias(s, scaled(&tangents.params, 1), dy);
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        (gy, dgy): (&[T], &[T]),
        dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        let s = self.sizes(&at);
        let weight = scaled(&at.params, 0);
        let dgw = if self.bias {
            let [dgw, dgb] = dgrads.take()?;
            linear::bias_gradient(s, dgy, at.params.multiplier(1), dgb);
            dgw
        } else {
            let [dgw] = dgrads.take()?;
            dgw
        };
        linear::weight_gradient(s, at.x, dgy, weight.multiplier, dgw, false);
        if let Some(dx) = tangents.x {
            linear::weight_gradient(s, dx, gy, weight.multiplier, dgw, true);
        }
        if let Some(dgx) = dgx {
            linear::input_gradient(s, dgy, weight, dgx, false);
            linear::input_gradient(s, gy, scaled(&tangents.params, 0), dgx, true);
        }
        Ok(())
    }
}
