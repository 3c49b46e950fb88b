//! Logits and labels as plain numbers, checked against each other, and the few formulas on one
//! point's logits that every metric needs.

use candle_core::{DType, Device, Tensor};

use crate::data::Labels;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::elem::to_f64;

/// Network outputs `[members, points, outputs]` in `f64`; with positions, each is a point.
pub(super) struct Outputs {
    pub members: usize,
    pub points: usize,
    pub outputs: usize,
    values: Vec<f64>,
}

impl Outputs {
    /// Reads a tensor; `what` names the metric in errors.
    pub fn read(what: &str, tensor: &Tensor) -> Result<Self> {
        let &[members, ref points @ .., outputs] = tensor.dims() else {
            return Err(Error::shape(format!(
                "{what}: expected logits of shape [members, points, outputs], found {:?}",
                tensor.dims()
            )));
        };
        if points.is_empty() {
            return Err(Error::shape(format!(
                "{what}: expected logits of shape [members, points, outputs], found {:?}",
                tensor.dims()
            )));
        }
        let points = points.iter().product();
        if members * points * outputs == 0 {
            return Err(Error::shape(format!(
                "{what}: logits of shape {:?} hold no number",
                tensor.dims()
            )));
        }
        let values = to_f64(tensor)?;
        Ok(Self {
            members,
            points,
            outputs,
            values,
        })
    }

    /// All logits of one member, point by point.
    pub fn member(&self, member: usize) -> &[f64] {
        let size = self.points * self.outputs;
        &self.values[member * size..(member + 1) * size]
    }

    /// Whether every logit of the member is finite.
    pub fn is_finite(&self, member: usize) -> bool {
        self.member(member).iter().all(|x| x.is_finite())
    }

    /// The members that have not diverged; an error if there are fewer than `needed`.
    pub fn finite_members(&self, what: &str, needed: usize) -> Result<Vec<usize>> {
        let finite: Vec<usize> = (0..self.members).filter(|&m| self.is_finite(m)).collect();
        if finite.len() >= needed {
            return Ok(finite);
        }
        let excluded = self.members - finite.len();
        let wanted = match needed {
            1 => "one member".to_owned(),
            n => format!("{n} members"),
        };
        Err(if excluded > 0 {
            let message = format!(
                "{what}: needs at least {wanted} with finite logits, but {excluded} of {} diverged",
                self.members
            );
            Error::new(ErrorKind::Diverged, message).with_help("lower the learning rate")
        } else {
            Error::setting(format!(
                "{what}: needs at least {wanted}, found {}",
                self.members
            ))
            .with_help(format!("make the model with members: {needed} or more"))
        })
    }

    /// The value of `f` for every member that has not diverged, NaN for the others.
    pub fn per_member(&self, mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
        (0..self.members)
            .map(|m| match self.is_finite(m) {
                true => f(self.member(m)),
                false => f64::NAN,
            })
            .collect()
    }

    /// The mean over the given members, `[points, outputs]`.
    pub fn mean_over(&self, members: &[usize]) -> Vec<f64> {
        let mut mean = vec![0.0; self.points * self.outputs];
        for &m in members {
            for (sum, x) in mean.iter_mut().zip(self.member(m)) {
                *sum += x;
            }
        }
        for sum in &mut mean {
            *sum /= members.len() as f64;
        }
        mean
    }

    /// Mean over points and outputs of the variance over the given members, with `E - 1`.
    pub fn variance_over(&self, members: &[usize], mean: &[f64]) -> f64 {
        let squares: f64 = members
            .iter()
            .map(|&m| squared_distance(self.member(m), mean))
            .sum();
        squares / ((members.len() - 1) * mean.len()) as f64
    }

    /// The class of every point, checked to fit these logits.
    pub fn classes(&self, what: &str, labels: &Labels) -> Result<Vec<usize>> {
        let Labels::Classes(tensor) = labels else {
            return Err(Error::setting(format!(
                "{what}: needs class labels, but the labels are real values"
            ))
            .with_help("use mse for regression"));
        };
        if tensor.elem_count() != self.points {
            return Err(Error::shape(format!(
                "{what}: logits of {} points, labels {:?}",
                self.points,
                tensor.dims()
            )));
        }
        let classes: Vec<i64> = tensor
            .to_device(&Device::Cpu)?
            .to_dtype(DType::I64)?
            .flatten_all()?
            .to_vec1()?;
        let checked = |(point, &class): (usize, &i64)| {
            usize::try_from(class)
                .ok()
                .filter(|&c| c < self.outputs)
                .ok_or_else(|| {
                    Error::shape(format!(
                        "{what}: point {point} has class {class}, but there are {} outputs",
                        self.outputs
                    ))
                })
        };
        classes.iter().enumerate().map(checked).collect()
    }

    /// The target value of every output, `[points, outputs]`; classes become one-hot vectors.
    pub fn targets(&self, what: &str, labels: &Labels) -> Result<Vec<f64>> {
        match labels {
            Labels::Classes(_) => {
                let mut targets = vec![0.0; self.points * self.outputs];
                for (point, class) in self.classes(what, labels)?.into_iter().enumerate() {
                    targets[point * self.outputs + class] = 1.0;
                }
                Ok(targets)
            }
            Labels::Values(tensor) if tensor.dims() == [self.points, self.outputs] => {
                to_f64(tensor)
            }
            Labels::Values(tensor) => Err(Error::shape(format!(
                "{what}: outputs of shape [{}, {}] for every member, target values {:?}",
                self.points,
                self.outputs,
                tensor.dims()
            ))),
        }
    }
}

/// Sum of squared differences.
pub(super) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// `log Σ exp`, without overflow.
pub(super) fn log_sum_exp(row: &[f64]) -> f64 {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

/// Log-probabilities of every point from its logits, `outputs` numbers a point.
pub(super) fn log_softmax(logits: &[f64], outputs: usize) -> Vec<f64> {
    let mut found = Vec::with_capacity(logits.len());
    for row in logits.chunks(outputs) {
        let total = log_sum_exp(row);
        found.extend(row.iter().map(|x| x - total));
    }
    found
}

/// The first largest entry.
pub(super) fn argmax(row: &[f64]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

/// Each point's logits minus their mean: what the softmax sees of them.
pub(super) fn centred(logits: &[f64], outputs: usize) -> Vec<f64> {
    let mut found = Vec::with_capacity(logits.len());
    for row in logits.chunks(outputs) {
        let mean = row.iter().sum::<f64>() / outputs as f64;
        found.extend(row.iter().map(|x| x - mean));
    }
    found
}
