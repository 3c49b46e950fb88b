//! Parameters as a network describes them, and their roles under growing width.

use serde::Serialize;

/// What a parameter does in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// A matrix applied to activations, shape `[fan_in, fan_out]`.
    Weight,
    /// Added to activations.
    Bias,
    /// Multiplies normalised activations; starts at 1.
    Gain,
    /// Added to normalised activations; starts at 0.
    Shift,
    /// A running mean of activations, not trained; starts at 0.
    RunningMean,
    /// A running variance of activations, not trained; starts at 1.
    RunningVar,
}

impl ParamKind {
    /// Where it starts if it starts at a constant.
    pub fn start(self) -> f64 {
        match self {
            Self::Gain | Self::RunningVar => 1.0,
            Self::Weight | Self::Bias | Self::Shift | Self::RunningMean => 0.0,
        }
    }

    /// Whether training follows its gradient. The others are estimates that layers keep: part of the
    /// model's state, but constants to losses, optimizers and derivatives.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

/// Which of a parameter's dimensions grow with width (*Tensor Programs V*, arXiv 2203.03466).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A matrix from a fixed dimension to a growing one.
    InputLike,
    /// A matrix between growing dimensions.
    Hidden,
    /// A matrix from a growing dimension to a fixed one.
    OutputLike,
    /// A vector (bias, gain) over a growing dimension.
    VectorLike,
    /// Nothing grows.
    Fixed,
}

impl Role {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::InputLike => "input-like",
            Self::Hidden => "hidden",
            Self::OutputLike => "output-like",
            Self::VectorLike => "vector-like",
            Self::Fixed => "fixed",
        }
    }

    /// The role of a parameter whose fan-in and fan-out grow or not.
    pub fn infer(kind: ParamKind, fan_in_grows: bool, fan_out_grows: bool) -> Self {
        match (kind, fan_in_grows, fan_out_grows) {
            (ParamKind::Weight, false, true) => Self::InputLike,
            (ParamKind::Weight, true, true) => Self::Hidden,
            (ParamKind::Weight, true, false) => Self::OutputLike,
            (ParamKind::Weight, false, false) => Self::Fixed,
            (_, _, true) => Self::VectorLike,
            (_, _, false) => Self::Fixed,
        }
    }
}

/// A parameter as its layer declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name within the layer, for instance `weight`; in a [`Description`](super::Description) the
    /// whole path, for instance `layers.0.weight`.
    pub path: String,
    /// Shape without the member axis.
    pub shape: Vec<usize>,
    /// What it does in its layer.
    pub kind: ParamKind,
    /// Inputs that each output of its layer sums over.
    pub fan_in: usize,
    /// Outputs of its layer.
    pub fan_out: usize,
}

/// Everything that a parametrization may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParamInfo {
    /// Path in the network, for instance `readout.weight`.
    pub path: String,
    /// Shape without the member axis.
    pub shape: Vec<usize>,
    /// What it does in its layer.
    pub kind: ParamKind,
    /// Which of its dimensions grow with width.
    pub role: Role,
    /// Fan-in of its layer.
    pub fan_in: usize,
    /// Fan-out of its layer.
    pub fan_out: usize,
    /// Fan-in of its layer at the base width.
    pub base_fan_in: usize,
    /// Fan-out of its layer at the base width.
    pub base_fan_out: usize,
    /// Width of the network: the fan-in of its readout.
    pub width: usize,
    /// Fan-in of the readout at the base width.
    pub base_width: usize,
    /// Number of weight matrices in the network.
    pub depth: usize,
    /// Whether its layer goes from a growing dimension to a fixed one.
    pub readout: bool,
    /// Whether it is in the branch of a residual block.
    pub in_branch: bool,
    /// Number of residual blocks of the network.
    pub blocks: usize,
}

impl ParamInfo {
    /// `fan_in / base_fan_in`.
    pub fn fan_in_mult(&self) -> f64 {
        self.fan_in as f64 / self.base_fan_in as f64
    }

    /// Whether it is a matrix between growing dimensions (or filters, which count as `[fan_in, fan_out]`):
    /// what optimizers of matrices act on.
    pub fn is_hidden_matrix(&self) -> bool {
        self.role == Role::Hidden && self.shape.len() > 1
    }
}
