//! Signals: gradients of the network's outputs with respect to an activation, in the cheapest form
//! that they have on the way back.

use std::ops::Range;

use rayon::prelude::*;

use crate::nn::kernel::ParamAxis;
use crate::tensor::elem::Elem;
use crate::tensor::elementwise::accumulate;

/// The signals of some outputs at an activation, for every example of a batch.
///
/// At the network's output they are the identity for every example; they stay the same for all
/// examples behind layers that are affine, such as a readout or a mean over an image, and up to the
/// first activation of numbers one by one they have one factor per example and number.
#[derive(Debug, Clone)]
pub enum Signal<T> {
    /// The same for every example: `[outputs, …]`.
    Shared(Vec<T>),
    /// Those, times factors of each example: `[outputs, …]` and `[batch, …]`.
    Scaled(Vec<T>, Vec<T>),
    /// Any: `[batch, outputs, …]`.
    Each(Vec<T>),
}

impl<T: Elem> Signal<T> {
    /// The same times a number.
    pub fn times(mut self, factor: f64) -> Self {
        if factor != 1.0 {
            let (Self::Shared(all) | Self::Scaled(all, _) | Self::Each(all)) = &mut self;
            let factor = T::of(factor);
            all.iter_mut().for_each(|s| *s *= factor);
        }
        self
    }

    /// As `[batch, outputs, …]`.
    pub fn expand(self, batch: usize, outputs: usize) -> Vec<T> {
        let (shared, factors) = match self {
            Self::Each(all) => return all,
            Self::Shared(shared) => return shared.repeat(batch),
            Self::Scaled(shared, factors) => (shared, factors),
        };
        let size = (shared.len() / outputs.max(1)).max(1);
        by_examples(batch, shared.len(), |i, all| {
            let factors = &factors[i * size..(i + 1) * size];
            for (all, shared) in all.chunks_exact_mut(size).zip(shared.chunks_exact(size)) {
                let pairs = shared.iter().zip(factors);
                all.iter_mut()
                    .zip(pairs)
                    .for_each(|(a, (s, f))| *a = *s * *f);
            }
        })
    }

    /// The sum with the signals of another consumer of the activation.
    pub fn plus(self, other: Self, batch: usize, outputs: usize) -> Self {
        match (self, other) {
            (Self::Shared(mut all), Self::Shared(more)) => {
                accumulate(&mut all, &more, 1.0);
                Self::Shared(all)
            }
            (one, other) => {
                let mut all = one.expand(batch, outputs);
                accumulate(&mut all, &other.expand(batch, outputs), 1.0);
                Self::Each(all)
            }
        }
    }

    /// Those of some of the outputs.
    pub fn part(&self, some: &Range<usize>, batch: usize, outputs: usize) -> Self {
        let of = |shared: &'_ [T]| {
            let size = shared.len() / outputs.max(1);
            some.start * size..some.end * size
        };
        match self {
            Self::Shared(shared) => Self::Shared(shared[of(shared)].to_vec()),
            Self::Scaled(shared, factors) => {
                Self::Scaled(shared[of(shared)].to_vec(), factors.clone())
            }
            Self::Each(all) => {
                let example = all.len() / batch.max(1);
                let range = of(&all[..example]);
                Self::Each(by_examples(batch, range.len(), |i, part| {
                    part.copy_from_slice(&all[i * example..][range.clone()]);
                }))
            }
        }
    }

    /// Signals `[batch, 1, …]` of one output that have the same kernel as these of all, for a layer
    /// with this axis of parameters and this shape of its output.
    ///
    /// Where the signals of output `o` are `R[o, c] · f[i, c, p]` for entry `c` of the axis, so are the
    /// gradients of the entry's parameters, and the sum over `o` of their inner products is that of
    /// `√(Σ_o R[o, c]²) · f[i, c, p]`. `None` where they are not: where they differ among examples in
    /// another way, or among positions, as behind a flattened image.
    pub fn compact(
        &self,
        axis: Option<ParamAxis>,
        shape: &[usize],
        batch: usize,
    ) -> Option<Vec<T>> {
        let (shared, factors) = match self {
            Self::Shared(shared) => (shared, None),
            Self::Scaled(shared, factors) => (shared, Some(factors)),
            Self::Each(_) => return None,
        };
        let size = shape.iter().product::<usize>().max(1);
        // entry c of the axis has its numbers at c · stride.0 + p · stride.1
        let (entries, stride) = match axis? {
            ParamAxis::First => {
                let entries = shape.first().copied().unwrap_or(1).max(1);
                (entries, (size / entries, 1))
            }
            ParamAxis::Last => {
                let entries = shape.last().copied().unwrap_or(1).max(1);
                (entries, (1, entries))
            }
            ParamAxis::All => (size, (1, 0)),
        };
        let mut norms = vec![T::of(0.0); size];
        for shared in shared.chunks_exact(size) {
            for entry in 0..entries {
                let first = shared[entry * stride.0];
                for position in 0..size / entries {
                    let at = entry * stride.0 + position * stride.1;
                    if shared[at] != first {
                        return None;
                    }
                    norms[at] += first * first;
                }
            }
        }
        norms.iter_mut().for_each(|n| *n = n.sqrt());
        Some(match factors {
            None => norms.repeat(batch),
            Some(factors) => Self::Scaled(norms, factors.clone()).expand(batch, 1),
        })
    }
}

/// `size` numbers for each example, which `fill` writes.
fn by_examples<T: Elem>(
    batch: usize,
    size: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut all = vec![T::of(0.0); batch * size];
    all.par_chunks_exact_mut(size.max(1))
        .enumerate()
        .for_each(|(i, part)| fill(i, part));
    all
}
