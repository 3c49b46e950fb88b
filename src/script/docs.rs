//! The function reference, made from the doc comments of registered functions and of library
//! modules, and from the descriptions of their settings.

mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rhai::{Engine, FnAccess, FuncInfo};

use super::options::OptionsSpec;

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

    /// The name in lists: `metrics::accuracy`, `Table.csv`.
    pub fn label(&self) -> String {
        match self.receivers.first() {
            Some(receiver) if self.kind != Kind::Operator => format!("{receiver}.{}", self.name),
            _ => self.path(),
        }
    }
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
        Self::collect(engine, options, false)
    }

    fn collect(engine: &Engine, options: &[&'static OptionsSpec], standard: bool) -> Self {
        let mut raw = engine.collect_fn_metadata(None, |info| Raw::new(engine, &info), standard);
        // the overload with the most parameters says most; Rhai lists them in no order
        raw.sort_by(|a, b| {
            b.arity
                .cmp(&a.arity)
                .then_with(|| a.signature.cmp(&b.signature))
        });
        let mut groups = Groups::new();
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
        }
        Self {
            functions,
            options: options.to_vec(),
        }
    }

    /// Everything that can be called now: Rhai's standard packages and imported modules too.
    pub fn with_builtins(engine: &Engine) -> Self {
        Self::collect(engine, &[], true)
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

/// Entries by module, name, kind and the type they belong to.
type Groups = BTreeMap<(String, String, Kind, String), FunctionDoc>;

/// One overload as Rhai describes it.
struct Raw {
    module: String,
    name: String,
    kind: Kind,
    receiver: Option<String>,
    signature: String,
    arity: usize,
    returns: String,
    comment: String,
}

impl Raw {
    fn new(engine: &Engine, info: &FuncInfo) -> Option<Self> {
        let m = info.metadata;
        if m.access == FnAccess::Private || m.name.starts_with("anon$") || m.name.starts_with("__")
        {
            return None;
        }
        let params: Vec<(String, String)> = m
            .params_info
            .iter()
            .map(|p| {
                let (name, ty) = p.split_once(':').unwrap_or((p, ""));
                (name.trim().to_string(), ty.trim().to_string())
            })
            .collect();
        let show = |ty: &str| type_words(engine, ty);
        // `fn Study.table()` of a library says its type apart from its parameters
        let this = info.script.as_ref().and_then(|s| s.this_type);
        let native = params.first().filter(|(_, ty)| ty.starts_with("&mut"));
        let receiver = match this {
            Some(ty) => Some(ty.to_string()),
            None => native.map(|(_, ty)| show(ty)),
        };
        let returns = show(&m.return_type);
        let list: Vec<String> = params
            .iter()
            .skip(usize::from(native.is_some()))
            .map(|(name, ty)| match show(ty) {
                ty if ty.is_empty() => name.clone(),
                ty => format!("{name}: {ty}"),
            })
            .collect();
        let prefix = match (&receiver, info.namespace.as_str()) {
            (Some(ty), _) => format!("{ty}."),
            (None, "") => String::new(),
            (None, ns) => format!("{ns}::"),
        };
        let arrow = if returns.is_empty() || returns == "nothing" {
            String::new()
        } else {
            format!(" -> {returns}")
        };
        let (kind, name, signature) = if let Some(property) = m.name.strip_prefix("get$") {
            let signature = format!("{prefix}{property}{arrow}");
            (Kind::Property, property.to_string(), signature)
        } else if m.name.starts_with("set$") {
            return None;
        } else if m.name.starts_with("index$") {
            (
                Kind::Operator,
                "[]".to_string(),
                format!("{prefix}[{}]{arrow}", list.join(", ")),
            )
        } else {
            let kind = if rhai::is_valid_identifier(&m.name) {
                Kind::Function
            } else {
                Kind::Operator
            };
            let signature = format!("{prefix}{}({}){arrow}", m.name, list.join(", "));
            (kind, m.name.to_string(), signature)
        };
        Some(Self {
            module: match this {
                Some(_) => String::new(),
                None => info.namespace.to_string(),
            },
            name,
            kind,
            receiver,
            signature,
            arity: m.num_params + usize::from(this.is_some()),
            returns,
            comment: comment_text(m.comments.iter().map(|c| c.as_str())),
        })
    }

    fn add_to(self, groups: &mut Groups) {
        // methods of two types share no more than a name
        let receiver = match self.kind {
            Kind::Operator => String::new(),
            _ => self.receiver.clone().unwrap_or_default(),
        };
        let key = (self.module.clone(), self.name.clone(), self.kind, receiver);
        let doc = groups.entry(key).or_insert_with(|| FunctionDoc {
            name: self.name,
            module: self.module,
            kind: self.kind,
            receivers: Vec::new(),
            signatures: Vec::new(),
            arities: Vec::new(),
            summary: String::new(),
            body: String::new(),
            examples: Vec::new(),
            options: None,
            returns: self.returns,
        });
        if let Some(receiver) = self.receiver
            && !doc.receivers.contains(&receiver)
        {
            doc.receivers.push(receiver);
        }
        if !doc.signatures.contains(&self.signature) {
            doc.signatures.push(self.signature);
            doc.arities.push(self.arity);
        }
        if !self.comment.is_empty() && !doc.body.contains(&self.comment) {
            let (body, examples) = split_examples(&self.comment);
            if doc.body.is_empty() {
                doc.summary = summary(&body);
                doc.body = body;
            } else if !doc.body.contains(&body) {
                doc.body = format!("{}\n\n{body}", doc.body);
            }
            doc.examples.extend(examples);
        }
    }
}

/// The reference of a library module's public functions, under the module's usual alias (the last
/// part of its path). Methods, `fn Study.table()`, belong to their type.
pub fn of_module(engine: &Engine, path: &str, text: &str) -> Vec<FunctionDoc> {
    let Ok(ast) = engine.compile(text) else {
        // a broken module is reported where it is imported
        return Vec::new();
    };
    let alias = path.rsplit('/').next().unwrap_or(path);
    let mut groups = Groups::new();
    for f in ast.iter_functions() {
        if f.access == FnAccess::Private || f.name.starts_with("anon$") {
            continue;
        }
        let receiver = f.this_type.map(str::to_string);
        let prefix = match &receiver {
            Some(ty) => format!("{ty}."),
            None => format!("{alias}::"),
        };
        let raw = Raw {
            module: if receiver.is_some() {
                String::new()
            } else {
                alias.to_string()
            },
            name: f.name.to_string(),
            kind: Kind::Function,
            signature: format!("{prefix}{}({})", f.name, f.params.join(", ")),
            arity: f.params.len() + usize::from(receiver.is_some()),
            receiver,
            returns: String::new(),
            comment: comment_text(f.comments.iter().copied()),
        };
        raw.add_to(&mut groups);
    }
    groups.into_values().collect()
}

/// The words of a Rust type as users know it.
fn type_words(engine: &Engine, ty: &str) -> String {
    let ty = ty
        .trim()
        .trim_start_matches('&')
        .trim_start_matches("mut ")
        .trim();
    let ty = match ty
        .strip_prefix("RhaiResultOf<")
        .and_then(|t| t.strip_suffix('>'))
    {
        Some(inner) => inner.trim(),
        None => ty,
    };
    match ty {
        "" | "()" => String::new(),
        "i64" | "INT" => "int".into(),
        "f64" | "FLOAT" => "float".into(),
        "bool" => "bool".into(),
        "str" | "String" | "ImmutableString" | "&str" => "string".into(),
        "Dynamic" | "?" => "any".into(),
        "Map" | "rhai::Map" => "map".into(),
        "Array" | "rhai::Array" => "array".into(),
        "FnPtr" | "rhai::FnPtr" => "function".into(),
        other => {
            let shown = engine.map_type_name(other);
            shown.rsplit("::").next().unwrap_or(shown).to_string()
        }
    }
}

/// The text of doc comments, without their leaders.
pub(crate) fn comment_text<'a>(comments: impl Iterator<Item = &'a str>) -> String {
    let mut lines = Vec::new();
    for comment in comments {
        if let Some(block) = comment.strip_prefix("/**") {
            let block = block.strip_suffix("*/").unwrap_or(block);
            lines.extend(
                block
                    .lines()
                    .map(|l| l.trim_start().trim_start_matches("* ").to_string()),
            );
            continue;
        }
        for line in comment.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("///").unwrap_or(line);
            lines.push(
                line.strip_prefix(' ')
                    .unwrap_or(line)
                    .trim_end()
                    .to_string(),
            );
        }
    }
    lines.join("\n").trim().to_string()
}

/// The comment without its `rhai` code blocks, and these blocks.
pub(crate) fn split_examples(comment: &str) -> (String, Vec<String>) {
    let (mut body, mut examples) = (Vec::new(), Vec::new());
    let mut block: Option<Vec<&str>> = None;
    for line in comment.lines() {
        match &mut block {
            Some(lines) if line.trim() == "```" => {
                examples.push(lines.join("\n"));
                block = None;
            }
            Some(lines) => lines.push(line),
            None if line.trim() == "```rhai" => block = Some(Vec::new()),
            None => body.push(line),
        }
    }
    let body: Vec<&str> = body
        .into_iter()
        .filter(|l| !matches!(l.trim(), "# Example" | "# Examples"))
        .collect();
    (body.join("\n").trim().to_string(), examples)
}

/// The first paragraph as one line.
pub(crate) fn summary(body: &str) -> String {
    body.split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}
