//! What a training step does with one member beside the two passes: loss, clipping, update.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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
    /// For each parameter, whether any gradient was other than 0 so far.
    pub received: &'a [AtomicBool],
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

    fn during_backward(&self, member: usize, loss: f64) -> bool {
        let s = &self.settings;
        self.goes_on(member, loss) && s.clip == Clip::None && s.optimizer.elementwise()
    }

    fn update_part(&self, member: usize, i: usize, start: usize, gradient: &[T]) -> Result<()> {
        let s = &self.settings;
        if !s.params[i].info.kind.is_trained() {
            return Ok(());
        }
        self.receive(i, gradient);
        let part = start..start + gradient.len();
        let whole = gradient.len() == self.values[i].tensor().elem_count() / s.active.len();
        // SAFETY: the passes over this member no longer need these entries, and nobody else updates them
        let (param, state) = unsafe {
            (
                &mut self.values[i].of_mut(member)[part.clone()],
                Parts::new(&self.states[i], member),
            )
        };
        // the state of a whole parameter may be of another shape
        let state = if whole { state } else { state.narrow(part) };
        T::rule(s.optimizer).update(Update {
            param,
            grad: gradient,
            state,
            info: &s.params[i].info,
            scales: &s.scales[i],
            factor: s.factor,
            member,
            step: s.step,
        })
    }

    fn update(&self, member: usize, loss: f64) -> Result<bool> {
        let s = &self.settings;
        if !self.goes_on(member, loss) {
            return Ok(false);
        }
        // SAFETY: the step calls this once per member, when its gradients are done
        unsafe { s.clip.apply_member(&self.grads, member) };
        for (i, param) in s.params.iter().enumerate() {
            // SAFETY: as above
            let gradient = unsafe { self.grads[i].of(member) };
            self.update_part(member, i, 0, gradient)
                .map_err(|e| e.at(&param.info.path))?;
        }
        Ok(true)
    }
}

impl<T: Optimized> StepWork<'_, T> {
    /// Whether the member is trained further.
    fn goes_on(&self, member: usize, loss: f64) -> bool {
        self.settings.active[member] && loss.is_finite()
    }

    fn receive(&self, i: usize, gradient: &[T]) {
        let received = &self.settings.received[i];
        if !received.load(Relaxed) && gradient.iter().any(|g| !g.is_zero()) {
            received.store(true, Relaxed);
        }
    }
}
