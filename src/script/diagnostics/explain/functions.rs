//! Calls that fit no function.

use std::collections::BTreeSet;

use super::super::super::docs::{FunctionDoc, Kind};
use super::super::super::names::did_you_mean;
use super::super::super::options::Values;
use super::super::super::sources::Place;
use super::super::calls::has_words;
use super::super::known::Known;
use super::{Explained, explained, words};

/// `name (type, type)`, as Rhai reports a call that fits no function.
pub(super) fn function(signature: &str, known: &Known, place: Option<&Place>) -> Explained {
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
        return other_arguments(name, &given, &types, method, &documented);
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
    match receiver {
        Some(receiver) => unknown_method(name, receiver, &declared, known),
        None => unknown_function(name, known),
    }
}

/// A function that there is, called with what it does not take.
fn other_arguments(
    name: &str,
    given: &str,
    types: &[String],
    method: bool,
    documented: &[&FunctionDoc],
) -> Explained {
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
    explained("type", message, help)
}

fn unknown_method(
    name: &str,
    receiver: &str,
    declared: &[(&str, &str)],
    known: &Known,
) -> Explained {
    let methods = known.members(receiver, Kind::Function);
    let owners = owners(declared);
    let help = if let Some(near) = did_you_mean(name, methods.iter().copied()) {
        Some(near)
    } else if known.members(receiver, Kind::Property).contains(&name) {
        Some(format!("`{name}` is a property: write .{name} without ()"))
    } else if let Some(other) = here_called(name) {
        Some(other)
    } else if !methods.is_empty() {
        Some(format!("{receiver} has the methods {}", methods.join(", ")))
    } else if owners.is_none() {
        did_you_mean(name, known.function_names())
    } else {
        // what it is of says more than a name that is near
        None
    };
    let message = no_method(receiver, name);
    let message = match owners {
        Some(owners) => format!("{message}; {owners}"),
        None => message,
    };
    explained("name", message, help.into_iter().collect())
}

fn unknown_function(name: &str, known: &Known) -> Explained {
    let help = if let Some(path) = known.elsewhere(name) {
        Some(format!("did you mean `{path}`?"))
    } else if let Some(path) = known.embedded(name) {
        Some(format!("there is a module: import \"{path}\" as {name};"))
    } else {
        here_called(name).or_else(|| did_you_mean(name, known.function_names()))
    };
    let message = format!("there is no function `{name}`");
    explained("name", message, help.into_iter().collect())
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

/// Whether the place is behind a dot.
fn is_method_call(place: &Place) -> bool {
    place.text.as_ref().is_some_and(|text| {
        let before: String = text.chars().take(place.column.saturating_sub(1)).collect();
        before.trim_end().ends_with('.')
    })
}

fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}
