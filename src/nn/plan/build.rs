//! Compiling: operations and buffers from a network's nodes.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::nn::layer::Layer;
use crate::nn::network::{Node, join};

/// Which gradients of activations a plan has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// None: forward passes only.
    None,
    /// Each until the backward pass has used it up; buffers are used again.
    Passing,
    /// All, with tangents of everything: for second derivatives.
    Kept,
}

/// Operations and buffers of a plan.
pub struct Built {
    pub ops: Vec<Op>,
    /// One buffer per activation: `[members or 1, batch, …]`.
    pub values: Vec<Tensor>,
    /// Whether parameters act on the way to this activation.
    pub trained: Vec<bool>,
    /// What each operation's forward pass leaves for its backward pass, `[members or 1, numbers]`.
    pub saved: Vec<Option<Tensor>>,
    /// Where gradients of activations are kept meanwhile, `[members, numbers]`.
    pub pool: Vec<Tensor>,
    /// Which of the pool each activation's gradient is in.
    pub place: Vec<Option<usize>>,
    /// A place for the gradient of an activation's second consumer, `[members, numbers]`.
    pub spare: Option<Tensor>,
    /// Whether this activation is the input, or the input in another shape: it has no buffer, and is
    /// read where the caller has it.
    pub is_input: Vec<bool>,
    /// The network's output.
    pub last: usize,
    /// How many parameters the operations have.
    pub params: usize,
    /// Which gradients there are room for.
    pub gradients: Gradients,
    /// The output's gradient, in the output's shape.
    pub output_gradient: Option<Tensor>,
}

pub struct Builder<'a> {
    members: usize,
    batch: usize,
    dtype: DType,
    device: &'a Device,
    ops: Vec<Op>,
    values: Vec<Tensor>,
    trained: Vec<bool>,
    is_input: Vec<bool>,
    saved: Vec<Option<Tensor>>,
    params: usize,
}

impl<'a> Builder<'a> {
    pub fn build(
        nodes: &[Node],
        input: &[usize],
        (members, batch): (usize, usize),
        (dtype, device): (DType, &'a Device),
        gradients: Gradients,
    ) -> Result<Built> {
        let mut b = Self {
            members,
            batch,
            dtype,
            device,
            ops: Vec::new(),
            values: Vec::new(),
            trained: Vec::new(),
            is_input: Vec::new(),
            saved: Vec::new(),
            params: 0,
        };
        let dims = [&[1, batch], input].concat();
        let first = b.unwritten(Tensor::zeros((), dtype, device)?.broadcast_as(dims)?);
        let last = b.nodes(nodes, "", first)?;
        if !b.trained[last] {
            return Err(Error::setting(
                "a network needs at least one layer with parameters",
            ));
        }
        let mut built = Built {
            pool: Vec::new(),
            place: vec![None; b.values.len()],
            spare: None,
            ops: b.ops,
            values: b.values,
            trained: b.trained,
            is_input: b.is_input,
            saved: b.saved,
            last,
            params: b.params,
            gradients,
            output_gradient: None,
        };
        if gradients != Gradients::None {
            built.place_gradients(members, (dtype, device))?;
        }
        Ok(built)
    }

    fn zeros(&self, dims: &[usize]) -> Result<Tensor> {
        Ok(Tensor::zeros(dims, self.dtype, self.device)?)
    }

    fn lead(&self, trained: bool) -> usize {
        if trained { self.members } else { 1 }
    }

    fn slot(&mut self, trained: bool, shape: &[usize]) -> Result<usize> {
        let dims = [&[self.lead(trained), self.batch], shape].concat();
        self.values.push(self.zeros(&dims)?);
        self.trained.push(trained);
        self.is_input.push(false);
        Ok(self.values.len() - 1)
    }

    /// The input, or a reshape of it: known by its shape only.
    fn unwritten(&mut self, shape: Tensor) -> usize {
        self.values.push(shape);
        self.trained.push(false);
        self.is_input.push(true);
        self.values.len() - 1
    }

    fn shape(&self, slot: usize) -> Vec<usize> {
        self.values[slot].dims()[2..].to_vec()
    }

    fn push(&mut self, path: String, kind: OpKind, y: usize, saved: Option<Tensor>) {
        self.ops.push(Op { path, kind, y });
        self.saved.push(saved);
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
                    let kind = OpKind::Join {
                        skip: x,
                        branch,
                        multiplier: *multiplier,
                    };
                    self.push(path, kind, y, None);
                    y
                }
            };
        }
        Ok(x)
    }

    fn layer(&mut self, layer: &Arc<dyn Layer>, path: String, x: usize) -> Result<usize> {
        let input = self.shape(x);
        let output = layer.output_shape(&input).map_err(|e| e.at(&path))?;
        let count = layer.params(&input).len();
        let params = self.params..self.params + count;
        self.params = params.end;
        let trained = self.trained[x] || count > 0;
        let y = if layer.is_reshape() {
            let dims = [&self.values[x].dims()[..2], &output].concat();
            if self.is_input[x] {
                let shape = Tensor::zeros((), self.dtype, self.device)?.broadcast_as(dims)?;
                self.unwritten(shape)
            } else {
                self.values.push(self.values[x].reshape(dims)?);
                self.trained.push(trained);
                self.is_input.push(false);
                self.values.len() - 1
            }
        } else {
            self.slot(trained, &output)?
        };
        let saved = match layer.saved(self.batch, &input) {
            0 => None,
            numbers => Some(self.zeros(&[self.lead(trained), numbers])?),
        };
        let kind = OpKind::Layer {
            layer: layer.clone(),
            params,
            x,
            input,
            output,
        };
        self.push(path, kind, y, saved);
        Ok(y)
    }
}

