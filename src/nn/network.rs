//! The network: a tree of layers as a function of width.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::layer::Tied;
use super::node::Node;
use super::param::{ParamInfo, ParamKind, ParamSpec, Role};
use crate::error::{Error, Result};

/// What a network is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Width.
    pub width: usize,
    /// Number of outputs that the stream asks for.
    pub outputs: usize,
}

/// A network's parameters and output shape at one width, for one input shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Parameters with their whole paths, in the order of the forward pass.
    pub params: Vec<ParamSpec>,
    /// Which of them are in the branch of a residual block.
    pub in_branch: Vec<bool>,
    /// Residual blocks that are in no other's branch.
    pub residuals: usize,
    /// Layers that share a parameter with another: their paths, and whose.
    pub tied: Vec<(String, Tied)>,
    /// Shape of the output, without batch and member axes.
    pub output: Vec<usize>,
}

type Build = dyn Fn(Sizes) -> Result<Vec<Node>> + Send + Sync;

/// A description of an architecture at a width; holds no numbers.
#[derive(Clone)]
pub struct Network {
    /// Name of the architecture, for instance `mlp`.
    pub name: String,
    /// Width; `None` for a network that was not given as a function of width.
    pub width: Option<usize>,
    /// Shape of one input, `None` if the stream decides.
    pub input: Option<Vec<usize>>,
    /// Shape of one input until a stream decides.
    pub assumed_input: Vec<usize>,
    /// Number of outputs, `None` if the stream decides.
    pub outputs: Option<usize>,
    /// Number of residual blocks as the architecture counts them, where one has several branches;
    /// `None` if each branch is a block.
    pub blocks: Option<usize>,
    /// Settings for the record.
    pub settings: Value,
    build: Arc<Build>,
    /// Whether something must grow with width, see [`Network::growing`].
    grows: bool,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.settings)
    }
}

