//! Where `import` finds modules: `std/…` in the binary, everything else below the script's folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use include_dir::{Dir, include_dir};
use rhai::{
    AST, Engine, EvalAltResult, FnNamespace, Module, ModuleResolver, Position, Scope, Shared,
};

use super::error::raise_at;
use super::names::did_you_mean;
use super::session::Session;
use super::sources::PROMPT;
use crate::error::{Error, ErrorKind};

static STDLIB: Dir = include_dir!("$CARGO_MANIFEST_DIR/stdlib");

/// The embedded modules by import path (`std/grid`), with their texts.
pub fn stdlib() -> BTreeMap<String, String> {
    fn collect(dir: &Dir, all: &mut BTreeMap<String, String>) {
        for file in dir.files() {
            if file.path().extension().is_some_and(|e| e == "rhai")
                && let Some(text) = file.contents_utf8()
            {
                let path = file.path().with_extension("");
                all.insert(format!("std/{}", path.display()), text.to_string());
            }
        }
        dir.dirs().for_each(|d| collect(d, all));
    }
    let mut all = BTreeMap::new();
    collect(&STDLIB, &mut all);
    all
}

thread_local! {
    /// Modules being evaluated on this thread, outermost first.
    static LOADING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A module's name in messages and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `std/grid`, or the path of the file.
    pub name: String,
    /// The source.
    pub text: String,
}

/// The module resolver of a host.
#[derive(Debug)]
pub struct Modules {
    session: Arc<Session>,
    embedded: BTreeMap<String, String>,
    cache: Mutex<BTreeMap<String, Shared<Module>>>,
}

impl Modules {
    /// Resolves for `session`; its settings may add modules given as text.
    pub fn new(session: Arc<Session>) -> Self {
        let mut embedded = stdlib();
        embedded.extend(session.settings.modules.clone());
        Self {
            session,
            embedded,
            cache: Mutex::default(),
        }
    }

    /// Finds the text of `path` as imported by `source`.
    ///
    /// # Errors
    /// When there is no such module, with the places tried and the nearest name; when the path
    /// leaves the script's folder.
    pub fn find(&self, source: Option<&str>, path: &str) -> Result<Found, Error> {
        if let Some(text) = self.embedded.get(path) {
            return Ok(Found {
                name: path.to_string(),
                text: text.clone(),
            });
        }
        if path.starts_with("std/") || source.is_some_and(|s| self.embedded.contains_key(s)) {
            return Err(self.none(path, &[]));
        }
        let (root, base) = self.folders(source);
        let relative = Path::new(path);
        if relative.is_absolute() {
            return Err(outside(path, &root));
        }
        let Some(file) = join(&base, relative) else {
            return Err(outside(path, &root));
        };
        let mut tried = vec![file.clone()];
        if file.extension().is_none_or(|e| e != "rhai") {
            let mut name = file.into_os_string();
            name.push(".rhai");
            tried.insert(0, name.into());
        }
        for file in &tried {
            if file.is_file() {
                let inside = match (file.canonicalize(), root.canonicalize()) {
                    (Ok(file), Ok(root)) => file.starts_with(root),
                    _ => false,
                };
                if !inside {
                    return Err(outside(path, &root));
                }
                let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, &e))?;
                return Ok(Found {
                    name: file.display().to_string(),
                    text,
                });
            }
        }
        Err(self.none(path, &tried))
    }

    /// The folder that scripts may import from, and the one that relative paths start at.
    fn folders(&self, source: Option<&str>) -> (PathBuf, PathBuf) {
        let parent = |path: &Path| match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let root = self
            .session
            .script()
            .map_or_else(|| PathBuf::from("."), |script| parent(&script));
        let base = match source {
            Some(source) if source != PROMPT => parent(Path::new(source)),
            _ => root.clone(),
        };
        (root, base)
    }

    fn none(&self, path: &str, tried: &[PathBuf]) -> Error {
        let error = Error::new(ErrorKind::Io, format!("there is no module `{path}`"));
        let mut help = Vec::new();
        let mut names: Vec<String> = self.embedded.keys().cloned().collect();
        if let Some(folder) = tried.first().and_then(|f| f.parent()) {
            let prefix = path.rsplit_once('/').map_or("", |(p, _)| p);
            let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
            for file in files {
                let file = file.path();
                if file.extension().is_some_and(|e| e == "rhai")
                    && let Some(stem) = file.file_stem().and_then(|s| s.to_str())
                {
                    names.push(match prefix {
                        "" => stem.to_string(),
                        prefix => format!("{prefix}/{stem}"),
                    });
                }
            }
        }
        if let Some(near) = did_you_mean(path, names.iter().map(String::as_str)) {
            help.push(near);
        } else if path.starts_with("std/") {
            let std: Vec<&str> = names
                .iter()
                .map(String::as_str)
                .filter(|n| n.starts_with("std/"))
                .collect();
            help.push(format!("the standard library has {}", std.join(", ")));
        }
        if !tried.is_empty() {
            let tried: Vec<String> = tried.iter().map(|t| t.display().to_string()).collect();
            help.push(format!("tried {}", tried.join(" and ")));
        }
        if help.is_empty() {
            error
        } else {
            error.with_help(help.join("; "))
        }
    }

    fn load(&self, engine: &Engine, found: &Found) -> Result<Module, Box<EvalAltResult>> {
        self.session.sources.insert(&found.name, &found.text);
        let mut ast = engine.compile(&found.text)?;
        ast.set_source(found.name.as_str());
        super::api::study::name_methods(&mut ast);
        let mut module = Module::eval_ast_as_new(Scope::new(), &ast, engine)?;
        // A closure is a name, `anon$…`, that is looked up where it is called. Made visible to
        // importers, closures that a module returns can be called by them; each keeps the
        // surroundings of its module.
        for hash in closures(&ast) {
            #[allow(
                deprecated,
                reason = "the registration API cannot add script functions"
            )]
            module.update_fn_namespace(hash, FnNamespace::Global);
        }
        super::api::study::share_methods(engine, &ast, &mut module)?;
        module.build_index();
        Ok(module)
    }
}

