//! Streams as scripts hold them.

use std::sync::Arc;

use crate::data::Stream;

/// A stream as scripts hold it.
#[derive(Clone)]
pub struct StreamValue(pub Arc<dyn Stream>);