impl Network {
    /// A network that `build` describes at any width.
    pub fn new(
        name: impl Into<String>,
        width: Option<usize>,
        settings: Value,
        build: impl Fn(Sizes) -> Result<Vec<Node>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            width,
            input: None,
            assumed_input: vec![3, 32, 32],
            outputs: None,
            blocks: None,
            settings,
            build: Arc::new(build),
            grows: false,
        }
    }

    /// Shape of one input: its own, or what is assumed until a stream decides.
    pub fn input_or_assumed(&self) -> Vec<usize> {
        let own = self.input.as_ref();
        own.unwrap_or(&self.assumed_input).clone()
    }

    /// The same network, of which something must grow with width: one that a user gave as a function of
    /// width. Networks that are the same at every width would agree perfectly, and mean nothing.
    pub fn growing(mut self) -> Self {
        self.grows = true;
        self
    }

    /// The same architecture at another width.
    pub fn at(&self, width: usize) -> Self {
        let mut network = self.clone();
        network.width = Some(width);
        if let Some(settings) = network.settings.as_object_mut() {
            settings.insert("width".into(), json!(width));
        }
        network
    }

    /// The layers at the given sizes.
    ///
    /// # Errors
    /// If the architecture cannot be built at this width.
    pub fn nodes(&self, sizes: Sizes) -> Result<Vec<Node>> {
        (self.build)(sizes)
    }

    /// Parameters and output shape at the given sizes.
    ///
    /// # Errors
    /// If a layer cannot take its input: the layer's path and the shapes.
    pub fn describe(&self, sizes: Sizes, input: &[usize]) -> Result<Description> {
        let nodes = self.nodes(sizes)?;
        let is_residual = |node: &&Node| matches!(node, Node::Residual { .. });
        let mut found = Found::default();
        let output = describe(&nodes, ("", false), input, &mut found)?;
        Ok(Description {
            params: found.params,
            in_branch: found.in_branch,
            residuals: nodes.iter().filter(is_residual).count(),
            tied: found.tied,
            output,
        })
    }

    /// The parameters with their roles, and the output shape. Roles and fans at the base width come
    /// from describing the network at this width, at twice it, and at `base_width`.
    ///
    /// # Errors
    /// If the network cannot be built at one of those widths, its layers differ among them, or nothing grows
    /// where something must.
    pub fn infos(
        &self,
        outputs: usize,
        input: &[usize],
        base_width: Option<usize>,
    ) -> Result<(Vec<ParamInfo>, Vec<usize>)> {
        let width = self.width.unwrap_or(1);
        let at = |width| self.describe(Sizes { width, outputs }, input);
        let here = at(width)?;
        let wider = at(2 * width)?;
        let base = at(base_width.unwrap_or(width))?;
        for other in [&wider, &base] {
            let paths =
                |d: &Description| d.params.iter().map(|p| p.path.clone()).collect::<Vec<_>>();
            if paths(&here) != paths(other) {
                return Err(Error::setting(format!(
                    "the network has other parameters at another width: {:?} and {:?}",
                    paths(&here),
                    paths(other)
                ))
                .with_help(
                    "only the sizes of layers may depend on width, not their number or kind",
                ));
            }
        }
        for (a, b) in here.params.iter().zip(&wider.params) {
            check_growth(a, b, width)?;
        }
        let shapes = |d: &Description| d.params.iter().map(|p| p.shape.clone()).collect::<Vec<_>>();
        if self.grows && !here.params.is_empty() && shapes(&here) == shapes(&wider) {
            return Err(Error::setting(format!(
                "the network is the same at width {width} and at width {}: no parameter grows with width",
                2 * width
            ))
            .with_help(
                "use the width in the function, such as |w| mlp(#{ width: w }); a network of one size is given without a function and without `width`",
            ));
        }
        let role = |i: usize| {
            let (a, b) = (&here.params[i], &wider.params[i]);
            Role::infer(a.kind, b.fan_in > a.fan_in, b.fan_out > a.fan_out)
        };
        let readout = (0..here.params.len()).rfind(|&i| role(i) == Role::OutputLike);
        let readout_fan =
            |d: &Description, otherwise| readout.map_or(otherwise, |i| d.params[i].fan_in);
        let depth = here
            .params
            .iter()
            .filter(|p| p.kind == ParamKind::Weight)
            .count();
        let infos = here.params.iter().zip(&base.params).enumerate();
        let infos = infos.map(|(i, (p, b))| ParamInfo {
            path: p.path.clone(),
            shape: p.shape.clone(),
            kind: p.kind,
            role: role(i),
            fan_in: p.fan_in,
            fan_out: p.fan_out,
            base_fan_in: b.fan_in,
            base_fan_out: b.fan_out,
            width: readout_fan(&here, width),
            base_width: readout_fan(&base, base_width.unwrap_or(width)),
            depth,
            readout: wider.params[i].fan_in > p.fan_in && wider.params[i].fan_out == p.fan_out,
            in_branch: here.in_branch[i],
            blocks: self.blocks.unwrap_or(here.residuals),
        });
        Ok((infos.collect(), here.output.clone()))
    }

    /// What a parametrization may look at for each layer that computes with another's parameter, here an
    /// embedding's as a readout: that parameter's path, and what it is there.
    ///
    /// # Errors
    /// As for [`Network::describe`].
    pub fn tied(
        &self,
        sizes: Sizes,
        input: &[usize],
        infos: &[ParamInfo],
    ) -> Result<Vec<(String, ParamInfo)>> {
        let found = self.describe(sizes, input)?.tied.into_iter();
        let turned = found.filter_map(|(path, tied)| {
            let to = tied.param();
            let owner = infos.iter().find(|i| i.path == to)?;
            let rows = owner.shape.first().copied().unwrap_or(1);
            let info = ParamInfo {
                path: join(&path, "weight"),
                role: Role::infer(owner.kind, owner.role == Role::InputLike, false),
                fan_in: owner.fan_out,
                fan_out: rows,
                base_fan_in: owner.base_fan_out,
                base_fan_out: rows,
                readout: true,
                ..owner.clone()
            };
            Some((to, info))
        });
        Ok(turned.collect())
    }

    /// The network for the record: architecture, settings, layers.
    pub fn record(&self, sizes: Sizes) -> Value {
        let layers = self
            .nodes(sizes)
            .map(|nodes| nodes.iter().map(Node::settings).collect::<Vec<_>>())
            .unwrap_or_default();
        json!({ "architecture": self.name, "settings": self.settings, "layers": layers })
    }
}

/// Whether inputs of a shape act only by their product with the first parameter, `[inputs, outputs]`.
pub fn reads_by_product(nodes: &[Node], input: &[usize]) -> bool {
    let mut shape = input.to_vec();
    for node in nodes {
        let Node::Layer { layer, .. } = node else {
            return false;
        };
        if !layer.is_reshape() {
            return shape.len() == 1 && layer.reads_by_product();
        }
        match layer.output_shape(&shape) {
            Ok(output) => shape = output,
            Err(_) => return false,
        }
    }
    false
}

/// Joins a parent path and a name.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_string()
    } else {
        format!("{path}.{name}")
    }
}

/// Part of the path of a residual block's shortcut.
pub(super) const SHORTCUT: &str = "shortcut";

