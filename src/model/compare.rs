//! Where two parametrizations of one network differ, and where they only look different.
//!
//! A parameter enters the network as `W = A w`, starts with spread `B` (or at the constant `B`) and moves at
//! the learning rate `C`.
//! Only `A B` and the movement of `W` matter to the function: for updates proportional to the gradient
//! that is `A² C`, for updates of a fixed size `A C` (Muon: times √(fan_out / fan_in)). Rules that agree in these train alike whatever `A` is,
//! the abc symmetry (*Tensor Programs IV*, arXiv 2011.14522; *Tensor Programs V*, arXiv 2203.03466,
//! Lemma J.1).

use std::fmt;
use std::mem::{Discriminant, discriminant};

use serde::Serialize;

use super::Model;
use super::explain::Scaled;
use crate::error::{Error, Result};
use crate::nn::ParamInfo;
use crate::parametrization::{Init, OptimizerFamily, Scales};

/// How the second rule's treatment of a parameter is related to the first's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The same numbers.
    Equal,
    /// Other numbers, which the abc symmetry makes the same.
    Symmetric,
    /// Another function.
    Different,
}

/// One parameter under two rules: what the second rule has, in units of the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompareRow {
    /// Path of the parameter.
    pub path: String,
    /// Of the forward multipliers `A`.
    pub multiplier: Scaled,
    /// Of the effective initial spreads or constants `A B`.
    pub init: Scaled,
    /// Whether both start from the same kind of distribution: normal, uniform or a constant.
    pub same_distribution: bool,
    /// Of the effective learning rates.
    pub lr: Scaled,
    /// Of the products of learning rate and weight decay, by which weights shrink in a step; where there
    /// is no decay it does not count.
    pub weight_decay: Scaled,
    /// Of the effective epsilons, `ε / A`; where the optimizer has none it does not count.
    pub eps: Scaled,
    /// Whether the two are the same.
    pub relation: Relation,
}

impl CompareRow {
    /// What is the same under both rules.
    fn same(path: &str) -> Self {
        let one = Scaled::new(1.0, 1.0);
        Self {
            path: path.into(),
            multiplier: one,
            init: one,
            same_distribution: true,
            lr: one,
            weight_decay: one,
            eps: one,
            relation: Relation::Equal,
        }
    }

    /// The row with its relation.
    fn judged(mut self, counted: Counted) -> Self {
        let same = self.same_distribution
            && is_one(self.init)
            && is_one(self.lr)
            && (!counted.weight_decay || is_one(self.weight_decay))
            && (!counted.eps || is_one(self.eps));
        self.relation = match (same, is_one(self.multiplier)) {
            (false, _) => Relation::Different,
            (true, true) => Relation::Equal,
            (true, false) => Relation::Symmetric,
        };
        self
    }
}

/// Two parametrizations of one network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the two rules.
    pub rules: [String; 2],
    /// Network, width and optimizer in a line.
    pub title: String,
    /// One row per trained parameter, one for each that another layer shares, and one for the factor of
    /// residual branches where the rules differ in it.
    pub rows: Vec<CompareRow>,
}

impl Comparison {
    /// The relation of the two rules as wholes.
    pub fn relation(&self) -> Relation {
        let any = |relation| self.rows.iter().any(|r| r.relation == relation);
        match (any(Relation::Different), any(Relation::Symmetric)) {
            (true, _) => Relation::Different,
            (false, true) => Relation::Symmetric,
            (false, false) => Relation::Equal,
        }
    }

    /// The answer in a sentence.
    pub fn verdict(&self) -> String {
        let [a, b] = &self.rules;
        let different = self
            .rows
            .iter()
            .filter(|r| r.relation == Relation::Different);
        match self.relation() {
            Relation::Equal => format!("{a} and {b} are the same here"),
            Relation::Symmetric => format!(
                "{a} and {b} are the same up to the abc symmetry: from starts that correspond, they train alike"
            ),
            Relation::Different => format!(
                "{a} and {b} differ in {} of {} rows",
                different.count(),
                self.rows.len()
            ),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "parameter",
            "multiplier",
            "effective init",
            "effective lr",
            "lr × wd",
            "effective eps",
            "",
        ];
        let mut lines = vec![heads.map(str::to_string)];
        lines.extend(self.rows.iter().map(|r| {
            let relation = match r.relation {
                Relation::Equal => "equal",
                Relation::Symmetric => "symmetric",
                Relation::Different => "different",
            };
            [
                r.path.clone(),
                r.multiplier.to_string(),
                match r.same_distribution {
                    true => r.init.to_string(),
                    false => format!("{}, another distribution", r.init),
                },
                r.lr.to_string(),
                r.weight_decay.to_string(),
                r.eps.to_string(),
                relation.to_string(),
            ]
        }));
        write!(f, "{}", self.title)?;
        super::explain::columns(f, &lines)?;
        write!(f, "\n{}", self.verdict())
    }
}

/// What acts on the function, and the multiplier, which alone does not.
struct Effective {
    multiplier: f64,
    init: f64,
    distribution: Discriminant<Init>,
    lr: f64,
    weight_decay: f64,
    eps: f64,
}

