//! Exponential moving averages of weights.

use candle_core::Tensor;

use crate::error::Result;
use crate::optim::PerMember;
use crate::tensor::elem::{Elem, dispatch, read, write};
use crate::tensor::parallel::chunks;
use crate::tensor::simd::simd;

/// Averages of a model's parameters over updates, with the conventions of PyTorch's `AveragedModel` with
/// `get_ema_multi_avg_fn`: after the first update the average is the parameter, after every other one
/// `average = decay · average + (1 − decay) · parameter`. What layers estimate themselves is copied.
#[derive(Debug)]
pub struct Ema {
    decay: PerMember,
    averages: Vec<Tensor>,
}

impl Ema {
    /// Averages in these tensors, `[members, …]`, one for each parameter.
    pub fn new(decay: PerMember, averages: Vec<Tensor>) -> Self {
        Self { decay, averages }
    }

    /// What is kept of an average.
    pub(super) fn decay(&self) -> &PerMember {
        &self.decay
    }

    /// The averages.
    pub fn averages(&self) -> &[Tensor] {
        &self.averages
    }

    /// Takes in every parameter after an update, with whether it is trained, for the members that are
    /// `active`; `first` is the first update.
    ///
    /// # Errors
    /// If a parameter is not a contiguous tensor of its average's type and shape.
    pub fn update<'a>(
        &self,
        params: impl IntoIterator<Item = (&'a Tensor, bool)>,
        active: &[bool],
        first: bool,
    ) -> Result<()> {
        for (average, (param, trained)) in self.averages.iter().zip(params) {
            let size = (average.elem_count() / active.len().max(1)).max(1);
            dispatch!(average, T => read(param, |param: &[T]| write(average, |average: &mut [T]| {
                let members = average.chunks_mut(size).zip(param.chunks(size)).zip(active);
                for (member, ((average, param), _)) in members.enumerate().filter(|(_, (_, on))| **on) {
                    if first || !trained {
                        average.copy_from_slice(param);
                    } else {
                        blend(average, param, self.decay.of(member));
                    }
                }
                Ok(())
            })))?;
        }
        Ok(())
    }
}

/// `average += (1 − decay) · (param − average)`.
fn blend<T: Elem>(average: &mut [T], param: &[T], decay: f64) {
    let rest = T::of(1.0 - decay);
    chunks(average, |start, average| {
        let param = &param[start..][..average.len()];
        simd(
            #[inline(always)]
            || towards(average, param, rest),
        );
    });
}

#[inline(always)]
fn towards<T: Elem>(average: &mut [T], param: &[T], part: T) {
    for (a, p) in average.iter_mut().zip(param) {
        *a = part.mul_add(*p - *a, *a);
    }
}
