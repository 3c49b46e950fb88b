//! Reading the record of another run from its file.

use std::path::Path;

use serde_json::Value;

use super::record::{Divergence, Record};
use crate::error::{Error, Result};

impl Record {
    /// The record in a file that [`Record::write_to`] began, of a run that has ended, was killed or goes on.
    /// Outputs that were kept are in no file.
    ///
    /// # Errors
    /// If the file cannot be read or is no record: the line, and what was expected there.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
        // what follows the last line feed is being written
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut record = Self::default();
        for (i, line) in whole.lines().enumerate() {
            let wrong = |found: &dyn std::fmt::Display| {
                let expected = format!("a record of widthwise in line {}", i + 1);
                Error::data(path, expected, found)
            };
            let value: Value = serde_json::from_str(line).map_err(|e| wrong(&e))?;
            let kind = value["type"].as_str().unwrap_or_default();
            if (i == 0) != (kind == "run") {
                return Err(wrong(&format!("a line of type \"{kind}\"")));
            }
            record
                .take(kind, &value)
                .ok_or_else(|| wrong(&format!("a line of type \"{kind}\" that lacks something")))?;
        }
        if record.settings.is_null() {
            return Err(Error::data(path, "a record of widthwise", "no whole line"));
        }
        Ok(record)
    }

    /// Takes a line in; `None` if it lacks something. Types that are not known are passed over.
    fn take(&mut self, kind: &str, line: &Value) -> Option<()> {
        let step = || line["step"].as_u64();
        match kind {
            "run" => {
                let mut settings = line.as_object()?.clone();
                settings.retain(|key, _| key != "type" && key != "widthwise");
                self.settings = settings.into();
            }
            "train" => {
                self.push("train_loss", step()?, numbers(&line["loss"])?);
                self.push("lr_factor", step()?, vec![number(&line["lr_factor"])?]);
            }
            "probe" => match (line["values"].as_object(), line.get("value")) {
                (Some(values), _) => {
                    for (name, values) in values {
                        self.push(name, step()?, numbers(values)?);
                    }
                }
                (None, Some(value)) => {
                    let name = line["name"].as_str()?.to_string();
                    self.probes.push((step()?, name, value.clone()));
                }
                (None, None) => return None,
            },
            "diverged" => self.divergences.push(Divergence {
                step: step()?,
                member: line["member"].as_u64()? as usize,
                seed: line["seed"].as_u64()?,
                loss: line["loss"].as_str()?.parse().ok()?,
                last_finite: line["last_finite"].as_f64(),
            }),
            _ => {}
        }
        Some(())
    }
}

/// A number; JSON has none that is not finite.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::NAN),
        value => value.as_f64(),
    }
}

fn numbers(values: &Value) -> Option<Vec<f64>> {
    values.as_array()?.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(path: &Path) -> Record {
        let mut record = Record::new(json!({ "batch": 8 }));
        record.write_to(path).unwrap();
        record.train(0, &[1.5, f64::NAN], 1.0).unwrap();
        record
            .tested(0, &[("test_loss", vec![0.25, 1e-300])])
            .unwrap();
        record.probed("own", 0, json!({ "a": [1, 2.5] })).unwrap();
        let divergence = Divergence {
            step: 0,
            member: 1,
            seed: 7,
            loss: f64::INFINITY,
            last_finite: None,
        };
        record.diverged(divergence).unwrap();
        record
            .note("no_gradient", &json!(["layers.0.weight"]))
            .unwrap();
        record.end("done", 1, 0.5, None).unwrap();
        record
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let record = written(&path);
        let found = Record::read(&path).unwrap();
        assert_eq!(found.settings, record.settings);
        assert_eq!(found.probes, record.probes);
        assert_eq!(found.divergences, record.divergences);
        assert_eq!(found.series["test_loss"], record.series["test_loss"]);
        assert_eq!(found.series["lr_factor"], record.series["lr_factor"]);
        let losses = &found.series["train_loss"].values[0];
        assert!(losses[0] == 1.5 && losses[1].is_nan());
        // the line that is being written does not count
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(Record::read(&path).unwrap().probes, record.probes);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let first = "{\"type\":\"run\"}\n";
        for (text, message) in [
            (String::new(), "found no whole line"),
            ("{}".into(), "found no whole line"),
            (
                "{\"a\": 1}\n".into(),
                "in line 1, found a line of type \"\"",
            ),
            (
                format!("{first}{first}"),
                "in line 2, found a line of type \"run\"",
            ),
            (
                format!("{first}nothing\n"),
                "in line 2, found expected ident",
            ),
            (
                format!("{first}{{\"type\":\"train\"}}\n"),
                "\"train\" that lacks something",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Record::read(&path).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
    }
}
