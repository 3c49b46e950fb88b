//! `:doc`: the function reference at the prompt.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::display::shorten;
use super::shell::Shell;
use crate::script::docs::{FunctionDoc, Kind};
use crate::script::names::did_you_mean;

/// All names by module.
pub(super) fn overview(shell: &Shell) -> String {
    let mut modules: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut types: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for f in shell.host().docs().functions() {
        if f.kind == Kind::Operator || is_everywhere(f) {
            continue;
        }
        match f.receivers.as_slice() {
            [] => modules.entry(f.module.clone()).or_default().push(&f.name),
            receivers => {
                for r in receivers {
                    types.entry(r.clone()).or_default().push(&f.name);
                }
            }
        }
    }
    let width = shell.printer().columns;
    let mut out = String::new();
    let groups = modules.iter().map(|(m, names)| match m.as_str() {
        "" => ("functions".to_string(), names),
        m => (format!("{m}::"), names),
    });
    let types = types.iter().map(|(t, names)| (format!("{t}."), names));
    for (title, names) in groups.chain(types) {
        let _ = writeln!(out, "{title}\n{}", wrap(names, width));
    }
    out + "\n:doc NAME reads about one of them; :doc --search WORD finds more"
}

fn wrap(names: &[&str], width: usize) -> String {
    let (mut lines, mut line) = (Vec::new(), String::from(" "));
    for name in names {
        if line.len() + name.len() + 1 > width && line.len() > 1 {
            lines.push(std::mem::replace(&mut line, String::from(" ")));
        }
        line.push(' ');
        line += name;
    }
    lines.push(line);
    lines.join("\n")
}

/// The entries that mention a word, one per line.
pub(super) fn search(shell: &Shell, word: &str) -> Result<String, String> {
    let found = shell.host().docs().search(word);
    if found.is_empty() {
        return Err("`:doc` lists everything there is".into());
    }
    Ok(list(&found, shell.printer().columns))
}

fn list(found: &[&FunctionDoc], columns: usize) -> String {
    let names: Vec<String> = found.iter().map(|f| f.label()).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let lines = names.iter().zip(found).map(|(n, f)| {
        shorten(
            format!("{n:width$}  {}", sentence(&f.summary)).trim_end(),
            columns,
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The reference of a name; the error is a line of help.
pub(super) fn lookup(shell: &Shell, name: &str) -> Result<String, String> {
    let name = name
        .trim_end_matches(['(', ')', '?', ';'])
        .trim_end_matches("::");
    let (host, catalog) = (shell.host(), shell.catalog());
    if let Some(command) = name.strip_prefix(':').and_then(super::commands::find) {
        return Ok(format!(
            ":{} {}\n{}",
            command.name, command.usage, command.summary
        ));
    }
    // `Model.explain` or `m.explain`
    if let Some((receiver, method)) = name.rsplit_once('.') {
        let ty = type_called(shell, receiver).unwrap_or_else(|| receiver.to_string());
        let entries = host
            .docs()
            .functions()
            .iter()
            .chain(catalog.table().functions());
        let entries = entries.filter(|f| f.name == method && f.receivers.contains(&ty));
        // studies of several library modules have methods of the same names
        let mut pages: Vec<String> = Vec::new();
        for page in entries.map(FunctionDoc::page) {
            if !pages.contains(&page) {
                pages.push(page);
            }
        }
        return match pages.is_empty() {
            false => Ok(pages.join("\n")),
            true => Err(format!("`:doc {ty}` lists what {ty} has")),
        };
    }
    if host.scope().get(name).is_some() {
        let ty = type_called(shell, name).unwrap_or_default();
        let members = of_type(shell, &ty);
        return Ok(format!("`{name}` is a variable of type {ty}\n{members}")
            .trim_end()
            .to_string());
    }
    let cells: Vec<String> = catalog
        .cells()
        .iter()
        .filter(|f| f.name == name)
        .map(|f| {
            format!(
                "fn {}\n\n    {}",
                f.signature(),
                f.comment.replace('\n', "\n    ")
            )
        })
        .map(|text| text.trim_end().to_string())
        .collect();
    if !cells.is_empty() {
        return Ok(cells.join("\n\n"));
    }
    for table in [host.docs(), catalog.table()] {
        let found = table.get(name);
        if !found.is_empty() {
            let pages: Vec<String> = found.iter().map(|f| f.page()).collect();
            return Ok(pages.join("\n\n").trim_end().to_string());
        }
        let module: Vec<&FunctionDoc> = table
            .functions()
            .iter()
            .filter(|f| f.module == name)
            .collect();
        if !module.is_empty() {
            return Ok(list(&module, shell.printer().columns));
        }
    }
    let members = of_type(shell, name);
    if !members.is_empty() {
        return Ok(members);
    }
    let paths: Vec<String> = host
        .docs()
        .functions()
        .iter()
        .map(FunctionDoc::path)
        .collect();
    let near = did_you_mean(name, paths.iter().map(String::as_str));
    Err(near.unwrap_or_else(|| format!("search with `:doc --search {name}`")))
}

/// The type of the variable of this name.
fn type_called(shell: &Shell, variable: &str) -> Option<String> {
    let value = shell.host().scope().get(variable)?;
    Some(shell.printer().type_name(value))
}

/// Methods and properties of a type, one per line.
fn of_type(shell: &Shell, ty: &str) -> String {
    let of = |f: &&FunctionDoc| {
        f.receivers.iter().any(|r| r == ty) && f.kind != Kind::Operator && !is_everywhere(f)
    };
    let own: Vec<&FunctionDoc> = shell.host().docs().functions().iter().filter(of).collect();
    let catalog = shell.catalog();
    let found = match own.is_empty() {
        true => catalog.table().functions().iter().filter(of).collect(),
        false => own,
    };
    let names: Vec<(String, &str)> = found
        .iter()
        .map(|f| (format!(".{}", f.name), sentence(&f.summary)))
        .collect();
    let width = names
        .iter()
        .map(|(n, _)| n.chars().count())
        .max()
        .unwrap_or(0);
    let lines = names.iter().map(|(n, summary)| {
        shorten(
            format!("{n:width$}  {summary}").trim_end(),
            shell.printer().columns,
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The first sentence of a summary.
fn sentence(summary: &str) -> &str {
    summary.find(". ").map_or(summary, |end| &summary[..=end])
}

/// What every type has is no news.
fn is_everywhere(f: &FunctionDoc) -> bool {
    matches!(f.name.as_str(), "to_string" | "to_debug" | "display")
}
