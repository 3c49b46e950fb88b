//! What names exist where an error happened.

use std::collections::BTreeSet;

use rhai::FnAccess;

use super::super::docs::{DocTable, FunctionDoc, Kind};
use super::super::host::Host;
use super::calls::{declared, imports, map_keys, methods, signatures};

/// The names that could have been meant.
pub struct Known<'a> {
    docs: &'a DocTable,
    /// The same with Rhai's own functions.
    all: DocTable,
    /// Functions of Rhai's own packages.
    builtin: BTreeSet<String>,
    /// `(keyword, name)` declared in the text.
    declared: Vec<(&'static str, String)>,
    variables: BTreeSet<String>,
    modules: BTreeSet<String>,
    embedded: Vec<String>,
    text: String,
    /// Texts of imported modules by alias.
    imported: Vec<(String, String)>,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({} declared)", self.declared.len())
    }
}

impl<'a> Known<'a> {
    /// What the text called `source` can use.
    pub fn new(host: &'a Host, source: &str) -> Self {
        let text = host.session().sources.get(source).unwrap_or_default();
        let declared = declared(&text);
        let prompt = super::is_prompt(source);
        let mut variables: BTreeSet<String> = declared
            .iter()
            .filter(|(keyword, _)| matches!(*keyword, "let" | "const" | "for" | "param"))
            .map(|(_, name)| name.clone())
            .collect();
        if prompt {
            variables.extend(host.scope().iter().map(|(name, _, _)| name.to_string()));
        }
        let mut modules: BTreeSet<String> = declared
            .iter()
            .filter(|(keyword, _)| *keyword == "as")
            .map(|(_, name)| name.clone())
            .collect();
        let mut builtin = BTreeSet::new();
        for (namespace, name) in host.engine().collect_fn_metadata(
            None,
            |info| {
                let name = info.metadata.name.to_string();
                let public = info.metadata.access == FnAccess::Public;
                (public && !name.starts_with("anon$")).then(|| (info.namespace.to_string(), name))
            },
            true,
        ) {
            if namespace.is_empty() {
                if rhai::is_valid_identifier(&name) && !name.starts_with("__") {
                    builtin.insert(name);
                }
            } else {
                modules.insert(namespace);
            }
        }
        let sources = &host.session().sources;
        let imported = imports(&text)
            .into_iter()
            .filter_map(|(alias, path)| {
                let ends = |name: &str| name.trim_end_matches(".rhai").ends_with(&path);
                Some((
                    alias,
                    sources.get(&sources.names().into_iter().find(|n| ends(n))?)?,
                ))
            })
            .collect();
        Self {
            text,
            imported,
            docs: host.docs(),
            all: DocTable::with_builtins(host.engine()),
            builtin,
            declared,
            variables,
            modules,
            embedded: crate::script::modules::stdlib().into_keys().collect(),
        }
    }

    /// The documented functions called `name` (`module::name` for a module's).
    pub fn functions(&self, name: &str) -> Vec<&FunctionDoc> {
        self.docs
            .functions()
            .iter()
            .filter(|f| f.kind == Kind::Function && f.path() == name)
            .collect()
    }

    /// Names of functions without a module.
    pub fn function_names(&self) -> Vec<&str> {
        let own = self.docs.functions().iter();
        let own = own
            .filter(|f| f.module.is_empty() && f.kind == Kind::Function)
            .map(|f| f.name.as_str());
        let declared = self.declared.iter().filter(|(k, _)| *k == "fn");
        own.chain(declared.map(|(_, n)| n.as_str()))
            .chain(self.builtin.iter().map(String::as_str))
            .collect()
    }

    /// Names of the functions in a host module or an imported one.
    pub fn module_functions(&self, module: &str) -> Vec<String> {
        if let Some((_, text)) = self.imported.iter().find(|(alias, _)| alias == module) {
            let functions = declared(text).into_iter().filter(|(k, _)| *k == "fn");
            return functions.map(|(_, name)| name).collect();
        }
        let functions = self.docs.functions().iter();
        let functions = functions.filter(|f| f.module == module);
        functions.map(|f| f.name.clone()).collect()
    }

