//! What each kind of Rhai error says to a user.

use std::collections::BTreeSet;

use rhai::{Dynamic, EvalAltResult, ParseErrorType};

use super::super::api::train::BUSY;
use super::super::docs::{FunctionDoc, Kind};
use super::super::error::HostError;
use super::super::host::{ARRAY_ELEMENTS, MAP_KEYS, STRING_BYTES};
use super::super::names::{did_you_mean, nearest};
use super::super::options::Values;
use super::super::sources::Place;
use super::calls::has_words;
use super::known::Known;

/// Kind, message and help of an error.
pub(super) struct Explained {
    pub kind: String,
    pub message: String,
    pub help: Vec<String>,
}

fn explained(kind: &str, message: impl Into<String>, help: Vec<String>) -> Explained {
    Explained {
        kind: kind.to_string(),
        message: message.into(),
        help,
    }
}

/// Explains the innermost error.
pub(super) fn explain(error: &EvalAltResult, known: &Known, place: Option<&Place>) -> Explained {
    match error {
        EvalAltResult::ErrorRuntime(payload, _) => runtime(payload),
        EvalAltResult::ErrorTerminated(..) => explained("interrupted", "interrupted", vec![]),
        EvalAltResult::ErrorParsing(parse, _) => syntax(parse, known),
        EvalAltResult::ErrorVariableNotFound(name, _) => variable(name, known),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => function(signature, known, place),
        EvalAltResult::ErrorModuleNotFound(name, _) => module(name, known),
        EvalAltResult::ErrorPropertyNotFound(name, _) => explained(
            "name",
            format!("the map has no property `{name}`"),
            vec![
                did_you_mean(name, known.map_keys().iter().map(String::as_str))
                    .unwrap_or_else(|| format!("ask first: \"{name}\" in map")),
            ],
        ),
        EvalAltResult::ErrorDotExpr(text, _) => property(text, known),
        EvalAltResult::ErrorIndexingType(ty, _) if ty.contains("] = ") => {
            let receiver = ty.split(" [").next().unwrap_or(ty);
            let help = (receiver == "Tensor").then(|| {
                "change an array, `let a = t.to_array()`, and make a tensor of it, `tensor(array)`"
                    .to_string()
            });
            explained(
                "type",
                format!("{}s are read-only", receiver.to_lowercase()),
                help.into_iter().collect(),
            )
        }
        EvalAltResult::ErrorIndexingType(ty, _) => {
            let (receiver, index) = ty.split_once(" [").unwrap_or((ty, "]"));
            explained(
                "type",
                format!(
                    "{} cannot be indexed with {}",
                    words(receiver),
                    words(index.trim_end_matches(']'))
                ),
                vec![],
            )
        }
        EvalAltResult::ErrorArrayBounds(length, index, _) => {
            bounds("array", "elements", *length, *index)
        }
        EvalAltResult::ErrorStringBounds(length, index, _) => {
            bounds("string", "characters", *length, *index)
        }
        EvalAltResult::ErrorMismatchDataType(expected, found, _) => explained(
            "type",
            format!("expected {}, found {}", words(expected), words(found)),
            vec![],
        ),
        EvalAltResult::ErrorFor(_) => explained(
            "type",
            "`for` needs something to go through: an array, a map's keys(), a string or a range",
            vec!["0..10 counts from 0 to 9".into()],
        ),
        EvalAltResult::ErrorStackOverflow(_) => explained(
            "limit",
            "functions call each other more than 1000 deep",
            vec!["does a recursion lack its end?".into()],
        ),
        EvalAltResult::ErrorDataTooLarge(what, _) => too_large(what),
        EvalAltResult::ErrorNonPureMethodCallOnConstant(name, _) => explained(
            "type",
            format!("`{name}` changes its receiver, which is a constant"),
            vec!["declare it with `let`".into()],
        ),
        EvalAltResult::ErrorAssignmentToConstant(name, _) => explained(
            "name",
            format!("`{name}` is a constant and cannot be assigned to"),
            vec!["declare it with `let`".into()],
        ),
        // a trainer that a probe or a schedule has captured, or an array that it goes through
        EvalAltResult::ErrorDataRace(name, _) => {
            let what = match name.as_str() {
                "" => "a variable of the closure".to_string(),
                name => format!("`{name}`"),
            };
            explained(
                "other",
                format!("{what} is busy: it is at work in the call that led here"),
                vec![format!("a trainer is busy while it steps: {BUSY}")],
            )
        }
        EvalAltResult::ErrorUnboundThis(_) => explained(
            "name",
            "`this` exists only in a method call",
            vec!["call the function as value.function()".into()],
        ),
        other => explained("script", plain(other), vec![]),
    }
}

