//! Checkpoints: the whole state of a trainer in a file, from which a killed run goes on with the
//! same bits.
//!
//! Checkpoints are made within a trainer's first run of steps, which begins at a state that is a
//! function of the settings alone. A resumed script starts anew; when its trainer begins that run,
//! the state is taken from the file. One of other settings, another program version or other initial
//! parameters is an error, so that nothing is lost by a setting that was forgotten. Everything else is
//! computed again, and gives the same numbers.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Divergence, Record, Series};
use crate::atomic_file;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Fingerprint;
use crate::tensor::elem::{each_f64, to_f64};
use crate::tensor::elementwise::copy;

/// Where and how often a trainer's state is kept.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    /// The file.
    pub path: PathBuf,
    /// Time between two checkpoints; shorter runs have none.
    pub every: Duration,
    /// Whether to go on from the file, if it is there.
    pub resume: bool,
}

/// The file of a trainer.
#[derive(Debug)]
pub(super) struct Checkpoints {
    pub settings: CheckpointSettings,
    pub fingerprint: String,
    pub last: Instant,
    pub written: bool,
    /// Whether this is a later run of steps, which begins at a state that depends on what the script did
    /// in between, so that it has none.
    pub later: bool,
    /// Whether the user has been told that.
    pub told: bool,
}

/// Plain values of a trainer's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plain {
    pub fingerprint: String,
    /// Of the run, as its record has them.
    settings: Value,
    /// Results of the caller's probes.
    pub probes: Vec<(u64, String, Value)>,
    pub step: u64,
    pub probed: Option<u64>,
    pub active: Vec<bool>,
    pub received: Vec<bool>,
    pub record_length: Option<u64>,
    predictions: Vec<u64>,
    series: Vec<String>,
    /// Of all tensors.
    checksum: u64,
}

impl Plain {
    /// The state at a step.
    pub(super) fn new(fingerprint: &str, step: u64, probed: Option<u64>) -> Self {
        Self {
            fingerprint: fingerprint.into(),
            settings: Value::Null,
            probes: Vec::new(),
            step,
            probed,
            active: Vec::new(),
            received: Vec::new(),
            record_length: None,
            predictions: Vec::new(),
            series: Vec::new(),
            checksum: 0,
        }
    }

    /// With what is known of members, parameters and the record's file.
    pub(super) fn with(mut self, active: &[bool], received: &[bool], length: Option<u64>) -> Self {
        self.active = active.to_vec();
        self.received = received.to_vec();
        self.record_length = length;
        self
    }
}

/// Tensors of a trainer's state that are copied in place: parameters and optimizer states by name.
pub(super) type Values<'a> = Vec<(String, &'a Tensor)>;

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Data,
        format!(
            "{}: not a checkpoint of this program: {what}",
            path.display()
        ),
    )
    .with_help("delete it, and the run starts from its beginning")
}

fn column(values: Vec<f64>) -> Result<Tensor> {
    let size = values.len();
    Ok(Tensor::from_vec(values, size, &Device::Cpu)?)
}

