//! abc-parametrizations from the user's own exponents (*Tensor Programs IV*, arXiv 2011.14522).

use serde::Serialize;
use serde_json::Value;

use super::{Initializer, OptimizerFamily, Parametrization, Scales};
use crate::error::Result;
use crate::nn::{ParamInfo, Role};

/// Exponents of one kind of parameter: W = m^(−a) w, w starts with standard deviation ∝ m^(−b),
/// learning rate ∝ m^(−c), where m is the width over the base width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Exponents {
    /// Of the forward multiplier.
    pub a: f64,
    /// Of the initial standard deviation.
    pub b: f64,
    /// Of the learning rate.
    pub c: f64,
}

/// A parametrization by exponents. At the base width it equals [`Sp`](super::Sp); biases and norm
/// parameters follow the input row, since they are weights of a constant input.
#[derive(Debug, Clone, Serialize)]
pub struct Abc {
    /// Width at which this equals the standard parametrization.
    pub base_width: usize,
    /// Initial distributions at the base width.
    pub init: Initializer,
    /// Input weights, biases and norm parameters.
    pub input: Exponents,
    /// Hidden weights.
    pub hidden: Exponents,
    /// Output weights.
    pub output: Exponents,
}

impl Default for Abc {
    /// muP as in *Tensor Programs IV*: one learning rate for SGD.
    fn default() -> Self {
        let row = |a, b| Exponents { a, b, c: 0.0 };
        Self {
            base_width: 64,
            init: Initializer::Pytorch,
            input: row(-0.5, 0.5),
            hidden: row(0.0, 0.5),
            output: row(0.5, 0.5),
        }
    }
}

impl Parametrization for Abc {
    fn name(&self) -> &str {
        "abc"
    }

    fn base_width(&self) -> Option<usize> {
        Some(self.base_width)
    }

    fn trained_scales(&self, param: &ParamInfo, _optimizer: OptimizerFamily) -> Result<Scales> {
        let m = param.width as f64 / param.base_width as f64;
        let (row, source) = match param.role {
            Role::InputLike | Role::VectorLike => (self.input, "abc, input row"),
            Role::Hidden => (self.hidden, "abc, hidden row"),
            Role::OutputLike => (self.output, "abc, output row"),
            Role::Fixed => (
                Exponents {
                    a: 0.0,
                    b: 0.0,
                    c: 0.0,
                },
                "nothing grows",
            ),
        };
        Ok(Scales {
            init: self
                .init
                .init(param, param.base_fan_in)
                .scaled(m.powf(-row.b)),
            multiplier: m.powf(-row.a),
            lr: m.powf(-row.c),
            weight_decay: 1.0,
            eps: 1.0,
            // the exponent c says how the update grows
            fans: [param.base_fan_in, param.base_fan_out],
            source: source.into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
