//! The unit-scaled maximal update parametrization.

use serde::Serialize;
use serde_json::Value;

use super::{Init, OptimizerFamily, Parametrization, Scales, WeightDecayRule};
use crate::error::Result;
use crate::nn::{ParamInfo, ParamKind, Role};

/// u-muP (Blake et al., arXiv 2407.17465, Table 2): every weight starts N(0, 1) and enters with the forward
/// multiplier 1/√fan_in, the readout's with 1/fan_in, so that there is no base width. Learning rates follow
/// muP; those of embeddings (weights with a fan-in of 1) fall as 1/√width, and those of residual branches as 1/√blocks, whose
/// branches are multiplied by 1/√blocks.
///
/// It is the paper's table of parameters. Not part of a parametrization, and not done here: constant gains of
/// activations and attention, and gradients scaled apart from the forward pass, which to Adam make no
/// difference.
#[derive(Debug, Clone, Serialize)]
pub struct UnitMup {
    /// Forward multiplier of the readout's weight, on top of the rule's.
    pub output_mult: f64,
    /// How weight decay scales.
    pub weight_decay: WeightDecayRule,
}

impl Default for UnitMup {
    fn default() -> Self {
        Self {
            output_mult: 1.0,
            weight_decay: WeightDecayRule::Independent,
        }
    }
}

impl Parametrization for UnitMup {
    fn name(&self) -> &str {
        "u_mup"
    }

    fn base_width(&self) -> Option<usize> {
        None
    }

    fn branch_multiplier(&self, blocks: usize) -> Result<f64> {
        Ok((blocks.max(1) as f64).sqrt().recip())
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        let fan_in = param.fan_in.max(1) as f64;
        let (init, unit) = match param.kind {
            ParamKind::Weight if param.readout => (Init::Normal(1.0), 1.0 / fan_in),
            ParamKind::Weight => (Init::Normal(1.0), 1.0 / fan_in.sqrt()),
            kind => (Init::Constant(kind.start()), 1.0),
        };
        let fans = match param.kind {
            ParamKind::Weight => [param.fan_in, param.fan_out],
            _ => [1, param.fan_out],
        };
        // steps in proportion to a spread of 1 are Adam's
        let family = match optimizer {
            OptimizerFamily::Adafactor => OptimizerFamily::Adam,
            other => other,
        };
        let growth = family.lr_growth(fans, [1, 1]) * unit.powf(-family.multiplier_power());
        let is_table =
            param.kind == ParamKind::Weight && param.role == Role::InputLike && param.fan_in == 1;
        let table = match family {
            OptimizerFamily::Sgd => 1.0,
            _ if is_table => (param.fan_out as f64).sqrt().recip(),
            _ => 1.0,
        };
        let depth = match param.in_branch {
            // as in Depth-muP
            true => (param.blocks.max(1) as f64).powf(0.5 * (1.0 + family.degree()) - 1.0),
            false => 1.0,
        };
        let lr = growth * table * depth;
        Ok(Scales {
            init,
            multiplier: if param.readout && param.kind == ParamKind::Weight {
                unit * self.output_mult
            } else {
                unit
            },
            lr,
            weight_decay: match self.weight_decay {
                WeightDecayRule::Independent => 1.0 / lr,
                WeightDecayRule::Coupled => 1.0,
            },
            eps: 1.0,
            fans: [1, 1],
            source: match optimizer {
                OptimizerFamily::Adam => "u-muP Table 2",
                OptimizerFamily::Sgd | OptimizerFamily::Adafactor => "u-muP, TP-V",
                _ => "u-muP, 2512.05620",
            }
            .into(),
        })
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
