//! The table that says what a parametrization does to each parameter of a model.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::Model;
use crate::error::Result;
use crate::nn::{ParamInfo, Role};
use crate::optim::Optimizer;
use crate::parametrization::{OptimizerFamily, Scales};

/// A number and how it grows: `value ∝ width^exponent` between this width and twice it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scaled {
    /// The number at this width.
    pub value: f64,
    /// Exponent of width; `None` where the number is 0.
    pub exponent: Option<f64>,
}

impl Scaled {
    pub(super) fn new(value: f64, doubled: f64) -> Self {
        let exponent = (value != 0.0).then(|| (doubled / value).log2());
        // exponents of interest are multiples of 1/4 and more; the rest is rounding
        let exponent = exponent.map(|e| (e * 1e6).round() / 1e6 + 0.0);
        Self { value, exponent }
    }
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // five significant digits are enough to recognise a number
        let rounded: f64 = format!("{:.4e}", self.value).parse().unwrap_or(self.value);
        if self.value == 0.0 || (1e-4..1e6).contains(&self.value.abs()) {
            write!(f, "{rounded}")?;
        } else {
            write!(f, "{rounded:e}")?;
        }
        match self.exponent {
            Some(e) if e != 0.0 => write!(f, " w^{e}"),
            _ => Ok(()),
        }
    }
}

/// What a parametrization does to one parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainRow {
    /// Path of the parameter.
    pub path: String,
    /// Shape without the member axis.
    pub shape: Vec<usize>,
    /// Which of its dimensions grow with width.
    pub role: Role,
    /// Initial standard deviation.
    pub init_std: Scaled,
    /// Forward multiplier.
    pub multiplier: Scaled,
    /// Factor of the learning rate, or the learning rate if one was given.
    pub lr: Scaled,
    /// Factor of the weight decay.
    pub weight_decay: Scaled,
    /// The row of the table that this follows.
    pub source: Cow<'static, str>,
}

/// What a parametrization does to a model's parameters, for one optimizer family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Network, parametrization and width in a line.
    pub title: String,
    /// Whether [`ExplainRow::lr`] is a learning rate or the factor of one.
    pub lr_given: bool,
    /// One row per parameter.
    pub rows: Vec<ExplainRow>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lr = if self.lr_given { "lr" } else { "lr factor" };
        let heads = [
            "parameter",
            "shape",
            "role",
            "init std",
            "multiplier",
            lr,
            "wd factor",
            "follows",
        ];
        let mut lines = vec![heads.map(str::to_string)];
        lines.extend(self.rows.iter().map(|row| {
            let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
            [
                row.path.clone(),
                shape.join("×"),
                row.role.name().to_string(),
                row.init_std.to_string(),
                row.multiplier.to_string(),
                row.lr.to_string(),
                row.weight_decay.to_string(),
                row.source.to_string(),
            ]
        }));
        write!(f, "{}", self.title)?;
        columns(f, &lines)
    }
}

/// Lines of cells, each on a new line and each column as wide as its widest cell.
pub(super) fn columns<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    lines: &[[String; N]],
) -> fmt::Result {
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).filter_map(width).collect();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        write!(f, "\n{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// One row per parameter, with the learning rates that an optimizer gives the first member.
///
/// # Errors
/// If the network cannot be built at twice its width.
pub fn explain_optimizer(model: &Model, optimizer: &dyn Optimizer) -> Result<Explanation> {
    let mut explanation = explain(model, optimizer.family(), Some(1.0))?;
    let params = model.params().iter().map(|p| &p.info);
    // what is tied learns as its owner does
    let owner = |(path, _): &(String, ParamInfo)| {
        let mut params = model.params().iter().map(|p| &p.info);
        params.find(|info| info.path == *path)
    };
    let tied = model.tied().iter().filter_map(owner);
    for (row, info) in explanation.rows.iter_mut().zip(params.chain(tied)) {
        row.lr.value *= optimizer.lr_of(info, 0);
    }
    Ok(explanation)
}

/// One row per parameter, for an optimizer family and its learning rate (without, the factors of it).
///
/// # Errors
/// If the network cannot be built at twice its width.
pub fn explain(model: &Model, family: OptimizerFamily, lr: Option<f64>) -> Result<Explanation> {
    let network = model.network();
    let rule = model.parametrization();
    let (wider, tied) = model.wider()?;
    let row = |info: &ParamInfo, wider: &ParamInfo| {
        let here = rule.scales(info, family)?;
        let there = rule.scales(wider, family)?;
        let pair = |f: fn(&Scales) -> f64| Scaled::new(f(&here), f(&there));
        let rate = pair(|s| s.lr);
        Ok(ExplainRow {
            path: info.path.clone(),
            shape: info.shape.clone(),
            role: info.role,
            init_std: pair(|s| s.init.std()),
            multiplier: pair(|s| s.multiplier),
            lr: Scaled {
                value: rate.value * lr.unwrap_or(1.0),
                ..rate
            },
            weight_decay: pair(|s| s.weight_decay),
            source: here.source.clone(),
        })
    };
    let params = model.params().iter().zip(&wider);
    let rows = params.map(|(p, wider)| row(&p.info, wider));
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    let tied = model.tied().iter().zip(&tied);
    let tied = tied.filter_map(|((owner, info), (_, wider))| {
        let owner = rows.iter().find(|r| r.path == *owner)?;
        Some(row(info, wider).map(|own| ExplainRow {
            path: own.path,
            role: own.role,
            multiplier: own.multiplier,
            source: "shares the embedding's".into(),
            ..owner.clone()
        }))
    });
    let tied = tied.collect::<Result<Vec<_>>>()?;
    rows.extend(tied);
    let branches = match model.branches()? {
        (1.0, _) => String::new(),
        (factor, blocks) => format!(", branches of {blocks} blocks times {factor:.4}"),
    };
    Ok(Explanation {
        title: format!(
            "{} at width {} under {}, {}{branches}; w^x: how a number grows with width",
            network.name,
            network.width.map_or("-".into(), |w| w.to_string()),
            rule.name(),
            family.name()
        ),
        lr_given: lr.is_some(),
        rows,
    })
}
