//! The fully connected layer.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{
    Forward, Jacobian, Kernels, Layer, ParamAxis, ParamKind, ParamSpec, Parts, Pass, Passes,
    Signals, Tangents, Weights,
};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::accumulate;
use crate::tensor::gram::{Products, Rows, add_product_gram};
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

    fn reads_by_product(&self) -> bool {
        true
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::Last)
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

fn sizes<T>(at: &Pass<'_, T>) -> linear::Sizes {
    linear::Sizes::of(at.batch, at.input, at.output)
}

pub(super) fn scaled<'a, T: Elem>(weights: &Weights<'a, T>, i: usize) -> Scaled<'a, T> {
    Scaled {
        value: weights.value(i),
        multiplier: weights.multiplier(i),
    }
}

/// Adds the kernels of a weight whose gradient is made of `products`, one for each group, and of the
/// bias after it, if there is one.
pub(super) fn add_kernels<T: Elem>(
    products: impl Iterator<Item = impl Products<T>>,
    at: &Pass<'_, T>,
    bias: bool,
    kernels: &mut Kernels<'_, T>,
) {
    let square = |i: usize| at.params.multiplier(i) * at.params.multiplier(i);
    let mut sums = bias.then(|| vec![T::of(0.0); at.batch * at.batch]);
    for group in products {
        add_product_gram(&group, square(0), kernels.of(0), sums.as_deref_mut());
    }
    if let Some(sums) = sums {
        accumulate(kernels.of(1), &sums, square(1));
    }
}

impl<T: Elem> Passes<T> for Linear {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        let s = sizes(&at);
        linear::product(s, at.input_rows(), scaled(&at.params, 0), y, false);
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
        let s = sizes(&at);
        let weight = scaled(&at.params, 0);
        let update = grads.claim(0);
        let gw = if self.bias {
            let [gw, gb] = grads.take()?;
            linear::bias_gradient(s, gy, at.params.multiplier(1), gb);
            gw
        } else {
            let [gw] = grads.take()?;
            gw
        };
        if let Some(gx) = gx {
            linear::input_gradient(s, gy, weight, gx, false);
        }
        // last, since the weight may move
        match update {
            Some(update) => {
                let then = |start, part: &[T]| update.apply(start, part);
                linear::weight_gradient_parts(s, at.input_rows(), gy, weight.multiplier, &then);
            }
            None => linear::weight_gradient(s, at.input_rows(), gy, weight.multiplier, gw, false),
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
        linear::input_gradient(sizes(&at), gy, scaled(&at.params, 0), gx, false);
        Ok(())
    }

    /// The weight's gradient is a product of inputs and signals, the bias's a sum of signals.
    fn gram(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        signals: Signals<'_, T>,
        mut kernels: Kernels<'_, T>,
    ) -> Result<()> {
        let rows = Rows {
            examples: at.batch,
            positions: sizes(&at).rows / at.batch.max(1),
            x: at.x,
            signals: signals.data,
            channels: self.outputs,
        };
        add_kernels(std::iter::once(rows), &at, self.bias, &mut kernels);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let s = sizes(&at);
        linear::product(s, at.input_rows(), scaled(&tangents.params, 0), dy, false);
        if let Some(dx) = tangents.x {
            linear::product(s, dx.into(), scaled(&at.params, 0), dy, true);
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
        let s = sizes(&at);
        let weight = scaled(&at.params, 0);
        let dgw = if self.bias {
            let [dgw, dgb] = dgrads.take()?;
            linear::bias_gradient(s, dgy, at.params.multiplier(1), dgb);
            dgw
        } else {
            let [dgw] = dgrads.take()?;
            dgw
        };
        linear::weight_gradient(s, at.input_rows(), dgy, weight.multiplier, dgw, false);
        if let Some(dx) = tangents.x {
            linear::weight_gradient(s, dx.into(), gy, weight.multiplier, dgw, true);
        }
        if let Some(dgx) = dgx {
            linear::input_gradient(s, dgy, weight, dgx, false);
            linear::input_gradient(s, gy, scaled(&tangents.params, 0), dgx, true);
        }
        Ok(())
    }
}