/// Writes the state wholly or not at all.
pub(super) fn save(
    path: &Path,
    mut plain: Plain,
    values: Values<'_>,
    last_loss: &[Option<f64>],
    record: &Record,
) -> Result<()> {
    let mut all: HashMap<String, Tensor> = HashMap::new();
    for (name, tensor) in values {
        all.insert(name, tensor.clone());
    }
    for (name, series) in &record.series {
        let width = series.values.first().map_or(0, Vec::len);
        if series.values.iter().any(|row| row.len() != width) {
            return Err(Error::other(format!(
                "series {name} has rows of different lengths"
            )));
        }
        let steps = series.steps.iter().map(|&s| s as i64).collect::<Vec<_>>();
        let count = steps.len();
        let flat: Vec<f64> = series.values.iter().flatten().copied().collect();
        all.insert(
            format!("series.{name}.steps"),
            Tensor::from_vec(steps, count, &Device::Cpu)?,
        );
        all.insert(
            format!("series.{name}.values"),
            Tensor::from_vec(flat, (count, width), &Device::Cpu)?,
        );
    }
    for (step, tensor) in &record.predictions {
        all.insert(format!("predictions.{step}"), tensor.clone());
    }
    let losses = last_loss.iter().map(|l| l.unwrap_or(f64::NAN)).collect();
    all.insert("last_loss".into(), column(losses)?);
    let divergences = record.divergences.iter().flat_map(|d| {
        [
            d.step as f64,
            d.member as f64,
            d.loss,
            d.last_finite.unwrap_or(f64::NAN),
        ]
    });
    all.insert("divergences".into(), column(divergences.collect())?);
    plain.settings = record.settings.clone();
    plain.probes = record.probes.clone();
    plain.series = record.series.keys().cloned().collect();
    plain.predictions = record.predictions.keys().copied().collect();
    plain.checksum = checksum(&all)?;
    let text = serde_json::to_vec(&plain).map_err(|e| bad(path, e))?;
    let length = text.len();
    all.insert(
        "plain".into(),
        Tensor::from_vec(text, length, &Device::Cpu)?,
    );
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
    }
    atomic_file::write_with(path, |temporary| {
        candle_core::safetensors::save(&all, temporary).map_err(|e| {
            let text = format!("{}: {}", path.display(), Error::from(e).message);
            Error::new(ErrorKind::Io, text)
        })
    })
}

/// What a file says besides the tensors that are copied in place.
pub(super) struct Loaded {
    pub plain: Plain,
    pub last_loss: Vec<Option<f64>>,
    pub series: BTreeMap<String, Series>,
    pub predictions: BTreeMap<u64, Tensor>,
    pub divergences: Vec<Divergence>,
    tensors: HashMap<String, Tensor>,
    path: PathBuf,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl Loaded {
    /// Reads a file of the run with these settings.
    pub(super) fn read(
        path: &Path,
        fingerprint: &str,
        settings: &Value,
        seeds: &[u64],
    ) -> Result<Self> {
        let mut tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .map_err(|e| bad(path, Error::from(e).message))?;
        let text = match tensors.remove("plain") {
            Some(text) => text.to_vec1::<u8>()?,
            None => return Err(bad(path, "no plain")),
        };
        let get = |name: &str| {
            tensors
                .get(name)
                .ok_or_else(|| bad(path, format!("no {name}")))
        };
        let plain: Plain = serde_json::from_slice(&text).map_err(|e| bad(path, e))?;
        if plain.fingerprint != fingerprint {
            return Err(of_another_run(path, &plain, fingerprint, settings));
        }
        if checksum(&tensors)? != plain.checksum {
            return Err(bad(path, "its numbers have changed since it was written"));
        }
        let mut series = BTreeMap::new();
        for name in &plain.series {
            let steps = get(&format!("series.{name}.steps"))?.to_vec1::<i64>()?;
            series.insert(
                name.clone(),
                Series {
                    steps: steps.into_iter().map(|s| s as u64).collect(),
                    values: get(&format!("series.{name}.values"))?.to_vec2()?,
                },
            );
        }
        let mut predictions = BTreeMap::new();
        for &step in &plain.predictions {
            predictions.insert(step, get(&format!("predictions.{step}"))?.clone());
        }
        let divergences = to_f64(get("divergences")?)?;
        let divergences =
            divergences
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&[step, member, loss, last]| {
                    let member = member as usize;
                    Divergence {
                        step: step as u64,
                        member,
                        seed: seeds.get(member).copied().unwrap_or_default(),
                        loss,
                        last_finite: finite(last),
                    }
                });
        let divergences = divergences.collect();
        let last_loss = to_f64(get("last_loss")?)?.into_iter().map(finite).collect();
        Ok(Self {
            plain,
            last_loss,
            series,
            predictions,
            divergences,
            tensors,
            path: path.to_path_buf(),
        })
    }

