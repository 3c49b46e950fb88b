//! Initial distributions as functions of fan-in.

use serde::Serialize;

use super::Init;
use crate::nn::{ParamInfo, ParamKind};

/// How weights and biases start as a function of a fan-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// PyTorch's default of `nn.Linear`: weights and biases uniform in ±1/√fan_in, standard
    /// deviation 1/√(3 fan_in).
    Pytorch,
    /// Weights normal with standard deviation 1/√fan_in, biases 0.
    LecunNormal,
    /// Weights normal with standard deviation √(2/fan_in), biases 0 (He et al. 2015).
    KaimingNormal,
}

impl Initializer {
    /// Every initializer.
    pub const ALL: [Self; 3] = [Self::Pytorch, Self::LecunNormal, Self::KaimingNormal];

    /// The name in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pytorch => "pytorch",
            Self::LecunNormal => "lecun_normal",
            Self::KaimingNormal => "kaiming_normal",
        }
    }

    /// The initializer with this name in scripts.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|i| i.name() == name)
    }

    /// How `param` starts, if its layer had this fan-in.
    pub fn init(self, param: &ParamInfo, fan_in: usize) -> Init {
        let inverse = 1.0 / fan_in.max(1) as f64;
        match (param.kind, self) {
            (ParamKind::Weight | ParamKind::Bias, Self::Pytorch) => {
                Init::Uniform((inverse / 3.0).sqrt())
            }
            (ParamKind::Weight, Self::LecunNormal) => Init::Normal(inverse.sqrt()),
            (ParamKind::Weight, Self::KaimingNormal) => Init::Normal((2.0 * inverse).sqrt()),
            (kind, _) => Init::Constant(kind.start()),
        }
    }
}
