//! A network compiled for a batch size: operations in order over buffers made once.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::layer::{Layer, Param};
use super::network::{Node, join};
use crate::error::{Error, Result};
use crate::tensor::elementwise::{accumulate, add_scaled, copy_scaled};

/// One operation: reads buffers, writes buffer `y`.
#[derive(Debug)]
struct Op {
    path: String,
    kind: OpKind,
    y: usize,
}

#[derive(Debug)]
enum OpKind {
    Layer {
        layer: Arc<dyn Layer>,
        params: std::ops::Range<usize>,
        x: usize,
    },
    Join {
        skip: usize,
        branch: usize,
        multiplier: f64,
    },
}

/// A buffer for one activation, and for its gradient if something needs it.
#[derive(Debug)]
struct Slot {
    value: Tensor,
    gradient: Option<Tensor>,
}

/// A network compiled for a number of members and a batch size.
///
/// The forward pass fills one buffer per activation; the backward pass runs the same operations in
/// reverse and writes each parameter's gradient. Nothing is allocated in either. Every activation
/// stays readable by path until the next pass.
#[derive(Debug)]
pub struct Plan {
    ops: Vec<Op>,
    slots: Vec<Slot>,
    batch: usize,
    input: Vec<usize>,
    scratch: Option<Tensor>,
}

struct Builder<'a> {
    members: usize,
    batch: usize,
    dtype: DType,
    device: &'a Device,
    ops: Vec<Op>,
    values: Vec<Tensor>,
    /// Whether parameters act on the way to this buffer.
    trained: Vec<bool>,
    params: usize,
}

impl Builder<'_> {
    fn slot(&mut self, trained: bool, shape: &[usize]) -> Result<usize> {
        let lead = if trained { self.members } else { 1 };
        let shape = [&[lead, self.batch], shape].concat();
        self.values
            .push(Tensor::zeros(shape, self.dtype, self.device)?);
        self.trained.push(trained);
        Ok(self.values.len() - 1)
    }

    fn shape(&self, slot: usize) -> Vec<usize> {
        self.values[slot].dims()[2..].to_vec()
    }

    fn nodes(&mut self, nodes: &[Node], path: &str, mut x: usize) -> Result<usize> {
        for node in nodes {
            x = match node {
                Node::Layer { name, layer } => self.layer(layer, join(path, name), x)?,
                Node::Residual {
                    name,
                    body,
                    multiplier,
                } => {
                    let path = join(path, name);
                    let branch = self.nodes(body, &path, x)?;
                    let trained = self.trained[x] || self.trained[branch];
                    let y = self.slot(trained, &self.shape(x))?;
                    self.ops.push(Op {
                        path,
                        kind: OpKind::Join {
                            skip: x,
                            branch,
                            multiplier: *multiplier,
                        },
                        y,
                    });
                    y
                }
            };
        }
        Ok(x)
    }

    fn layer(&mut self, layer: &Arc<dyn Layer>, path: String, x: usize) -> Result<usize> {
        let shape = self.shape(x);
        let output = layer.output_shape(&shape).map_err(|e| e.at(&path))?;
        let count = layer.params(&shape).len();
        let params = self.params..self.params + count;
        self.params = params.end;
        let trained = self.trained[x] || count > 0;
        let y = if layer.is_reshape() {
            let dims = [&self.values[x].dims()[..2], &output].concat();
            self.values.push(self.values[x].reshape(dims)?);
            self.trained.push(trained);
            self.values.len() - 1
        } else {
            self.slot(trained, &output)?
        };
        let layer = layer.clone();
        self.ops.push(Op {
            path,
            kind: OpKind::Layer { layer, params, x },
            y,
        });
        Ok(y)
    }
}

impl Plan {
    /// Compiles `nodes` for inputs of the given shape. With `gradients`, the backward pass is
    /// available.
    ///
    /// # Errors
    /// If a layer cannot take its input, or the buffers cannot be made.
    pub fn new(
        nodes: &[Node],
        input: &[usize],
        (members, batch): (usize, usize),
        (dtype, device): (DType, &Device),
        gradients: bool,
    ) -> Result<Self> {
        let mut b = Builder {
            members,
            batch,
            dtype,
            device,
            ops: Vec::new(),
            values: Vec::new(),
            trained: Vec::new(),
            params: 0,
        };
        let first = b.slot(false, input)?;
        let last = b.nodes(nodes, "", first)?;
        if !b.trained[last] {
            return Err(Error::setting(
                "a network needs at least one layer with parameters",
            ));
        }
        let mut plan = Self {
            ops: b.ops,
            slots: Vec::new(),
            batch,
            input: input.to_vec(),
            scratch: None,
        };
        for (value, trained) in b.values.into_iter().zip(b.trained) {
            let gradient = (gradients && trained)
                .then(|| value.zeros_like())
                .transpose()?;
            plan.slots.push(Slot { value, gradient });
        }
        if gradients
            && plan
                .ops
                .iter()
                .any(|op| matches!(op.kind, OpKind::Join { .. }))
        {
            let largest = plan
                .slots
                .iter()
                .map(|s| s.value.elem_count())
                .max()
                .unwrap_or(0);
            plan.scratch = Some(Tensor::zeros(largest, dtype, device)?);
        }
        Ok(plan)
    }

