//! A model's outputs and activations.

use candle_core::{Device, Tensor};

use super::Model;
use crate::error::{Error, Result};
use crate::memory;
use crate::nn::{Gradients, Plan};
use crate::tensor::elem::{dispatch, read, write};

/// Examples that the network is run on at a time outside training, where outputs have no positions.
const EVAL_BATCH: usize = 256;
/// The same with outputs at many positions, in positions.
const EVAL_POSITIONS: usize = 4096;

impl Model {
    /// Shapes `inputs [points, …]` as the network takes them.
    pub(crate) fn shaped(&self, inputs: &Tensor) -> Result<Tensor> {
        let points = inputs.dims().first().copied().unwrap_or(0);
        let dims = [&[points], self.input.as_slice()].concat();
        if inputs.elem_count() != dims.iter().product::<usize>() {
            return Err(Error::shape(format!(
                "the {} takes inputs of shape [points, {}], got {:?}",
                self.network.name,
                self.input
                    .iter()
                    .map(usize::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                inputs.dims()
            )));
        }
        Ok(inputs.reshape(dims)?)
    }

    /// Outputs for `inputs [points, …]`: `[members, points, positions…, outputs]` in the model's element
    /// type; most networks have no positions.
    ///
    /// # Errors
    /// If the inputs do not fit the network.
    pub fn predict(&mut self, inputs: &Tensor) -> Result<Tensor> {
        self.walk(inputs, |plan| Ok(plan.output().clone()))
    }

    /// The activation at `path` for `inputs [points, …]`: `[members, points, …]`. Paths are those of
    /// layers, for instance `layers.0` (preactivations) and `layers.0.relu`.
    ///
    /// # Errors
    /// If there is no such path, or the inputs do not fit.
    pub fn activation(&mut self, path: &str, inputs: &Tensor) -> Result<Tensor> {
        self.walk(inputs, |plan| match plan.activation(path)? {
            Some(tensor) => Ok(tensor),
            None => Err(Error::setting(format!(
                "there is no activation `{path}`; there are {}",
                plan.paths().collect::<Vec<_>>().join(", ")
            ))),
        })
    }

    /// The activations at all layers for `inputs [points, …]`, each `[members, points, …]`, with
    /// their paths in the order of the forward pass.
    ///
    /// # Errors
    /// If the inputs do not fit.
    pub fn activations(&mut self, inputs: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut paths = Vec::new();
        let tensors = self.walk_all(inputs, |plan| {
            paths = plan.paths().map(String::from).collect();
            let all = paths.iter().map(|path| plan.activation(path));
            let all: Vec<_> = all.collect::<Result<_>>()?;
            Ok(all.into_iter().flatten().collect())
        })?;
        Ok(paths.into_iter().zip(tensors).collect())
    }

    /// Runs the network on all inputs in pieces, and joins what `take` finds after each along the
    /// axis of the points.
    fn walk(&mut self, inputs: &Tensor, take: impl Fn(&Plan) -> Result<Tensor>) -> Result<Tensor> {
        let mut all = self.walk_all(inputs, |plan| Ok(vec![take(plan)?]))?;
        all.pop()
            .ok_or_else(|| Error::other("a model was run on no inputs"))
    }

    /// The same for several tensors.
    fn walk_all(
        &mut self,
        inputs: &Tensor,
        mut take: impl FnMut(&Plan) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        let inputs = self.shaped(inputs)?;
        let points = inputs.dims()[0];
        if points == 0 {
            return Err(Error::shape("a model cannot be run on no inputs at all"));
        }
        let mut all: Vec<Tensor> = Vec::new();
        let batch = (EVAL_POSITIONS / self.rows(1).max(1)).clamp(1, EVAL_BATCH);
        for start in (0..points).step_by(batch) {
            let size = batch.min(points - start);
            let plan = match self.eval.take() {
                Some(plan) if plan.batch() == size => plan,
                _ => self.plan(size, Gradients::None)?,
            };
            plan.forward(&self.values(), &inputs.narrow(0, start, size)?)?;
            let host = |part: Tensor| part.to_device(&Device::Cpu)?.to_dtype(self.dtype());
            let parts = take(&plan)?.into_iter().map(host);
            let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
            if all.is_empty() {
                let whole = parts.iter().map(|part| joined(part, points));
                all = whole.collect::<Result<_>>()?;
            }
            for (whole, part) in all.iter().zip(&parts) {
                place(whole, start, part)?;
            }
            self.eval = Some(plan);
        }
        Ok(all)
    }
}

/// Room for what `part [members, points, …]` is of, at all points.
fn joined(part: &Tensor, points: usize) -> Result<Tensor> {
    let mut shape = part.dims().to_vec();
    shape[1] = points;
    let name = "outputs";
    memory::room(name, &shape, part.dtype().size_in_bytes())?;
    memory::zeros(name, &shape, part.dtype(), &Device::Cpu)
}

/// Writes `part` at the points from `start` on.
fn place(all: &Tensor, start: usize, part: &Tensor) -> Result<()> {
    let (points, size) = (all.dims()[1], part.dims()[1]);
    let each: usize = part.dims()[2..].iter().product();
    dispatch!(all, T => read(part, |from: &[T]| write(all, |to: &mut [T]| {
        let members = to.chunks_exact_mut((points * each).max(1));
        for (to, from) in members.zip(from.chunks_exact((size * each).max(1))) {
            to[start * each..][..size * each].copy_from_slice(from);
        }
        Ok(())
    })))
}
