//! Parametrizations from the user's own function.

use std::fmt;

use serde_json::{Value, json};

use super::{OptimizerFamily, Parametrization, Scales};
use crate::error::{Error, Result};
use crate::nn::ParamInfo;

/// A parameter and an optimizer's family to scales; `None` for a parameter that it does not cover.
type ScalesOf = dyn Fn(&ParamInfo, OptimizerFamily) -> Result<Option<Scales>> + Send + Sync;

/// A number of residual blocks to what their branches are multiplied by.
type BranchesOf = dyn Fn(usize) -> Result<f64> + Send + Sync;

/// A parametrization from a function. What it gives is checked: a parameter that it does not cover, or
/// scales that no training can use, is an error that names the parameter.
pub struct Custom {
    name: String,
    base_width: Option<usize>,
    scales: Box<ScalesOf>,
    branches: Option<Box<BranchesOf>>,
}

impl Custom {
    /// A rule with a name for tables and records.
    pub fn new(
        name: impl Into<String>,
        base_width: Option<usize>,
        scales: impl Fn(&ParamInfo, OptimizerFamily) -> Result<Option<Scales>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            base_width,
            scales: Box::new(scales),
            branches: None,
        }
    }

    /// The same with a rule for the branches of residual blocks.
    pub fn with_branches(
        self,
        branches: impl Fn(usize) -> Result<f64> + Send + Sync + 'static,
    ) -> Self {
        Self {
            branches: Some(Box::new(branches)),
            ..self
        }
    }
}

impl Custom {
    fn found(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        (self.scales)(param, optimizer)?.ok_or_else(|| {
            Error::setting(format!(
                "{} has no scales for {} ({}, shape {:?})",
                self.name,
                param.path,
                param.role.name(),
                param.shape
            ))
            .with_help("return a map of scales for every parameter")
        })
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.name)
    }
}

impl Parametrization for Custom {
    fn name(&self) -> &str {
        &self.name
    }

    fn base_width(&self) -> Option<usize> {
        self.base_width
    }

    fn branch_multiplier(&self, blocks: usize) -> Result<f64> {
        match &self.branches {
            Some(branches) if blocks > 0 => {
                let factor = branches(blocks)?;
                usable(&self.name, "branch_multiplier", factor, 0.0)
                    .map_err(|e| e.at(format!("{blocks} residual blocks")))
            }
            _ => Ok(1.0),
        }
    }

    fn trained_scales(&self, param: &ParamInfo, optimizer: OptimizerFamily) -> Result<Scales> {
        let scales = self.found(param, optimizer)?;
        if optimizer != OptimizerFamily::Sgd {
            // models are made before an optimizer is known
            let made = self.found(param, OptimizerFamily::Sgd)?;
            if (made.init, made.multiplier) != (scales.init, scales.multiplier) {
                return Err(Error::setting(format!(
                    "{}: init and multiplier must not depend on the optimizer, but differ between sgd and {}",
                    self.name,
                    optimizer.name()
                ))
                .at(&param.path));
            }
        }
        for (what, number, least) in [
            ("init", scales.init.std(), 0.0),
            ("multiplier", scales.multiplier, f64::NEG_INFINITY),
            ("lr", scales.lr, 0.0),
            ("weight_decay", scales.weight_decay, 0.0),
            ("eps", scales.eps, 0.0),
        ] {
            usable(&self.name, what, number, least).map_err(|e| e.at(&param.path))?;
        }
        Ok(scales)
    }

    fn is_own(&self) -> bool {
        true
    }

    fn settings(&self) -> Value {
        json!({ "base_width": self.base_width })
    }
}

/// The number, if it is finite and at least `least`.
fn usable(rule: &str, what: &str, number: f64, least: f64) -> Result<f64> {
    if number.is_finite() && number >= least {
        return Ok(number);
    }
    let expected = if least == 0.0 {
        "a number from 0 up"
    } else {
        "a finite number"
    };
    Err(Error::setting(format!(
        "{rule}: {what} must be {expected}, found {number}"
    )))
}
