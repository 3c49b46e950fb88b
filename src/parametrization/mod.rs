//! Parametrizations: rules from a parameter's description to its scales. Pure tables, no tensors.
//!
//! A rule says, for each parameter and optimizer family, how it starts, with which factor it enters
//! the forward pass, and by what its learning rate, weight decay and epsilon are multiplied.

mod abc;
mod custom;
mod depth;
mod family;
mod initializer;
mod mean_field;
mod mup;
mod ntp;
mod sp;
mod u_mup;

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;

pub use abc::{Abc, Exponents};
pub use custom::Custom;
pub use depth::DepthMup;
pub use family::OptimizerFamily;
pub use initializer::Initializer;
pub use mean_field::MeanField;
pub use mup::{Mup, WeightDecayRule};
pub use ntp::Ntp;
pub use sp::Sp;
pub use u_mup::UnitMup;

use crate::error::Result;
use crate::nn::ParamInfo;

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Normal with this standard deviation around 0.
    Normal(f64),
    /// Uniform with this standard deviation around 0.
    Uniform(f64),
    /// This value everywhere.
    Constant(f64),
}

impl Init {
    /// Standard deviation.
    pub fn std(self) -> f64 {
        match self {
            Self::Normal(std) | Self::Uniform(std) => std,
            Self::Constant(_) => 0.0,
        }
    }

    /// The same distribution, `factor` times as wide (or a constant `factor` times as large).
    pub fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Normal(std) => Self::Normal(std * factor),
            Self::Uniform(std) => Self::Uniform(std * factor),
            Self::Constant(value) => Self::Constant(value * factor),
        }
    }
}

/// What a rule says about one parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scales {
    /// How it starts.
    pub init: Init,
    /// Factor of the parameter in the forward pass.
    pub multiplier: f64,
    /// Factor of the learning rate.
    pub lr: f64,
    /// Factor of the weight decay.
    pub weight_decay: f64,
    /// Factor of the optimizer's epsilon.
    pub eps: f64,
    /// Fan-in and fan-out by which an optimizer that looks at a matrix's shape sizes its update: those
    /// of this width, or fixed ones where `lr` covers all of the growth.
    pub fans: [usize; 2],
    /// The row of the table that this follows.
    pub source: Cow<'static, str>,
}

impl Scales {
    /// What every rule says about a parameter that is not trained.
    fn not_trained(param: &ParamInfo) -> Self {
        Self {
            init: Init::Constant(param.kind.start()),
            multiplier: 1.0,
            lr: 0.0,
            weight_decay: 0.0,
            eps: 0.0,
            fans: [param.fan_in, param.fan_out],
            source: "not trained".into(),
        }
    }
}

/// A rule from a parameter's description to its scales.
pub trait Parametrization: Debug + Send + Sync {
    /// Name in scripts, for instance `mup`.
    fn name(&self) -> &str;

    /// Width at which the rule leaves the learning rate as given; `None` if the rule looks at the
    /// network's own sizes only.
    fn base_width(&self) -> Option<usize>;

    /// What the branches of a network with this many residual blocks are multiplied by.
    ///
    /// # Errors
    /// If the rule is the user's own and fails.
    fn branch_multiplier(&self, _blocks: usize) -> Result<f64> {
        Ok(1.0)
    }

    /// The scales of a parameter that is trained, by an optimizer of the family that
    /// [treats it](OptimizerFamily::of).
    ///
    /// # Errors
    /// If the rule is the user's own and fails or does not cover the parameter.
    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales>;

    /// The scales of one parameter.
    ///
    /// # Errors
    /// As for [`Parametrization::trained_scales`].
    fn scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        if param.kind.is_trained() {
            self.trained_scales(param, optimizer.of(param))
        } else {
            Ok(Scales::not_trained(param))
        }
    }

    /// Whether settings and name do not say what the rule does, so that a record has to keep the scales.
    fn is_own(&self) -> bool {
        false
    }

    /// Settings for the record.
    fn settings(&self) -> serde_json::Value;
}
