//! Entropy of attention maps, and their distance from those of other networks.

use candle_core::Tensor;
use rayon::prelude::*;

use super::assignment::assignment;
use super::members::{Members, two_members};
use super::pairwise::Pairwise;
use crate::error::{Error, Result};

/// How far the probabilities of a row may be from a sum of 1.
const SUM: f64 = 1e-3;

/// Distances of attention maps.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionDistance {
    /// Mean distance of matched heads; `None` if heads were not matched.
    pub matched: Option<Pairwise>,
    /// `[member][reference member]`: for each head, the head of the reference that it was matched with;
    /// empty where a member has diverged, or heads were not matched.
    pub heads: Vec<Vec<Vec<usize>>>,
    /// Mean distance of the maps averaged over heads.
    pub averaged: Pairwise,
}

/// Entropy of attention, `−Σ_j a[i, j] ln a[i, j]` in nats, of each member and head: the mean over
/// points and queries, `[member][head]`. From 0, where each query attends to one key, to the logarithm
/// of the number of keys. `maps [members, points, heads, queries, keys]`, or without the axis of heads.
///
/// # Errors
/// If the shape is another, or rows are no probabilities. A member that has diverged has NaN.
pub fn attention_entropy(maps: &Tensor) -> Result<Vec<Vec<f64>>> {
    let maps = Maps::read("attention_entropy", maps)?;
    let members = (0..maps.set.count).into_par_iter();
    Ok(members
        .map(|m| {
            let Some(all) = maps.set.finite(m) else {
                return vec![f64::NAN; maps.heads];
            };
            let mut sums = vec![0.0; maps.heads];
            for (i, map) in all.chunks_exact(maps.map()).enumerate() {
                let terms = map.iter().filter(|a| **a > 0.0).map(|a| a * a.ln());
                sums[i % maps.heads] -= terms.sum::<f64>();
            }
            let rows = (maps.points * maps.queries) as f64;
            sums.iter().map(|sum| sum / rows).collect()
        })
        .collect())
}

/// Distance of the attention maps of every member of one set from those of every member of another, on
/// the same inputs: the Jensen–Shannon distance (the root of the divergence, in nats, at most √ln 2) of
/// two rows of probabilities, the mean over points and queries. `[members, points, heads, queries,
/// keys]`, or without the axis of heads.
///
/// With `match_heads`, every head is compared with one head of the other network, so that the mean
/// distance is smallest (Hungarian method): heads have no order. Beside it stands the distance of the
/// maps averaged over heads, which networks with different numbers of heads have too.
///
/// # Errors
/// If shapes do not fit, rows are no probabilities, or heads are to be matched with another number of
/// them. A member that has diverged has NaN.
pub fn attention_distance(
    maps: &Tensor,
    reference: &Tensor,
    match_heads: bool,
) -> Result<AttentionDistance> {
    let what = "attention_distance";
    let a = Maps::read(what, maps)?;
    let b = Maps::read("attention_distance, reference", reference)?;
    let sizes = |m: &Maps| [m.points, m.queries, m.keys];
    if sizes(&a) != sizes(&b) {
        return Err(Error::shape(format!(
            "{what}: [points, queries, keys] are {:?}, the reference's {:?}",
            sizes(&a),
            sizes(&b)
        ))
        .with_help("take both maps at the same inputs"));
    }
    if match_heads && a.heads != b.heads {
        return Err(Error::shape(format!(
            "{what}: {} heads cannot be matched with the reference's {}",
            a.heads, b.heads
        ))
        .with_help("match_heads: false compares the maps averaged over heads"));
    }
    let (rows, columns) = (a.averages(), b.averages());
    let averaged = Pairwise::between(rows.len(), columns.len(), |i, j| {
        distance_of(&rows[i], &columns[j], a.keys)
    });
    if !match_heads {
        return Ok(AttentionDistance {
            matched: None,
            heads: Vec::new(),
            averaged,
        });
    }
    let pairs: Vec<(f64, Vec<usize>)> = (0..a.set.count * b.set.count)
        .into_par_iter()
        .map(|at| a.matched(at / b.set.count, &b, at % b.set.count))
        .collect::<Result<_>>()?;
    let heads = pairs.chunks(b.set.count);
    Ok(AttentionDistance {
        matched: Some(Pairwise {
            matrix: heads
                .clone()
                .map(|row| row.iter().map(|(d, _)| *d).collect())
                .collect(),
            within: false,
        }),
        heads: heads
            .map(|row| row.iter().map(|(_, h)| h.clone()).collect())
            .collect(),
        averaged,
    })
}

/// The same among the members of one set, each of which is compared with every other.
///
/// # Errors
/// As for [`attention_distance`], and if there are fewer than two members.
pub fn attention_distance_within(maps: &Tensor, match_heads: bool) -> Result<AttentionDistance> {
    two_members(
        "attention_distance_within",
        maps.dims().first().copied().unwrap_or(0),
    )?;
    let mut found = attention_distance(maps, maps, match_heads)?;
    found.averaged.within = true;
    if let Some(matched) = &mut found.matched {
        matched.within = true;
    }
    Ok(found)
}

