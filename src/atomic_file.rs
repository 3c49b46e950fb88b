//! Files that are there wholly or not at all.

use std::fs::{File, remove_file, rename};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Writes bytes to a temporary file beside `path`, and renames it.
///
/// # Errors
/// The operating system's refusal (no such folder, permissions, full disk); an older file then
/// stays as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| {
        std::fs::write(temporary, bytes).map_err(|e| Error::io(path, &e))
    })
}

/// Lets `fill` write the temporary file whose path it is given, and renames it.
///
/// # Errors
/// As [`write()`], and the error of `fill`.
pub fn write_with(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let refuse = |text: String| Err(Error::new(ErrorKind::Io, text));
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let folder = folder.display();
        return refuse(format!(
            "{}: the folder {folder} does not exist",
            path.display()
        ));
    }
    if path.is_dir() {
        return refuse(format!("{}: is a folder", path.display()));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
    let written = fill(&temporary).and_then(|()| {
        // on the disk before the name is, or a power cut could leave an empty file under it
        File::open(&temporary)
            .and_then(|file| file.sync_all())
            .and_then(|()| rename(&temporary, path))
            .map_err(|e| Error::io(path, &e))
    });
    if written.is_err() {
        // the first error is the one to report
        let _ = remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |temporary| {
            std::fs::write(temporary, b"half").unwrap();
            Err(Error::other("no space left"))
        });
        assert_eq!(error.unwrap_err().message, "no space left");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let lost = write(&folder.path().join("no/b.txt"), b"").unwrap_err();
        assert!(lost.message.contains("does not exist"), "{lost}");
    }
}
