//! Reads the reference out of what Rhai knows about functions.

use std::collections::BTreeMap;

use rhai::{Engine, FnAccess, FuncInfo};

use super::{FunctionDoc, Kind};

/// One overload as Rhai describes it.
pub(super) struct Raw {
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
    pub(super) fn new(engine: &Engine, info: &FuncInfo) -> Option<Self> {
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
        let receiver = params
            .first()
            .filter(|(_, ty)| ty.starts_with("&mut"))
            .map(|(_, ty)| show(ty));
        let returns = show(&m.return_type);
        let list: Vec<String> = params
            .iter()
            .skip(usize::from(receiver.is_some()))
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
            module: info.namespace.to_string(),
            name,
            kind,
            receiver,
            signature,
            arity: m.num_params,
            returns,
            comment: comment_text(m.comments.iter().map(|c| c.as_str())),
        })
    }

    pub(super) fn add_to(self, groups: &mut BTreeMap<(String, String, Kind), FunctionDoc>) {
        let key = (self.module.clone(), self.name.clone(), self.kind);
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
    let mut groups = BTreeMap::new();
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
fn comment_text<'a>(comments: impl Iterator<Item = &'a str>) -> String {
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
fn split_examples(comment: &str) -> (String, Vec<String>) {
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
fn summary(body: &str) -> String {
    body.split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lose_their_leaders_and_examples_are_taken_out() {
        let text = comment_text(
            ["/// First line\n///   indented\n///\n/// ```rhai\n/// f(1)   // → 2\n/// ```\n/// Last."]
                .into_iter(),
        );
        let (body, examples) = split_examples(&text);
        assert_eq!(body, "First line\n  indented\n\nLast.");
        assert_eq!(examples, ["f(1)   // → 2"]);
        assert_eq!(summary(&body), "First line indented");
    }

    #[test]
    fn functions_of_a_module_are_described() {
        let engine = Engine::new();
        let text = "/// Doubles.\nfn twice(x) { x }\nprivate fn hidden() { 1 }\n\
                    /// Its area.\nfn Study.area(scale) { |x| x }\n";
        let docs = of_module(&engine, "std/geometry", text);
        let found: Vec<_> = docs
            .iter()
            .map(|d| (d.path(), d.signatures[0].as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("area".to_string(), "Study.area(scale)"),
                ("geometry::twice".to_string(), "geometry::twice(x)"),
            ]
        );
        assert_eq!(docs[0].receivers, ["Study"]);
        assert_eq!(docs[0].arities, [2]);
        assert_eq!(docs[1].summary, "Doubles.");
    }
}
