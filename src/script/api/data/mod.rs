//! `data::…`: streams and batches.

mod batches;
mod own;
mod sources;

use std::fmt;
use std::sync::Arc;

use super::Registry;
use crate::data::{Batch, Stream};

/// A stream in a script.
#[derive(Clone)]
pub struct StreamValue(pub Arc<dyn Stream>);

impl fmt::Debug for StreamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamValue({})", self.0.name())
    }
}

crate::script_type!(StreamValue, "stream", "data::synthetic_images()");

/// A batch in a script.
#[derive(Debug, Clone)]
pub struct BatchValue(pub Arc<Batch>);

crate::script_type!(BatchValue, "batch", "data::synthetic_images().batch(8)");

/// Registers streams, batches and the functions that make them.
pub fn register(registry: &mut Registry) {
    registry.name_type::<StreamValue>("Stream");
    registry.name_type::<BatchValue>("Batch");
    for (rust, script) in [("StreamValue", "Stream"), ("BatchValue", "Batch")] {
        // the names in signatures of the reference
        registry.engine().register_type_with_name_raw(rust, script);
    }
    sources::register(registry);
    own::register(registry);
    batches::register(registry);
}
