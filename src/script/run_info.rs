//! What stands beside a run's results: the script's text, its settings and the library versions.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::session::Session;
use crate::error::{Error, Result};

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
        "device": session.settings.device,
        "versions": versions(),
        "machine": { "os": std::env::consts::OS, "arch": std::env::consts::ARCH },
    });
    let text = format!("{info:#}\n");
    write_file(&folder.join("run.json"), text.as_bytes())?;
    if let Some(text) = name.and_then(|n| session.sources.get(&n)) {
        write_file(&folder.join("script.rhai"), text.as_bytes())?;
    }
    Ok(())
}

/// Writes a file so that it is there wholly or not at all.
///
/// # Errors
/// The operating system's refusal (permissions, full disk); an older file then stays as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    std::fs::write(temporary, bytes)
        .and_then(|()| std::fs::rename(temporary, path))
        .map_err(|e| {
            // a torn file is of no use to anybody
            let _ = std::fs::remove_file(temporary);
            Error::io(path, &e)
        })
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