impl ModuleResolver for Modules {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        pos: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let found = self.find(source, path).map_err(|e| raise_at(pos, e))?;
        let cached = |name: &str| {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.get(name).cloned()
        };
        if let Some(module) = cached(&found.name) {
            return Ok(module);
        }
        let chain = LOADING.with(|l| {
            let loading = l.borrow();
            let start = loading.iter().position(|n| *n == found.name)?;
            Some([&loading[start..], std::slice::from_ref(&found.name)].concat())
        });
        if let Some(chain) = chain {
            let error = Error::other(format!("modules import each other: {}", chain.join(" → ")));
            return Err(raise_at(
                pos,
                error.with_help("move what both need into a third module"),
            ));
        }
        LOADING.with(|l| l.borrow_mut().push(found.name.clone()));
        let result = self.load(engine, &found);
        LOADING.with(|l| l.borrow_mut().pop());
        let module = result.map_err(|e| match *e {
            EvalAltResult::ErrorTerminated(..) => e,
            _ => EvalAltResult::ErrorInModule(found.name.clone(), e, pos).into(),
        })?;
        let module: Shared<Module> = module.into();
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(found.name, module.clone());
        Ok(module)
    }
}

/// The file that `relative` means in `base`, with `..` resolved; `None` when it climbs out of
/// everything.
fn join(base: &Path, relative: &Path) -> Option<PathBuf> {
    let mut path = base.to_path_buf();
    for part in relative.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.file_name().is_some() => {
                path.pop();
            }
            _ => return None,
        }
    }
    Some(path)
}

fn outside(path: &str, root: &Path) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the module `{path}` is not below the script's folder"),
    )
    .with_help(format!(
        "imports are relative paths below {}, or `std/…`",
        root.display()
    ))
}

/// Hashes of the closures in a script, under which its module holds them.
fn closures(ast: &AST) -> Vec<u64> {
    // only an engine lists functions with their hashes
    let mut lister = Engine::new_raw();
    lister.register_static_module("closures", ast.shared_lib().clone());
    lister.collect_fn_metadata(
        None,
        |info| {
            info.metadata
                .name
                .starts_with("anon$")
                .then_some(info.metadata.hash)
        },
        false,
    )
}
