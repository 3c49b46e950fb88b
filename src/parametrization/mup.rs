//! Maximal update parametrization, with the conventions of microsoft/mup.

use serde::Serialize;
use serde_json::Value;

use super::{Init, Initializer, OptimizerFamily, Parametrization, Scales};
use crate::error::Result;
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
    fn name(&self) -> &str {
        "mup"
    }

    fn base_width(&self) -> Option<usize> {
        Some(self.base_width)
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        let m_in = param.fan_in_mult();
        let multiplier = match param.role {
            Role::OutputLike => self.output_mult / m_in,
            Role::InputLike => self.input_mult,
            _ => 1.0,
        };
        // a bias has one input
        let (fans, base) = match param.kind {
            ParamKind::Weight => (
                [param.fan_in, param.fan_out],
                [param.base_fan_in, param.base_fan_out],
            ),
            _ => ([1, param.fan_out], [1, param.base_fan_out]),
        };
        // of the rule's multiplier
        let by = match param.role {
            Role::OutputLike => m_in,
            _ => 1.0,
        };
        let lr = match (optimizer, param.role) {
            // the spread of a readout's weight does not fall, only its multiplier does
            (OptimizerFamily::Adafactor, Role::OutputLike) => 1.0,
            _ => optimizer.lr_growth(fans, base) * by.powf(optimizer.multiplier_power()),
        };
        let eps = match (self.scale_eps, optimizer, param.role) {
            (false, ..) | (true, OptimizerFamily::Adafactor, Role::OutputLike) => 1.0,
            _ => optimizer.eps_growth(fans, base) * by.powi(-optimizer.eps_degree()),
        };
        Ok(Scales {
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
                (OptimizerFamily::Sgd | OptimizerFamily::Adam, _) => "TP-V Table 8",
                (OptimizerFamily::Adafactor, _) => "2407.05872, Adafactor",
                (OptimizerFamily::Muon, _) => "2512.05620, Muon",
                (OptimizerFamily::Shampoo { .. }, _) => "2512.05620, Shampoo",
                (OptimizerFamily::Soap { .. }, _) => "2512.05620, SOAP",
            }
            .into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
