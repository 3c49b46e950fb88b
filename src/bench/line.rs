//! Result lines: one JSON object per measurement, in the form that the benchmarks of other programs
//! print too.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::machine::Machine;
use crate::error::{Error, Result};

/// This program's name among the peers.
pub const PEER: &str = "widthwise";

/// A result. The first eight are those that every program gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The program.
    pub peer: String,
    /// The work.
    pub work: String,
    /// Which of several ways of doing it.
    pub variant: String,
    /// What is reported, for instance `steps_per_s`.
    pub metric: String,
    /// The middle repetition.
    pub median: f64,
    /// The smallest.
    pub lo: f64,
    /// The largest.
    pub hi: f64,
    /// Repetitions.
    pub n: usize,
    /// Largest resident size in MB (2²⁰ bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maxrss_mb: Option<f64>,
    /// The case: the work at one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Threads that computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Distance between the quartiles, as a share of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// 10⁹ floating-point operations per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
    /// 10⁹ bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gb_per_s: Option<f64>,
    /// Share of the machine's arithmetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
    /// Time in units of the least that arithmetic and bytes allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_floor: Option<f64>,
    /// Share of the machine that other processes took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_cpu: Option<f64>,
    /// Whether that was too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// The script without its ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Version of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Day in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Sizes and other settings of the work.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl Line {
    /// The case, or the work where a line has none.
    pub fn case(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.work)
    }

    /// The line as JSON; the settings stand both by themselves and among the rest, where programs
    /// that know nothing of `settings` look for `width`.
    pub fn json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(json) = json.as_object_mut() {
            for (key, value) in &self.settings {
                json.entry(key.clone()).or_insert(value.clone());
            }
        }
        json
    }
}

/// Reads result lines; lines that report a failure are left out.
///
/// # Errors
/// If the file cannot be read, or a line is none (its number).
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
    let mut lines = Vec::new();
    for (i, text) in text.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let wrong = |e: serde_json::Error| {
            let place = format!("a result in line {}", i + 1);
            Error::data(path, place, e)
        };
        let value: Value = serde_json::from_str(text).map_err(wrong)?;
        if value.get("error").is_none() {
            lines.push(serde_json::from_value(value).map_err(wrong)?);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as the peers print them, and one that failed.
    const TEXT: &str = r#"
{"peer": "torch", "work": "W1", "variant": "eager", "metric": "steps_per_s", "median": 100.5, "lo": 90, "hi": 110.0, "n": 12, "maxrss_mb": 300.1, "width": 64, "loss0": 2.3, "group": "W1-64", "round": 0, "foreign_cpu": 0.01, "wall_s": 5.2, "dirty": false}
{"peer": "jax", "work": "W1", "variant": "jit", "width": 64, "error": 1, "tail": "no jax"}
"#;

    #[test]
    fn lines_of_other_programs_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        std::fs::write(&path, TEXT).unwrap();
        let lines = read(&path).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].case(), lines[0].median), ("W1-64", 100.5));
        std::fs::write(&path, format!("{TEXT}{{\"peer\": 3}}\n")).unwrap();
        let e = read(&path).unwrap_err();
        assert!(e.message.contains("a result in line 4"), "{e}");
    }

    #[test]
    fn own_lines_are_read_back() {
        let mut line: Line = serde_json::from_str(TEXT.lines().nth(1).unwrap()).unwrap();
        line.settings.insert("width".into(), 64.into());
        line.settings.insert("work".into(), "other".into());
        let json = line.json();
        assert_eq!(json["width"], 64);
        assert_eq!(json["work"], "W1", "a setting does not hide a field");
        assert_eq!(serde_json::from_value::<Line>(json).unwrap(), line);
    }
}
