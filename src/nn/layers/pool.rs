//! Pooling over images.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::nn::{Forward, Jacobian, Layer, ParamSpec, Parts, Pass, Passes, Tangents};
use crate::tensor::elem::Elem;
use crate::tensor::pool;

/// What a window gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Its largest number.
    Max,
    /// Its mean.
    Average {
        /// Whether borders count as zeros.
        count_border: bool,
    },
}

/// Pooling of inputs `[channels, height, width]` over windows, as PyTorch's `MaxPool2d` and
/// `AvgPool2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// What a window gives.
    pub pooling: Pooling,
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Distance between windows, down and across.
    pub stride: [usize; 2],
    /// Rows and columns added at each border; at most half the window.
    pub padding: [usize; 2],
}

impl Pool2d {
    fn sizes(&self, batch: usize, input: &[usize]) -> Option<pool::Sizes> {
        let &[channels, height, width] = input else {
            return None;
        };
        Some(pool::Sizes {
            planes: batch * channels,
            image: [height, width],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        })
    }

    fn of<T: Elem>(&self, at: &Pass<'_, T>) -> Result<pool::Sizes> {
        self.sizes(at.batch, at.input)
            .ok_or_else(|| self.refused(at.input))
    }

    fn refused(&self, input: &[usize]) -> Error {
        let message = format!(
            "{} with kernel {:?}, stride {:?}, padding {:?} cannot take an input of shape {input:?}",
            Layer::kind(self),
            self.kernel,
            self.stride,
            self.padding
        );
        Error::shape(message).with_help(
            "it takes [channels, height, width]; windows fit into the padded image, and the padding is at most half a window",
        )
    }

    /// The linear map from input to output at this pass.
    fn apply<T: Elem>(&self, at: &Pass<'_, T>, saved: &[T], x: &[T], y: &mut [T]) -> Result<()> {
        let s = self.of(at)?;
        match self.pooling {
            Pooling::Max => pool::take(&s, x, saved, y),
            Pooling::Average { count_border } => pool::average(&s, count_border, x, y),
        }
        Ok(())
    }

    /// Its transpose.
    fn apply_transposed<T: Elem>(
        &self,
        at: &Pass<'_, T>,
        saved: &[T],
        gy: &[T],
        gx: &mut [T],
    ) -> Result<()> {
        let s = self.of(at)?;
        match self.pooling {
            Pooling::Max => pool::max_gradient(&s, saved, gy, gx),
            Pooling::Average { count_border } => pool::average_gradient(&s, count_border, gy, gx),
        }
        Ok(())
    }
}

impl Layer for Pool2d {
    fn kind(&self) -> &'static str {
        match self.pooling {
            Pooling::Max => "max_pool2d",
            Pooling::Average { .. } => "avg_pool2d",
        }
    }

    fn settings(&self) -> Value {
        let mut settings =
            json!({ "kernel": self.kernel, "stride": self.stride, "padding": self.padding });
        if let (Pooling::Average { count_border }, Some(map)) =
            (self.pooling, settings.as_object_mut())
        {
            map.insert("count_include_pad".into(), json!(count_border));
        }
        settings
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let output = self.sizes(1, input).and_then(|s| s.checked_output());
        let [height, width] = output.ok_or_else(|| self.refused(input))?;
        Ok(vec![input[0], height, width])
    }

    fn jacobian(&self) -> Jacobian {
        match self.pooling {
            Pooling::Max => Jacobian::General,
            Pooling::Average { .. } => Jacobian::Constant,
        }
    }

    fn params(&self, _input: &[usize]) -> Vec<ParamSpec> {
        Vec::new()
    }

    fn saved(&self, batch: usize, input: &[usize]) -> usize {
        match (self.pooling, self.output_shape(input)) {
            (Pooling::Max, Ok(output)) => batch * output.iter().product::<usize>(),
            _ => 0,
        }
    }
}

impl<T: Elem> Passes<T> for Pool2d {
    fn forward(&self, at: Pass<'_, T>, y: &mut [T], saved: &mut [T]) -> Result<()> {
        match self.pooling {
            Pooling::Max => pool::max(&self.of(&at)?, at.x, y, saved),
            Pooling::Average { .. } => self.apply(&at, saved, at.x, y)?,
        }
        Ok(())
    }

    fn backward(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        gy: &[T],
        _grads: Parts<'_, T>,
        gx: Option<&mut [T]>,
    ) -> Result<()> {
        gx.map_or(Ok(()), |gx| self.apply_transposed(&at, was.saved, gy, gx))
    }

    fn tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        tangents: Tangents<'_, T>,
        dy: &mut [T],
    ) -> Result<()> {
        match tangents.x {
            Some(dx) => self.apply(&at, was.saved, dx, dy)?,
            None => dy.fill(T::of(0.0)),
        }
        Ok(())
    }

    fn backward_tangent(
        &self,
        at: Pass<'_, T>,
        was: Forward<'_, T>,
        _tangents: Tangents<'_, T>,
        (_gy, dgy): (&[T], &[T]),
        _dgrads: Parts<'_, T>,
        dgx: Option<&mut [T]>,
    ) -> Result<()> {
        dgx.map_or(Ok(()), |dgx| {
            self.apply_transposed(&at, was.saved, dgy, dgx)
        })
    }
}
