//! A function on some points, ready to be compared with many others.

use rayon::prelude::*;

use super::outputs::{Outputs, argmax, centred};
use super::pair::Pair;
use crate::tensor::lanes::sums;
use crate::tensor::math::exp;
use crate::tensor::simd::simd;

/// One function on the points, with what its comparisons need: whatever does not depend on the other
/// function is computed once, so that a comparison is a single pass over the numbers.
pub(super) struct Function {
    outputs: usize,
    logits: Numbers,
    /// What only classes have.
    classes: Option<Classes>,
}

/// Logits, or logits centred over classes.
struct Numbers {
    values: Vec<f64>,
    mean: f64,
    /// Sum of squares.
    size: f64,
    /// Sum of squared distances from the mean.
    spread: f64,
}

struct Classes {
    centred: Numbers,
    log_p: Vec<f64>,
    p: Vec<f64>,
    /// The first largest logit of each point.
    largest: Vec<usize>,
}

impl Numbers {
    fn new(values: Vec<f64>) -> Self {
        let count = values.len() as f64;
        let mean = simd(
            #[inline(always)]
            || sums([&values], |[x]| [x]),
        )[0] / count;
        let [size, spread] = simd(
            #[inline(always)]
            || sums([&values], |[x]| [x * x, (x - mean) * (x - mean)]),
        );
        Self {
            values,
            mean,
            size,
            spread,
        }
    }
}

/// Sums over the numbers of a function and of its reference.
#[derive(Clone, Copy)]
struct Sums {
    /// Of squared differences.
    distance: f64,
    /// Of products of distances from the means.
    product: f64,
}

impl Sums {
    /// Mean squared distance, squared distance relative to the reference, and correlation.
    fn measures(self, f: &Numbers, r: &Numbers) -> [f64; 3] {
        let count = f.values.len();
        let relative = match r.size > 0.0 {
            true => self.distance / r.size,
            false => f64::NAN,
        };
        let varies = count > 1 && f.spread > 0.0 && r.spread > 0.0;
        // two roots: the product of the squares can overflow or underflow
        let correlation = match varies {
            true => (self.product / f.spread.sqrt() / r.spread.sqrt()).clamp(-1.0, 1.0),
            false => f64::NAN,
        };
        [self.distance / count as f64, relative, correlation]
    }
}

impl Function {
    /// From logits `[points, outputs]`.
    pub fn new(logits: &[f64], outputs: usize) -> Self {
        let classes = (outputs > 1).then(|| {
            let [p, log_p] = probabilities(logits, outputs);
            Classes {
                centred: Numbers::new(centred(logits, outputs)),
                p,
                log_p,
                largest: logits.chunks(outputs).map(argmax).collect(),
            }
        });
        Self {
            outputs,
            logits: Numbers::new(logits.to_vec()),
            classes,
        }
    }

    /// Every member as a function, `None` where it diverged.
    pub fn members(outputs: &Outputs) -> Vec<Option<Self>> {
        let member = |m| {
            let finite = outputs.is_finite(m);
            finite.then(|| Self::new(outputs.member(m), outputs.outputs))
        };
        (0..outputs.members).into_par_iter().map(member).collect()
    }

    /// How much this function agrees with a reference on the same points.
    pub fn against(&self, reference: &Self) -> Pair {
        let (f, r) = (&self.logits, &reference.logits);
        let (mf, mr) = (f.mean, r.mean);
        let rows = [f.values.as_slice(), &r.values];
        let [distance, product] = simd(
            #[inline(always)]
            || sums(rows, |[f, r]| [(f - r) * (f - r), (f - mf) * (r - mr)]),
        );
        let [mean, relative, correlation] = Sums { distance, product }.measures(f, r);
        let mut pair = Pair {
            mean_squared_distance: mean,
            relative_squared_distance: relative,
            correlation,
            ..Pair::undefined()
        };
        if let (Some(own), Some(other)) = (&self.classes, &reference.classes) {
            let points = (f.values.len() / self.outputs) as f64;
            own.against(other, points, &mut pair);
        }
        pair
    }
}

/// Probabilities and their logarithms: exponentials are what takes time, so that there is one for each
/// number, many at once.
fn probabilities(logits: &[f64], outputs: usize) -> [Vec<f64>; 2] {
    let mut log_p = logits.to_vec();
    for row in log_p.chunks_exact_mut(outputs) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|x| *x -= largest);
    }
    let mut p = log_p.clone();
    simd(
        #[inline(always)]
        || p.iter_mut().for_each(|x| *x = exp(*x)),
    );
    let rows = p
        .chunks_exact_mut(outputs)
        .zip(log_p.chunks_exact_mut(outputs));
    for (p, log_p) in rows {
        let total: f64 = p.iter().sum();
        let log_total = total.ln();
        p.iter_mut().for_each(|x| *x /= total);
        log_p.iter_mut().for_each(|x| *x -= log_total);
    }
    [p, log_p]
}

impl Classes {
    fn against(&self, reference: &Self, points: f64, pair: &mut Pair) {
        let (f, r) = (&self.centred, &reference.centred);
        let (mf, mr) = (f.mean, r.mean);
        let rows = [
            f.values.as_slice(),
            &r.values,
            &self.p,
            &reference.p,
            &self.log_p,
            &reference.log_p,
        ];
        let [distance, product, variation, divergence] = simd(
            #[inline(always)]
            || {
                sums(rows, |[f, r, p, q, log_p, log_q]| {
                    [
                        (f - r) * (f - r),
                        (f - mf) * (r - mr),
                        (p - q).abs(),
                        q * (log_q - log_p),
                    ]
                })
            },
        );
        let measures = Sums { distance, product }.measures(f, r);
        [
            pair.centred_mean_squared_distance,
            pair.centred_relative_squared_distance,
            pair.centred_correlation,
        ] = measures;
        let predictions = self.largest.iter().zip(&reference.largest);
        pair.top1_agreement = predictions.filter(|(a, b)| a == b).count() as f64 / points;
        pair.total_variation = variation / 2.0 / points;
        pair.kl = divergence / points;
    }
}
