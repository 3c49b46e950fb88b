//! Neural tangent kernels of a compiled network.

use candle_core::{DType, Tensor};

use super::build::{Builder, Gradients};
use super::{Plan, Typed, gpu, gram, other_params, typed};
use crate::error::{Error, Result};
use crate::gpu::Place;
use crate::memory::Need;
use crate::nn::kernel::Combinations;
use crate::nn::layer::Param;
use crate::nn::node::Node;

impl Plan {
    /// The empirical neural tangent kernel of each member on the inputs of the last forward pass,
    /// traced over outputs, with respect to the parameters as they are stored (without multipliers of
    /// learning rates): `kernels [members, batch, batch]`.
    ///
    /// # Errors
    /// If there was no forward pass, or a layer mixes the examples of a batch in the plan's mode.
    pub fn ntk(&self, params: &[Param<'_>], kernel: &Tensor) -> Result<()> {
        let slots = vec![0; params.len()];
        let kernels = std::slice::from_ref(kernel);
        self.ntk_of(params, kernels, &slots, Combinations::Each)
    }

    /// The parts of [`Plan::ntk`] that each parameter has, whose sum it is: a kernel
    /// `[members, batch, batch]` for every parameter, in their order.
    ///
    /// # Errors
    /// As for [`Plan::ntk`], and if there are not as many kernels as parameters.
    pub fn ntk_blocks(&self, params: &[Param<'_>], kernels: &[Tensor]) -> Result<()> {
        if kernels.len() != params.len() {
            return Err(other_params(params.len(), kernels.len()));
        }
        let slots: Vec<usize> = (0..params.len()).collect();
        self.ntk_of(params, kernels, &slots, Combinations::Each)
    }

    /// What [`Plan::ntk_of`] needs for `count` kernels: the buffers of a plan for forward passes, the
    /// kernels, and an estimate from above of what is on the way back. `combinations` is how many
    /// combinations of outputs an example has, `None` for each output by itself.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn ntk_needs(
        nodes: &[Node],
        input: &[usize],
        (members, batch): (usize, usize),
        place: (DType, &Place),
        (count, combinations): (usize, Option<usize>),
    ) -> Result<Vec<Need>> {
        let (sizes, gradients) = ((members, batch), Gradients::None);
        let mut needs = Self::needs(nodes, input, sizes, place, gradients)?;
        let built = Builder::counted(nodes, input, sizes, place, gradients)?;
        let number = place.0.size_in_bytes();
        needs.extend((0..count).map(|_| Need {
            name: "kernel".to_string(),
            shape: vec![members, batch, batch],
            number,
        }));
        let at_once = members.min(rayon::current_num_threads());
        needs.push(Need {
            name: "products in a layer".to_string(),
            shape: vec![2 * at_once, batch, batch],
            number,
        });
        needs.push(Need {
            name: "gradients of outputs".to_string(),
            shape: vec![at_once, gram::on_the_way(&built, combinations)],
            number,
        });
        Ok(needs)
    }

    /// Kernels `[members, batch, batch]` of combinations of the outputs on the inputs of the last
    /// forward pass; `slots` says for each parameter to which of `kernels` its part is added.
    ///
    /// # Errors
    /// As for [`Plan::ntk`]; if there is not one slot for every parameter, a slot is no kernel, or
    /// there are not as many numbers in the combinations as they need.
    pub fn ntk_of(
        &self,
        params: &[Param<'_>],
        kernels: &[Tensor],
        slots: &[usize],
        combinations: Combinations<'_>,
    ) -> Result<()> {
        let inputs = self.last_inputs()?;
        if slots.len() != params.len() {
            return Err(other_params(params.len(), slots.len()));
        }
        if let Some(slot) = slots.iter().find(|&&s| s >= kernels.len()) {
            return Err(Error::shape(format!(
                "there are {} kernels, and a parameter has number {slot}",
                kernels.len()
            )));
        }
        let outputs = self.output().dims()[1..].iter().product::<usize>() / self.batch.max(1);
        let fits = match combinations {
            Combinations::Each => true,
            Combinations::Directions(all) => all.len() % outputs.max(1) == 0,
            Combinations::OfExamples(all) => all.len() == self.batch * outputs,
        };
        if !fits {
            return Err(Error::shape(format!(
                "combinations of {outputs} outputs of {} examples have another size",
                self.batch
            )));
        }
        let parts = gram::Parts {
            slots,
            combinations,
        };
        let wanted = [self.members, self.batch, self.batch];
        if let Some(other) = kernels.iter().find(|k| k.dims() != wanted) {
            return Err(Error::shape(format!(
                "the kernels have shape {wanted:?}, got {:?}",
                other.dims()
            )));
        }
        typed!(self,
            runner => runner.bind(params, &[], self.mode())?.ntk(&self.ops, &inputs, self.members, kernels, parts),
            gpu => {
                gpu.check_params(params.len())?;
                let kernels = kernels.iter().map(gpu::span).collect::<Result<Vec<_>>>()?;
                gpu.ntk(&self.ops, &gpu::params(params)?, (&kernels, parts), self.is_training())
            },
        )
    }
}
