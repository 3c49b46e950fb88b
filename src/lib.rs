//! `widthwise`: a scripting host for research on wide neural networks.
//!
//! Each module may use only those above it in this list; nothing above [`script`] knows that the
//! Rhai language exists.

#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

pub mod error;
pub mod interrupt;

pub mod tensor;

pub mod nn;
pub mod parametrization;

pub mod model;

pub mod optim;

pub mod data;

pub mod metrics;

pub mod train;

pub mod plot;

pub mod script;

pub mod repl;

pub mod cli;

#[cfg(test)]
#[path = "../tests/reference/mod.rs"]
mod reference;
