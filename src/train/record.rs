//! The record of a training run: settings, series and probe results, kept in memory and written as
//! JSON lines while the run goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};

/// A quantity over steps: one row of values per measured step, one value per member (or a single
/// one for quantities of the whole ensemble).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Steps at which it was measured.
    pub steps: Vec<u64>,
    /// Values at each of those steps.
    pub values: Vec<Vec<f64>>,
}

/// The moment at which a member's loss stopped being finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Step.
    pub step: u64,
    /// Member.
    pub member: usize,
    /// Seed of the member.
    pub seed: u64,
    /// The loss that was not finite.
    pub loss: f64,
    /// The last finite loss, if there was one.
    pub last_finite: Option<f64>,
}

/// What a training run leaves.
///
/// In a file, the first line has `"type": "run"` with all settings; then come lines of type
/// `train`, `probe` and `diverged` as they happen, and a line of type `end`. Numbers that are not
/// finite are `null`.
///
/// Series stay in memory: a training step adds a row to two of them, 100 to 200 bytes and 8 for each
/// member. That, probes and kept predictions are all that grows with the number of steps.
#[derive(Debug, Default)]
pub struct Record {
    /// Settings of the run.
    pub settings: Value,
    /// Series by name, for instance `train_loss`, `test_loss`.
    pub series: BTreeMap<String, Series>,
    /// Results of script-made probes: step, name, value.
    pub probes: Vec<(u64, String, Value)>,
    /// Outputs on the test set by step, `[members, points, outputs]`, where they were kept.
    pub predictions: BTreeMap<u64, Tensor>,
    /// Members that diverged.
    pub divergences: Vec<Divergence>,
    file: Option<LineFile>,
}

/// A file that holds whole lines only, even when the disk is full.
#[derive(Debug)]
struct LineFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LineFile {
    fn append(&mut self, value: &Value) -> Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // a torn last line would make the record unreadable; the lines before it stay
                let _ = self.file.set_len(self.length);
                Err(Error::io(&self.path, &error)
                    .with_help("the record is readable up to its last whole line"))
            }
        }
    }
}