impl Effective {
    fn new(s: &Scales, family: OptimizerFamily) -> Self {
        // an orthogonalised update is sized by the matrix's shape
        let shape = match family {
            OptimizerFamily::Muon => (s.fans[1] as f64 / s.fans[0].max(1) as f64).sqrt(),
            _ => 1.0,
        };
        Self {
            multiplier: s.multiplier,
            init: s.multiplier * start(s.init),
            distribution: discriminant(&s.init),
            lr: s.multiplier.powf(family.multiplier_power()) * s.lr * shape,
            weight_decay: s.lr * s.weight_decay,
            eps: s.eps * s.multiplier.powi(-family.eps_degree()),
        }
    }
}

/// The spread, or the constant.
fn start(init: Init) -> f64 {
    match init {
        Init::Normal(std) | Init::Uniform(std) => std,
        Init::Constant(value) => value,
    }
}

/// `b / a`, where 0 / 0 is 1.
fn ratio(a: f64, b: f64) -> f64 {
    if a == b { 1.0 } else { b / a }
}

fn is_one(s: Scaled) -> bool {
    (s.value - 1.0).abs() < 1e-9 && s.exponent.is_none_or(|e| e == 0.0)
}

/// What of an optimizer's settings a comparison counts.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Whether the optimizer has a weight decay other than 0.
    pub weight_decay: bool,
    /// Whether it has an epsilon.
    pub eps: bool,
}

/// Compares the rules of two models of one network and width, for an optimizer family.
///
/// # Errors
/// If the models' parameters differ, or the network cannot be built at twice its width.
pub fn compare(
    a: &Model,
    b: &Model,
    family: OptimizerFamily,
    counted: Counted,
) -> Result<Comparison> {
    let shapes = |m: &Model| -> Vec<_> {
        let params = m.params().iter();
        params
            .map(|p| (p.info.path.clone(), p.info.shape.clone()))
            .collect()
    };
    let (ours, theirs) = (shapes(a), shapes(b));
    if let Some((x, y)) = ours.iter().zip(&theirs).find(|(x, y)| x != y) {
        return Err(Error::setting(format!(
            "compare: the models must have the same network and width, but {} has shape {:?} and {} has {:?}",
            x.0, x.1, y.0, y.1
        )));
    }
    if ours.len() != theirs.len() {
        return Err(Error::setting(format!(
            "compare: the models must have the same network, but one has {} parameters and the other {}",
            ours.len(),
            theirs.len()
        )));
    }
    let ((wide_a, tied_a), (wide_b, tied_b)) = (a.wider()?, b.wider()?);
    let effective = |m: &Model, info: &ParamInfo| {
        let scales = m.parametrization().scales(info, family)?;
        Ok::<_, Error>(Effective::new(&scales, family.of(info)))
    };
    let mut rows = Vec::new();
    for (i, p) in a.params().iter().enumerate() {
        if !p.info.kind.is_trained() {
            continue;
        }
        let here = [effective(a, &p.info)?, effective(b, &b.params()[i].info)?];
        let wide = [effective(a, &wide_a[i])?, effective(b, &wide_b[i])?];
        let of = |f: fn(&Effective) -> f64| {
            let [here, wide] = [&here, &wide].map(|[a, b]| ratio(f(a), f(b)));
            Scaled::new(here, wide)
        };
        rows.push(
            CompareRow {
                multiplier: of(|e| e.multiplier),
                init: of(|e| e.init),
                same_distribution: here[0].distribution == here[1].distribution,
                lr: of(|e| e.lr),
                weight_decay: of(|e| e.weight_decay),
                eps: of(|e| e.eps),
                ..CompareRow::same(&p.info.path)
            }
            .judged(counted),
        );
    }
    // how a shared parameter acts in the other layer; all else is its owner's
    let acts = |m: &Model, infos: &[ParamInfo], (owner, info): &(String, ParamInfo)| {
        let scales = |info| m.parametrization().scales(info, family);
        let Some(owner) = infos.iter().find(|i| i.path == *owner) else {
            return Ok(None);
        };
        Ok::<_, Error>(Some(scales(info)?.multiplier * start(scales(owner)?.init)))
    };
    let infos = |m: &Model| -> Vec<_> { m.params().iter().map(|p| p.info.clone()).collect() };
    let (infos_a, infos_b) = (infos(a), infos(b));
    for (i, (ours, theirs)) in a.tied().iter().zip(b.tied()).enumerate() {
        let here = (acts(a, &infos_a, ours)?, acts(b, &infos_b, theirs)?);
        let wide = (acts(a, &wide_a, &tied_a[i])?, acts(b, &wide_b, &tied_b[i])?);
        if let ((Some(a), Some(b)), (Some(wide_a), Some(wide_b))) = (here, wide) {
            rows.push(
                CompareRow {
                    init: Scaled::new(ratio(a, b), ratio(wide_a, wide_b)),
                    ..CompareRow::same(&ours.1.path)
                }
                .judged(counted),
            );
        }
    }
    let ((ours, _), (theirs, _)) = (a.branches()?, b.branches()?);
    if ours != theirs {
        let factor = ratio(ours, theirs);
        rows.push(CompareRow {
            multiplier: Scaled::new(factor, factor),
            relation: Relation::Different,
            ..CompareRow::same("(residual branches)")
        });
    }
    let network = a.network();
    let rules = [a, b].map(|m| m.parametrization().name().to_string());
    Ok(Comparison {
        title: format!(
            "{} at width {}, {}: {} in units of {}; w^x: how a ratio grows with width",
            network.name,
            network.width.map_or("-".into(), |w| w.to_string()),
            family.name(),
            rules[1],
            rules[0]
        ),
        rules,
        rows,
    })
}
