//! What Tab offers.

use std::collections::BTreeSet;
use std::path::Path;

use super::catalog::{Catalog, KEYWORDS, Member};
use super::commands::{self, Argument};
use super::infer::{Target, infer};
use super::lexer::{Kind, Token, bracket, lex};
use crate::script::Host;
use crate::script::modules::stdlib;
use crate::script::options::{OptionSpec, OptionsSpec};

/// A candidate: what the list shows, and what is inserted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub shown: String,
    pub inserted: String,
}

impl Candidate {
    fn plain(text: impl Into<String>) -> Self {
        let shown = text.into();
        Self {
            inserted: shown.clone(),
            shown,
        }
    }

    fn new(shown: impl Into<String>, inserted: impl Into<String>) -> Self {
        Self {
            shown: shown.into(),
            inserted: inserted.into(),
        }
    }
}

/// Candidates for the word before `at`, and where that word starts.
pub(super) fn complete(
    host: &Host,
    catalog: &Catalog,
    line: &str,
    at: usize,
) -> (usize, Vec<Candidate>) {
    let typed = &line[..at];
    if let Some(rest) = typed.strip_prefix(':') {
        return match rest.split_once(char::is_whitespace) {
            None => (1, begin(rest, commands::names().map(Candidate::plain))),
            Some((name, argument)) => {
                let start = at - argument.len();
                match commands::find(name).map(|c| c.argument) {
                    Some(Argument::Script) => {
                        shift(start, expression(host, catalog, argument, line, at))
                    }
                    Some(Argument::File) => files(argument, start, |f| f.ends_with(".rhai")),
                    Some(Argument::Name) => (start, documented(host, catalog, argument)),
                    Some(Argument::Command) => (
                        start,
                        begin(argument, commands::names().map(Candidate::plain)),
                    ),
                    _ => (at, Vec::new()),
                }
            }
        };
    }
    if let Some(name) = typed.strip_prefix('?') {
        return (1, documented(host, catalog, name));
    }
    expression(host, catalog, typed, line, at)
}

fn shift(by: usize, (start, found): (usize, Vec<Candidate>)) -> (usize, Vec<Candidate>) {
    (start + by, found)
}

/// The candidates that begin with what was typed, sorted.
fn begin(typed: &str, all: impl IntoIterator<Item = Candidate>) -> Vec<Candidate> {
    let found: BTreeSet<Candidate> = all
        .into_iter()
        .filter(|c| c.shown.starts_with(typed))
        .collect();
    found.into_iter().collect()
}

fn expression(
    host: &Host,
    catalog: &Catalog,
    typed: &str,
    line: &str,
    at: usize,
) -> (usize, Vec<Candidate>) {
    let tokens = lex(typed);
    let end = typed.len();
    let called = line[at..].starts_with('(');
    let (word, before) = match tokens.split_last() {
        Some((last, _)) if last.kind == Kind::Comment && last.end == end => return (end, vec![]),
        Some((last, rest)) if last.open => return in_text(host, typed, last, rest),
        Some((last, rest)) if last.end == end && last.kind == Kind::Word => {
            (last.text(typed), rest)
        }
        Some((last, _)) if last.end == end && last.kind == Kind::Number => return (end, vec![]),
        _ => ("", tokens.as_slice()),
    };
    let start = end - word.len();
    let candidates = match before {
        [.., module, colons] if colons.is(typed, "::") => {
            let functions = catalog.functions(module.text(typed));
            begin(word, functions.into_iter().map(|f| function(f, called)))
        }
        [rest @ .., dot] if dot.is(typed, ".") || dot.is(typed, "?.") => {
            begin(word, members(host, catalog, typed, rest, called))
        }
        _ => general(host, catalog, typed, word, before, called),
    };
    (start, candidates)
}

fn function((name, arguments): (&str, bool), called: bool) -> Candidate {
    match (called, arguments) {
        (true, _) => Candidate::plain(name),
        (false, true) => Candidate::new(name, format!("{name}(")),
        (false, false) => Candidate::new(name, format!("{name}()")),
    }
}

