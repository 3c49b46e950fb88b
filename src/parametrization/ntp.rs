//! Neural tangent parametrization (Jacot, Gabriel, Hongler 2018).

use serde::Serialize;
use serde_json::Value;

use super::{Init, OptimizerFamily, Parametrization, Scales};
use crate::error::Result;
use crate::nn::{ParamInfo, ParamKind};

/// Neural tangent parametrization: weights N(0, 1) with forward multiplier σ_w/√fan_in, one
/// learning rate. Its infinite-width limit is a kernel machine without feature learning.
#[derive(Debug, Clone, Serialize)]
pub struct Ntp {
    /// Spread σ_w of the weights.
    pub weight_std: f64,
    /// Spread σ_b of the biases: they start N(0, 1) and enter with multiplier σ_b; 0 starts them at
    /// 0 with multiplier 1.
    pub bias_std: f64,
}

impl Default for Ntp {
    fn default() -> Self {
        Self {
            weight_std: 1.0,
            bias_std: 0.0,
        }
    }
}

impl Parametrization for Ntp {
    fn name(&self) -> &str {
        "ntp"
    }

    fn base_width(&self) -> Option<usize> {
        None
    }

    fn trained_scales(&self, param: &ParamInfo, _optimizer: OptimizerFamily) -> Result<Scales> {
        let (init, multiplier) = match param.kind {
            ParamKind::Weight => (
                Init::Normal(1.0),
                self.weight_std / (param.fan_in as f64).sqrt(),
            ),
            ParamKind::Bias if self.bias_std > 0.0 => (Init::Normal(1.0), self.bias_std),
            kind => (Init::Constant(kind.start()), 1.0),
        };
        Ok(Scales {
            init,
            multiplier,
            lr: 1.0,
            weight_decay: 1.0,
            eps: 1.0,
            fans: [param.fan_in, param.fan_out],
            source: "2011.14522, NTP".into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
