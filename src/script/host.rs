//! The host: one engine with its modules, its session and what persists between prompt cells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuilder};
use rhai::{
    AST, Dynamic, Engine, EvalAltResult, ImmutableString, Module, OptimizationLevel, Position,
    Scope, Shared, Stmt,
};

use super::api::{self, Registry};
use super::docs::DocTable;
use super::error::raise_at;
use super::modules::Modules;
use super::scoping;
use super::session::Session;
use super::sources::PROMPT;
use crate::bench::Request;
use crate::error::{Error, Result};

/// Stack of the thread that evaluates scripts, in bytes; virtual memory only. A script call needs
/// about 6 KB in release builds and several times that in debug builds.
const STACK: usize = 512 << 20;

/// Depth of script calls before "stack overflow" is reported.
const CALL_LEVELS: usize = 1000;

/// Largest sizes of a script's values, with everything within them.
pub(crate) const STRING_BYTES: usize = 64 << 20;
pub(crate) const ARRAY_ELEMENTS: usize = 16 << 20;
pub(crate) const MAP_KEYS: usize = 1 << 20;

/// What a host is made with.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// `--set name=value` in the order given.
    pub settings: Vec<(String, String)>,
    /// Where relative output goes.
    pub out_dir: PathBuf,
    /// Write into an output folder that exists and is not empty.
    pub force: bool,
    /// Go on with an earlier run of the same script in the output folder.
    pub resume: bool,
    /// Seconds between two checkpoints of a training run; `None` is half a minute.
    pub checkpoint_every: Option<f64>,
    /// Folders that scripts may read, besides their own (`--data`).
    pub data_dirs: Vec<PathBuf>,
    /// The device as the user wrote it; empty means the best there is.
    pub device: String,
    /// Whether a GPU's products of f32 may round their factors to 10 bits (TF32).
    pub tf32: bool,
    /// At a prompt, not in a script.
    pub interactive: bool,
    /// Print to stderr, because stdout carries the answer (`--json`).
    pub print_to_stderr: bool,
    /// Modules given as text, by import path.
    pub modules: BTreeMap<String, String>,
    /// What benchmarks are asked for.
    pub bench: Request,
}

/// A script error with the texts needed to show it.
#[derive(Debug)]
pub struct ScriptError {
    /// Rhai's error: the position, the call chain, and often a [`HostError`](super::HostError).
    pub error: Box<EvalAltResult>,
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
    prompt: Prompt,
}

/// What persists between the cells of the prompt.
#[derive(Default)]
struct Prompt {
    scope: Scope<'static>,
    functions: AST,
    imports: Vec<Stmt>,
}

