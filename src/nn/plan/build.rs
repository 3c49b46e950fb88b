//! Compiling: operations and buffers from a network's nodes.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::gpu::{Place, Stored};

use super::{Op, OpKind};
use crate::error::{Error, Result};
use crate::memory::{self, Need};
use crate::nn::layer::Layer;
use crate::nn::network::{SHORTCUT, join};
use crate::nn::node::Node;
use crate::tensor::linear;

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
    /// Whether parameters, or random numbers, act on the way to this activation.
    pub trained: Vec<bool>,
    /// What each operation's forward pass leaves for its backward pass, `[members or 1, numbers]`.
    pub saved: Vec<Option<Tensor>>,
    /// Where gradients of activations are kept meanwhile, `[members, numbers]`.
    pub pool: Vec<Tensor>,
    /// Which of the pool each activation's gradient is in.
    pub place: Vec<Option<usize>>,
    /// A place for the gradient of an activation's second consumer, `[members, numbers]`.
    pub spare: Option<Tensor>,
    /// A place for the gradient of each operation that shares its parameter with a later one.
    pub seconds: Vec<Option<Tensor>>,
    /// Whether this activation is the input, or the input in another shape: it has no buffer, and is
    /// read where the caller has it.
    pub is_input: Vec<bool>,
    /// Inputs of operations in panels, for the forward and for the backward pass, `[1, numbers]` each;
    /// the second is empty where there are no gradients.
    pub panels: Vec<[Tensor; 2]>,
    /// The network's output.
    pub last: usize,
    /// How many parameters the operations have.
    pub params: usize,
    /// Whether operations share parameters.
    pub shared: bool,
    /// Which gradients there are room for.
    pub gradients: Gradients,
}

/// From so many outputs of all members on, an input that they share is worth packing once: every number
/// of it is then used so often.
const PACKED_OUTPUTS: usize = 128;

pub struct Builder<'a> {
    /// Whether tensors are only counted: they then have shapes and no memory.
    dry: bool,
    members: usize,
    batch: usize,
    dtype: DType,
    device: &'a Place,
    ops: Vec<Op>,
    values: Vec<Tensor>,
    trained: Vec<bool>,
    is_input: Vec<bool>,
    saved: Vec<Option<Tensor>>,
    panels: Vec<[Tensor; 2]>,
    params: usize,
    shared: bool,
    gradients: Gradients,
}