impl Record {
    /// An empty record with settings, kept in memory.
    pub fn new(settings: Value) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Starts writing to a new file, beginning with the settings.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn write_to(&mut self, path: &Path) -> Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| Error::io(path, &e))?;
        self.file = Some(LineFile {
            path: path.to_path_buf(),
            file,
            length: 0,
        });
        self.begin()
    }

    /// Writes the line with the settings.
    fn begin(&mut self) -> Result<()> {
        let mut first = json!({ "type": "run", "widthwise": env!("CARGO_PKG_VERSION") });
        if let (Some(first), Some(settings)) = (first.as_object_mut(), self.settings.as_object()) {
            first.extend(settings.clone());
        }
        self.line(|| first)
    }

    /// Begins the file anew, if there is one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn restart(&mut self) -> Result<()> {
        match self.path().map(Path::to_path_buf) {
            Some(path) => {
                self.continue_in(&path, 0)?;
                self.begin()
            }
            None => Ok(()),
        }
    }

    /// Goes on with a file of an earlier run, of which the first `length` bytes are kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn continue_in(&mut self, path: &Path, length: u64) -> Result<()> {
        use std::io::{Seek, SeekFrom};
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|e| Error::io(path, &e))?;
        file.set_len(length)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(|e| Error::io(path, &e))?;
        self.file = Some(LineFile {
            path: path.to_path_buf(),
            file,
            length,
        });
        Ok(())
    }

    /// Whether the file holds the bytes that it had when a checkpoint was made.
    ///
    /// # Errors
    /// If it is shorter.
    pub(super) fn check_length(&self, wanted: Option<u64>) -> Result<()> {
        let (Some(file), Some(wanted)) = (&self.file, wanted) else {
            return Ok(());
        };
        if file.length >= wanted {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Data,
            format!(
                "{} holds {} bytes, and the run's checkpoint is of a record of {wanted}",
                file.path.display(),
                file.length
            ),
        )
        .with_help(
            "put the run's record back, or run with --force in place of --resume to begin anew",
        ))
    }

    /// Bytes written so far.
    pub fn length(&self) -> Option<u64> {
        self.file.as_ref().map(|f| f.length)
    }

    /// The file that the record is written to.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|f| f.path.as_path())
    }

    fn line(&mut self, value: impl FnOnce() -> Value) -> Result<()> {
        match &mut self.file {
            Some(file) => file.append(&value()),
            None => Ok(()),
        }
    }

    /// Adds a row to a series, without writing it.
    pub(super) fn push(&mut self, name: &str, step: u64, values: Vec<f64>) {
        let series = self.series.entry(name.to_string()).or_default();
        series.steps.push(step);
        series.values.push(values);
    }

    /// The training loss of a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn train(&mut self, step: u64, loss: &[f64], lr_factor: f64) -> Result<()> {
        self.push("train_loss", step, loss.to_vec());
        self.push("lr_factor", step, vec![lr_factor]);
        let line =
            || json!({ "type": "train", "step": step, "loss": loss, "lr_factor": lr_factor });
        self.line(line)
    }

    /// What was measured on the test set at a step: names with one value per member, or one for the ensemble.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn tested(&mut self, step: u64, values: &[(&str, Vec<f64>)]) -> Result<()> {
        for (name, values) in values {
            self.push(name, step, values.clone());
        }
        self.line(|| {
            let values: serde_json::Map<String, Value> = values
                .iter()
                .map(|(name, v)| ((*name).to_string(), json!(v)))
                .collect();
            json!({ "type": "probe", "step": step, "name": "test", "values": values })
        })
    }

    /// What a script's probe gave at a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn probed(&mut self, probe: &str, step: u64, value: Value) -> Result<()> {
        let line = json!({ "type": "probe", "step": step, "name": probe, "value": value.clone() });
        self.probes.push((step, probe.to_string(), value));
        self.line(|| line)
    }

    /// A member that diverged.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn diverged(&mut self, d: Divergence) -> Result<()> {
        self.divergences.push(d);
        self.line(|| {
            json!({
                "type": "diverged", "step": d.step, "member": d.member, "seed": d.seed,
                "loss": d.loss.to_string(), "last_finite": d.last_finite,
            })
        })
    }

    /// Something worth keeping that is not a number, for instance parameters without a gradient.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&mut self, kind: &str, value: &Value) -> Result<()> {
        self.line(|| json!({ "type": kind, "value": value }))
    }

    /// The end of a run of steps: `done` or `interrupted`; on a GPU with the bytes of its memory that are
    /// in use, and all of them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(
        &mut self,
        status: &str,
        steps: u64,
        seconds: f64,
        memory: Option<(u64, u64)>,
    ) -> Result<()> {
        self.line(|| {
            let mut line =
                json!({ "type": "end", "status": status, "steps": steps, "seconds": seconds });
            if let Some((used, all)) = memory {
                line["gpu_memory"] = json!({ "used": used, "total": all });
            }
            line
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_readable_while_open() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        let mut record = Record::new(json!({ "batch": 8 }));
        record.write_to(&path)?;
        record.train(0, &[1.5, f64::NAN], 1.0)?;
        record.diverged(Divergence {
            step: 0,
            member: 1,
            seed: 7,
            loss: f64::NAN,
            last_finite: None,
        })?;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines[0]["batch"], 8);
        assert_eq!(lines[1]["loss"], json!([1.5, null]));
        assert_eq!(lines[2]["loss"], "NaN");
        assert!(
            Record::new(json!({})).write_to(&path).is_err(),
            "an old record is not overwritten"
        );
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_with_the_path() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut record = Record::new(json!({}));
        record.file = Some(LineFile {
            path: "/dev/full".into(),
            file,
            length: 0,
        });
        let error = record.train(0, &[1.0], 1.0).unwrap_err();
        assert!(
            error.message.contains("/dev/full") && error.message.contains("space"),
            "{error}"
        );
    }
}