/// Attention maps of all members.
struct Maps {
    set: Members,
    points: usize,
    heads: usize,
    queries: usize,
    keys: usize,
}

impl Maps {
    fn read(what: &str, tensor: &Tensor) -> Result<Self> {
        let expected = "[members, points, heads, queries, keys]";
        let set = Members::read(what, tensor, 3, expected)?;
        let (points, heads, queries, keys) = match *set.shape {
            [points, heads, queries, keys] => (points, heads, queries, keys),
            [points, queries, keys] => (points, 1, queries, keys),
            _ => {
                return Err(Error::shape(format!(
                    "{what}: expected attention maps of shape {expected}, found {:?}",
                    tensor.dims()
                )));
            }
        };
        for member in 0..set.count {
            let Some(all) = set.finite(member) else {
                continue;
            };
            let bad = all.chunks_exact(keys).position(|row| {
                (row.iter().sum::<f64>() - 1.0).abs() > SUM || row.iter().any(|x| *x < 0.0)
            });
            if let Some(row) = bad {
                let numbers = &all[row * keys..][..keys];
                return Err(Error::other(format!(
                    "{what}: a row of member {member} is no probabilities: query {} of head {} at point \
                     {} has a sum of {} and a least entry of {}",
                    row % queries,
                    row / queries % heads,
                    row / queries / heads,
                    numbers.iter().sum::<f64>(),
                    numbers.iter().copied().fold(f64::INFINITY, f64::min)
                ))
                .with_help("metrics::attention_maps(model, layer, inputs) gives attention maps"));
            }
        }
        Ok(Self {
            set,
            points,
            heads,
            queries,
            keys,
        })
    }

    fn map(&self) -> usize {
        self.queries * self.keys
    }

    /// The mean over heads of each member's maps; `None` where it has diverged.
    fn averages(&self) -> Vec<Option<Vec<f64>>> {
        let (map, heads) = (self.map(), self.heads as f64);
        let mean = |all: &[f64]| {
            let mut found = vec![0.0; self.points * map];
            for (to, maps) in found
                .chunks_exact_mut(map)
                .zip(all.chunks_exact(self.heads * map))
            {
                for maps in maps.chunks_exact(map) {
                    to.iter_mut().zip(maps).for_each(|(to, x)| *to += x / heads);
                }
            }
            found
        };
        (0..self.set.count)
            .map(|m| self.set.finite(m).map(mean))
            .collect()
    }

    /// Mean distance of a member's heads from those of another's that they match best.
    fn matched(&self, member: usize, other: &Self, reference: usize) -> Result<(f64, Vec<usize>)> {
        let (Some(a), Some(b)) = (self.set.finite(member), other.set.finite(reference)) else {
            return Ok((f64::NAN, Vec::new()));
        };
        let size = self.map();
        let mut costs = vec![vec![0.0; self.heads]; self.heads];
        let points = a
            .chunks_exact(self.heads * size)
            .zip(b.chunks_exact(self.heads * size));
        for (a, b) in points {
            for (a, costs) in a.chunks_exact(size).zip(&mut costs) {
                for (b, cost) in b.chunks_exact(size).zip(costs) {
                    *cost += sum_of_rows(a, b, self.keys) / (self.points * self.queries) as f64;
                }
            }
        }
        let heads = assignment(&costs)?;
        let sum: f64 = heads
            .iter()
            .enumerate()
            .map(|(h, &other)| costs[h][other])
            .sum();
        Ok((sum / self.heads as f64, heads))
    }
}

fn distance_of(a: &Option<Vec<f64>>, b: &Option<Vec<f64>>, keys: usize) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) => sum_of_rows(a, b, keys) / (a.len() / keys) as f64,
        _ => f64::NAN,
    }
}

/// The sum over rows of their Jensen–Shannon distances.
fn sum_of_rows(a: &[f64], b: &[f64], keys: usize) -> f64 {
    let rows = a.chunks_exact(keys).zip(b.chunks_exact(keys));
    rows.map(|(p, q)| jensen_shannon(p, q)).sum()
}

