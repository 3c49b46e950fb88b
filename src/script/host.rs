//! The host: one engine with its modules, its session and what persists between prompt cells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhai::{AST, Dynamic, Engine, EvalAltResult, OptimizationLevel, Scope};

use super::api::{self, Registry};
use super::docs::DocTable;
use super::session::Session;
use crate::error::{Error, Result};

/// Stack of the thread that evaluates scripts, in bytes; virtual memory only. A script call needs
/// about 6 KB in release builds and several times that in debug builds.
const STACK: usize = 512 << 20;

/// Depth of script calls before "stack overflow" is reported.
const CALL_LEVELS: usize = 1000;

/// What a host is made with.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// `--set name=value` in the order given.
    pub settings: Vec<(String, String)>,
    /// Where relative output goes.
    pub out_dir: PathBuf,
    /// Write into an output folder that exists and is not empty.
    pub force: bool,
    /// The device as the user wrote it; empty means the best there is.
    pub device: String,
    /// At a prompt, not in a script.
    pub interactive: bool,
    /// Say nothing on stdout (`--json`).
    pub quiet: bool,
}

/// A script error with the texts needed to show it.
#[derive(Debug)]
pub struct ScriptError {
    /// Rhai's error: the position, the call chain, and often a [`HostError`](super::HostError).
    pub error: Box<EvalAltResult>,
    /// Source texts by name: files, `std/…` modules, prompt cells.
    pub sources: Arc<BTreeMap<String, String>>,
    /// Name of the text that was run.
    pub source: String,
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::error::to_core(&self.error).to_string())
    }
}

impl std::error::Error for ScriptError {}

/// Runs scripts and prompt cells.
pub struct Host {
    engine: Arc<Engine>,
    session: Arc<Session>,
    docs: DocTable,
    scope: Scope<'static>,
    functions: AST,
    cells: usize,
    sources: BTreeMap<String, String>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({} cells)", self.cells)
    }
}

impl Host {
    /// A host with everything in [`api`].
    ///
    /// # Errors
    /// When the settings are impossible.
    pub fn new(settings: HostSettings) -> Result<Self> {
        Self::with(settings, |_| ())
    }

    /// A host with additional bindings.
    ///
    /// # Errors
    /// When the settings are impossible.
    pub fn with(settings: HostSettings, more: impl FnOnce(&mut Registry)) -> Result<Self> {
        let session = Arc::new(Session::new(settings));
        let mut engine = Engine::new();
        configure(&mut engine);
        engine.set_default_tag(Dynamic::from(session.clone()));
        super::error::register(&mut engine);
        let mut registry = Registry::new(&mut engine);
        api::register(&mut registry);
        more(&mut registry);
        let options = registry.finish();
        let docs = DocTable::from_engine(&engine, &options);
        Ok(Self {
            engine: Arc::new(engine),
            session,
            docs,
            scope: Scope::new(),
            functions: AST::empty(),
            cells: 0,
            sources: BTreeMap::new(),
        })
    }

    /// The function reference.
    pub fn docs(&self) -> &DocTable {
        &self.docs
    }

    /// Settings, permissions and folders.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The engine, to parse and to describe values with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The variables of the prompt.
    pub fn scope(&self) -> &Scope<'static> {
        &self.scope
    }

    /// Runs a script file.
    ///
    /// # Errors
    /// When the file cannot be read, or the script's error.
    pub fn run_file(&mut self, path: &Path) -> std::result::Result<Dynamic, ScriptError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            let error = super::error::raise_at(rhai::Position::NONE, Error::io(path, &e));
            self.error(error, &name)
        })?;
        self.session.set_script(Some(path.to_path_buf()));
        let mut scope = Scope::new();
        let (value, _) = self.eval(&name, &text, &mut scope, &AST::empty())?;
        Ok(value)
    }

    /// Evaluates one cell of the prompt; variables and functions persist.
    ///
    /// # Errors
    /// The cell's error; what it had done before stays.
    pub fn eval_cell(&mut self, text: &str) -> std::result::Result<Dynamic, ScriptError> {
        self.cells += 1;
        let name = format!("repl[{}]", self.cells);
        let mut scope = std::mem::take(&mut self.scope);
        let lib = self.functions.clone();
        let result = self.eval(&name, text, &mut scope, &lib);
        self.scope = scope;
        let (value, ast) = result?;
        self.functions = lib.merge(&ast.clone_functions_only());
        Ok(value)
    }

    fn eval(
        &mut self,
        name: &str,
        text: &str,
        scope: &mut Scope<'static>,
        lib: &AST,
    ) -> std::result::Result<(Dynamic, AST), ScriptError> {
        let text = blank_shebang(text);
        self.sources.insert(name.to_string(), text.clone());
        crate::interrupt::clear();
        self.session.set_engine(Some(self.engine.clone()));
        let engine = self.engine.clone();
        let result = on_big_stack(|| {
            let mut ast = engine.compile_with_scope(scope, &text)?;
            ast.set_source(name);
            let mut all = lib.merge(&ast);
            all.set_source(name);
            let value = engine.eval_ast_with_scope::<Dynamic>(scope, &all)?;
            Ok((value, ast))
        });
        self.session.set_engine(None);
        result.map_err(|e| self.error(e, name))
    }

    fn error(&self, error: Box<EvalAltResult>, source: &str) -> ScriptError {
        ScriptError {
            error,
            sources: Arc::new(self.sources.clone()),
            source: source.to_string(),
        }
    }
}

/// Language options and limits, the same in every build profile.
fn configure(engine: &mut Engine) {
    engine
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        .set_optimization_level(OptimizationLevel::Simple)
        .set_max_strings_interned(0)
        .set_max_call_levels(CALL_LEVELS)
        .set_max_expr_depths(256, 256)
        .set_max_string_size(64 << 20)
        .set_max_array_size(16 << 20)
        .set_max_map_size(1 << 20)
        .disable_symbol("eval")
        .on_progress(|_| crate::interrupt::requested().then(|| "interrupted".into()));
}

/// A first line that starts with `#!` becomes empty, so that positions stay.
fn blank_shebang(text: &str) -> String {
    match text.strip_prefix("#!") {
        Some(rest) => rest.find('\n').map_or("", |end| &rest[end..]).to_string(),
        None => text.to_string(),
    }
}

/// Runs `work` on a thread whose stack is large enough for the call depth we allow.
fn on_big_stack<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Box<EvalAltResult>> + Send,
) -> std::result::Result<T, Box<EvalAltResult>> {
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new()
            .name("script".into())
            .stack_size(STACK)
            .spawn_scoped(threads, work);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(e) => Err(super::error::raise_at(
                rhai::Position::NONE,
                Error::other(format!("cannot start the script's thread: {e}")),
            )),
        }
    })
}