/// What an evaluation leaves behind.
struct Outcome {
    functions: AST,
    imports: Vec<Stmt>,
    modules: Vec<(ImmutableString, Shared<Module>)>,
    result: std::result::Result<Dynamic, Box<EvalAltResult>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({:?})", self.session.settings)
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
        let to_stderr = session.settings.print_to_stderr;
        let silent = session.settings.bench.is_survey();
        engine.on_print(move |text| {
            if !silent {
                super::output::line(text, to_stderr);
            }
        });
        engine.on_debug(|text, source, position| {
            let place = match (source, position.line()) {
                (Some(source), Some(line)) => format!("{source}:{line}: "),
                _ => String::new(),
            };
            super::output::message(&format!("{place}{text}"));
        });
        engine.set_default_tag(Dynamic::from(session.clone()));
        engine.set_module_resolver(Modules::new(session.clone()));
        super::scoping::register(&mut engine);
        let mut registry = Registry::new(&mut engine);
        api::register(&mut registry);
        more(&mut registry);
        let options = registry.finish();
        let mut docs = DocTable::from_engine(&engine, &options);
        for (path, text) in super::modules::stdlib() {
            docs.add(super::docs::of_module(&engine, &path, &text));
        }
        Ok(Self {
            engine: Arc::new(engine),
            session,
            docs,
            prompt: Prompt::default(),
        })
    }

    /// The function reference.
    pub fn docs(&self) -> &DocTable {
        &self.docs
    }

    /// Settings, permissions, folders and source texts.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The engine, to parse and to describe values with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Compiles without folding constants, so that syntax trees hold all that is written.
    pub(crate) fn keep_everything_in_syntax_trees(&mut self) {
        if let Some(engine) = Arc::get_mut(&mut self.engine) {
            engine.set_optimization_level(OptimizationLevel::None);
        }
    }

    /// A value as `print` shows it.
    pub fn show(&self, value: &Dynamic) -> String {
        self.engine
            .eval_fn_call::<ImmutableString>("to_string", None, (value.clone(),))
            .map_or_else(|_| value.to_string(), |text| text.to_string())
    }

    /// The variables of the prompt.
    pub fn scope(&self) -> &Scope<'static> {
        &self.prompt.scope
    }

    /// The variables of the prompt, to set (`ans`) or remove one.
    pub fn scope_mut(&mut self) -> &mut Scope<'static> {
        &mut self.prompt.scope
    }

    /// The functions that prompt cells have defined.
    pub fn prompt_functions(&self) -> &AST {
        &self.prompt.functions
    }

    /// Forgets what prompt cells have defined.
    pub fn reset(&mut self) {
        self.prompt = Prompt::default();
        self.session.sources.forget_cells();
    }

    /// Runs a script file.
    ///
    /// # Errors
    /// When the file cannot be read, or the script's error.
    pub fn run_file(&mut self, path: &Path) -> std::result::Result<Dynamic, ScriptError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ScriptError {
            error: raise_at(Position::NONE, Error::io(path, &e)),
            source: name.clone(),
        })?;
        self.session.set_script(Some(path.to_path_buf()));
        self.run_text(&name, &text)
    }

    /// Runs a script given as text; `name` stands for it in messages.
    ///
    /// # Errors
    /// The script's error.
    pub fn run_text(
        &mut self,
        name: &str,
        text: &str,
    ) -> std::result::Result<Dynamic, ScriptError> {
        let text = blank_shebang(text);
        self.session.sources.insert(name, &text);
        let outcome = self.evaluate(name, &text, &mut Prompt::default());
        outcome.and_then(|o| o.result).map_err(|error| ScriptError {
            error,
            source: name.to_string(),
        })
    }

    /// Evaluates one cell of the prompt; variables, functions, constants and imports persist.
    ///
    /// # Errors
    /// The cell's error; what it had done before stays.
    pub fn eval_cell(&mut self, text: &str) -> std::result::Result<Dynamic, ScriptError> {
        if !self.session.sources.has_room(text.lines().count() + 1) {
            // functions of older cells keep working, only their texts are gone from messages
            self.session.sources.forget_cells();
        }
        let blank = self.session.sources.add_cell(text);
        let mut prompt = std::mem::take(&mut self.prompt);
        let outcome = self.evaluate(PROMPT, &format!("{blank}{text}"), &mut prompt);
        self.prompt = prompt;
        let result = outcome.and_then(|o| {
            self.prompt.functions = o.functions;
            self.prompt.imports.extend(o.imports);
            if let Some(engine) = Arc::get_mut(&mut self.engine) {
                // known to the parser of later cells, and found by their functions
                for (alias, module) in o.modules {
                    engine.register_static_module(alias, module);
                }
            }
            o.result
        });
        result.map_err(|error| ScriptError {
            error,
            source: PROMPT.to_string(),
        })
    }

    /// Evaluates a script file as a cell of the prompt; its imports start at its own folder, and
    /// messages show its name.
    ///
    /// # Errors
    /// When the file cannot be read, or the script's error; what it had done before stays.
    pub fn load_cell(&mut self, path: &Path) -> std::result::Result<Dynamic, ScriptError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ScriptError {
            error: raise_at(Position::NONE, Error::io(path, &e)),
            source: name.clone(),
        })?;
        let before = self.session.script();
        self.session.set_script(Some(path.to_path_buf()));
        self.session.sources.label_next_cell(&name);
        let imports = self.prompt.imports.len();
        let result = self.eval_cell(&blank_shebang(&text));
        self.session.set_script(before);
        // later cells find the modules in the engine; from another folder their paths would mean
        // something else
        self.prompt.imports.truncate(imports);
        result
    }

    /// A script's function replaces the host's of the same name and number of arguments, for the
    /// libraries that the script calls as well.
    fn warn_of_replaced(&self, ast: &AST) {
        for f in ast.iter_functions().filter(|f| f.this_type.is_none()) {
            if self.docs.takes(f.name, f.params.len()) {
                super::output::message(&format!(
                    "warning: the script's function `{}` replaces the host's, for libraries too; \
                     another name would be safer",
                    f.name
                ));
            }
        }
    }

    fn evaluate(
        &self,
        name: &str,
        text: &str,
        prompt: &mut Prompt,
    ) -> std::result::Result<Outcome, Box<EvalAltResult>> {
        crate::interrupt::clear();
        self.session.set_engine(Some(self.engine.clone()));
        let warn = |ast: &AST| self.warn_of_replaced(ast);
        let outcome = on_big_stack(|| evaluate(&self.engine, name, text, prompt, &warn));
        self.session.set_engine(None);
        outcome
    }
}

