//! The rules that calls are held against.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{FnAccess, Position};

use super::Unit;
use super::walk::{Call, Literal};
use crate::error::Error;
use crate::script::diagnostics::Report;
use crate::script::host::Host;
use crate::script::names::did_you_mean;
use crate::script::options::OptionsSpec;

/// What the language itself provides, with any number of arguments.
const KEYWORDS: [&str; 10] = [
    "print",
    "debug",
    "type_of",
    "Fn",
    "call",
    "curry",
    "is_shared",
    "is_def_var",
    "is_def_fn",
    "eval",
];

/// Registered functions: numbers of parameters by module and name.
#[derive(Debug)]
pub(super) struct Natives(BTreeMap<(String, String), BTreeSet<usize>>);

impl Natives {
    pub(super) fn new(host: &Host) -> Self {
        let mut all: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        let functions = host.engine().collect_fn_metadata(
            None,
            |info| {
                let m = info.metadata;
                Some((
                    (info.namespace.to_string(), m.name.to_string()),
                    m.num_params,
                ))
            },
            true,
        );
        for (key, parameters) in functions {
            all.entry(key).or_default().insert(parameters);
        }
        Self(all)
    }

    fn get(&self, module: &str, name: &str) -> Option<&BTreeSet<usize>> {
        self.0.get(&(module.to_string(), name.to_string()))
    }

    fn has_module(&self, module: &str) -> bool {
        self.0.keys().any(|(m, _)| m == module)
    }

    fn names(&self, module: &str) -> Vec<&str> {
        let names = self.0.keys().filter(|(m, _)| m == module);
        let names = names.map(|(_, n)| n.as_str());
        names
            .filter(|n| rhai::is_valid_identifier(n) && !n.starts_with("__"))
            .collect()
    }
}

/// A function of a script: name, parameters, and the type it is a method of.
struct Defined {
    name: String,
    parameters: usize,
    method: bool,
    public: bool,
}

fn defined(unit: &Unit) -> Vec<Defined> {
    let functions = unit.ast.iter_functions();
    functions
        .map(|f| Defined {
            name: f.name.to_string(),
            parameters: f.params.len(),
            method: f.this_type.is_some(),
            public: f.access == FnAccess::Public,
        })
        .collect()
}

/// Everything wrong with the calls of a unit.
pub(super) fn apply(unit: &Unit, natives: &Natives, host: &Host) -> Vec<Report> {
    let rules = Rules {
        unit,
        natives,
        host,
        own: defined(unit),
        reachable: reachable(unit),
    };
    let mut findings = Vec::new();
    for call in &unit.facts.calls {
        if let Some(finding) = rules.call(call) {
            findings.push(finding);
        }
        rules.settings(call, &mut findings);
    }
    findings
}

/// The unit itself and everything it imports, directly or not.
fn reachable(unit: &Unit) -> Vec<&Unit> {
    let mut all = vec![unit];
    let mut next = 0;
    while next < all.len() {
        let imported: Vec<&Unit> = all[next].imports.values().flatten().map(|u| &**u).collect();
        for unit in imported {
            if !all.iter().any(|u| u.name == unit.name) {
                all.push(unit);
            }
        }
        next += 1;
    }
    all
}

struct Rules<'a> {
    unit: &'a Unit,
    natives: &'a Natives,
    host: &'a Host,
    own: Vec<Defined>,
    reachable: Vec<&'a Unit>,
}