fn too_large(what: &str) -> Explained {
    let what = what.to_lowercase();
    let (message, help) = if what.contains("string") {
        (
            format!("a string is longer than {} MB", STRING_BYTES >> 20),
            "keep the parts in an array, and write each with write_text",
        )
    } else if what.contains("map") {
        (
            format!("a map has more than {MAP_KEYS} keys"),
            "rows of equal keys are a table(…)",
        )
    } else {
        (
            format!("an array has more than {ARRAY_ELEMENTS} elements, those within included"),
            "many numbers are a tensor: zeros([n]), randn([n]), or what a metric gives",
        )
    };
    explained("limit", message, vec![help.into()])
}

/// A thrown value.
fn runtime(payload: &Dynamic) -> Explained {
    if let Some(host) = payload.read_lock::<HostError>() {
        return explained(
            host.0.kind.name(),
            host.0.message.clone(),
            host.0.help.clone().into_iter().collect(),
        );
    }
    let message = match payload.as_map_ref() {
        // an error that was caught and thrown again
        Ok(map) => map
            .get("message")
            .map_or_else(|| format!("{payload:?}"), ToString::to_string),
        Err(_) if payload.is_unit() => "the script gave up".to_string(),
        Err(_) => payload.to_string(),
    };
    explained("script", message, vec![])
}

fn syntax(error: &ParseErrorType, known: &Known) -> Explained {
    match error {
        ParseErrorType::VariableUndefined(name) => variable(name, known),
        ParseErrorType::ModuleUndefined(name) => module(name, known),
        ParseErrorType::UnexpectedEOF => explained("syntax", "the script ends too early", vec![]),
        ParseErrorType::Reserved(name) if rhai::is_valid_identifier(name) => explained(
            "syntax",
            format!("`{name}` is a word of the language"),
            vec!["choose another name".into()],
        ),
        other => {
            let text = other.to_string();
            let mut chars = text.chars();
            let text = match chars.next() {
                Some(first) => first.to_lowercase().chain(chars).collect(),
                None => text,
            };
            explained("syntax", text.replace("expecting ", "expected "), vec![])
        }
    }
}

fn variable(name: &str, known: &Known) -> Explained {
    let mut help = Vec::new();
    if let Some(constant) = name.strip_prefix("global::") {
        if known.declares("let", constant) {
            help.push(format!(
                "functions see constants only; write `const {constant} = …`"
            ));
        }
        return explained("name", format!("there is no constant `{name}`"), help);
    }
    if let Some((module, constant)) = name.split_once("::") {
        let text = known.module_text(module).unwrap_or_default();
        if has_words(text, &["const", constant]) {
            help.push(format!(
                "it does not export it: write `export const {constant} = …` there"
            ));
        } else if known.module_functions(module).iter().any(|f| f == constant) {
            help.push(format!("`{name}` is a function: call it as {name}(…)"));
        }
        return explained(
            "name",
            format!("the module `{module}` has no constant `{constant}`"),
            help,
        );
    }
    if known.declares("let", name) {
        help.push(format!(
            "functions do not see the script's variables: pass `{name}` as an argument, or write `const {name} = …` and read it as global::{name}"
        ));
    } else if known.declares("const", name) {
        help.push(format!(
            "inside a function a constant is read as global::{name}"
        ));
    } else if known.is_function(name) {
        help.push(format!("`{name}` is a function: call it as {name}(…)"));
    } else if known.modules().contains(&name) {
        help.push(format!("`{name}` is a module: write {name}::function(…)"));
    } else if let Some(near) = did_you_mean(name, known.variables()) {
        help.push(near);
    } else if let Some(near) = nearest(name, known.function_names()) {
        help.push(format!("there is a function {near}(…)"));
    }
    explained("name", format!("there is no variable `{name}`"), help)
}

fn module(name: &str, known: &Known) -> Explained {
    let mut help = Vec::new();
    if let Some(path) = known.embedded(name) {
        help.push(format!("import it first: import \"{path}\" as {name};"));
    } else if let Some(near) = did_you_mean(name, known.modules()) {
        help.push(near);
    } else {
        help.push(format!(
            "the host's modules are {}",
            known.modules().join(", ")
        ));
    }
    explained("name", format!("there is no module `{name}`"), help)
}