/// `√((KL(p ‖ m) + KL(q ‖ m)) / 2)` with `m = (p + q) / 2` (Endres and Schindelin 2003).
fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let term = |x: f64, middle: f64| if x > 0.0 { x * (x / middle).ln() } else { 0.0 };
    let sum: f64 = p
        .iter()
        .zip(q)
        .map(|(&p, &q)| {
            let middle = 0.5 * (p + q);
            term(p, middle) + term(q, middle)
        })
        .sum();
    // rounding can be below zero
    (0.5 * sum).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing;
    use crate::reference::{Fixture, assert_close};
    use candle_core::D;

    /// Random maps.
    fn maps(seed: u64, shape: &[usize]) -> Tensor {
        let scores = testing::normal(seed, shape, 2.0).exp().unwrap();
        scores
            .broadcast_div(&scores.sum_keepdim(D::Minus1).unwrap())
            .unwrap()
    }

    #[test]
    fn distances_and_entropies_are_those_of_scipy() {
        let fixture = Fixture::load("representations");
        let of = |name: &str| fixture.tensor(&format!("maps.{name}"));
        let (a, b) = (of("a").to_tensor(), of("b").to_tensor());
        let found = attention_distance(&a, &b, true).unwrap();
        let matched = found.matched.unwrap().matrix.concat();
        assert_close("matched", &matched, &of("matched").values, 1e-12);
        assert_close(
            "averaged",
            &found.averaged.matrix.concat(),
            &of("averaged").values,
            1e-12,
        );
        let heads: Vec<f64> = found
            .heads
            .concat()
            .concat()
            .iter()
            .map(|&h| h as f64)
            .collect();
        assert_close("heads", &heads, &of("heads").values, 0.0);
        let entropy = attention_entropy(&a).unwrap();
        assert_close("entropy", &entropy.concat(), &of("entropy").values, 1e-13);
    }

    #[test]
    fn heads_in_another_order_are_the_same() {
        let a = maps(1, &[2, 3, 4, 5, 5]);
        let order = Tensor::new(&[2_u32, 0, 3, 1], a.device()).unwrap();
        let b = a.index_select(&order, 2).unwrap();
        let found = attention_distance(&a, &b, true).unwrap();
        let matched = found.matched.unwrap();
        assert_eq!((matched.matrix[0][0], matched.matrix[1][1]), (0.0, 0.0));
        assert_eq!(found.heads[0][0], [1, 3, 0, 2]);
        assert!(found.averaged.matrix[0][0] < 1e-7 && matched.matrix[0][1] > 0.1);
        let within = attention_distance_within(&a, true).unwrap();
        assert_eq!(within.matched.unwrap().summary().unwrap().count, 1);
    }

    #[test]
    fn extremes_are_known() {
        let one = Tensor::new(&[[[[1.0, 0.0], [1.0, 0.0]]]], &candle_core::Device::Cpu).unwrap();
        let other = Tensor::new(&[[[[0.0, 1.0], [0.0, 1.0]]]], &candle_core::Device::Cpu).unwrap();
        let found = attention_distance(&one, &other, true)
            .unwrap()
            .averaged
            .matrix[0][0];
        assert!((found - 2f64.ln().sqrt()).abs() < 1e-15);
        assert_eq!(attention_entropy(&one).unwrap(), [[0.0]]);
        let even = Tensor::full(0.25, (1, 2, 3, 4, 4), &candle_core::Device::Cpu).unwrap();
        let entropy = attention_entropy(&even).unwrap();
        assert!(entropy[0].iter().all(|e| (e - 4f64.ln()).abs() < 1e-15));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let (a, b) = (maps(1, &[2, 3, 4, 5, 5]), maps(2, &[2, 3, 2, 5, 5]));
        let error = attention_distance(&a, &b, true).unwrap_err();
        assert!(
            error
                .message
                .contains("4 heads cannot be matched with the reference's 2")
        );
        assert!(error.help.unwrap().contains("match_heads: false"));
        let found = attention_distance(&a, &b, false).unwrap();
        assert!(found.matched.is_none() && found.averaged.matrix[0][0] > 0.0);
        let shorter = maps(2, &[2, 3, 4, 5, 4]);
        assert!(attention_distance(&a, &shorter, true).is_err());
        let logits = testing::normal(1, &[1, 2, 3, 4, 4], 1.0);
        let error = attention_entropy(&logits).unwrap_err();
        assert!(
            error
                .message
                .contains("member 0 is no probabilities: query 0 of head 0"),
            "{error}"
        );
        assert!(attention_entropy(&a.flatten_from(2).unwrap()).is_err());
        let one = a.narrow(0, 0, 1).unwrap();
        assert!(attention_distance_within(&one, true).is_err());
    }

    #[test]
    fn diverged_members_are_nan() {
        let a = maps(1, &[2, 3, 4, 5, 5]);
        let bad = (a.narrow(0, 0, 1).unwrap() * f64::NAN).unwrap();
        let a = Tensor::cat(&[bad, a.narrow(0, 1, 1).unwrap()], 0).unwrap();
        let found = attention_distance_within(&a, true).unwrap();
        assert!(found.matched.as_ref().unwrap().matrix[0][1].is_nan());
        assert!(found.matched.unwrap().summary().is_err());
        assert!(found.heads[0][1].is_empty() && found.averaged.matrix[1][1] == 0.0);
        assert!(attention_entropy(&a).unwrap()[0][2].is_nan());
    }
}
