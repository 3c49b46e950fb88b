//! `data::…`: streams and batches.

mod batches;
mod files;
mod own;
mod sources;
mod text;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rhai::NativeCallContext;

use super::Registry;
use crate::data::{Batch, Stream};
use crate::error::{ErrorKind, Result};
use crate::script::{OrRaise, RhaiResultOf, Session, session};

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
    files::register(registry);
    text::register(registry);
    own::register(registry);
    batches::register(registry);
}

/// A file or folder that the script may read; the empty name stands for none.
fn readable(ctx: &NativeCallContext, folder: &str) -> RhaiResultOf<PathBuf> {
    let find = |s: &Session| s.input_path(folder);
    found(ctx, folder, find)
}

/// The same of a path whose last part may have stars.
fn readable_pattern(ctx: &NativeCallContext, path: &str) -> RhaiResultOf<PathBuf> {
    let find = |s: &Session| s.input_pattern(path);
    found(ctx, path, find)
}

fn found(
    ctx: &NativeCallContext,
    path: &str,
    find: impl FnOnce(&Session) -> Result<PathBuf>,
) -> RhaiResultOf<PathBuf> {
    if path.is_empty() {
        return Ok(PathBuf::new());
    }
    match session(ctx).and_then(|s| find(&s)) {
        // the stream's own message says which files it wants
        Err(error) if error.kind == ErrorKind::Data => Ok(path.into()),
        found => found.or_raise(ctx),
    }
}

fn stream<S: Stream + 'static>(
    ctx: &NativeCallContext,
    made: Result<S>,
) -> RhaiResultOf<StreamValue> {
    made.map(|s| StreamValue(Arc::new(s))).or_raise(ctx)
}
