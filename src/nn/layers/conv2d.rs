//! Convolution over images.

use serde_json::{Value, json};

use super::linear::add_kernels;
use crate::error::{Error, Result};
use crate::nn::{
    Forward, Jacobian, Kernels, Layer, ParamAxis, ParamKind, ParamSpec, Parts, Pass, Passes,
    Signals, Tangents, Weights,
};
use crate::tensor::elem::Elem;
use crate::tensor::linear::Scaled;
use crate::tensor::{channel_bias, conv};

/// A convolution of inputs `[channels, height, width]` with filters of shape
/// `[kernel height, kernel width, channels / groups, outputs]`, as in JAX; PyTorch's filters are
/// `[outputs, channels / groups, kernel height, kernel width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the filters.
    pub kernel: [usize; 2],
    /// Distance between the filter's places, down and across.
    pub stride: [usize; 2],
    /// Rows and columns of zeros at each border.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether there is a bias per output channel.
    pub bias: bool,
}

impl Conv2d {
    /// A convolution without bias whose filters are square, with borders that keep the image's size at
    /// stride 1 (for odd sizes of the filter).
    pub fn square(outputs: usize, kernel: usize, stride: usize) -> Self {
        Self {
            outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            groups: 1,
            bias: false,
        }
    }

    fn sizes(&self, batch: usize, input: &[usize]) -> Option<conv::Sizes> {
        let &[inputs, height, width] = input else {
            return None;
        };
        Some(conv::Sizes {
            batch,
            inputs,
            outputs: self.outputs,
            image: [height, width],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
        })
    }

    fn of<T: Elem>(&self, at: &Pass<'_, T>) -> Result<conv::Sizes> {
        self.sizes(at.batch, at.input)
            .ok_or_else(|| self.refused(at.input))
    }

    fn refused(&self, input: &[usize]) -> Error {
        let message = format!(
            "conv2d with {} outputs, kernel {:?}, stride {:?}, padding {:?}, {} group(s) cannot take an input of shape {input:?}",
            self.outputs, self.kernel, self.stride, self.padding, self.groups
        );
        Error::shape(message).with_help(
            "it takes [channels, height, width]; groups divide both channels and outputs, and the kernel fits into the padded image",
        )
    }
}

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn settings(&self) -> Value {
        json!({
            "outputs": self.outputs, "kernel": self.kernel, "stride": self.stride,
            "padding": self.padding, "groups": self.groups, "bias": self.bias,
        })
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let output = self.sizes(1, input).and_then(|s| s.checked_output());
        let [height, width] = output.ok_or_else(|| self.refused(input))?;
        Ok(vec![self.outputs, height, width])
    }

    fn jacobian(&self) -> Jacobian {
        Jacobian::Constant
    }

    fn param_axis(&self) -> Option<ParamAxis> {
        Some(ParamAxis::First)
    }

    fn params(&self, input: &[usize]) -> Vec<ParamSpec> {
        let inputs = input.first().copied().unwrap_or(1) / self.groups.max(1);
        let [height, width] = self.kernel;
        let spec = |path: &str, shape: Vec<usize>, kind| ParamSpec {
            path: path.into(),
            shape,
            kind,
            fan_in: height * width * inputs,
            fan_out: self.outputs,
        };
        let filters = vec![height, width, inputs, self.outputs];
        let mut params = vec![spec("weight", filters, ParamKind::Weight)];
        if self.bias {
            params.push(spec("bias", vec![self.outputs], ParamKind::Bias));
        }
        params
    }

    fn multiply_adds(&self, input: &[usize]) -> u64 {
        let [filters, ..] = &self.params(input)[..] else {
            return 0;
        };
        let output = self.output_shape(input).unwrap_or_default();
        let places = output.iter().skip(1).chain(&filters.shape);
        places.map(|&n| n as u64).product()
    }
}

fn weight<'a, T: Elem>(weights: &Weights<'a, T>) -> (&'a [T], T) {
    (weights.value(0), T::of(weights.multiplier(0)))
}

fn bias<'a, T: Elem>(weights: &Weights<'a, T>) -> Scaled<'a, T> {
    Scaled {
        value: weights.value(1),
        multiplier: weights.multiplier(1),
    }
}

fn pixels(output: &[usize]) -> usize {
    output[1..].iter().product()
}

impl Conv2d {
    /// The gradient of the bias, if there is one; returns where the filters' goes.
    fn bias_gradient<'a, T: Elem>(
        &self,
        at: &Pass<'_, T>,
        gy: &[T],
        grads: Parts<'a, T>,
    ) -> Result<&'a mut [T]> {
        if !self.bias {
            let [gw] = grads.take()?;
            return Ok(gw);
        }
        let [gw, gb] = grads.take()?;
        channel_bias::bias_gradient(pixels(at.output), gy, at.params.multiplier(1), gb);
        Ok(gw)
    }
}

impl<T: Elem> Passes<T> for Conv2d {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], _saved: &mut [T]) -> Result<()> {
        conv::forward(&self.of(&at)?, at.x, weight(&at.params), y, false);
        if self.bias {
            channel_bias::add_bias(pixels(at.output), bias(&at.params), y);
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
        let (s, w) = (self.of(&at)?, weight(&at.params));
        let gw = self.bias_gradient(&at, gy, grads)?;
        conv::weight_gradient(&s, at.x, gy, (gw, w.1), false);
        if let Some(gx) = gx {
            conv::input_gradient(&s, gy, w, gx, false);
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
        conv::input_gradient(&self.of(&at)?, gy, weight(&at.params), gx, false);
        Ok(())
    }

    /// The filters' gradient is a product of patches and signals, the bias's a sum of signals.
    fn gram(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        signals: Signals<'_, T>,
        mut kernels: Kernels<'_, T>,
    ) -> Result<()> {
        let sizes = self.of(&at)?;
        let groups = (0..self.groups).map(|group| conv::Patches {
            sizes: &sizes,
            group,
            x: at.x,
            signals: signals.data,
        });
        add_kernels(groups, &at, self.bias, &mut kernels);
        Ok(())
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        _was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        let s = self.of(&at)?;
        conv::forward(&s, at.x, weight(&tangents.params), dy, false);
        if let Some(dx) = tangents.x {
            conv::forward(&s, dx, weight(&at.params), dy, true);
        }
        if self.bias {
            channel_bias::add_bias(pixels(at.output), bias(&tangents.params), dy);
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
        let (s, w) = (self.of(&at)?, weight(&at.params));
        let dgw = self.bias_gradient(&at, dgy, dgrads)?;
        conv::weight_gradient(&s, at.x, dgy, (&mut *dgw, w.1), false);
        if let Some(dx) = tangents.x {
            conv::weight_gradient(&s, dx, gy, (dgw, w.1), true);
        }
        if let Some(dgx) = dgx {
            conv::input_gradient(&s, dgy, w, dgx, false);
            conv::input_gradient(&s, gy, weight(&tangents.params), dgx, true);
        }
        Ok(())
    }
}