    /// Copies parameters and optimizer states into their places.
    pub(super) fn restore(&self, values: Values<'_>) -> Result<()> {
        for (name, place) in &values {
            match self.tensors.get(name) {
                Some(t) if t.dims() == place.dims() && t.dtype() == place.dtype() => {}
                _ => {
                    return Err(bad(
                        &self.path,
                        format!("{name} is missing or of another shape"),
                    ));
                }
            }
        }
        for (name, place) in values {
            copy(place, &self.tensors[&name])?;
        }
        Ok(())
    }
}

/// One number for all tensors, by which damage is seen.
fn checksum(all: &HashMap<String, Tensor>) -> Result<u64> {
    let mut names: Vec<_> = all.keys().collect();
    names.sort();
    let mut hash = Fingerprint::default();
    for name in names {
        let tensor = &all[name];
        let tensor = match tensor.dtype() {
            DType::F32 | DType::F64 => tensor.clone(),
            _ => tensor.to_dtype(DType::F64)?,
        };
        each_f64(&tensor, |x| hash.add(x.to_bits()))?;
    }
    Ok(hash.value())
}

/// Why a checkpoint is of no use here.
fn of_another_run(path: &Path, plain: &Plain, fingerprint: &str, settings: &Value) -> Error {
    let version = |text: &str| text.split(' ').next().map(String::from);
    let what = match first_difference(&plain.settings, settings) {
        Some(what) => what,
        None if version(&plain.fingerprint) != version(fingerprint) => format!(
            "widthwise was {}, and is {}",
            version(&plain.fingerprint).unwrap_or_default(),
            env!("CARGO_PKG_VERSION")
        ),
        None => "the initial parameters were others".into(),
    };
    Error::setting(format!("{} is of another run: {what}", path.display())).with_help(
        "resume with the settings of that run, or run with --force in place of --resume to begin anew",
    )
}

/// The first place where two settings differ, in words.
fn first_difference(was: &Value, is: &Value) -> Option<String> {
    fn find(at: &str, was: &Value, is: &Value) -> Option<String> {
        if was == is {
            return None;
        }
        if let (Some(a), Some(b)) = (was.as_object(), is.as_object()) {
            let inner = |key: &String| {
                let at = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                find(&at, &of(a), &of(b))
            };
            return a.keys().chain(b.keys()).find_map(inner);
        }
        let short = |value: &Value| match value.to_string() {
            text if text.chars().count() > 60 => text.chars().take(57).collect::<String>() + "...",
            text => text,
        };
        Some(format!("{at} was {}, and is {}", short(was), short(is)))
    }
    find("", was, is)
}

/// A text that is the same for runs that compute the same: settings, version, initial parameters.
pub(super) fn fingerprint(settings: &Value, values: &Values<'_>) -> Result<String> {
    // a chance agreement of two runs in one folder is no danger
    let mut hash = Fingerprint::default();
    let text = settings.to_string();
    text.bytes().for_each(|b| hash.add(b.into()));
    for (_, tensor) in values.iter().filter(|(name, _)| name.starts_with("param.")) {
        each_f64(tensor, |x| hash.add(x.to_bits()))?;
    }
    let (version, hash) = (env!("CARGO_PKG_VERSION"), hash.value());
    Ok(format!("{version} {hash:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_setting_that_differs_is_named() {
        let was = json!({ "batch": 8, "optimizer": { "name": "sgd", "settings": { "lr": 0.1 } } });
        let with = |path: &str, value: Value| {
            let mut is = was.clone();
            *is.pointer_mut(path).unwrap() = value;
            first_difference(&was, &is)
        };
        let found = with("/optimizer/settings/lr", json!([0.1, 0.2])).unwrap();
        assert_eq!(found, "optimizer.settings.lr was 0.1, and is [0.1,0.2]");
        let found = with("/optimizer", json!({ "name": "adam" })).unwrap();
        assert_eq!(found, "optimizer.name was \"sgd\", and is \"adam\"");
        assert_eq!(with("/batch", json!(8)), None);
        let long = with("/batch", json!("x".repeat(100))).unwrap();
        assert!(long.ends_with("...") && long.len() < 90, "{long}");
    }
}
