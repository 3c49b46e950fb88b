//! Standard parametrization: what a framework does when nobody thinks about width.

use serde::Serialize;
use serde_json::Value;

use super::{Initializer, OptimizerFamily, Parametrization, Scales};
use crate::error::Result;
use crate::nn::ParamInfo;

/// Standard parametrization: initial variance falls as 1/fan_in, no multipliers, one learning rate
/// for every parameter.
#[derive(Debug, Clone, Serialize)]
pub struct Sp {
    /// Initial distributions.
    pub init: Initializer,
}

impl Default for Sp {
    fn default() -> Self {
        Self {
            init: Initializer::Pytorch,
        }
    }
}

impl Parametrization for Sp {
    fn name(&self) -> &str {
        "sp"
    }

    fn base_width(&self) -> Option<usize> {
        None
    }

    fn trained_scales(&self, param: &ParamInfo, _optimizer: OptimizerFamily) -> Result<Scales> {
        Ok(Scales {
            init: self.init.init(param, param.fan_in),
            multiplier: 1.0,
            lr: 1.0,
            weight_decay: 1.0,
            eps: 1.0,
            fans: [param.fan_in, param.fan_out],
            source: match self.init {
                Initializer::Pytorch => "PyTorch defaults",
                Initializer::LecunNormal => "2011.14522, SP",
                Initializer::KaimingNormal => "1502.01852",
            }
            .into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