/// `name (type, type)`, as Rhai reports a call that fits no function.
fn function(signature: &str, known: &Known, place: Option<&Place>) -> Explained {
    let (name, arguments) = signature.split_once(" (").unwrap_or((signature, ")"));
    let types: Vec<String> = arguments
        .trim_end_matches(')')
        .split(", ")
        .filter(|t| !t.is_empty())
        .map(words)
        .collect();
    if name.starts_with("anon$") {
        return explained(
            "type",
            format!(
                "the closure was called with {} ({}), and takes another number",
                count(types.len(), "argument"),
                types.join(", ")
            ),
            vec![],
        );
    }
    if !rhai::is_valid_identifier(name.rsplit("::").next().unwrap_or(name)) {
        let message = match types.as_slice() {
            [a, b] => format!("`{name}` is not defined for {a} and {b}"),
            types => format!("`{name}` is not defined for {}", types.join(", ")),
        };
        return explained("type", message, vec![]);
    }
    // a method call reports its receiver as the first argument
    let method = place.is_some_and(is_method_call);
    let given = if method {
        types
            .split_first()
            .map(|(_, rest)| rest)
            .unwrap_or_default()
    } else {
        &types
    };
    let given = format!("({})", given.join(", "));
    let receiver = types.first().filter(|_| method);
    let mut documented = known.functions(name);
    if let Some(receiver) = receiver {
        // another type's method of that name is no help
        documented.retain(|f| f.receivers.is_empty() || f.receivers.contains(receiver));
    }
    if let Some(receiver) = receiver
        && let Some(explained) = of_other_module(name, receiver, &documented, known)
    {
        return explained;
    }
    if !documented.is_empty() {
        let mut help = Vec::new();
        let mut joined: Vec<&str> = Vec::new();
        for signature in documented.iter().flat_map(|f| &f.signatures) {
            // several modules may have one that looks the same
            if !joined.contains(&signature.as_str()) {
                joined.push(signature);
            }
        }
        help.push(format!("it is {}", joined.join("; ")));
        if types.iter().any(|t| t == "int") && joined.iter().any(|s| s.contains("float")) {
            help.push(
                "write an integer with a decimal point, as in 1.0, where a float is needed".into(),
            );
        }
        let message = match types.first() {
            Some(receiver) if method => {
                format!("`{name}` cannot be called on {receiver} with {given}")
            }
            _ => format!("`{name}` cannot be called with {given}"),
        };
        return explained("type", message, help);
    }
    if let Some((module, short)) = name.rsplit_once("::")
        && has_words(
            known.module_text(module).unwrap_or_default(),
            &["private", "fn", short],
        )
    {
        return explained(
            "name",
            format!("the function `{name}` is private to its module"),
            vec![format!(
                "to call it from here, write `fn {short}` there, without `private`"
            )],
        );
    }
    let defined = known.script_signatures(name);
    if !defined.is_empty() {
        return explained(
            "type",
            format!("`{name}` cannot be called with {given}"),
            vec![format!("it is {}", defined.join("; "))],
        );
    }
    if let Some((module, short)) = name.rsplit_once("::") {
        let names = known.module_functions(module);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match did_you_mean(short, names.iter().copied()) {
            Some(near) => vec![near],
            None if names.is_empty() => vec![],
            None => vec![format!("it has {}", names.join(", "))],
        };
        return explained("name", format!("there is no function `{name}`"), help);
    }
    let declared = known.declarations(name);
    let is_of = |ty: &str| receiver.is_none_or(|r| ty.is_empty() || ty == r);
    let fitting = declared.iter().filter(|(ty, _)| is_of(ty));
    let fitting: Vec<&str> = fitting.map(|(_, signature)| *signature).collect();
    if !fitting.is_empty() {
        let on = receiver.map(|r| format!(" on {r}")).unwrap_or_default();
        return explained(
            "type",
            format!("`{name}` cannot be called{on} with {given}"),
            vec![format!("it is {}", fitting.join("; "))],
        );
    }
    let mut help = Vec::new();
    match types.first().filter(|_| method) {
        Some(receiver) => {
            let methods = known.members(receiver, Kind::Function);
            if let Some(near) = did_you_mean(name, methods.iter().copied()) {
                help.push(near);
            } else if known.members(receiver, Kind::Property).contains(&name) {
                help.push(format!("`{name}` is a property: write .{name} without ()"));
            } else if let Some(other) = here_called(name) {
                help.push(other);
            } else if methods.is_empty() {
                // what it is of says more than a name that is near
                if owners(&declared).is_none() {
                    help.extend(did_you_mean(name, known.function_names()));
                }
            } else {
                help.push(format!("{receiver} has the methods {}", methods.join(", ")));
            }
            let message = no_method(receiver, name);
            let message = match owners(&declared) {
                Some(owners) => format!("{message}; {owners}"),
                None => message,
            };
            explained("name", message, help)
        }
        None => {
            if let Some(path) = known.elsewhere(name) {
                help.push(format!("did you mean `{path}`?"));
            } else if let Some(path) = known.embedded(name) {
                help.push(format!("there is a module: import \"{path}\" as {name};"));
            } else {
                help.extend(here_called(name));
                if help.is_empty() {
                    help.extend(did_you_mean(name, known.function_names()));
                }
            }
            explained("name", format!("there is no function `{name}`"), help)
        }
    }
}