/// Methods and properties of what stands before the dot.
fn members(
    host: &Host,
    catalog: &Catalog,
    typed: &str,
    before: &[Token],
    called: bool,
) -> Vec<Candidate> {
    let target = infer(host, catalog, typed, before);
    let ty = target.as_ref().map(|t| t.type_name(host));
    let mut all: Vec<Candidate> = catalog
        .members(ty.as_deref())
        .into_iter()
        .map(|Member { name, arguments }| match arguments {
            None => Candidate::plain(name),
            Some(arguments) => function((&name, arguments), called),
        })
        .collect();
    if let Some(Target::Value(value)) = &target {
        if let Ok(map) = value.as_map_ref() {
            let keys = map.keys().filter(|k| rhai::is_valid_identifier(k));
            all.extend(keys.map(|k| Candidate::plain(k.as_str())));
        }
        if let Some(study) = value.read_lock::<crate::script::api::study::Study>() {
            let keys = study.results().keys();
            all.extend(keys.map(|k| Candidate::plain(k.as_str())));
        }
    }
    all
}

/// Settings' keys, or whatever can begin an expression.
fn general(
    host: &Host,
    catalog: &Catalog,
    typed: &str,
    word: &str,
    before: &[Token],
    called: bool,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    if let Some(open) = enclosing(typed, before)
        && let Some(spec) = spec_of_map(host, typed, &before[..=open])
    {
        let inside = &before[open + 1..];
        match inside.last() {
            Some(last) if !last.is(typed, ",") => {
                all.extend(values(setting(typed, spec, inside)));
            }
            _ => {
                let used = keys(typed, inside);
                let left = spec.fields.iter().filter(|f| !used.contains(&f.key));
                return begin(
                    word,
                    left.map(|f| Candidate::new(f.key, format!("{}: ", f.key))),
                );
            }
        }
    }
    if word.is_empty() && before.is_empty() {
        return Vec::new();
    }
    let variables = host.scope().iter().map(|(name, _, _)| name);
    all.extend(
        variables
            .filter(|v| *v != "ans" || !word.is_empty())
            .map(Candidate::plain),
    );
    all.extend(
        catalog
            .functions("")
            .into_iter()
            .map(|f| function(f, called)),
    );
    all.extend(
        catalog
            .modules()
            .map(|m| Candidate::plain(format!("{m}::"))),
    );
    if !word.is_empty() {
        all.extend(KEYWORDS.iter().map(|k| Candidate::plain(*k)));
    }
    let mut found = begin(word, all);
    // a keyword that is a function too
    let functions: BTreeSet<String> = found
        .iter()
        .filter(|c| c.inserted != c.shown)
        .map(|c| c.shown.clone())
        .collect();
    found.retain(|c| c.inserted != c.shown || !functions.contains(&c.shown));
    found
}

/// Index of the `#{` whose entries are being written, if the innermost open bracket is one.
fn enclosing(typed: &str, tokens: &[Token]) -> Option<usize> {
    let open = unclosed(typed, tokens)?;
    tokens[open].is(typed, "#{").then_some(open)
}

/// Index of the innermost open bracket.
fn unclosed(typed: &str, tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().rev() {
        depth += bracket(typed, token);
        if depth > 0 {
            return Some(i);
        }
    }
    None
}

/// The settings that the map opened by the last token holds.
fn spec_of_map(host: &Host, typed: &str, tokens: &[Token]) -> Option<&'static OptionsSpec> {
    let before = &tokens[..tokens.len() - 1];
    let outer = unclosed(typed, before)?;
    if before[outer].is(typed, "#{") {
        let spec = spec_of_map(host, typed, &before[..=outer])?;
        return setting(typed, spec, &before[outer + 1..])?.nested;
    }
    if !before[outer].is(typed, "(") {
        return None;
    }
    match &before[..outer] {
        [.., module, colons, name] if colons.is(typed, "::") => {
            let path = format!("{}::{}", module.text(typed), name.text(typed));
            host.docs().options(&path)
        }
        [.., name] if name.kind == Kind::Word => host.docs().options(name.text(typed)),
        _ => None,
    }
}

