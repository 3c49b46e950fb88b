//! Finds mistakes in scripts without running them: syntax, imports, unknown functions, wrong
//! numbers of arguments, unknown settings.

mod rules;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rhai::{AST, EvalAltResult, ParseErrorType, Position, Scope};

use super::diagnostics::Report;
use super::host::{Host, HostSettings, ScriptError, blank_shebang};
use super::modules::Modules;
use crate::error::{Error, Result};
use rules::Natives;
use walk::Facts;

/// Checks scripts and folders of scripts; the findings in the order of files and lines.
///
/// # Errors
/// When a path cannot be read.
pub fn check(paths: &[PathBuf]) -> Result<Vec<Report>> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let mut findings = Vec::new();
    for file in files {
        let mut checker = Checker::new()?;
        for finding in checker.script(&file)? {
            // two scripts may import the same file
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    Ok(findings)
}

/// The files of a path: itself, or every `.rhai` below it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, &e))?;
    let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|e| e == "rhai") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

/// Names of the settings that a script and its modules ask for with `param("name", …)`; `None` when
/// some name is computed, or when the script cannot be parsed.
pub fn literal_params(script: &Path) -> Option<Vec<String>> {
    let mut checker = Checker::new().ok()?;
    checker
        .host
        .session()
        .set_script(Some(script.to_path_buf()));
    let text = std::fs::read_to_string(script).ok()?;
    let name = script.display().to_string();
    checker.unit(&name, &text).ok()?;
    let mut names = BTreeSet::new();
    for unit in checker.units.values() {
        for call in unit.facts.calls.iter().filter(|c| c.name == "param") {
            names.insert(call.text.clone()?);
        }
        // a module whose name is computed may ask for anything
        if unit.facts.imports.iter().any(|i| i.path.is_none()) {
            return None;
        }
    }
    Some(names.into_iter().collect())
}

/// A parsed text.
struct Unit {
    name: String,
    ast: AST,
    facts: Facts,
    /// Alias of each import and the unit it means.
    imports: BTreeMap<String, Option<Rc<Unit>>>,
}

struct Checker {
    host: Host,
    modules: Modules,
    natives: Natives,
    units: BTreeMap<String, Rc<Unit>>,
    /// Texts being parsed, to notice modules that import each other.
    open: Vec<String>,
    findings: Vec<Report>,
}

impl Checker {
    fn new() -> Result<Self> {
        let mut host = Host::new(HostSettings::default())?;
        host.keep_everything_in_syntax_trees();
        let modules = Modules::new(host.session().clone());
        let natives = Natives::new(&host);
        Ok(Self {
            host,
            modules,
            natives,
            units: BTreeMap::new(),
            open: Vec::new(),
            findings: Vec::new(),
        })
    }

    fn script(&mut self, path: &Path) -> Result<Vec<Report>> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
        let name = path.display().to_string();
        self.host.session().set_script(Some(path.to_path_buf()));
        if let Err(report) = self.unit(&name, &text) {
            self.findings.push(*report);
        }
        let units: Vec<Rc<Unit>> = self.units.values().cloned().collect();
        for unit in units.iter().filter(|u| !u.name.starts_with("std/")) {
            let found = rules::apply(unit, &self.natives, &self.host);
            self.findings.extend(found);
        }
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort_by_key(|f| {
            let place = f.place.as_ref();
            place.map(|p| (p.source.clone(), p.line, p.column))
        });
        Ok(findings)
    }

    /// Parses a text and what it imports.
    fn unit(&mut self, name: &str, text: &str) -> std::result::Result<Rc<Unit>, Box<Report>> {
        if let Some(unit) = self.units.get(name) {
            return Ok(unit.clone());
        }
        let text = blank_shebang(text);
        self.host.session().sources.insert(name, &text);
        let ast = self.parse(name, &text)?;
        let facts = Facts::new(&ast);
        self.open.push(name.to_string());
        let mut imports = BTreeMap::new();
        for import in &facts.imports {
            let unit = match &import.path {
                Some(path) => self.import(name, path, import.position),
                None => None,
            };
            imports.insert(import.alias.clone(), unit);
        }
        self.open.pop();
        let unit = Rc::new(Unit {
            name: name.to_string(),
            ast,
            facts,
            imports,
        });
        self.units.insert(name.to_string(), unit.clone());
        Ok(unit)
    }

    /// The syntax tree of a text. A variable that is not there is a finding, and what follows is looked
    /// at as if it were; within functions it hides what follows.
    fn parse(&mut self, name: &str, text: &str) -> std::result::Result<AST, Box<Report>> {
        let mut scope = Scope::new();
        loop {
            let error = match self.host.engine().compile_with_scope(&scope, text) {
                Ok(ast) => return Ok(ast),
                Err(error) => error,
            };
            let missing = match &*error.0 {
                ParseErrorType::VariableUndefined(variable) if !scope.contains(variable) => {
                    Some(variable.clone())
                }
                _ => None,
            };
            let parsing = EvalAltResult::ErrorParsing(*error.0, error.1);
            let report = self.report(name, parsing.into());
            let Some(variable) = missing else {
                return Err(Box::new(report));
            };
            self.findings.push(report);
            scope.push(variable, ());
        }
    }

    /// The unit of an import, or a finding.
    fn import(&mut self, source: &str, path: &str, position: Position) -> Option<Rc<Unit>> {
        let found = match self.modules.find(Some(source), path) {
            Ok(found) => found,
            Err(error) => {
                let error = super::error::raise_at(position, error);
                let report = self.report(source, error);
                self.findings.push(report);
                return None;
            }
        };
        if let Some(start) = self.open.iter().position(|n| *n == found.name) {
            let chain = [&self.open[start..], &[found.name]].concat().join(" → ");
            let error = Error::other(format!("modules import each other: {chain}"));
            let report = self.report(source, super::error::raise_at(position, error));
            self.findings.push(report);
            return None;
        }
        match self.unit(&found.name, &found.text) {
            Ok(unit) => Some(unit),
            Err(report) => {
                self.findings.push(*report);
                None
            }
        }
    }

    fn report(&self, source: &str, error: Box<EvalAltResult>) -> Report {
        let error = ScriptError {
            error,
            source: source.to_string(),
        };
        Report::new(&self.host, &error)
    }
}