    /// How the text, or a module imported by it, defines a function: `name(a, b)`.
    pub fn script_signatures(&self, name: &str) -> Vec<String> {
        match name.rsplit_once("::") {
            Some((module, name)) => {
                let imported = self.imported.iter().filter(|(alias, _)| alias == module);
                imported
                    .flat_map(|(_, text)| signatures(text, name))
                    .collect()
            }
            None => signatures(&self.text, name),
        }
    }

    /// How the host and Rhai itself declare a function: the type of its first argument and the rest.
    pub fn declarations(&self, name: &str) -> Vec<(&str, &str)> {
        let functions = self.all.functions().iter();
        let functions = functions.filter(|f| f.kind == Kind::Function && f.path() == name);
        functions
            .flat_map(|f| &f.signatures)
            .filter_map(|s| Some((first_type(s, name)?, s.as_str())))
            .collect()
    }

    /// The text of an imported module.
    pub fn module_text(&self, alias: &str) -> Option<&str> {
        let found = self.imported.iter().find(|(own, _)| own == alias);
        found.map(|(_, text)| text.as_str())
    }

    /// Methods of a type that the imported modules define, in order and each once.
    pub fn imported_methods(&self, receiver: &str) -> Vec<String> {
        let all = self
            .imported
            .iter()
            .flat_map(|(_, text)| methods(text, receiver));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Keys of maps that the text writes out.
    pub fn map_keys(&self) -> Vec<String> {
        map_keys(&self.text)
    }

    /// Modules that have a function of this name, as `module::name`.
    pub fn elsewhere(&self, name: &str) -> Option<String> {
        self.docs
            .functions()
            .iter()
            .find(|f| f.name == name && !f.module.is_empty())
            .map(FunctionDoc::path)
    }

    /// Methods and properties of a type, in order and each once: studies of several library modules
    /// have methods of the same names.
    pub fn members(&self, receiver: &str, kind: Kind) -> Vec<&str> {
        let of_type = self
            .docs
            .functions()
            .iter()
            .filter(|f| f.kind == kind && f.receivers.iter().any(|r| r == receiver));
        let names: BTreeSet<&str> = of_type.map(|f| f.name.as_str()).collect();
        names
            .into_iter()
            .filter(|name| !matches!(*name, "to_string" | "to_debug"))
            .collect()
    }

    /// Names of variables.
    pub fn variables(&self) -> Vec<&str> {
        self.variables.iter().map(String::as_str).collect()
    }

    /// Whether the text declares `name` with `keyword` (`let`, `const`, `fn`).
    pub fn declares(&self, keyword: &str, name: &str) -> bool {
        self.declared
            .iter()
            .any(|(k, n)| *k == keyword && n == name)
    }

    /// Whether some function goes by this name.
    pub fn is_function(&self, name: &str) -> bool {
        self.function_names().contains(&name)
    }

    /// Modules that can be named without an import, and aliases of imports.
    pub fn modules(&self) -> Vec<&str> {
        self.modules.iter().map(String::as_str).collect()
    }

    /// The embedded module whose last part is `name`.
    pub fn embedded(&self, name: &str) -> Option<&str> {
        self.embedded
            .iter()
            .map(String::as_str)
            .find(|path| path.rsplit('/').next() == Some(name))
    }
}

/// The type of the first argument in `array.push(item: any)` and in `to_float(x: int) -> float`;
/// empty where any will do, and `nothing` where there is no argument.
fn first_type<'s>(signature: &'s str, name: &str) -> Option<&'s str> {
    let (before, rest) = signature.split_once('(')?;
    if let Some(receiver) = before.strip_suffix(name)?.strip_suffix('.') {
        return Some(receiver);
    }
    let (first, _) = rest.split_once([',', ')'])?;
    if first.is_empty() {
        return Some("nothing");
    }
    Some(match first.split_once(": ") {
        Some((_, "any")) | None => "",
        Some((_, ty)) => ty,
    })
}