impl Built {
    /// Gives every trained activation's gradient a place. A place is used again as soon as the
    /// backward pass has used up what is in it.
    fn place_gradients(&mut self, members: usize, kind: (DType, &Device)) -> Result<()> {
        let size = |slot: usize| self.values[slot].elem_count() / members;
        let mut sizes: Vec<usize> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        let mut place = vec![None; self.values.len()];
        let mut spare = 0;
        let take = |slot: usize, sizes: &mut Vec<usize>, free: &mut Vec<usize>| {
            let wanted = size(slot);
            // the smallest that is large enough, else the largest made larger
            let best = (0..free.len()).min_by_key(|&i| {
                let has = sizes[free[i]];
                (has < wanted, has.abs_diff(wanted))
            });
            let chosen = match best {
                Some(i) => free.swap_remove(i),
                None => {
                    sizes.push(0);
                    sizes.len() - 1
                }
            };
            sizes[chosen] = sizes[chosen].max(wanted);
            chosen
        };
        // the output's gradient is written by the loss and keeps its place
        place[self.last] = Some(take(self.last, &mut sizes, &mut free));
        for op in self.ops.iter().rev() {
            let Some(used) = place[op.y] else { continue };
            let sources = match op.kind {
                OpKind::Layer { x, .. } => [Some(x), None],
                OpKind::Join { skip, branch, .. } => [Some(skip), Some(branch)],
            };
            for x in sources.into_iter().flatten().filter(|&x| self.trained[x]) {
                if place[x].is_some() {
                    spare = spare.max(size(x));
                } else {
                    place[x] = Some(take(x, &mut sizes, &mut free));
                }
            }
            if op.y != self.last && self.gradients == Gradients::Passing {
                free.push(used);
            }
        }
        let zeros = |numbers: usize| Tensor::zeros((members, numbers), kind.0, kind.1);
        self.pool = sizes
            .into_iter()
            .map(zeros)
            .collect::<candle_core::Result<_>>()?;
        self.place = place;
        if spare > 0 {
            self.spare = Some(zeros(spare)?);
        }
        self.output_gradient = self.place[self.last]
            .map(|at| self.pool[at].reshape(self.values[self.last].shape()))
            .transpose()?;
        Ok(())
    }
}
