//! The flag that Ctrl-C raises and every long computation polls.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks running computations to stop at their next safe point.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Whether a stop has been asked for and not yet been cleared.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Forgets an earlier request; called before each evaluation.
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
}
