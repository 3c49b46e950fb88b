//! Mean-field parametrization with a richness, as in *The Optimization Landscape of SGD Across the
//! Feature Learning Strength* (arXiv 2410.04642).

use serde::Serialize;
use serde_json::Value;

use super::{Init, OptimizerFamily, Parametrization, Scales};
use crate::error::Result;
use crate::nn::{ParamInfo, ParamKind, Role};

/// Mean-field parametrization: every weight N(0, 1), hidden forward multiplier 1/√fan_in, readout
/// multiplier 1/(γ₀ N), SGD learning rate γ₀² N for every parameter (N the width). γ₀ → 0 is lazy,
/// γ₀ = 1 is muP, γ₀ ≫ 1 ultra-rich.
#[derive(Debug, Clone, Serialize)]
pub struct MeanField {
    /// Richness γ₀.
    pub gamma0: f64,
}

impl Default for MeanField {
    fn default() -> Self {
        Self { gamma0: 1.0 }
    }
}

impl Parametrization for MeanField {
    fn name(&self) -> &str {
        "mean_field"
    }

    fn base_width(&self) -> Option<usize> {
        None
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        let (gamma, n) = (self.gamma0, param.width as f64);
        let fan_in = param.fan_in as f64;
        let (init, multiplier) = match param.kind {
            ParamKind::Weight if param.readout => (Init::Normal(1.0), 1.0 / (gamma * fan_in)),
            ParamKind::Weight => (Init::Normal(1.0), 1.0 / fan_in.sqrt()),
            // with the learning rate γ₀² N this moves the output by Θ(1), like the other parameters
            ParamKind::Bias if param.readout => (Init::Constant(0.0), 1.0 / (gamma * n.sqrt())),
            kind => (Init::Constant(kind.start()), 1.0),
        };
        let lr = match optimizer {
            OptimizerFamily::Sgd => gamma * gamma * n,
            family => {
                // outputs move by lr/γ₀ when lazy; when rich all layers share the growth
                let richness = if gamma <= 1.0 {
                    gamma
                } else {
                    gamma.powf(1.0 / param.depth.max(1) as f64)
                };
                let width = match (family, param.kind) {
                    (OptimizerFamily::Adam | OptimizerFamily::Adafactor, ParamKind::Weight) => {
                        match param.role {
                            Role::Hidden => n.sqrt().recip(),
                            _ => 1.0,
                        }
                    }
                    (_, ParamKind::Weight) => {
                        let fans = [param.fan_in, param.fan_out];
                        family.lr_growth(fans, [1, 1]) * multiplier.powf(-family.multiplier_power())
                    }
                    (_, ParamKind::Bias) if param.readout => n.sqrt(),
                    _ => 1.0,
                };
                richness.powf(1.0 + family.degree()) * width
            }
        };
        Ok(Scales {
            init,
            multiplier,
            lr,
            weight_decay: 1.0,
            eps: 1.0,
            fans: [1, 1],
            source: match optimizer {
                OptimizerFamily::Sgd => "2410.04642",
                OptimizerFamily::Adam => "2410.04642, TP-V",
                OptimizerFamily::Adafactor => "2410.04642, as Adam",
                _ => "2410.04642, 2512.05620",
            }
            .into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