fn residual_shapes(
    place: &str,
    shortcut: &[Node],
    input: &[usize],
    output: &[usize],
    beside: &[usize],
) -> Error {
    if shortcut.is_empty() {
        let message = format!(
            "{place}: a residual branch must keep the shape, but takes {input:?} to {output:?}"
        );
        return Error::shape(message).with_help(
            "or give the block a shortcut with layers that take the input to that shape",
        );
    }
    Error::shape(format!(
        "{place}: branch and shortcut must give the same shape, but take {input:?} to {output:?} and {beside:?}"
    ))
}

/// The one shape that all branches have.
pub(super) fn same_shapes(
    place: &str,
    input: &[usize],
    outputs: Vec<Vec<usize>>,
) -> Result<Vec<usize>> {
    let Some(first) = outputs.first() else {
        return Err(Error::setting(format!("{place}: there is no branch")));
    };
    match outputs.iter().find(|other| *other != first) {
        None => Ok(first.clone()),
        Some(other) => Err(Error::shape(format!(
            "{place}: parallel branches must give the same shape, but take {input:?} to {first:?} and {other:?}"
        ))),
    }
}

/// Parameters found so far.
#[derive(Default)]
struct Found {
    params: Vec<ParamSpec>,
    in_branch: Vec<bool>,
    tied: Vec<(String, Tied)>,
}

impl Found {
    /// Adds a layer's parameter that is another's.
    fn tie(&mut self, place: &str, tied: Tied) -> Result<()> {
        let path = tied.param();
        match self.params.iter().find(|p| p.path == path) {
            Some(p) if p.shape == tied.shape => {
                self.tied.push((place.to_string(), tied));
                Ok(())
            }
            Some(p) => Err(Error::shape(format!(
                "{place} needs {path} to have shape {:?}, but it has {:?}",
                tied.shape, p.shape
            ))),
            None => Err(Error::setting(format!(
                "{place} shares {path}, but there is no such parameter before it"
            ))),
        }
    }
}

fn describe(
    nodes: &[Node],
    (path, in_branch): (&str, bool),
    input: &[usize],
    found: &mut Found,
) -> Result<Vec<usize>> {
    let mut shape = input.to_vec();
    for node in nodes {
        let place = join(path, node.name());
        match node {
            Node::Layer { layer, .. } => {
                let output = layer.output_shape(&shape).map_err(|e| e.at(&place))?;
                if let Some(tied) = layer.tied(&shape) {
                    found.tie(&place, tied)?;
                }
                for mut param in layer.params(&shape) {
                    param.path = join(&place, &param.path);
                    found.params.push(param);
                    found.in_branch.push(in_branch);
                }
                shape = output;
            }
            Node::Parallel { branches, .. } => {
                let mut outputs = Vec::new();
                for (i, branch) in branches.iter().enumerate() {
                    let beside = join(&place, &i.to_string());
                    outputs.push(describe(branch, (&beside, in_branch), &shape, found)?);
                }
                shape = same_shapes(&place, &shape, outputs)?;
            }
            Node::Residual { body, shortcut, .. } => {
                let output = describe(body, (&place, true), &shape, found)?;
                let beside = join(&place, SHORTCUT);
                let beside = describe(shortcut, (&beside, in_branch), &shape, found)?;
                if output != beside {
                    return Err(residual_shapes(&place, shortcut, &shape, &output, &beside));
                }
                shape = output;
            }
        }
    }
    Ok(shape)
}

/// Checks that a parameter's growth is one that roles tell apart: fans grow or stay, and no size changes without them.
fn check_growth(here: &ParamSpec, wider: &ParamSpec, width: usize) -> Result<()> {
    let fans = |p: &ParamSpec| [("fan-in", p.fan_in), ("fan-out", p.fan_out)];
    let mut pairs = fans(here).into_iter().zip(fans(wider));
    let (path, twice) = (&here.path, 2 * width);
    if let Some(((what, a), (_, b))) = pairs.find(|((_, a), (_, b))| b < a) {
        return Err(Error::setting(format!(
            "the role of {path} cannot be inferred: its {what} falls from {a} at width {width} to {b} at width {twice}"
        ))
        .with_help("sizes may grow with width or stay"));
    }
    if here.shape != wider.shape && fans(here) == fans(wider) {
        return Err(Error::setting(format!(
            "the role of {path} cannot be inferred: its shape changes from {:?} at width {width} to {:?} at width \
             {twice}, but neither the inputs that its layer sums over nor its outputs do",
            here.shape, wider.shape
        ))
        .with_help("no parametrization covers such a size: let it be the same at every width"));
    }
    Ok(())
}
