//! A test set that is made when first asked for.

use std::sync::{Arc, OnceLock};

use super::stream::Batch;
use crate::error::Result;

/// Keeps a stream's test set once it has been made.
#[derive(Debug, Default)]
pub(crate) struct TestSet(OnceLock<Arc<Batch>>);

impl TestSet {
    /// The test set, made by `make` unless it was made before.
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<Batch>) -> Result<Arc<Batch>> {
        if let Some(batch) = self.0.get() {
            return Ok(batch.clone());
        }
        let batch = Arc::new(make()?);
        Ok(self.0.get_or_init(|| batch).clone())
    }
}
