//! Models: networks with parameters. A model is always an ensemble of one or more members, which
//! share the architecture and differ in seed.
//!
//! A folder of its own, since a model joins a network with a parametrization and is what trainers,
//! metrics and probes all look at.

mod build;
mod compare;
mod evaluate;
mod explain;
mod init;
#[allow(clippy::module_inception)]
mod model;
mod needs;

pub use compare::{CompareRow, Comparison, Counted, Relation, compare};
pub(crate) use evaluate::{EVAL_OUTPUTS, activation, no_path};
pub use explain::{ExplainRow, Explanation, Scaled, explain, explain_optimizer};
pub use model::{Model, ModelSettings, Parameter, SharedModel};
pub(crate) use needs::Work;
