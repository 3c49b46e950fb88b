//! What stands beside a run's results: the script's text, its settings and the library versions.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::session::Session;
use crate::atomic_file;
use crate::error::Result;

/// Name of the file with settings and versions.
pub const RUN: &str = "run.json";
/// Name of the file with the script's text.
pub const SCRIPT: &str = "script.rhai";

/// The script whose run an output folder is of, if it says so.
pub fn script_of(folder: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(folder.join(RUN)).ok()?;
    let info: Value = serde_json::from_str(&text).ok()?;
    Some(PathBuf::from(info["script"].as_str()?))
}

/// Version of a library that this program was built with.
pub fn library_version(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    entry.split_once('"').map(|(version, _)| version)
}

/// Versions of this program and of the libraries that decide its numbers.
pub fn versions() -> Value {
    let mut all = Map::new();
    all.insert("widthwise".into(), env!("CARGO_PKG_VERSION").into());
    for name in [
        "rhai",
        "candle-core",
        "gemm",
        "rand_chacha",
        "rand_distr",
        "libm",
    ] {
        if let Some(version) = library_version(name) {
            all.insert(name.into(), version.into());
        }
    }
    all.into()
}

/// Writes `script.rhai` and `run.json` into the output folder.
///
/// # Errors
/// When the files cannot be written.
pub fn write(session: &Session, folder: &Path) -> Result<()> {
    let script = session.script();
    let name = script.as_ref().map(|s| s.display().to_string());
    let info = json!({
        "script": name,
        "settings": session.asked_values(),
        "device": session.device_name(),
        "versions": versions(),
        "machine": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH },
    });
    let text = format!("{info:#}\n");
    atomic_file::write(&folder.join(RUN), text.as_bytes())?;
    if let Some(text) = name.and_then(|n| session.sources.get(&n)) {
        atomic_file::write(&folder.join(SCRIPT), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_come_from_the_lock_file() {
        assert_eq!(super::library_version("rhai"), Some("1.27.0"));
        assert_eq!(super::library_version("no-such-library"), None);
        assert_eq!(super::versions()["widthwise"], env!("CARGO_PKG_VERSION"));
    }
}
