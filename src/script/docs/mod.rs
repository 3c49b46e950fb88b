//! The function reference, made from the doc comments of registered functions and of library
//! modules, and from the descriptions of their settings.

mod read;

use std::collections::BTreeMap;

use rhai::Engine;

use super::options::OptionsSpec;
use read::Raw;

pub use read::of_module;

/// What sort of thing is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A function or method.
    Function,
    /// A property of a type.
    Property,
    /// An operator or an index.
    Operator,
}

/// The reference of one name: all its overloads.
#[derive(Debug, Clone)]
pub struct FunctionDoc {
    /// The name without its module.
    pub name: String,
    /// The module, or nothing for a global function.
    pub module: String,
    /// Function, property or operator.
    pub kind: Kind,
    /// The types whose methods or properties go by this name.
    pub receivers: Vec<String>,
    /// One line per overload.
    pub signatures: Vec<String>,
    /// Number of parameters of each overload, the receiver included.
    pub arities: Vec<usize>,
    /// First paragraph of the comment.
    pub summary: String,
    /// The comment without its code blocks.
    pub body: String,
    /// The code blocks marked `rhai`.
    pub examples: Vec<String>,
    /// The settings map it takes.
    pub options: Option<&'static OptionsSpec>,
    /// What it returns, as the first overload declares it.
    pub returns: String,
}

impl FunctionDoc {
    /// The name as scripts call it: `metrics::accuracy`.
    pub fn path(&self) -> String {
        if self.module.is_empty() {
            self.name.clone()
        } else {
            format!("{}::{}", self.module, self.name)
        }
    }
}

impl FunctionDoc {
    /// The reference of this name as text.
    pub fn page(&self) -> String {
        let mut page = self.signatures.join("\n");
        if !self.body.is_empty() {
            page += "\n\n";
            page += &indent(&self.body);
        }
        if let Some(options) = self.options {
            page += "\n\n    Settings:";
            for field in &options.fields {
                let default = match &field.default {
                    Some(default) => format!(" = {default}"),
                    None => ", must be given".to_string(),
                };
                page += &format!("\n      {}: {}{default}\n", field.key, field.kind);
                page += &indent(&indent(&field.doc));
            }
        }
        for example in &self.examples {
            page += "\n\n    Example:\n";
            page += &indent(&indent(example));
        }
        page
    }

    /// The reference of this name for programs.
    pub fn json(&self) -> serde_json::Value {
        let fields = self.options.map(|o| {
            let fields = o.fields.iter().map(|f| {
                serde_json::json!({
                    "key": f.key, "type": f.kind, "default": f.default, "doc": f.doc,
                    "choices": f.choices,
                })
            });
            fields.collect::<Vec<_>>()
        });
        serde_json::json!({
            "name": self.path(),
            "module": self.module,
            "receivers": self.receivers,
            "signatures": self.signatures,
            "summary": self.summary,
            "body": self.body,
            "examples": self.examples,
            "settings": fields,
            "returns": self.returns,
        })
    }
}

fn indent(text: &str) -> String {
    let lines = text.lines().map(|l| match l {
        "" => String::new(),
        l => format!("    {l}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// All documented functions, in order of module and name.
#[derive(Debug, Clone, Default)]
pub struct DocTable {
    functions: Vec<FunctionDoc>,
    options: Vec<&'static OptionsSpec>,
}

impl DocTable {
    /// Collects the functions of our own modules (not Rhai's standard packages).
    pub fn from_engine(engine: &Engine, options: &[&'static OptionsSpec]) -> Self {
        let raw = engine.collect_fn_metadata(None, |info| Raw::new(engine, &info), false);
        let mut groups: BTreeMap<(String, String, Kind), FunctionDoc> = BTreeMap::new();
        for raw in raw {
            raw.add_to(&mut groups);
        }
        let mut functions: Vec<_> = groups.into_values().collect();
        for f in &mut functions {
            let path = f.path();
            f.options = options
                .iter()
                .copied()
                .find(|o| o.functions.contains(&path.as_str()));
            f.signatures.sort();
        }
        Self {
            functions,
            options: options.to_vec(),
        }
    }

    /// Adds the public functions of a library module, under the module's usual alias.
    pub fn add(&mut self, docs: impl IntoIterator<Item = FunctionDoc>) {
        self.functions.extend(docs);
        self.functions
            .sort_by(|a, b| (&a.module, &a.name).cmp(&(&b.module, &b.name)));
    }

    /// Everything.
    pub fn functions(&self) -> &[FunctionDoc] {
        &self.functions
    }

    /// All descriptions of settings.
    pub fn all_options(&self) -> &[&'static OptionsSpec] {
        &self.options
    }

    /// The settings of a function, called `name` or `module::name`.
    pub fn options(&self, path: &str) -> Option<&'static OptionsSpec> {
        self.options
            .iter()
            .copied()
            .find(|o| o.functions.contains(&path))
    }

    /// The entries called `name`, `module::name` or `Type.name`.
    pub fn get(&self, name: &str) -> Vec<&FunctionDoc> {
        let (receiver, plain) = match name.split_once('.') {
            Some((receiver, plain)) => (Some(receiver), plain),
            None => (None, name),
        };
        let of_type =
            |f: &&FunctionDoc| receiver.is_none_or(|r| f.receivers.iter().any(|of| of == r));
        self.functions
            .iter()
            .filter(|f| f.name == plain || f.path() == plain)
            .filter(of_type)
            .collect()
    }

    /// Everything in a module, or everything that a type has.
    pub fn group(&self, name: &str) -> Vec<&FunctionDoc> {
        let belongs = |f: &&FunctionDoc| f.module == name || f.receivers.iter().any(|r| r == name);
        self.functions.iter().filter(belongs).collect()
    }

    /// Whether a global function of the host takes this many arguments.
    pub fn takes(&self, name: &str, arguments: usize) -> bool {
        self.functions.iter().any(|f| {
            f.module.is_empty()
                && f.kind == Kind::Function
                && f.name == name
                && f.arities.contains(&arguments)
        })
    }

    /// The entries that mention a word, those with it in the name first.
    pub fn search(&self, word: &str) -> Vec<&FunctionDoc> {
        let word = word.to_lowercase();
        let in_name = |f: &&FunctionDoc| f.path().to_lowercase().contains(&word);
        let in_text = |f: &&FunctionDoc| {
            f.body.to_lowercase().contains(&word)
                || f.options.is_some_and(|o| {
                    o.fields
                        .iter()
                        .any(|s| s.key.contains(&word) || s.doc.to_lowercase().contains(&word))
                })
        };
        let (mut found, rest): (Vec<_>, Vec<_>) = self.functions.iter().partition(in_name);
        found.extend(rest.into_iter().filter(in_text));
        found
    }
}