impl<'a> Builder<'a> {
    /// The operations and buffers for a network.
    ///
    /// # Errors
    /// If a layer cannot take its input, or the buffers do not fit into memory.
    pub fn build(
        nodes: &[Node],
        input: &[usize],
        sizes: (usize, usize),
        place: (DType, &'a Place),
        gradients: Gradients,
    ) -> Result<Built> {
        let needs = Self::needs(nodes, input, sizes, place, gradients)?;
        memory::check_on(place.1, "a pass", &needs, |available| {
            let (members, batch) = sizes;
            let bytes = |batch: usize| {
                let needs = Self::needs(nodes, input, (members, batch), place, gradients);
                needs.ok().map(|n| memory::total(&n))
            };
            match memory::largest(batch, available, bytes) {
                0 => "not even one example at a time would fit: use fewer members, or a smaller width"
                    .to_string(),
                fits => format!("{fits} of {batch} examples at a time would fit"),
            }
        })?;
        Self::run(false, nodes, input, sizes, place, gradients)
    }

    /// The buffers that [`Builder::build`] makes.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn needs(
        nodes: &[Node],
        input: &[usize],
        sizes: (usize, usize),
        place: (DType, &'a Place),
        gradients: Gradients,
    ) -> Result<Vec<Need>> {
        let built = Self::counted(nodes, input, sizes, place, gradients)?;
        let need = |name: &str, tensor: &Tensor| Need {
            name: name.to_string(),
            shape: tensor.dims().to_vec(),
            number: tensor.dtype().size_in_bytes(),
        };
        let mut needs = Vec::new();
        for (op, saved) in built.ops.iter().zip(&built.saved) {
            let reshape = matches!(&op.kind, OpKind::Layer { layer, .. } if layer.is_reshape());
            if !reshape {
                needs.push(need(&op.path, &built.values[op.y]));
            }
            needs.extend(
                saved
                    .iter()
                    .map(|t| need(&format!("{} (saved)", op.path), t)),
            );
        }
        let panels = built.panels.iter().flatten();
        needs.extend(panels.map(|t| need("input in panels", t)));
        let seconds = built.seconds.iter().flatten();
        let gradients = built.pool.iter().chain(&built.spare).chain(seconds);
        needs.extend(gradients.map(|t| need("gradients of activations", t)));
        if built.gradients == Gradients::Kept {
            let trained = built.values.iter().zip(&built.trained);
            let trained = trained.filter(|(_, trained)| **trained).map(|(v, _)| v);
            for value in trained {
                needs.push(need("tangents of activations", value));
                needs.push(need("tangents of gradients", value));
            }
            needs.extend(built.spare.iter().map(|t| need("tangents of gradients", t)));
        }
        Ok(needs)
    }

    /// What [`Builder::build`] makes, with buffers that have shapes and no memory.
    ///
    /// # Errors
    /// If a layer cannot take its input.
    pub fn counted(
        nodes: &[Node],
        input: &[usize],
        sizes: (usize, usize),
        place: (DType, &'a Place),
        gradients: Gradients,
    ) -> Result<Built> {
        Self::run(true, nodes, input, sizes, place, gradients)
    }

    fn run(
        dry: bool,
        nodes: &[Node],
        input: &[usize],
        (members, batch): (usize, usize),
        (dtype, device): (DType, &'a Place),
        gradients: Gradients,
    ) -> Result<Built> {
        let mut b = Self {
            dry,
            members,
            batch,
            dtype,
            device,
            ops: Vec::new(),
            values: Vec::new(),
            trained: Vec::new(),
            is_input: Vec::new(),
            saved: Vec::new(),
            panels: Vec::new(),
            params: 0,
            shared: false,
            gradients,
        };
        let dims = [&[1, batch], input].concat();
        b.values.push(counted(&dims, (dtype, device))?);
        b.trained.push(false);
        b.is_input.push(true);
        let first = 0;
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
            seconds: Vec::new(),
            ops: b.ops,
            values: b.values,
            trained: b.trained,
            is_input: b.is_input,
            saved: b.saved,
            panels: b.panels,
            last,
            params: b.params,
            shared: b.shared,
            gradients,
        };
        if gradients != Gradients::None {
            let name = "gradients of activations";
            let zeros = |dims: &[usize]| make(dry, name, dims, (dtype, device));
            built.place_gradients(members, &zeros)?;
            let arith = arith(dtype)?;
            let zeros = |dims: &[usize]| make(dry, name, dims, (arith, device));
            built.place_seconds(members, &zeros)?;
        }
        Ok(built)
    }

    fn zeros(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        make(self.dry, name, dims, (self.dtype, self.device))
    }

    fn lead(&self, trained: bool) -> usize {
        if trained { self.members } else { 1 }
    }

    fn slot(&mut self, path: &str, trained: bool, shape: &[usize]) -> Result<usize> {
        let dims = [&[self.lead(trained), self.batch], shape].concat();
        self.values.push(self.zeros(path, &dims)?);
        self.trained.push(trained);
        self.is_input.push(false);
        Ok(self.values.len() - 1)
    }

    fn shape(&self, slot: usize) -> Vec<usize> {
        self.values[slot].dims()[2..].to_vec()
    }

    /// Panels for the input of a layer, if members share it and use it often.
    fn panels(&mut self, layer: &dyn Layer, x: usize, output: &[usize]) -> Result<Option<usize>> {
        let s = linear::Sizes::of(self.batch, &self.shape(x), output);
        // a GPU's products read what members share as it is
        let on_cpu = matches!(self.device, Place::Cpu);
        let shared = on_cpu && self.members > 1 && !self.trained[x] && layer.reads_by_product();
        if !shared || self.members * s.outputs < PACKED_OUTPUTS {
            return Ok(None);
        }
        let (rows, columns) = match self.dtype {
            DType::F64 => linear::panels::<f64>(s),
            _ => linear::panels::<f32>(s),
        };
        let columns = match self.gradients {
            Gradients::None => 0,
            _ => columns,
        };
        let zeros = |numbers| self.zeros("input in panels", &[1, numbers]);
        self.panels.push([zeros(rows)?, zeros(columns)?]);
        Ok(Some(self.panels.len() - 1))
    }

    fn push(&mut self, path: String, kind: OpKind, y: usize, saved: Option<Tensor>) {
        self.ops.push(Op { path, kind, y });
        self.saved.push(saved);
    }

    fn nodes(&mut self, nodes: &[Node], path: &str, mut x: usize) -> Result<usize> {
        for node in nodes {
            x = match node {
                Node::Layer { name, layer } => self.layer(layer, join(path, name), x)?,
                Node::Parallel { name, branches } => {
                    self.parallel(branches, join(path, name), x)?
                }
                Node::Residual {
                    name,
                    body,
                    shortcut,
                    multiplier,
                } => {
                    let path = join(path, name);
                    let branch = self.nodes(body, &path, x)?;
                    let skip = self.nodes(shortcut, &join(&path, SHORTCUT), x)?;
                    let trained = self.trained[skip] || self.trained[branch];
                    let y = self.slot(&path, trained, &self.shape(branch))?;
                    let kind = OpKind::Join {
                        skip,
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

    /// The sum of branches, one after the other; the sum of all has the path.
    fn parallel(&mut self, branches: &[Vec<Node>], path: String, x: usize) -> Result<usize> {
        let mut sum = None;
        for (i, branch) in branches.iter().enumerate() {
            let branch = self.nodes(branch, &join(&path, &i.to_string()), x)?;
            sum = Some(match sum {
                None => branch,
                Some(skip) => {
                    let trained = self.trained[skip] || self.trained[branch];
                    let place = match i + 1 == branches.len() {
                        true => path.clone(),
                        false => join(&path, &format!("sum{i}")),
                    };
                    let y = self.slot(&place, trained, &self.shape(branch))?;
                    let multiplier = 1.0;
                    let kind = OpKind::Join {
                        skip,
                        branch,
                        multiplier,
                    };
                    self.push(place, kind, y, None);
                    y
                }
            });
        }
        sum.ok_or_else(|| Error::setting(format!("{path}: there is no branch")))
    }

    /// The parameters of a layer among those of the network: its own, or another's.
    fn params_of(
        &mut self,
        layer: &dyn Layer,
        path: &str,
        input: &[usize],
    ) -> Result<Range<usize>> {
        let Some(tied) = layer.tied(input) else {
            let start = self.params;
            self.params += layer.params(input).len();
            return Ok(start..self.params);
        };
        for op in &mut self.ops {
            if let OpKind::Layer {
                params,
                shared: others,
                ..
            } = &mut op.kind
                && op.path == tied.to
                && params.len() == 1
            {
                if *others {
                    return Err(Error::setting(format!(
                        "{path} and a layer before it both share the parameter of {}; only one may",
                        tied.to
                    )));
                }
                *others = true;
                self.shared = true;
                return Ok(params.clone());
            }
        }
        Err(Error::setting(format!(
            "{path} shares the parameter of {}, but there is no layer with one parameter of that name before it",
            tied.to
        )))
    }

    fn layer(&mut self, layer: &Arc<dyn Layer>, path: String, x: usize) -> Result<usize> {
        let input = self.shape(x);
        let output = layer.output_shape(&input).map_err(|e| e.at(&path))?;
        let params = self.params_of(&**layer, &path, &input)?;
        // what is drawn differs among members, as parameters do
        let trained = self.trained[x] || !params.is_empty() || layer.is_random();
        let y = if layer.is_reshape() {
            let dims = [&self.values[x].dims()[..2], &output].concat();
            let value = match (self.is_input[x], self.dry) {
                (false, false) => self.values[x].reshape(dims)?,
                _ => counted(&dims, (self.dtype, self.device))?,
            };
            self.values.push(value);
            self.trained.push(trained);
            self.is_input.push(self.is_input[x]);
            self.values.len() - 1
        } else {
            self.slot(&path, trained, &output)?
        };
        let saved = match layer.saved(self.batch, &input) {
            0 => None,
            numbers => {
                let name = format!("{path} (saved)");
                let dims = [self.lead(trained), numbers];
                Some(make(
                    self.dry,
                    &name,
                    &dims,
                    (arith(self.dtype)?, self.device),
                )?)
            }
        };
        let panels = self.panels(&**layer, x, &output)?;
        let kind = OpKind::Layer {
            layer: layer.clone(),
            params,
            x,
            input,
            output,
            panels,
            shared: false,
        };
        self.push(path, kind, y, saved);
        Ok(y)
    }
}

/// The type of statistics and of parameters' gradients.
fn arith(dtype: DType) -> Result<DType> {
    Ok(Stored::of(dtype)?.arith().dtype())
}

/// Zeros of this shape; in a dry run without memory.
fn make(dry: bool, name: &str, dims: &[usize], place: (DType, &Place)) -> Result<Tensor> {
    if dry {
        return counted(dims, place);
    }
    memory::zeros(name, dims, place.0, place.1.device())
}

/// A tensor that has a shape and no memory.
fn counted(dims: &[usize], (dtype, device): (DType, &Place)) -> Result<Tensor> {
    Ok(Tensor::zeros((), dtype, device.device())?.broadcast_as(dims)?)
}