    /// Batch size that the plan was compiled for.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The output of the last forward pass, `[members, batch, …]`.
    pub fn output(&self) -> &Tensor {
        &self.slots[self.last()].value
    }

    /// The buffer that the loss writes the gradient of the output into, `[members, batch, …]`;
    /// `None` if the plan was compiled without gradients.
    pub fn output_gradient(&self) -> Option<&Tensor> {
        self.slots[self.last()].gradient.as_ref()
    }

    fn last(&self) -> usize {
        self.ops.last().map_or(0, |op| op.y)
    }

    /// Paths of the activations in order, for instance `layers.0`, `layers.0.relu`, `readout`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.ops.iter().map(|op| op.path.as_str())
    }

    /// The activation that the last forward pass left at `path`.
    pub fn activation(&self, path: &str) -> Option<&Tensor> {
        let op = self.ops.iter().find(|op| op.path == path)?;
        Some(&self.slots[op.y].value)
    }

    /// Runs the network on `inputs [batch, …]` of any float type.
    ///
    /// # Errors
    /// If the inputs do not have the shape that the plan was compiled for, or a layer fails.
    pub fn forward(&self, params: &[Param<'_>], inputs: &Tensor) -> Result<()> {
        let wanted = [&[self.batch], self.input.as_slice()].concat();
        if inputs.dims() != wanted {
            return Err(Error::shape(format!(
                "the network takes inputs of shape {wanted:?}, got {:?}",
                inputs.dims()
            )));
        }
        let first = &self.slots[0].value;
        let inputs = inputs.to_dtype(first.dtype())?.contiguous()?;
        copy_scaled(first, &inputs, 1.0)?;
        for op in &self.ops {
            let y = &self.slots[op.y].value;
            let done = match &op.kind {
                OpKind::Layer { layer, .. } if layer.is_reshape() => Ok(()),
                OpKind::Layer {
                    layer,
                    params: range,
                    x,
                } => layer.forward(&params[range.clone()], &self.slots[*x].value, y),
                OpKind::Join {
                    skip,
                    branch,
                    multiplier,
                } => {
                    let (skip, branch) = (&self.slots[*skip].value, &self.slots[*branch].value);
                    add_scaled(y, skip, branch, *multiplier)
                }
            };
            done.map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    /// From [`Plan::output_gradient`], writes the gradient of every parameter of the last forward
    /// pass into `grads`, in the order of the parameters.
    ///
    /// # Errors
    /// If the plan was compiled without gradients, or a layer fails.
    pub fn backward(&self, params: &[Param<'_>], grads: &[Tensor]) -> Result<()> {
        if self.output_gradient().is_none() {
            return Err(Error::other("the plan was compiled without gradients"));
        }
        let mut written = vec![false; self.slots.len()];
        written[self.last()] = true;
        for op in self.ops.iter().rev() {
            let Some(gy) = &self.slots[op.y].gradient else {
                continue;
            };
            if !written[op.y] {
                return Err(Error::other("an activation received no gradient").at(&op.path));
            }
            let done = match &op.kind {
                OpKind::Layer { layer, x, .. } if layer.is_reshape() => {
                    self.receive(&mut written, *x, |gx| copy_scaled(gx, gy, 1.0))
                }
                OpKind::Layer {
                    layer,
                    params: range,
                    x,
                } => {
                    let (params, grads) = (&params[range.clone()], &grads[range.clone()]);
                    let value = &self.slots[*x].value;
                    if self.slots[*x].gradient.is_none() {
                        layer.backward(params, value, gy, grads, None)
                    } else {
                        self.receive(&mut written, *x, |gx| {
                            layer.backward(params, value, gy, grads, Some(gx))
                        })
                    }
                }
                OpKind::Join {
                    skip,
                    branch,
                    multiplier,
                } => self
                    .receive(&mut written, *skip, |g| copy_scaled(g, gy, 1.0))
                    .and_then(|()| {
                        self.receive(&mut written, *branch, |g| copy_scaled(g, gy, *multiplier))
                    }),
            };
            done.map_err(|e| e.at(&op.path))?;
        }
        Ok(())
    }

    /// Lets `fill` write the gradient of a buffer, or add to what another consumer has written.
    fn receive(
        &self,
        written: &mut [bool],
        slot: usize,
        fill: impl FnOnce(&Tensor) -> Result<()>,
    ) -> Result<()> {
        let Some(gradient) = &self.slots[slot].gradient else {
            return Ok(());
        };
        if !std::mem::replace(&mut written[slot], true) {
            return fill(gradient);
        }
        let scratch = self
            .scratch
            .as_ref()
            .ok_or_else(|| Error::other("no scratch buffer for a second consumer"))?
            .narrow(0, 0, gradient.elem_count())?
            .reshape(gradient.shape())?;
        fill(&scratch)?;
        accumulate(gradient, &scratch, 1.0)
    }
}
