//! What a run is allowed and told: settings, device, output folder. Native functions reach it
//! from their call context with [`session`].

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rhai::{Engine, NativeCallContext};

use super::host::HostSettings;
use super::sources::Sources;
use crate::error::{Error, ErrorKind, Result};

/// The state of one host that native functions may use.
#[derive(Debug)]
pub struct Session {
    /// The settings the host was made with.
    pub settings: HostSettings,
    /// The texts that error positions refer to.
    pub sources: Sources,
    /// Names that `param` has been asked for.
    pub(crate) asked: Mutex<BTreeSet<String>>,
    script: RwLock<Option<PathBuf>>,
    engine: RwLock<Option<Arc<Engine>>>,
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
            script: RwLock::default(),
            engine: RwLock::default(),
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

    /// Sets the script being run.
    pub(crate) fn set_script(&self, script: Option<PathBuf>) {
        *self.script.write().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// The text given to `--set name=…`, which then counts as asked for.
    pub fn setting(&self, name: &str) -> Option<&str> {
        lock(&self.asked).insert(name.to_string());
        self.settings
            .settings
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Settings that no `param` has asked for so far.
    pub fn unasked(&self) -> Vec<String> {
        let asked = lock(&self.asked);
        self.settings
            .settings
            .iter()
            .map(|(n, _)| n.clone())
            .filter(|n| !asked.contains(n))
            .collect()
    }

    /// The folder that relative output goes to.
    pub fn output_folder(&self) -> &Path {
        &self.settings.out_dir
    }

    /// A path below the output folder for a file to write; creates the folders above it.
    ///
    /// # Errors
    /// For an absolute name, one that climbs with `..`, or folders that cannot be made.
    pub fn output_path(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let name = name.as_ref();
        let inside = name
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || name.as_os_str().is_empty() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("`{}` is not a name below the output folder", name.display()),
            )
            .with_help(format!(
                "files are written below {}; give a relative name without `..`, and choose the folder with --out",
                self.output_folder().display()
            )));
        }
        let path = self.output_folder().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, &e))?;
        }
        Ok(path)
    }
}
