//! The names that can be used at the prompt at this moment.

use std::collections::BTreeSet;

use crate::script::Host;
use crate::script::docs::{DocTable, FunctionDoc, Kind};

/// Words of the language.
pub(super) const KEYWORDS: [&str; 31] = [
    "as", "break", "catch", "const", "continue", "do", "else", "export", "false", "fn", "for",
    "if", "import", "in", "is", "let", "loop", "private", "return", "switch", "this", "throw",
    "true", "try", "until", "while", "Fn", "call", "print", "debug", "global",
];

/// Functions, methods and modules, Rhai's own and imported ones included.
#[derive(Debug)]
pub(super) struct Catalog {
    table: DocTable,
    /// Functions that cells have defined: name, receiver, number of parameters, signature, comment.
    cells: Vec<CellFunction>,
    modules: BTreeSet<String>,
    functions: BTreeSet<String>,
}

/// A function that a cell has defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CellFunction {
    pub name: String,
    pub receiver: Option<String>,
    pub params: Vec<String>,
    pub comment: String,
}

impl CellFunction {
    /// As it was declared.
    pub fn signature(&self) -> String {
        let prefix = self
            .receiver
            .as_ref()
            .map_or(String::new(), |r| format!("{r}."));
        format!("{prefix}{}({})", self.name, self.params.join(", "))
    }
}

/// A method or property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub name: String,
    /// `None` for a property, else whether it is called with arguments.
    pub arguments: Option<bool>,
}

impl Catalog {
    pub fn new(host: &Host) -> Self {
        let table = DocTable::with_builtins(host.engine());
        let cells: Vec<CellFunction> = host
            .prompt_functions()
            .iter_functions()
            .filter(|f| !f.name.starts_with("anon$"))
            .map(|f| CellFunction {
                name: f.name.to_string(),
                receiver: f.this_type.map(str::to_string),
                params: f.params.iter().map(ToString::to_string).collect(),
                comment: crate::script::docs::comment_text(f.comments.iter().copied()),
            })
            .collect();
        let functions = table.functions().iter();
        let plain = functions
            .filter(|f| f.kind == Kind::Function && f.module.is_empty() && f.receivers.is_empty());
        let own = cells.iter().filter(|f| f.receiver.is_none());
        Self {
            modules: table
                .functions()
                .iter()
                .map(|f| f.module.clone())
                .filter(|m| !m.is_empty())
                .collect(),
            functions: plain
                .map(|f| f.name.clone())
                .chain(own.map(|f| f.name.clone()))
                .collect(),
            table,
            cells,
        }
    }

    /// Everything documented.
    pub fn table(&self) -> &DocTable {
        &self.table
    }

    /// The functions that cells have defined.
    pub fn cells(&self) -> &[CellFunction] {
        &self.cells
    }

    /// Names before `::`.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(String::as_str)
    }

    /// Whether a name can be called without a module.
    pub fn is_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Whether a name stands before `::`.
    pub fn is_module(&self, name: &str) -> bool {
        self.modules.contains(name)
    }

    /// Functions called without a receiver, of a module or of none, with whether they take
    /// arguments.
    pub fn functions(&self, module: &str) -> Vec<(&str, bool)> {
        let documented = self
            .table
            .functions()
            .iter()
            .filter(|f| f.kind == Kind::Function && f.module == module)
            .filter(|f| f.receivers.is_empty())
            .map(|f| (f.name.as_str(), f.arities.iter().any(|a| *a > 0)));
        let cells = self
            .cells
            .iter()
            .filter(|f| module.is_empty() && f.receiver.is_none())
            .map(|f| (f.name.as_str(), !f.params.is_empty()));
        documented.chain(cells).collect()
    }

    /// Methods and properties of a type; of every registered type when it is not known.
    pub fn members(&self, of: Option<&str>) -> Vec<Member> {
        let fits = |f: &&FunctionDoc| match of {
            Some(ty) => f.receivers.iter().any(|r| r == ty) || takes_first(f, ty),
            None => f
                .receivers
                .iter()
                .any(|r| r.starts_with(char::is_uppercase)),
        };
        let documented = self.table.functions().iter().filter(fits);
        // methods for the prompt's own use are no help to anybody
        let documented = documented.filter(|f| !matches!(f.name.as_str(), "display" | "to_debug"));
        let documented = documented.filter_map(|f| {
            let arguments = match f.kind {
                Kind::Property => None,
                Kind::Function if rhai::is_valid_identifier(&f.name) => {
                    Some(f.arities.iter().any(|a| *a > 1))
                }
                _ => return None,
            };
            Some(Member {
                name: f.name.clone(),
                arguments,
            })
        });
        let cells = self.cells.iter().filter(|f| match (&f.receiver, of) {
            (Some(r), Some(ty)) => r == ty,
            (receiver, None) => receiver.is_some(),
            (None, _) => false,
        });
        let cells = cells.map(|f| Member {
            name: f.name.clone(),
            arguments: Some(!f.params.is_empty()),
        });
        let mut all: Vec<Member> = documented.chain(cells).collect();
        // what is a property and a method too is offered once
        all.sort();
        all.dedup_by(|a, b| a.name == b.name);
        all
    }

    /// The type that a function returns, where its declaration says so.
    pub fn returns(&self, module: &str, name: &str, receiver: Option<&str>) -> Option<String> {
        let found = self.table.functions().iter().find(|f| {
            f.name == name
                && match receiver {
                    Some(ty) => f.receivers.iter().any(|r| r == ty) || takes_first(f, ty),
                    None => f.module == module && f.receivers.is_empty(),
                }
        })?;
        Some(found.returns.clone()).filter(|r| !r.is_empty() && r != "any")
    }
}

/// Whether a function without a receiver takes a value of this type first, so that it can be
/// called as a method too: `abs(x: float)`.
fn takes_first(f: &FunctionDoc, ty: &str) -> bool {
    let first = |signature: &String| {
        let (_, parameters) = signature.split_once('(')?;
        let (parameter, _) = parameters.split_once([',', ')'])?;
        Some(parameter.rsplit_once(": ")?.1 == ty)
    };
    // everything can be written so; offer it where Rhai's own methods are made so, and for the host's types
    let usual =
        ty.starts_with(char::is_uppercase) || matches!(ty, "int" | "float" | "char" | "string");
    usual
        && f.receivers.is_empty()
        && f.module.is_empty()
        && f.kind == Kind::Function
        && f.signatures.iter().any(|s| first(s) == Some(true))
}
