//! What stands before a dot, as far as it can be known without running anything.

use rhai::Dynamic;

use super::catalog::Catalog;
use super::display::type_name;
use super::lexer::{Kind, Token, bracket};
use crate::script::Host;

/// What an expression is.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A variable, or something inside one.
    Value(Dynamic),
    /// A value of this type.
    Type(String),
}

impl Target {
    /// The name of its type.
    pub fn type_name(&self, host: &Host) -> String {
        match self {
            Self::Value(value) => type_name(host.engine(), value),
            Self::Type(name) => name.clone(),
        }
    }
}

/// The expression that these tokens end with.
pub(super) fn infer(
    host: &Host,
    catalog: &Catalog,
    source: &str,
    tokens: &[Token],
) -> Option<Target> {
    let (last, rest) = tokens.split_last()?;
    let named = |name: &str| Some(Target::Type(name.to_string()));
    match last.kind {
        Kind::Text => match source[last.start..].starts_with('\'') {
            true => named("char"),
            false => named("string"),
        },
        Kind::Number if last.text(source).contains(['.', 'e']) => named("float"),
        Kind::Number => named("int"),
        Kind::Word => word(host, catalog, source, last.text(source), rest),
        Kind::Symbol if last.is(source, ")") => {
            let open = matching(source, tokens)?;
            call(host, catalog, source, &tokens[..open])
                .or_else(|| inside(host, catalog, source, &tokens[..open], &tokens[open + 1..]))
        }
        Kind::Symbol if last.is(source, "]") => {
            let open = matching(source, tokens)?;
            index(host, catalog, source, &tokens[..open], &tokens[open + 1..])
        }
        Kind::Symbol if last.is(source, "}") => {
            let open = matching(source, tokens)?;
            tokens[open]
                .is(source, "#{")
                .then(|| Target::Type("map".into()))
        }
        _ => None,
    }
}

/// Index of the bracket that the last token closes.
pub(super) fn matching(source: &str, tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().rev() {
        depth -= bracket(source, token);
        if depth <= 0 {
            return Some(i);
        }
    }
    None
}

fn is_dot(source: &str, token: &Token) -> bool {
    token.is(source, ".") || token.is(source, "?.")
}

/// A variable, or a property behind a dot.
fn word(
    host: &Host,
    catalog: &Catalog,
    source: &str,
    name: &str,
    before: &[Token],
) -> Option<Target> {
    match before.split_last() {
        Some((dot, rest)) if is_dot(source, dot) => {
            let receiver = infer(host, catalog, source, rest)?;
            if let Target::Value(value) = &receiver
                && let Ok(map) = value.as_map_ref()
            {
                return map.get(name).cloned().map(Target::Value);
            }
            let ty = receiver.type_name(host);
            catalog.returns("", name, Some(&ty)).map(Target::Type)
        }
        Some((colons, _)) if colons.is(source, "::") => None,
        _ if name == "true" || name == "false" => Some(Target::Type("bool".into())),
        _ => {
            let value = host.scope().get(name)?;
            Some(Target::Value(value.flatten_clone()))
        }
    }
}

/// A call of the function or method that these tokens end with.
fn call(host: &Host, catalog: &Catalog, source: &str, before: &[Token]) -> Option<Target> {
    let (callee, rest) = before.split_last()?;
    if callee.kind != Kind::Word {
        return None;
    }
    let name = callee.text(source);
    let returns = match rest {
        [.., module, colons] if colons.is(source, "::") => {
            catalog.returns(module.text(source), name, None)
        }
        [rest @ .., dot] if is_dot(source, dot) => {
            let receiver = infer(host, catalog, source, rest)?;
            catalog.returns("", name, Some(&receiver.type_name(host)))
        }
        _ => catalog.returns("", name, None),
    };
    returns.map(Target::Type)
}

/// A parenthesis that calls nothing.
fn inside(
    host: &Host,
    catalog: &Catalog,
    source: &str,
    before: &[Token],
    inner: &[Token],
) -> Option<Target> {
    let called = before
        .last()
        .is_some_and(|t| t.kind == Kind::Word || t.is(source, ")") || t.is(source, "]"));
    let (_, inner) = inner.split_last()?;
    let simple = inner
        .iter()
        .all(|t| t.kind != Kind::Symbol || is_dot(source, t) || t.is(source, "::"));
    (!called && simple).then(|| infer(host, catalog, source, inner))?
}

/// An array, or an element of one.
fn index(
    host: &Host,
    catalog: &Catalog,
    source: &str,
    before: &[Token],
    inner: &[Token],
) -> Option<Target> {
    let indexed = before.last().is_some_and(|t| {
        matches!(t.kind, Kind::Word | Kind::Text) || t.is(source, ")") || t.is(source, "]")
    });
    if !indexed {
        return Some(Target::Type("array".into()));
    }
    let Target::Value(value) = infer(host, catalog, source, before)? else {
        return None;
    };
    let [key, _] = inner else { return None };
    let text = key.text(source);
    if let Ok(array) = value.as_array_ref() {
        let at: usize = text.parse().ok()?;
        return array.get(at).cloned().map(Target::Value);
    }
    if let Ok(map) = value.as_map_ref() {
        return map.get(text.trim_matches('"')).cloned().map(Target::Value);
    }
    None
}
