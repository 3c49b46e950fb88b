//! Lines on stdout and stderr. A reader that goes away (`widthwise … | head`) is no error.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

static COMPLAINED: AtomicBool = AtomicBool::new(false);
static SAID: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

/// Writes a line to stdout, or to stderr when stdout carries the answer.
pub fn line(text: &str, to_stderr: bool) {
    let result = if to_stderr {
        writeln!(std::io::stderr().lock(), "{text}")
    } else {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    if let Err(e) = result
        && e.kind() != ErrorKind::BrokenPipe
        && !COMPLAINED.swap(true, Ordering::Relaxed)
    {
        // stderr may be gone as well; there is nobody left to tell
        let _ = writeln!(std::io::stderr().lock(), "error: writing output: {e}");
    }
}

/// Whether something could not be written, which has been said then.
pub fn failed() -> bool {
    COMPLAINED.load(Ordering::Relaxed)
}

/// Writes a message to stderr.
pub fn message(text: &str) {
    line(text, true);
}

/// Writes a message to stderr, unless one about the same was written before: a probe that is measured
/// fifty times says it once.
pub fn message_once(about: impl Hash, text: &str) {
    let mut hasher = DefaultHasher::new();
    about.hash(&mut hasher);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(hasher.finish()) {
        message(text);
    }
}
