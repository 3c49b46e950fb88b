//! What optimizers of matrices have in common: parameters as matrices in blocks, and how large a step is.

use serde::Serialize;

use super::State;
use crate::nn::ParamInfo;
use crate::parametrization::{OptimizerFamily, Scales};
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::squared_norm;
use crate::tensor::parallel::chunks;
use crate::tensor::rng::Key;
use crate::tensor::update::{Blocks, adam_norm, spectral_norm};

/// Rows and columns of a parameter as a matrix: the last axis are the outputs, those before it the inputs, so
/// that filters are flattened.
pub(super) fn matrix(shape: &[usize]) -> [usize; 2] {
    let (columns, rows) = shape.split_last().unwrap_or((&1, &[]));
    [rows.iter().product(), *columns]
}

/// A parameter as a matrix in blocks.
pub(super) fn blocks(param: &ParamInfo, block: Option<usize>) -> Blocks {
    let [rows, columns] = matrix(&param.shape);
    Blocks {
        rows,
        columns,
        block,
    }
}

/// States of the square matrices of the sides that there are, inputs and outputs: two for each, by these names.
pub(super) fn side_states(
    blocks: Blocks,
    sides: [bool; 2],
    names: [[&'static str; 2]; 2],
) -> impl Iterator<Item = State> {
    let of = |(names, len): ([&'static str; 2], usize)| names.map(|n| State::of(n, vec![len]));
    let all = names.into_iter().zip(blocks.factor_lens()).map(of);
    let there = all.zip(sides).filter(|(_, there)| *there);
    there.flat_map(|(states, _)| states)
}

/// The numbers of [`side_states`]: the first of each side, and the second; empty for a side that there is not.
pub(super) fn take_sides<'a, T>(
    states: &mut impl Iterator<Item = &'a mut [T]>,
    sides: [bool; 2],
) -> [[&'a mut [T]; 2]; 2] {
    let [[a, b], [c, d]] = sides.map(|there| {
        [there; 2].map(|there| match there {
            true => states.next().unwrap_or_default(),
            false => Default::default(),
        })
    });
    [[a, c], [b, d]]
}

/// Whose size the steps of a matrix have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Graft {
    /// The optimizer's own.
    None,
    /// The Frobenius norm of the step that Adam would take.
    Adam,
    /// The spectral norm √(fan_out/fan_in).
    Spectral,
}

impl Graft {
    /// The family of an optimizer whose steps would be of the family `own`.
    pub(super) fn family(self, own: OptimizerFamily) -> OptimizerFamily {
        match self {
            Self::None => own,
            Self::Adam => OptimizerFamily::Adam,
            Self::Spectral => OptimizerFamily::Muon,
        }
    }

    /// The spectral norm of a step.
    pub(super) fn norm(scales: &Scales) -> f64 {
        let [fan_in, fan_out] = scales.fans.map(|n| n.max(1) as f64);
        (fan_out / fan_in).sqrt()
    }

    /// The state that it needs for a matrix.
    pub(super) fn states(self, param: &ParamInfo) -> Vec<State> {
        match self {
            Self::None => Vec::new(),
            Self::Adam => vec![State::like("graft_exp_avg_sq", param)],
            Self::Spectral => vec![State::of("right_vector", vec![matrix(&param.shape)[1]])],
        }
    }
}

/// Where the power iteration of a matrix begins.
pub(super) fn random_vector(info: &ParamInfo) -> Vec<f64> {
    let key = Key::new(0).label("spectral norm").label(&info.path);
    let mut rng = key.rng();
    let [_, columns] = matrix(&info.shape);
    (0..columns).map(|_| rng.normal()).collect()
}

/// What the size of a matrix's step is found from.
pub(super) struct Sizing<'a, T> {
    pub grad: &'a [T],
    /// The first moment of the gradient.
    pub first: &'a [T],
    /// Decays of the first and the second moment.
    pub betas: [f64; 2],
    /// Adam's epsilon.
    pub eps: f64,
    pub info: &'a ParamInfo,
    pub scales: &'a Scales,
    pub step: u64,
}

impl<T: Elem> Sizing<'_, T> {
    /// What a direction has to be multiplied by. `state` is that of [`Graft::states`].
    pub fn factor(&self, graft: Graft, direction: &[T], state: Option<&mut [T]>) -> f64 {
        // a direction of 0 stays as it is
        let ratio = |wanted: f64, norm: f64| if norm == 0.0 { 0.0 } else { wanted / norm };
        match (graft, state) {
            (Graft::Adam, Some(second)) => {
                let wanted = adam_norm(
                    self.grad, self.first, second, self.betas, self.eps, self.step,
                );
                ratio(wanted, squared_norm(direction).sqrt())
            }
            (Graft::Spectral, Some(vector)) => {
                let new = vector.iter().all(|v| *v == T::of(0.0));
                if new {
                    let random = random_vector(self.info);
                    vector
                        .iter_mut()
                        .zip(random)
                        .for_each(|(v, x)| *v = T::of(x));
                }
                let norm = spectral_norm(direction, matrix(&self.info.shape), vector, new);
                if norm == 0.0 {
                    // begin again when there is something to see
                    vector.fill(T::of(0.0));
                }
                ratio(Graft::norm(self.scales), norm)
            }
            _ => 1.0,
        }
    }
}

/// `p = p − factor · direction`.
pub(super) fn step<T: Elem>(param: &mut [T], direction: &[T], factor: f64) {
    let factor = T::of(-factor);
    chunks(param, |start, p| {
        for (p, d) in p.iter_mut().zip(&direction[start..]) {
            *p = factor.mul_add(*d, *p);
        }
    });
}
