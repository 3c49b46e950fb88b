//! Measuring a trainer: steps as a user's script takes them.

use std::sync::PoisonError;

use super::measurement::{Labels, Measurement, Quantity, Work};
use super::protocol::Protocol;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt;
use crate::nn::{Cost, Workload};
use crate::train::{Hooks, RunEnd, Trainer};

/// What a step of a trainer costs at least.
///
/// # Errors
/// If the network's description fails.
pub fn work(trainer: &Trainer) -> Result<Work> {
    let model = trainer.model();
    let model = model.read().unwrap_or_else(PoisonError::into_inner);
    let cost = Cost::of(model.network(), model.outputs(), model.input())?;
    let workload = Workload {
        members: model.members(),
        batch: trainer.batch_size(),
        states: trainer.optimizer().hidden_states(),
        bytes: model.dtype().size_in_bytes(),
    };
    Ok(Work {
        flops: Some(cost.flops(workload)),
        bytes: Some(cost.traffic(workload)),
    })
}

/// Lets a trainer take steps, with everything that it does in a step, and times them. The steps are
/// real: afterwards the model is trained.
///
/// # Errors
/// Those of the trainer; if a member diverges, for its updates are then left out and the time would
/// be too good; an interruption.
pub fn training(
    trainer: &mut Trainer,
    hooks: &mut dyn Hooks,
    labels: Labels,
    quantity: Quantity,
    protocol: Protocol,
) -> Result<Measurement> {
    let work = work(trainer)?;
    Measurement::take(labels, quantity, work, protocol, &mut |steps| {
        if trainer.run(steps, hooks)? == RunEnd::Interrupted || interrupt::requested() {
            return Err(Error::interrupted());
        }
        match trainer.active().iter().position(|active| !active) {
            None => Ok(()),
            Some(member) => Err(Error::new(
                ErrorKind::Diverged,
                format!("member {member} diverged, so its steps cannot be measured"),
            )
            .with_help("a smaller learning rate keeps it finite")),
        }
    })
}
