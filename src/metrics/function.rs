//! A function on some points, ready to be compared with many others.

use rayon::prelude::*;

use super::outputs::{Outputs, argmax, centred};
use super::pair::Pair;
use crate::tensor::lanes::sums;
use crate::tensor::math::exp;
use crate::tensor::simd::simd;

/// One function on the points, with what its comparisons need: whatever does not depend on the other
/// function is computed once.
///
/// Logits are split into each point's mean and what is left of them, which are orthogonal: squares and
/// products of logits are those of the parts together, so that a comparison reads the large part and the
/// probabilities, once.
pub(super) struct Function {
    outputs: usize,
    /// Mean logit of each point.
    means: Vec<f64>,
    /// Mean of all logits.
    mean: f64,
    /// Logits less their point's mean.
    centred: Vec<f64>,
    /// Of the logits, and of the centred ones.
    sizes: [Size; 2],
    /// What only classes have.
    classes: Option<Classes>,
}

/// How large numbers are.
#[derive(Clone, Copy)]
struct Size {
    /// Sum of squares.
    squares: f64,
    /// Sum of squared distances from the mean.
    spread: f64,
}

struct Classes {
    p: Vec<f64>,
    /// Sum over points of the log of the sum of the centred logits' exponentials.
    log_total: f64,
    /// The first largest logit of each point.
    largest: Vec<usize>,
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
    /// Mean squared distance, squared distance relative to the reference, and correlation, of `count` numbers.
    fn measures(self, count: usize, f: Size, r: Size) -> [f64; 3] {
        let relative = match r.squares > 0.0 {
            true => self.distance / r.squares,
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
        let classes = outputs as f64;
        let centred = centred(logits, outputs);
        let means: Vec<f64> = logits
            .chunks(outputs)
            .map(|row| row.iter().sum::<f64>() / classes)
            .collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let [own] = simd(
            #[inline(always)]
            || sums([&centred], |[x]| [x * x]),
        );
        let [squares, spread] = simd(
            #[inline(always)]
            || sums([&means], |[x]| [x * x, (x - mean) * (x - mean)]),
        );
        let of_logits = Size {
            squares: own + classes * squares,
            spread: own + classes * spread,
        };
        let of_centred = Size {
            squares: own,
            spread: own,
        };
        Self {
            outputs,
            classes: (outputs > 1).then(|| Classes::new(logits, &centred, outputs)),
            means,
            mean,
            centred,
            sizes: [of_logits, of_centred],
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
        let (of_means, count) = (self.against_means(reference), self.centred.len());
        let (Some(own), Some(other)) = (&self.classes, &reference.classes) else {
            let [mean, relative, correlation] =
                of_means.measures(count, self.sizes[0], reference.sizes[0]);
            return Pair {
                mean_squared_distance: mean,
                relative_squared_distance: relative,
                correlation,
                ..Pair::undefined()
            };
        };
        let rows = [&self.centred, &reference.centred, &own.p, &other.p].map(Vec::as_slice);
        let [distance, product, variation, exponent] = simd(
            #[inline(always)]
            || {
                sums(rows, |[f, r, p, q]| {
                    let d = r - f;
                    [d * d, f * r, (p - q).abs(), q * d]
                })
            },
        );
        let centred = Sums { distance, product };
        let logits = Sums {
            distance: distance + of_means.distance,
            product: product + of_means.product,
        };
        let [of_logits, of_centred] = [(logits, 0), (centred, 1)]
            .map(|(sums, i)| sums.measures(count, self.sizes[i], reference.sizes[i]));
        let points = self.means.len() as f64;
        let predictions = own.largest.iter().zip(&other.largest);
        Pair {
            mean_squared_distance: of_logits[0],
            relative_squared_distance: of_logits[1],
            correlation: of_logits[2],
            centred_mean_squared_distance: of_centred[0],
            centred_relative_squared_distance: of_centred[1],
            centred_correlation: of_centred[2],
            top1_agreement: predictions.filter(|(a, b)| a == b).count() as f64 / points,
            total_variation: variation / 2.0 / points,
            kl: (exponent + own.log_total - other.log_total) / points,
        }
    }

    /// The part of the logits' sums that their means over outputs have.
    fn against_means(&self, reference: &Self) -> Sums {
        let (mf, mr) = (self.mean, reference.mean);
        let rows = [&self.means, &reference.means].map(Vec::as_slice);
        let [distance, product] = simd(
            #[inline(always)]
            || sums(rows, |[f, r]| [(f - r) * (f - r), (f - mf) * (r - mr)]),
        );
        let outputs = self.outputs as f64;
        Sums {
            distance: outputs * distance,
            product: outputs * product,
        }
    }
}

impl Classes {
    /// Exponentials are what takes time, so that there is one for each number, many at once.
    fn new(logits: &[f64], centred: &[f64], outputs: usize) -> Self {
        let mut p = centred.to_vec();
        let mut log_total = 0.0;
        for row in p.chunks_exact_mut(outputs) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|x| *x -= largest);
            log_total += largest;
        }
        simd(
            #[inline(always)]
            || p.iter_mut().for_each(|x| *x = exp(*x)),
        );
        for row in p.chunks_exact_mut(outputs) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= total);
            log_total += total.ln();
        }
        Self {
            p,
            log_total,
            largest: logits.chunks(outputs).map(argmax).collect(),
        }
    }
}