/// Compiles and runs a text with what earlier cells left.
fn evaluate(
    engine: &Engine,
    name: &str,
    text: &str,
    prompt: &mut Prompt,
    warn: &(dyn Fn(&AST) + Sync),
) -> std::result::Result<Outcome, Box<EvalAltResult>> {
    let scope = &mut prompt.scope;
    let ast = engine.compile_with_scope(scope, text)?;
    warn(&ast);
    let mut functions = prompt.functions.merge(&ast.clone_functions_only());
    functions.set_source(name);
    let imports = scoping::literal_imports(&ast);
    let all_imports = [prompt.imports.as_slice(), imports.as_slice()].concat();
    let (lib, constants) = scoping::bind(engine, &functions, &all_imports)?;
    if let Some(mut constants) = constants.as_ref().and_then(|c| c.write().ok()) {
        // constants of earlier cells
        let earlier = scope.iter().filter(|(_, constant, _)| *constant);
        constants.extend(earlier.map(|(name, _, value)| (name.into(), value)));
    }

    let mut global = engine.new_global_runtime_state();
    global.source = Some(name.into());
    global.lib.push(lib.into());
    global.constants = constants;
    #[allow(
        deprecated,
        reason = "the only way to see imports and constants afterwards"
    )]
    let result = engine.eval_statements_raw(
        &mut global,
        &mut rhai::Caches::new(),
        scope,
        ast.statements(),
    );
    Ok(Outcome {
        functions,
        imports,
        modules: global
            .scan_imports_raw()
            .map(|(alias, module)| (alias.clone(), module.clone()))
            .collect(),
        result,
    })
}

/// Language options and limits, the same in every build profile.
fn configure(engine: &mut Engine) {
    engine
        .set_strict_variables(true)
        // functions for operators count even where the language has its own, see `api::comparison`; an
        // operation takes 0.1 to 0.2 µs longer, nothing beside a training step
        .set_fast_operators(false)
        .set_fail_on_invalid_map_property(true)
        .set_optimization_level(OptimizationLevel::Simple)
        .set_max_strings_interned(0)
        .set_max_call_levels(CALL_LEVELS)
        .set_max_expr_depths(256, 256)
        .set_max_string_size(STRING_BYTES)
        .set_max_array_size(ARRAY_ELEMENTS)
        .set_max_map_size(MAP_KEYS)
        .disable_symbol("eval")
        .on_progress(|_| crate::interrupt::requested().then(|| "interrupted".into()));
}

/// A first line that starts with `#!` becomes empty, so that positions stay.
pub(crate) fn blank_shebang(text: &str) -> String {
    match text.strip_prefix("#!") {
        Some(rest) => rest.find('\n').map_or("", |end| &rest[end..]).to_string(),
        None => text.to_string(),
    }
}

/// Runs `work` on one of the computing threads, with a stack that is large enough for the call depth
/// we allow. A script that runs where its products are computed need not wake another thread for
/// each of them: steps of small networks take a tenth less.
fn on_big_stack<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, Box<EvalAltResult>> + Send,
) -> std::result::Result<T, Box<EvalAltResult>> {
    static THREADS: OnceLock<std::result::Result<ThreadPool, String>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        ThreadPoolBuilder::new()
            .num_threads(rayon::current_num_threads())
            .thread_name(|i| format!("script {i}"))
            .stack_size(STACK)
            .build()
            .map_err(|e| e.to_string())
    });
    match threads {
        Ok(threads) => threads.install(work),
        Err(e) => Err(raise_at(
            Position::NONE,
            Error::other(format!("cannot start the script's threads: {e}")),
        )),
    }
}