fn no_method(receiver: &str, name: &str) -> String {
    format!("{} has no method `{name}`", Values::with_article(receiver))
}

/// What has another name here than in other languages.
fn here_called(name: &str) -> Option<String> {
    Some(match name {
        "pow" | "power" => "a power is written x ** y".into(),
        "to_float" | "to_int" => "a string is read by parse_float(text) or parse_int(text)".into(),
        "ceil" => "did you mean `ceiling`?".into(),
        _ => return None,
    })
}

/// A method that library modules define for a type, but none of those that the script imports.
fn of_other_module(
    name: &str,
    receiver: &str,
    documented: &[&FunctionDoc],
    known: &Known,
) -> Option<Explained> {
    let methods = known.imported_methods(receiver);
    // a method of the host is there whatever is imported, and its parameters have types
    let of_library =
        |f: &&FunctionDoc| f.returns.is_empty() && !f.signatures.iter().any(|s| s.contains(": "));
    let elsewhere = !documented.is_empty() && documented.iter().all(of_library);
    if !elsewhere || methods.is_empty() || methods.iter().any(|m| m == name) {
        return None;
    }
    let help = did_you_mean(name, methods.iter().map(String::as_str))
        .unwrap_or_else(|| format!("it has {}", methods.join(", ")));
    let message = format!("this {receiver} has no method `{name}`: another module's has it");
    Some(explained("name", message, vec![help]))
}

/// "it is of arrays": the types that have a method, as far as users meet them.
fn owners(declared: &[(&str, &str)]) -> Option<String> {
    let common = |ty: &&str| {
        !matches!(*ty, "" | "nothing") && (*ty == "int" || !ty.ends_with(char::is_numeric))
    };
    let of = declared.iter().map(|(ty, _)| *ty).filter(common);
    let of: BTreeSet<String> = of.map(|ty| format!("{ty}s")).collect();
    let of: Vec<String> = of.into_iter().collect();
    (!of.is_empty()).then(|| format!("it is of {}", of.join(", ")))
}

/// Rhai tells unknown properties of custom types as a sentence.
fn property(text: &str, known: &Known) -> Explained {
    let quoted: Vec<&str> = text.split('\'').collect();
    let [_, name, _, receiver, ..] = quoted.as_slice() else {
        return explained("name", text, vec![]);
    };
    let receiver_words = words(receiver);
    let writing = text.starts_with("No writable");
    let properties = known.members(&receiver_words, Kind::Property);
    let methods = known.members(&receiver_words, Kind::Function);
    let mut help = Vec::new();
    if writing && properties.contains(name) {
        help.push("it can be read only".to_string());
    } else if let Some(near) = did_you_mean(name, properties.iter().copied()) {
        help.push(near);
    } else if methods.contains(name) {
        help.push(format!("`{name}` is a method: call it as .{name}()"));
    } else if let Some(near) = nearest(name, methods.iter().copied()) {
        help.push(format!("there is a method .{near}()"));
    } else if !properties.is_empty() {
        help.push(format!("it has {}", properties.join(", ")));
    }
    let message = if writing {
        format!("the property `{name}` of {receiver_words} cannot be set")
    } else {
        format!("{receiver_words} has no property `{name}`")
    };
    explained("name", message, help)
}

fn bounds(what: &str, unit: &str, length: usize, index: i64) -> Explained {
    let message = match length {
        0 => format!("the {what} is empty, there is no index {index}"),
        n => format!("there is no index {index}: the {what} has {n} {unit}"),
    };
    explained("index", message, vec![])
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Whether the place is behind a dot.
fn is_method_call(place: &Place) -> bool {
    place.text.as_ref().is_some_and(|text| {
        let before: String = text.chars().take(place.column.saturating_sub(1)).collect();
        before.trim_end().ends_with('.')
    })
}

/// Rhai's names of types as users know them.
fn words(ty: &str) -> String {
    match ty.trim() {
        "i64" => "int".into(),
        "f64" => "float".into(),
        "&str | ImmutableString | String" | "ImmutableString" => "string".into(),
        "()" => "nothing".into(),
        "Fn" | "FnPtr" => "function".into(),
        // with and without its end
        "range=" => "range".into(),
        other => other.rsplit("::").next().unwrap_or(other).to_string(),
    }
}

/// Rhai's text without its position, starting in lower case.
fn plain(error: &EvalAltResult) -> String {
    let message = super::super::error::to_core(error).message;
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => message,
    }
}
