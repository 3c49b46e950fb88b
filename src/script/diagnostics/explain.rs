//! What each kind of Rhai error says to a user.

mod functions;

use rhai::{Dynamic, EvalAltResult, ParseErrorType};

use super::super::api::train::BUSY;
use super::super::docs::Kind;
use super::super::error::HostError;
use super::super::host::{ARRAY_ELEMENTS, MAP_KEYS, STRING_BYTES};
use super::super::names::{did_you_mean, nearest};
use super::super::sources::Place;
use super::calls::has_words;
use super::known::Known;
use functions::function;

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