impl Rules<'_> {
    /// Judges whether the function exists.
    fn call(&self, call: &Call) -> Option<Report> {
        match call.namespace.as_slice() {
            _ if call.name.starts_with("anon$") || KEYWORDS.contains(&call.name.as_str()) => None,
            [] if call.method => self.method(call),
            [] => self.function(call),
            [module] if module == "global" => None,
            [module] => self.qualified(module, call),
            // functions of modules within modules
            _ => None,
        }
    }

    fn function(&self, call: &Call) -> Option<Report> {
        let own = self.own.iter().filter(|f| !f.method && f.name == call.name);
        let mut arities: BTreeSet<usize> = own.map(|f| f.parameters).collect();
        if let Some(native) = self.natives.get("", &call.name) {
            arities.extend(native);
        }
        if arities.is_empty() {
            let names = self.natives.names("");
            let names = names
                .into_iter()
                .chain(self.own.iter().map(|f| f.name.as_str()));
            return Some(self.unknown(call, &call.name, names));
        }
        self.arity(call, &call.name, &arities)
    }

    fn method(&self, call: &Call) -> Option<Report> {
        // any map may hold a closure under a key that is written somewhere
        if self
            .reachable
            .iter()
            .any(|u| u.facts.keys.contains(&call.name))
        {
            return None;
        }
        let mut arities = BTreeSet::new();
        let mut names: Vec<String> = Vec::new();
        for unit in &self.reachable {
            let own = unit.name == self.unit.name;
            for f in defined(unit).into_iter().filter(|f| f.method || own) {
                if f.name == call.name {
                    arities.insert(f.parameters);
                }
                names.push(f.name);
            }
        }
        if let Some(native) = self.natives.get("", &call.name) {
            arities.extend(native.iter().filter(|n| **n > 0).map(|n| n - 1));
        }
        if arities.is_empty() {
            let native = self.natives.names("");
            let names = native.into_iter().chain(names.iter().map(String::as_str));
            return Some(self.unknown(call, &call.name, names));
        }
        self.arity(call, &call.name, &arities)
    }

    fn qualified(&self, module: &str, call: &Call) -> Option<Report> {
        let path = format!("{module}::{}", call.name);
        match self.unit.imports.get(module) {
            // computed, or reported as missing
            Some(None) => None,
            Some(Some(imported)) => {
                let public = defined(imported);
                let public = public.iter().filter(|f| f.public && !f.method);
                let same = public.clone().filter(|f| f.name == call.name);
                let arities: BTreeSet<usize> = same.map(|f| f.parameters).collect();
                if arities.is_empty() {
                    let names = public.map(|f| f.name.as_str());
                    return Some(self.unknown(call, &path, names));
                }
                self.arity(call, &path, &arities)
            }
            None if self.natives.has_module(module) => match self.natives.get(module, &call.name) {
                Some(arities) => self.arity(call, &path, arities),
                None => Some(self.unknown(call, &path, self.natives.names(module))),
            },
            // unknown modules are errors of the parser
            None => None,
        }
    }

    fn unknown<'n>(
        &self,
        call: &Call,
        path: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Report {
        let what = if call.method { "method" } else { "function" };
        let help = did_you_mean(&call.name, names);
        self.finding(
            "name",
            format!("there is no {what} `{path}`"),
            call.position,
            help,
        )
    }

    fn arity(&self, call: &Call, path: &str, arities: &BTreeSet<usize>) -> Option<Report> {
        if arities.contains(&call.arguments) {
            return None;
        }
        let accepted: Vec<String> = arities.iter().map(ToString::to_string).collect();
        let accepted = accepted.join(" or ");
        let s = if accepted == "1" { "" } else { "s" };
        let message = format!(
            "`{path}` takes {accepted} argument{s}, and is given {}",
            call.arguments
        );
        Some(self.finding("type", message, call.position, None))
    }

    /// Judges the keys of map literals given to functions with known settings.
    fn settings(&self, call: &Call, findings: &mut Vec<Report>) {
        let path = match call.namespace.as_slice() {
            [] => call.name.clone(),
            parts => format!("{}::{}", parts.join("::"), call.name),
        };
        if let Some(spec) = self.host.docs().options(&path) {
            for (place, map) in &call.maps {
                if self.takes_settings(&path, call.arguments, *place) {
                    self.keys(&call.name, spec, map, findings);
                }
            }
            return;
        }
        // functions of script modules name their settings with `study_settings`
        if let [module] = call.namespace.as_slice()
            && let Some(Some(unit)) = self.unit.imports.get(module)
            && let Some((function, keys)) = unit.facts.settings.iter().find(|(f, _)| {
                // they name themselves with their module, `width::study`
                f.rsplit("::").next() == Some(&call.name)
            })
        {
            for (key, position, _) in call.maps.iter().flat_map(|(_, m)| &m.keys) {
                if !keys.contains(key) {
                    let message = format!(
                        "{function} has no setting `{key}`; it accepts {}",
                        keys.join(", ")
                    );
                    let help = did_you_mean(key, keys.iter().map(String::as_str));
                    findings.push(self.finding("setting", message, *position, help));
                }
            }
        }
    }

    /// Whether an overload takes a map, and not any value, at this place: data may be a map too.
    fn takes_settings(&self, path: &str, arguments: usize, place: usize) -> bool {
        let overloads = self
            .host
            .docs()
            .get(path)
            .into_iter()
            .flat_map(|f| &f.signatures);
        let inside = |signature: &str| -> Option<Vec<String>> {
            let (_, rest) = signature.split_once('(')?;
            let (inside, _) = rest.split_once(')')?;
            Some(inside.split(',').map(|p| p.trim().to_string()).collect())
        };
        let mut same = overloads
            .filter_map(|s| inside(s))
            .filter(|p| p.len() == arguments)
            .peekable();
        same.peek().is_none() || same.any(|p| p[place].to_lowercase().ends_with(": map"))
    }

    fn keys(&self, function: &str, spec: &OptionsSpec, map: &Literal, findings: &mut Vec<Report>) {
        for (key, position, inner) in &map.keys {
            match spec.check_key(function, key) {
                Err(error) => findings.push(self.raised(error, *position)),
                Ok(()) => {
                    let nested = spec.fields.iter().find(|f| f.key == key);
                    if let (Some(inner), Some(nested)) = (inner, nested.and_then(|f| f.nested)) {
                        self.keys(nested.functions[0], nested, inner, findings);
                    }
                }
            }
        }
    }

    fn raised(&self, error: Error, position: Position) -> Report {
        self.finding(error.kind.name(), error.message, position, error.help)
    }

    fn finding(
        &self,
        kind: &str,
        message: String,
        position: Position,
        help: Option<String>,
    ) -> Report {
        let place = self.host.session().sources.place(&self.unit.name, position);
        Report::finding(kind, message, place, help.into_iter().collect())
    }
}
