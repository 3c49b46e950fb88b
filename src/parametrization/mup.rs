//! Maximal update parametrization, with the conventions of microsoft/mup.

use serde::Serialize;
use serde_json::Value;

use super::{Init, Initializer, OptimizerFamily, Parametrization, Scales};
use crate::nn::{ParamInfo, ParamKind, Role};

/// How weight decay scales where the learning rate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecayRule {
    /// lr · weight_decay does not depend on width: the decay grows where the learning rate shrinks
    /// (microsoft/mup's default).
    Independent,
    /// weight_decay is the same for every parameter and width (microsoft/mup's `decoupled_wd`).
    Coupled,
}

/// Maximal update parametrization (*Tensor Programs V*, arXiv 2203.03466, Table 8), relative to a
/// base width at which it equals [`Sp`](super::Sp).
#[derive(Debug, Clone, Serialize)]
pub struct Mup {
    /// Width at which this equals the standard parametrization.
    pub base_width: usize,
    /// Initial distributions at the base width.
    pub init: Initializer,
    /// Forward multiplier of the readout's weight, on top of the rule's.
    pub output_mult: f64,
    /// Forward multiplier of input weights.
    pub input_mult: f64,
    /// Whether the readout starts at zero.
    pub zero_readout: bool,
    /// How weight decay scales.
    pub weight_decay: WeightDecayRule,
    /// Whether Adam's epsilon follows the gradients' size (divided by the fan-in multiplier for
    /// hidden weights, by the fan-out multiplier for vector-like ones), and Muon's that of their norm;
    /// microsoft/mup leaves it.
    pub scale_eps: bool,
}

impl Default for Mup {
    fn default() -> Self {
        Self {
            base_width: 64,
            init: Initializer::Pytorch,
            output_mult: 1.0,
            input_mult: 1.0,
            zero_readout: false,
            weight_decay: WeightDecayRule::Independent,
            scale_eps: false,
        }
    }
}

impl Mup {
    fn init(&self, param: &ParamInfo) -> Init {
        if self.zero_readout && param.readout {
            return Init::Constant(0.0);
        }
        match (param.kind, param.role) {
            // constant variance: the framework's 1/fan_in, rescaled by the fan-in multiplier
            (ParamKind::Bias, _) | (ParamKind::Weight, Role::OutputLike) => {
                self.init.init(param, param.base_fan_in)
            }
            _ => self.init.init(param, param.fan_in),
        }
    }
}

impl Parametrization for Mup {
    fn name(&self) -> &'static str {
        "mup"
    }

    fn base_width(&self) -> Option<usize> {
        Some(self.base_width)
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Scales {
        let (m_in, m_out) = (param.fan_in_mult(), param.fan_out_mult());
        let multiplier = match param.role {
            Role::OutputLike => self.output_mult / m_in,
            Role::InputLike => self.input_mult,
            _ => 1.0,
        };
        let lr = match (optimizer, param.role) {
            (_, Role::Fixed) => 1.0,
            (OptimizerFamily::Sgd, Role::InputLike | Role::VectorLike) => m_out,
            (OptimizerFamily::Sgd, Role::OutputLike) => m_in,
            (OptimizerFamily::Sgd, Role::Hidden) => m_out / m_in,
            (OptimizerFamily::Adam, Role::Hidden) => 1.0 / m_in,
            (OptimizerFamily::Muon, Role::Hidden) => (m_out / m_in).sqrt(),
            (
                OptimizerFamily::Adam | OptimizerFamily::Muon,
                Role::InputLike | Role::VectorLike | Role::OutputLike,
            ) => 1.0,
        };
        let eps = match (optimizer, param.role) {
            _ if !self.scale_eps => 1.0,
            (_, Role::Fixed) => 1.0,
            // of a norm of the gradient
            (OptimizerFamily::Muon, Role::Hidden) => (m_in / m_out).sqrt(),
            (_, Role::Hidden | Role::OutputLike) => 1.0 / m_in,
            (_, Role::InputLike | Role::VectorLike) => 1.0 / m_out,
        };
        Scales {
            init: self.init(param),
            multiplier,
            lr,
            weight_decay: match self.weight_decay {
                WeightDecayRule::Independent => 1.0 / lr,
                WeightDecayRule::Coupled => 1.0,
            },
            eps,
            // `lr` covers the growth
            fans: [param.base_fan_in, param.base_fan_out],
            source: match (optimizer, param.role) {
                (_, Role::Fixed) => "nothing grows",
                (OptimizerFamily::Muon, Role::Hidden) => "2512.05620, Muon",
                (OptimizerFamily::Muon, _) => "TP-V Table 8 (Adam)",
                (OptimizerFamily::Sgd | OptimizerFamily::Adam, _) => "TP-V Table 8",
            },
        }
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