/// The setting whose value is being written at the end of a map's entries.
fn setting<'a>(typed: &str, spec: &'a OptionsSpec, inside: &[Token]) -> Option<&'a OptionSpec> {
    let mut depth = 0;
    let mut first = 0;
    for (i, token) in inside.iter().enumerate() {
        depth += bracket(typed, token);
        if depth == 0 && token.is(typed, ",") {
            first = i + 1;
        }
    }
    let [key, colon, ..] = &inside[first..] else {
        return None;
    };
    let key = colon.is(typed, ":").then(|| key.text(typed))?;
    spec.fields.iter().find(|f| f.key == key)
}

/// The keys that a map has so far.
fn keys<'a>(typed: &'a str, inside: &[Token]) -> Vec<&'a str> {
    let mut depth = 0;
    let mut keys = Vec::new();
    for (i, token) in inside.iter().enumerate() {
        depth += bracket(typed, token);
        let colon = inside.get(i + 1).is_some_and(|t| t.is(typed, ":"));
        if depth == 0 && token.kind == Kind::Word && colon {
            keys.push(token.text(typed));
        }
    }
    keys
}

/// The values a setting can have, where there are few.
fn values(setting: Option<&OptionSpec>) -> Vec<Candidate> {
    let Some(setting) = setting else {
        return Vec::new();
    };
    let choices = setting.choices.iter();
    choices
        .map(|c| Candidate::plain(format!("\"{c}\"")))
        .collect()
}

/// Inside a string: modules behind `import`, a setting's choices, or files.
fn in_text(host: &Host, typed: &str, text: &Token, before: &[Token]) -> (usize, Vec<Candidate>) {
    let start = text.start + 1;
    let content = &typed[start.min(typed.len())..];
    if typed[text.start..].starts_with('\'') {
        return (typed.len(), Vec::new());
    }
    if before.last().is_some_and(|t| t.is(typed, "import")) {
        let embedded = stdlib()
            .into_keys()
            .map(|m| Candidate::new(m.clone(), format!("{m}\"")));
        let mut found = begin(content, embedded);
        let (at, mut files) = files(content, start, |f| f.ends_with(".rhai"));
        for file in &mut files {
            if let Some(stem) = file.inserted.strip_suffix(".rhai") {
                file.inserted = stem.to_string();
            }
            // both lists must start at the same place
            file.inserted = format!("{}{}", &content[..at - start], file.inserted);
        }
        found.extend(files);
        return (start, found);
    }
    if let Some(open) = enclosing(typed, before)
        && let Some(spec) = spec_of_map(host, typed, &before[..=open])
        && let Some(setting) = setting(typed, spec, &before[open + 1..])
        && !setting.choices.is_empty()
    {
        let choices = setting.choices.iter();
        return (
            start,
            begin(
                content,
                choices.map(|c| Candidate::new(*c, format!("{c}\""))),
            ),
        );
    }
    files(content, start, |_| true)
}

/// Files and folders that begin with `typed`, which starts at `start`.
fn files(typed: &str, start: usize, wanted: impl Fn(&str) -> bool) -> (usize, Vec<Candidate>) {
    let (folder, name) = match typed.rfind('/') {
        Some(slash) => typed.split_at(slash + 1),
        None => ("", typed),
    };
    let path = super::shell::expand_home(if folder.is_empty() { "." } else { folder });
    let entries = std::fs::read_dir(Path::new(&path))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|e| {
        let file = e.file_name().into_string().ok()?;
        let hidden = file.starts_with('.') && !name.starts_with('.');
        if hidden {
            return None;
        }
        if e.path().is_dir() {
            return Some(Candidate::plain(format!("{file}/")));
        }
        wanted(&file).then(|| Candidate::plain(file))
    });
    (start + folder.len(), begin(name, names))
}

/// Documented names and variables.
fn documented(host: &Host, catalog: &Catalog, typed: &str) -> Vec<Candidate> {
    let own = host.docs().functions().iter();
    let own = own
        .filter(|f| rhai::is_valid_identifier(&f.name))
        .flat_map(|f| [f.path(), f.name.clone()]);
    let cells = catalog.cells().iter().map(|f| f.name.clone());
    let types = host
        .docs()
        .functions()
        .iter()
        .flat_map(|f| f.receivers.clone());
    let types = types.filter(|t| t.starts_with(char::is_uppercase));
    begin(typed, own.chain(cells).chain(types).map(Candidate::plain))
}

#[cfg(test)]
mod tests;
