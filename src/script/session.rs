//! What a run is allowed and told: settings, device, output folder. Native functions reach it
//! from their call context with [`session`].

mod files;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rhai::{Engine, NativeCallContext};
use serde_json::Value;

use super::host::HostSettings;
use super::sources::Sources;
use crate::bench::Cases;
use crate::error::{Error, Result};
use crate::gpu::{self, Place};

/// The state of one host that native functions may use.
#[derive(Debug)]
pub struct Session {
    /// The settings the host was made with.
    pub settings: HostSettings,
    /// The texts that error positions refer to.
    pub sources: Sources,
    asked: Mutex<BTreeMap<String, Value>>,
    folder_ready: Mutex<bool>,
    /// The output folder, held so that no other run writes there.
    held: Mutex<Option<File>>,
    device: Mutex<Option<String>>,
    script: RwLock<Option<PathBuf>>,
    engine: RwLock<Option<Arc<Engine>>>,
    cases: Mutex<Cases>,
}

/// A lock whose data is usable even if a thread panicked while holding it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The session of the engine that makes this call.
///
/// # Errors
/// When the engine was not made by [`Host`](super::Host).
pub fn session(ctx: &NativeCallContext) -> Result<Arc<Session>> {
    ctx.tag()
        .and_then(|tag| tag.clone().try_cast::<Arc<Session>>())
        .ok_or_else(|| Error::other("this engine has no session"))
}

impl Session {
    /// A session with these settings.
    pub fn new(settings: HostSettings) -> Self {
        Self {
            settings,
            sources: Sources::default(),
            asked: Mutex::default(),
            folder_ready: Mutex::default(),
            held: Mutex::default(),
            device: Mutex::default(),
            script: RwLock::default(),
            engine: RwLock::default(),
            cases: Mutex::default(),
        }
    }

    /// The engine, while something is being evaluated.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        self.engine
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| Error::other("a script function was called while no script runs"))
    }

    /// Lends the engine for the time of an evaluation, or takes it back.
    pub(crate) fn set_engine(&self, engine: Option<Arc<Engine>>) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = engine;
    }

    /// The script being run, if any.
    pub fn script(&self) -> Option<PathBuf> {
        self.script
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Name of the script being run, without folder and ending.
    pub fn script_name(&self) -> Option<String> {
        let script = self.script()?;
        Some(script.file_stem()?.to_string_lossy().into_owned())
    }

    /// Sets the script being run.
    pub(crate) fn set_script(&self, script: Option<PathBuf>) {
        *self.script.write().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// The cases of benchmarks that the script has come to.
    pub fn cases(&self) -> MutexGuard<'_, Cases> {
        lock(&self.cases)
    }

    /// The text given to `--set name=…`.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let mut given = self.settings.settings.iter().rev();
        given.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Notes that the script asked for `name` and got `value`.
    pub fn note_asked(&self, name: &str, value: Value) {
        lock(&self.asked).insert(name.to_string(), value);
    }

    /// Every setting that the script asked for, with the value it got.
    pub fn asked_values(&self) -> Value {
        let asked = lock(&self.asked);
        Value::Object(asked.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    /// Given settings that the script has not asked for so far.
    pub fn unasked(&self) -> Vec<String> {
        let asked = lock(&self.asked);
        let given = self.settings.settings.iter().map(|(n, _)| n.clone());
        given.filter(|n| !asked.contains_key(n)).collect()
    }

    /// The device named with `--device`: `cpu`, `cuda`, `cuda:N`, or the best there is when none
    /// was named.
    ///
    /// # Errors
    /// For another name, or when this build or machine has no such device.
    pub fn device(&self) -> Result<Place> {
        let place = gpu::open(gpu::Name::parse(&self.settings.device)?)?;
        if let Some(gpu) = place.gpu() {
            gpu.set_tf32(self.settings.tf32);
        }
        *lock(&self.device) = Some(place.name());
        Ok(place)
    }

    /// Name of the device that something was computed on, or that was asked for.
    pub fn device_name(&self) -> Option<String> {
        let asked = Some(&self.settings.device).filter(|name| !name.is_empty());
        lock(&self.device).clone().or(asked.cloned())
    }
}
