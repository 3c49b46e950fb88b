//! Where two parametrizations of one network differ, and where they only look different.
//!
//! A parameter enters the network as `W = A w`, starts with spread `B` and moves at the learning rate `C`.
//! Only `A B` and the movement of `W` matter to the function: for updates proportional to the gradient
//! that is `A² C`, for updates of a fixed size `A C` (Muon: times √(fan_out / fan_in)). Rules that agree in these train alike whatever `A` is,
//! the abc symmetry (*Tensor Programs IV*, arXiv 2011.14522; *Tensor Programs V*, arXiv 2203.03466,
//! Lemma J.1).

use std::fmt;

use serde::Serialize;

use super::Model;
use super::explain::Scaled;
use crate::error::{Error, Result};
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Parametrization, Scales};

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
    /// Of the effective initial spreads `A B`.
    pub init_std: Scaled,
    /// Of the effective learning rates.
    pub lr: Scaled,
    /// Of the products of learning rate and weight decay, by which weights shrink in a step; where there
    /// is no decay it does not count.
    pub weight_decay: Scaled,
    /// Of the effective epsilons of Adam, `ε / A`.
    pub eps: Scaled,
    /// Whether the two are the same.
    pub relation: Relation,
}

/// Two parametrizations of one network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Names of the two rules.
    pub rules: [String; 2],
    /// Network, width and optimizer in a line.
    pub title: String,
    /// One row per trained parameter.
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
                "{a} and {b} differ in {} of {} parameters",
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
                r.init_std.to_string(),
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

/// Power of the forward multiplier in the movement of the effective weight.
fn power(family: OptimizerFamily) -> i32 {
    match family {
        OptimizerFamily::Sgd => 2,
        OptimizerFamily::Adam | OptimizerFamily::Muon => 1,
    }
}

/// What acts on the function, and the multiplier, which alone does not.
struct Effective {
    multiplier: f64,
    init_std: f64,
    lr: f64,
    weight_decay: f64,
    eps: f64,
}

impl Effective {
    fn new(s: &Scales, family: OptimizerFamily) -> Self {
        // an orthogonalised update is sized by the matrix's shape
        let shape = match family {
            OptimizerFamily::Muon => (s.fans[1] as f64 / s.fans[0].max(1) as f64).sqrt(),
            OptimizerFamily::Sgd | OptimizerFamily::Adam => 1.0,
        };
        Self {
            multiplier: s.multiplier,
            init_std: s.multiplier * s.init.std(),
            lr: s.multiplier.powi(power(family)) * s.lr * shape,
            weight_decay: s.lr * s.weight_decay,
            eps: match family {
                OptimizerFamily::Adam | OptimizerFamily::Muon => s.eps / s.multiplier,
                OptimizerFamily::Sgd => 1.0,
            },
        }
    }
}

/// `b / a`, where 0 / 0 is 1.
fn ratio(a: f64, b: f64) -> f64 {
    if a == b { 1.0 } else { b / a }
}

fn is_one(s: Scaled) -> bool {
    (s.value - 1.0).abs() < 1e-9 && s.exponent.is_none_or(|e| e == 0.0)
}

/// Compares the rules of two models of one network and width, for an optimizer family with or without
/// weight decay.
///
/// # Errors
/// If the models' parameters differ, or the network cannot be built at twice its width.
pub fn compare(
    a: &Model,
    b: &Model,
    (family, decay): (OptimizerFamily, bool),
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
    let (wide_a, wide_b) = (a.wider()?, b.wider()?);
    let effective = |rule: &dyn Parametrization, info: &ParamInfo| {
        Effective::new(&rule.scales(info, family), family)
    };
    let mut rows = Vec::new();
    for (i, p) in a.params().iter().enumerate() {
        if !p.info.kind.is_trained() {
            continue;
        }
        let (rule_a, rule_b) = (&**a.parametrization(), &**b.parametrization());
        let here = [
            effective(rule_a, &p.info),
            effective(rule_b, &b.params()[i].info),
        ];
        let wide = [effective(rule_a, &wide_a[i]), effective(rule_b, &wide_b[i])];
        let of = |f: fn(&Effective) -> f64| {
            let [here, wide] = [&here, &wide].map(|[a, b]| ratio(f(a), f(b)));
            Scaled::new(here, wide)
        };
        let mut row = CompareRow {
            path: p.info.path.clone(),
            multiplier: of(|e| e.multiplier),
            init_std: of(|e| e.init_std),
            lr: of(|e| e.lr),
            weight_decay: of(|e| e.weight_decay),
            eps: of(|e| e.eps),
            relation: Relation::Different,
        };
        let shrinks = !decay || is_one(row.weight_decay);
        if shrinks && [row.init_std, row.lr, row.eps].into_iter().all(is_one) {
            row.relation = match is_one(row.multiplier) {
                true => Relation::Equal,
                false => Relation::Symmetric,
            };
        }
        rows.push(row);
    }
    rows.extend(a.tied().iter().zip(b.tied()).filter_map(|(ours, theirs)| {
        // the spread of the shared parameter, as it acts there
        let acts = |m: &Model, (owner, info): &(String, ParamInfo)| {
            let owner = m.params().iter().find(|p| p.info.path == *owner)?;
            let scales = |info| m.parametrization().scales(info, family);
            Some(scales(info).multiplier * scales(&owner.info).init.std())
        };
        let same = Scaled::new(1.0, 1.0);
        let init_std = ratio(acts(a, ours)?, acts(b, theirs)?);
        let init_std = Scaled::new(init_std, init_std);
        Some(CompareRow {
            path: ours.1.path.clone(),
            multiplier: same,
            init_std,
            lr: same,
            weight_decay: same,
            eps: same,
            relation: match is_one(init_std) {
                true => Relation::Equal,
                false => Relation::Different,
            },
        })
    }));
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
