//! The table that says what a parametrization does to each parameter of a model.

use serde::Serialize;

use super::Model;
use crate::error::Result;
use crate::nn::Role;
use crate::parametrization::{OptimizerFamily, Scales};

/// A number and how it grows: `value ∝ width^exponent` between this width and twice it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scaled {
    /// The number at this width.
    pub value: f64,
    /// Exponent of width; `None` where the number is 0.
    pub exponent: Option<f64>,
}

impl Scaled {
    fn new(value: f64, doubled: f64) -> Self {
        let exponent = (value != 0.0).then(|| (doubled / value).log2());
        // exponents of interest are multiples of 1/4 and more; the rest is rounding
        let exponent = exponent.map(|e| (e * 1e6).round() / 1e6 + 0.0);
        Self { value, exponent }
    }
}

/// What a parametrization does to one parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainRow {
    /// Path of the parameter.
    pub path: String,
    /// Shape without the member axis.
    pub shape: Vec<usize>,
    /// Which of its dimensions grow with width.
    pub role: Role,
    /// Initial standard deviation.
    pub init_std: Scaled,
    /// Forward multiplier.
    pub multiplier: Scaled,
    /// Factor of the learning rate, or the learning rate if one was given.
    pub lr: Scaled,
    /// Factor of the weight decay.
    pub weight_decay: Scaled,
    /// The row of the table that this follows.
    pub source: &'static str,
}

/// One row per parameter, for an optimizer family and its learning rate (1 gives the factors).
///
/// # Errors
/// If the network cannot be built at twice its width.
pub fn explain(model: &Model, family: OptimizerFamily, lr: f64) -> Result<Vec<ExplainRow>> {
    let network = model.network();
    let rule = model.parametrization();
    let doubled = network.at(2 * network.width.unwrap_or(1));
    let (wider, _) = doubled.infos(model.outputs(), model.input(), rule.base_width())?;
    let rows = model.params().iter().zip(&wider).map(|(p, wider)| {
        let here = rule.scales(&p.info, family);
        let there = rule.scales(wider, family);
        let pair = |f: fn(&Scales) -> f64| Scaled::new(f(&here), f(&there));
        let rate = pair(|s| s.lr);
        ExplainRow {
            path: p.info.path.clone(),
            shape: p.info.shape.clone(),
            role: p.info.role,
            init_std: pair(|s| s.init.std()),
            multiplier: pair(|s| s.multiplier),
            lr: Scaled {
                value: rate.value * lr,
                ..rate
            },
            weight_decay: pair(|s| s.weight_decay),
            source: here.source,
        }
    });
    Ok(rows.collect())
}
