//! What a training step does with one member beside the two passes: loss, clipping, update.

use candle_core::Tensor;

use super::clip::Clip;
use crate::error::Result;
use crate::metrics::Goal;
use crate::model::Parameter;
use crate::nn::{Buffer, MemberWork, Parts};
use crate::optim::{Optimized, Optimizer, Update};
use crate::parametrization::Scales;

/// Settings of one step of a trainer.
pub struct StepSettings<'a> {
    pub goal: Goal,
    pub clip: Clip,
    pub optimizer: &'a dyn Optimizer,
    pub params: &'a [Parameter],
    pub scales: &'a [Scales],
    /// Members that have not diverged; the others are left as they are.
    pub active: &'a [bool],
    /// The schedule's factor of the learning rate.
    pub factor: f64,
    /// Number of this update, from 1.
    pub step: u64,
}

/// One step of a trainer, with the numbers it works on.
pub struct StepWork<'a, T> {
    settings: StepSettings<'a>,
    values: Vec<Buffer<T>>,
    grads: Vec<Buffer<T>>,
    states: Vec<Vec<Buffer<T>>>,
}

impl<'a, T: Optimized> StepWork<'a, T> {
    pub fn new(
        settings: StepSettings<'a>,
        grads: &[Tensor],
        states: &[Vec<Tensor>],
    ) -> Result<Self> {
        let all = |tensors: &[Tensor]| tensors.iter().map(Buffer::new).collect::<Result<Vec<_>>>();
        let params = settings.params.iter();
        Ok(Self {
            values: params
                .map(|p| Buffer::new(&p.value))
                .collect::<Result<_>>()?,
            grads: all(grads)?,
            states: states.iter().map(|s| all(s)).collect::<Result<_>>()?,
            settings,
        })
    }
}

impl<T: Optimized> MemberWork<T> for StepWork<'_, T> {
    fn loss(&self, _member: usize, outputs: &[T], gradient: &mut [T]) -> Result<f64> {
        Ok(self.settings.goal.loss(outputs, Some(gradient)))
    }

    fn update(&self, member: usize, loss: f64) -> Result<bool> {
        let s = &self.settings;
        if !s.active[member] || !loss.is_finite() {
            return Ok(false);
        }
        // SAFETY: the step calls this once per member, when its gradients are done
        unsafe { s.clip.apply_member(&self.grads, member) };
        let rule = T::rule(s.optimizer);
        let params = s.params.iter().enumerate();
        for (i, param) in params.filter(|(_, p)| p.info.kind.is_trained()) {
            // SAFETY: as above; the passes over this member are over
            let (value, grad, state) = unsafe {
                let state = Parts::new(&self.states[i], member);
                (
                    self.values[i].of_mut(member),
                    self.grads[i].of(member),
                    state,
                )
            };
            let update = Update {
                param: value,
                grad,
                state,
                shape: &param.info.shape,
                scales: &s.scales[i],
                factor: s.factor,
                member,
                step: s.step,
            };
            rule.update(update).map_err(|e| e.at(&param.info.path))?;
        }
        Ok(true)
    }
}
