//! Families of optimizers that the tables distinguish, and how the learning rates of each follow a
//! weight's shape.

use serde::Serialize;

use crate::nn::ParamInfo;

/// A family of optimizers: how the size of an update follows the gradient and the weight's shape.
///
/// The last three act on hidden matrices; what else there is follows [`OptimizerFamily::Adam`], see
/// [`OptimizerFamily::of`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerFamily {
    /// Updates proportional to the gradient: SGD with and without momentum.
    Sgd,
    /// Updates of a size that does not depend on the gradient's, entry by entry: Adam, AdamW, Lion, and
    /// what is grafted onto them.
    Adam,
    /// Updates in proportion to the parameter's own size: Adafactor.
    Adafactor,
    /// Updates of a spectral norm that does not depend on the gradient: Muon, and other optimizers with
    /// spectral normalisation.
    Muon,
    /// Gradients between inverse powers of their own second moments: Shampoo.
    Shampoo {
        /// Power on the side of the fan-in.
        exponent_in: f64,
        /// Power on the side of the fan-out.
        exponent_out: f64,
        /// Largest side of a block, if matrices are cut into blocks.
        block: Option<usize>,
    },
    /// Adam in the eigenbases of the gradient's second moments: SOAP.
    Soap {
        /// Whether there is a basis on the side of the fan-in.
        basis_in: bool,
        /// Whether there is a basis on the side of the fan-out.
        basis_out: bool,
        /// Largest side of a block, if matrices are cut into blocks.
        block: Option<usize>,
    },
}

impl OptimizerFamily {
    /// Every family, with the usual exponents and without blocks.
    pub const ALL: [Self; 6] = [
        Self::Sgd,
        Self::Adam,
        Self::Adafactor,
        Self::Muon,
        Self::Shampoo {
            exponent_in: 0.25,
            exponent_out: 0.25,
            block: None,
        },
        Self::Soap {
            basis_in: true,
            basis_out: true,
            block: None,
        },
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::Adafactor => "adafactor",
            Self::Muon => "muon",
            Self::Shampoo { .. } => "shampoo",
            Self::Soap { .. } => "soap",
        }
    }

    /// The family with this name, with the usual exponents and without blocks.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The family that a parameter belongs to: optimizers of matrices leave what is no hidden matrix to
    /// Adam.
    pub fn of(self, param: &ParamInfo) -> Self {
        match self {
            Self::Muon | Self::Shampoo { .. } | Self::Soap { .. } if !param.is_hidden_matrix() => {
                Self::Adam
            }
            family => family,
        }
    }

    /// The power of the gradient's size that an update's size follows.
    pub fn degree(self) -> f64 {
        match self {
            Self::Sgd => 1.0,
            Self::Shampoo {
                exponent_in,
                exponent_out,
                ..
            } => 1.0 - 2.0 * (exponent_in + exponent_out),
            Self::Adam | Self::Adafactor | Self::Muon | Self::Soap { .. } => 0.0,
        }
    }

    /// The power of a forward multiplier by which the effective weight moves (the abc symmetry): the
    /// multiplier acts on the gradient and on the update.
    pub fn multiplier_power(self) -> f64 {
        match self {
            // the update follows the parameter's size, which a multiplier takes from it
            Self::Adafactor => 0.0,
            family => 1.0 + family.degree(),
        }
    }

    /// The power of the gradient's size that epsilon has to follow: 1 where it is added to something of that
    /// size, 0 where it is relative or there is none.
    pub fn eps_degree(self) -> i32 {
        match self {
            Self::Adam | Self::Muon | Self::Soap { .. } => 1,
            Self::Sgd | Self::Adafactor | Self::Shampoo { .. } => 0,
        }
    }

    /// What the learning rate of a weight has to be multiplied by when its `[fan_in, fan_out]` grow from
    /// those of `base`, so that steps change features alike (arXiv 2512.05620, the table of learning rates,
    /// which for SGD and Adam is that of *Tensor Programs V*): for a weight without forward multiplier that
    /// starts with variance 1/fan_in.
    pub fn lr_growth(self, fans: [usize; 2], base: [usize; 2]) -> f64 {
        let [m_in, m_out] = growth(fans, base);
        match self {
            Self::Sgd => m_out / m_in,
            Self::Adam => 1.0 / m_in,
            // Adam's over the spread that the weight starts with
            Self::Adafactor => 1.0 / m_in.sqrt(),
            Self::Muon => (m_out / m_in).sqrt(),
            Self::Shampoo {
                exponent_in,
                exponent_out,
                block,
            } => {
                let exponent = exponent_in + exponent_out;
                let blocks = block_count(fans, block) / block_count(base, block);
                (m_out / m_in).powf(1.0 - exponent) * blocks.powf(-exponent)
            }
            Self::Soap { block, .. } => self.basis_growth(fans, base, block) / m_in,
        }
    }

    /// What epsilon has to be multiplied by likewise.
    pub fn eps_growth(self, fans: [usize; 2], base: [usize; 2]) -> f64 {
        let [m_in, m_out] = growth(fans, base);
        match self {
            Self::Adam => 1.0 / m_out,
            // of a norm of the gradient
            Self::Muon => (m_in / m_out).sqrt(),
            Self::Soap { block, .. } => self.basis_growth(fans, base, block) / m_out,
            // the least size that an update is relative to
            Self::Adafactor => 1.0 / m_in.sqrt(),
            // relative to the largest eigenvalue
            Self::Shampoo { .. } => 1.0,
            Self::Sgd => 1.0,
        }
    }

    /// By how much the largest entries of a gradient grow in the eigenbases.
    fn basis_growth(self, fans: [usize; 2], base: [usize; 2], block: Option<usize>) -> f64 {
        let Self::Soap {
            basis_in,
            basis_out,
            ..
        } = self
        else {
            return 1.0;
        };
        let cap = |n: usize| block.map_or(n, |b| n.min(b));
        let [b_in, b_out] = growth(fans.map(cap), base.map(cap));
        let side = |on: bool, b: f64| if on { b.sqrt() } else { 1.0 };
        side(basis_in, b_in) * side(basis_out, b_out)
    }
}

/// `fans / base`.
fn growth(fans: [usize; 2], base: [usize; 2]) -> [f64; 2] {
    std::array::from_fn(|i| fans[i].max(1) as f64 / base[i].max(1) as f64)
}

/// Number of blocks of a matrix.
fn block_count(fans: [usize; 2], block: Option<usize>) -> f64 {
    let count = |n: usize| block.map_or(1, |b| n.max(1).div_ceil(b.max(1)));
    fans.map(count).iter().product::<usize>() as f64
}
