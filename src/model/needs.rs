//! What a model's passes need, estimated before it is made.

use candle_core::Tensor;

use super::model::{Model, ModelSettings, Parameter};
use crate::error::Result;
use crate::memory::{self, Need};
use crate::nn::{Gradients, ParamInfo, Plan};
use crate::optim::Optimizer;

/// Passes whose memory is estimated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    /// Which gradients of activations there is room for.
    pub gradients: Gradients,
    /// What there is of each parameter's shape besides its value.
    pub tensors: &'a [&'a str],
    /// What an optimizer keeps; `None` without one.
    pub optimizer: Option<&'a dyn Optimizer>,
    /// Batches of inputs that are still to be made.
    pub batches: usize,
}

impl Model {
    /// What `work` on batches of the given size needs beside the parameters. `members` may differ from
    /// the model's.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub(crate) fn needs(
        &self,
        (members, batch): (usize, usize),
        work: Work<'_>,
    ) -> Result<Vec<Need>> {
        let place = (self.settings.dtype, &self.settings.place);
        let number = self.settings.dtype.size_in_bytes();
        // parameters, gradients and states
        let whole = self.settings.arith()?.size_in_bytes();
        let sizes = (members, batch);
        let mut needs = Plan::needs(&self.nodes, &self.input, sizes, place, work.gradients)?;
        let input = [&[batch], self.input.as_slice()].concat();
        // operands are copied in another order, at most one as large as an activation a member
        let of_member = |n: &Need| n.shape[1..].iter().product::<usize>();
        let largest = needs.iter().map(of_member).max().unwrap_or(0);
        let largest = largest.max(input.iter().product());
        let running = members.min(rayon::current_num_threads());
        needs.push(Need {
            name: "copies of operands".into(),
            shape: vec![running, largest],
            number,
        });
        needs.extend((0..work.batches).map(|_| Need {
            name: "inputs of a batch".into(),
            shape: input.clone(),
            number,
        }));
        for param in self.params.iter().filter(|p| p.info.kind.is_trained()) {
            let mut shape = param.value.dims().to_vec();
            shape[0] = members;
            needs.extend(work.tensors.iter().map(|what| Need {
                name: format!("{} ({what})", param.info.path),
                shape: shape.clone(),
                number: whole,
            }));
            let states = work.optimizer.map(|o| o.states(&param.info));
            needs.extend(states.into_iter().flatten().map(|state| Need {
                name: format!("{} ({})", param.info.path, state.name),
                shape: [&[members], state.shape.as_slice()].concat(),
                number: whole,
            }));
        }
        // on a GPU all members are updated at the same time
        let gpu = self.settings.place.gpu().is_some();
        let scratch = |p: &Parameter| match work.optimizer {
            Some(optimizer) if gpu => optimizer.on_gpu().room(&p.info),
            Some(optimizer) => optimizer.scratch(&p.info),
            None => 0,
        };
        let scratch = self.params.iter().map(scratch).max().unwrap_or(0);
        if scratch > 0 {
            needs.push(Need {
                name: "matrices of the optimizer".into(),
                shape: vec![if gpu { members } else { running }, scratch],
                number: whole,
            });
        }
        Ok(needs)
    }

    /// Checks that `work` on batches of the given size fits into memory; `what` does it.
    ///
    /// # Errors
    /// If it does not: the largest tensors, and how many members or examples would fit.
    pub(crate) fn check_memory(&self, what: &str, batch: usize, work: Work<'_>) -> Result<()> {
        let members = self.members();
        let needs = self.needs((members, batch), work)?;
        memory::check_on(&self.settings.place, what, &needs, |available| {
            let bytes = |members: usize, batch: usize| {
                let needs = self.needs((members, batch), work).ok()?;
                Some(memory::total(&needs))
            };
            // with fewer members the parameters shrink too
            let params = held(&self.params);
            let each = params / members as u128;
            let fewer = memory::largest(members, available + params, |n| match n {
                0 => Some(0),
                n => Some(bytes(n, batch)? + each * n as u128),
            });
            let smaller = memory::largest(batch, available, |n| bytes(members, n));
            match (fewer, smaller) {
                (0, 0) => "neither one member nor a batch of 1 would fit: use less of both, or a \
                           smaller width"
                    .to_string(),
                (fewer, 0) => format!("{fewer} of {members} members would fit"),
                (0, smaller) => format!("a batch of {smaller} would fit"),
                (fewer, smaller) => {
                    format!("{fewer} of {members} members, or a batch of {smaller}, would fit")
                }
            }
        })
    }
}

/// Bytes of parameters.
pub(super) fn held(params: &[Parameter]) -> u128 {
    let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u128;
    params.iter().map(|p| bytes(&p.value)).sum()
}

/// A parameter of so many members.
pub(super) fn need(info: &ParamInfo, settings: &ModelSettings, members: usize) -> Need {
    Need {
        name: info.path.clone(),
        shape: [&[members], info.shape.as_slice()].concat(),
        number: settings.arith().unwrap_or(settings.dtype).size_in_bytes(),
    }
}
