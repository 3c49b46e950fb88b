//! Measuring whole processes: from their start to a line that they print.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::process::peak_memory;
use crate::error::{Error, Result};
use crate::interrupt;

/// Set for processes that are measured, which start no others.
const INNER: &str = "WIDTHWISE_MEASURED";

/// What a measured process prints at the moment that counts, as a line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds since 1970.
    pub unix_time: f64,
    /// Largest resident size so far, in bytes.
    pub peak_memory: Option<u64>,
}

impl Mark {
    /// The mark of this moment.
    pub fn now() -> Self {
        Self {
            unix_time: now(),
            peak_memory: peak_memory(),
        }
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |s| s.as_secs_f64())
}

/// Starts `program` with `arguments`, `repetitions` times and once before to fill the page cache:
/// for each, seconds from its start to its mark, and its largest resident size until then.
///
/// # Errors
/// If it cannot be started, fails (with the end of what it said) or prints no mark; when this is
/// itself a measured process; an interruption.
pub fn measure(
    program: &Path,
    arguments: &[String],
    repetitions: usize,
) -> Result<Vec<(f64, Option<u64>)>> {
    if std::env::var_os(INNER).is_some() {
        return Err(Error::other(
            "a process that is measured cannot measure others",
        ));
    }
    let mut found = Vec::new();
    for _ in 0..=repetitions {
        let start = now();
        let output = Command::new(program)
            .args(arguments)
            .env(INNER, "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::io(program, &e))?;
        if interrupt::requested() {
            return Err(Error::interrupted());
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::other(format!(
                "the measured process failed: {}",
                said.trim()
            )));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let mark = printed
            .lines()
            .rev()
            .find_map(|l| serde_json::from_str::<Mark>(l).ok());
        let Some(mark) = mark else {
            return Err(Error::other("the measured process printed no mark")
                .with_help("its script must call bench::mark() at the moment that counts"));
        };
        found.push((mark.unix_time - start, mark.peak_memory));
    }
    found.remove(0);
    Ok(found)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Vec<(f64, Option<u64>)>> {
        measure(Path::new("/bin/sh"), &["-c".into(), script.into()], 2)
    }

    #[test]
    fn the_time_to_the_mark_counts() {
        let mark =
            r#"echo noise; sleep 0.05; echo "{\"unix_time\": $(date +%s.%N), \"peak_memory\": 7}""#;
        let start = now();
        let found = shell(&format!("{mark}; sleep 0.2")).unwrap();
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|f| f.0 > 0.04 && f.1 == Some(7)),
            "{found:?}"
        );
        let counted: f64 = found.iter().map(|f| f.0).sum();
        assert!(now() - start > counted + 0.4, "what comes after the mark");
    }

    #[test]
    fn failures_are_told() {
        let e = shell("echo broken >&2; exit 3").unwrap_err();
        assert_eq!(e.message, "the measured process failed: broken");
        assert!(shell("echo 1").unwrap_err().message.contains("no mark"));
        assert!(measure(Path::new("/no/such"), &[], 1).is_err());
    }
}
