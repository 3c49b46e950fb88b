//! Maximal update parametrization over width and depth.

use serde::Serialize;
use serde_json::Value;

use super::{Mup, OptimizerFamily, Parametrization, Scales, WeightDecayRule};
use crate::error::Result;
use crate::nn::{ParamInfo, ParamKind};

/// [`Mup`] over width, and over depth with residual branches that are multiplied by m_L^(−α), where m_L is
/// the number of blocks over that of a base depth.
///
/// So that a step changes the residual stream as much at every depth, learning rates of parameters in
/// branches follow: by m_L^(α − 1) for optimizers whose updates have a fixed size, by m_L^(2α − 1) for
/// gradient descent, by m_L^(2α (1 − e) − 1) for Shampoo with exponents that sum to e (at α = 1 the
/// m_L^(1 − 2e) of arXiv 2512.05620). Parameters outside branches (embedding, last normalisation, readout) are as in
/// [`Mup`].
#[derive(Debug, Clone, Serialize)]
pub struct DepthMup {
    /// The rule over width.
    pub width: Mup,
    /// Number of blocks at which branches are multiplied by 1.
    pub base_depth: usize,
    /// α: 1/2 or 1.
    pub alpha: f64,
    /// Whether this is CompleteP as published: Adam's epsilon follows the gradients' size, and
    /// biases and norm parameters do not decay.
    pub complete: bool,
}

impl DepthMup {
    /// Depth-muP (Yang, Yu, Zhu, Hayou, arXiv 2310.02244; Bordelon, Noci, Li, Hanin, Pehlevan, arXiv
    /// 2309.16620): α = 1/2.
    pub fn new(width: Mup, base_depth: usize) -> Self {
        Self {
            width,
            base_depth,
            alpha: 0.5,
            complete: false,
        }
    }

    /// CompleteP (Dey et al., arXiv 2505.01618): α = 1.
    pub fn complete_p(width: Mup, base_depth: usize) -> Self {
        Self {
            width,
            base_depth,
            alpha: 1.0,
            complete: true,
        }
    }

    /// m_L.
    fn ratio(&self, blocks: usize) -> f64 {
        blocks as f64 / self.base_depth as f64
    }

    /// Whether a parameter is a bias or belongs to a normalisation.
    fn is_vector(kind: ParamKind) -> bool {
        matches!(kind, ParamKind::Bias | ParamKind::Gain | ParamKind::Shift)
    }
}

impl Parametrization for DepthMup {
    fn name(&self) -> &str {
        if self.complete {
            "complete_p"
        } else {
            "depth_mup"
        }
    }

    fn base_width(&self) -> Option<usize> {
        self.width.base_width()
    }

    fn branch_multiplier(&self, blocks: usize) -> Result<f64> {
        if blocks == 0 {
            return Ok(1.0);
        }
        Ok(self.ratio(blocks).powf(-self.alpha))
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        let mut scales = self.width.trained_scales(param, optimizer)?;
        if param.in_branch {
            let ratio = self.ratio(param.blocks);
            let factor = ratio.powf(self.alpha * (1.0 + optimizer.degree()) - 1.0);
            scales.lr *= factor;
            if self.width.weight_decay == WeightDecayRule::Independent {
                scales.weight_decay /= factor;
            }
            if self.width.scale_eps {
                scales.eps *= ratio.powf(-self.alpha).powi(optimizer.eps_degree());
            }
            let source = match (self.complete, optimizer) {
                (true, OptimizerFamily::Sgd | OptimizerFamily::Adam) => "CompleteP Table 1",
                (true, OptimizerFamily::Adafactor) => "CompleteP, as Adam",
                (true, _) => "2512.05620, depth",
                (false, OptimizerFamily::Sgd | OptimizerFamily::Adam) => "Depth-muP",
                (false, _) => "Depth-muP, derived",
            };
            scales.source = source.into();
        }
        if self.complete && Self::is_vector(param.kind) {
            scales.weight_decay = 0.0;
        }
        Ok(scales)
    }

    fn settings(&self) -> Value {
        let mut settings = self.width.settings();
        if let Some(map) = settings.as_object_mut() {
            map.insert("base_depth".into(), self.base_depth.into());
        }
        settings
    }
}
