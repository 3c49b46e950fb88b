//! The parts of a network: layers, sums of branches, residual blocks.

use std::sync::Arc;

use serde_json::{Value, json};

use super::layer::Layer;

/// Last part of the path of what a layer passes to a nonlinearity that follows in the same pass.
pub const PREACTIVATION: &str = "preactivation";

/// One part of a network. The name is its part of the parameters' paths.
#[derive(Debug, Clone)]
pub enum Node {
    /// A layer.
    Layer {
        /// Part of the path, for instance `readout` or `0`.
        name: String,
        /// The layer.
        layer: Arc<dyn Layer>,
    },
    /// The sum of what several branches make of x.
    Parallel {
        /// Part of the path; paths in the branches go on with their numbers.
        name: String,
        /// The branches; one without layers is x itself.
        branches: Vec<Vec<Node>>,
    },
    /// `shortcut(x) + multiplier · body(x)`.
    Residual {
        /// Part of the path.
        name: String,
        /// The branch.
        body: Vec<Node>,
        /// What is added to it; nothing for x itself. Its paths start with `shortcut`.
        shortcut: Vec<Node>,
        /// Factor of the branch.
        multiplier: f64,
    },
}

impl Node {
    /// A layer under a name.
    pub fn layer(name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        Self::Layer {
            name: name.into(),
            layer: Arc::new(layer),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Layer { name, .. }
            | Self::Parallel { name, .. }
            | Self::Residual { name, .. } => name,
        }
    }

    /// The same part with every node inside it, and itself, changed by `f`.
    fn map(self, f: &impl Fn(Self) -> Self) -> Self {
        let all = |nodes: Vec<Self>| nodes.into_iter().map(|node| node.map(f)).collect();
        f(match self {
            Self::Layer { .. } => self,
            Self::Parallel { name, branches } => Self::Parallel {
                name,
                branches: branches.into_iter().map(all).collect(),
            },
            Self::Residual {
                name,
                body,
                shortcut,
                multiplier,
            } => Self::Residual {
                name,
                body: all(body),
                shortcut: all(shortcut),
                multiplier,
            },
        })
    }

    /// The same parts with layers and the nonlinearities that they pass through at once as two layers:
    /// what comes between them is called [`PREACTIVATION`] behind the path of both.
    pub fn apart(nodes: &[Self]) -> Vec<Self> {
        let part = |node: &Self| match node {
            Self::Layer { name, layer } => match layer.apart() {
                None => vec![node.clone()],
                Some((alone, activation)) => vec![
                    Self::Layer {
                        name: format!("{name}.{PREACTIVATION}"),
                        layer: alone,
                    },
                    Self::layer(name, activation),
                ],
            },
            Self::Parallel { name, branches } => vec![Self::Parallel {
                name: name.clone(),
                branches: branches.iter().map(|b| Self::apart(b)).collect(),
            }],
            Self::Residual {
                name,
                body,
                shortcut,
                multiplier,
            } => vec![Self::Residual {
                name: name.clone(),
                body: Self::apart(body),
                shortcut: Self::apart(shortcut),
                multiplier: *multiplier,
            }],
        };
        nodes.iter().flat_map(part).collect()
    }

    /// The same part with the branches of its residual blocks multiplied by `factor` once more.
    pub fn with_branches(self, factor: f64) -> Self {
        self.map(&|mut node| {
            if let Self::Residual { multiplier, .. } = &mut node {
                *multiplier *= factor;
            }
            node
        })
    }

    /// The same part with the forward multiplier of layers that compute with the parameter at `owner`,
    /// another's.
    pub fn with_tied(self, owner: &str, multiplier: f64) -> Self {
        self.map(&|node| match node {
            Self::Layer { name, layer } => {
                let shares = layer.tied(&[]).is_some_and(|t| t.param() == owner);
                let other = shares.then(|| layer.with_multiplier(multiplier)).flatten();
                let layer = other.unwrap_or(layer);
                Self::Layer { name, layer }
            }
            other => other,
        })
    }

    /// The same part under another name.
    pub fn named(mut self, new: impl Into<String>) -> Self {
        match &mut self {
            Self::Layer { name, .. }
            | Self::Parallel { name, .. }
            | Self::Residual { name, .. } => *name = new.into(),
        }
        self
    }

    pub(super) fn settings(&self) -> Value {
        let all = |nodes: &[Self]| nodes.iter().map(Self::settings).collect::<Vec<_>>();
        match self {
            Self::Parallel { name, branches } => {
                let branches: Vec<_> = branches.iter().map(|b| all(b)).collect();
                json!({ "name": name, "layer": "parallel", "branches": branches })
            }
            Self::Layer { name, layer } => {
                json!({ "name": name, "layer": layer.kind(), "settings": layer.settings() })
            }
            Self::Residual {
                name,
                body,
                shortcut,
                multiplier,
            } => {
                let mut settings = json!({
                    "name": name,
                    "layer": "residual",
                    "multiplier": multiplier,
                    "body": all(body),
                });
                if let (false, Some(map)) = (shortcut.is_empty(), settings.as_object_mut()) {
                    map.insert("shortcut".into(), json!(all(shortcut)));
                }
                settings
            }
        }
    }
}
