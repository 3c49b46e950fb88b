//! The host of the Rhai language: engine, settings, modules, permissions, diagnostics.
//!
//! [`host::Host`] runs scripts and prompt cells; [`api`] holds the functions scripts can call and
//! starts with the pattern that every binding follows.

pub mod api;
pub mod callback;
pub mod captured;
pub mod check;
pub mod convert;
pub mod diagnostics;
pub mod docs;
pub mod error;
pub mod host;
pub mod modules;
pub mod names;
pub mod options;
pub mod output;
pub mod run_info;
pub mod scoping;
pub mod session;
pub mod sources;
pub mod table;

pub use callback::StoredFn;
pub use error::{HostError, OrRaise, RhaiResultOf, raise};
pub use host::{Host, HostSettings, ScriptError};
pub use session::{Session, session};
