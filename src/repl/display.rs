//! Values as a person wants to see them.
//!
//! A registered type shows itself: its binding registers a method `display()`, or
//! `display(columns)` with the width of the terminal, or `display(columns, colour)`, that returns a
//! string. Without one its `to_debug()` is shown, and without that its name.

use std::fmt::Write;

use rhai::{Array, Dynamic, Engine, EvalAltResult, Map};

/// Arrays longer than this show their first and last items.
const WHOLE: usize = 20;
const FIRST: usize = 6;
const LAST: usize = 3;
/// Levels of maps and arrays within each other that are shown.
const LEVELS: usize = 5;
/// Lines of a text that are shown.
const LINES: usize = 60;

/// How values are laid out.
#[derive(Debug, Clone, Copy)]
pub struct Printer<'a> {
    /// Knows the names and the `display` methods of types.
    pub engine: &'a Engine,
    /// Width to fill.
    pub columns: usize,
    /// Whether ANSI colours are wanted.
    pub colour: bool,
}

impl Printer<'_> {
    /// A value as the answer to a cell; `()` shows nothing.
    pub fn show(&self, value: &Dynamic) -> Option<String> {
        if value.is_shared() {
            return self.show(&value.flatten_clone());
        }
        if value.is_unit() {
            return None;
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return Some(whole_text(&text));
        }
        if let Ok(x) = value.as_float() {
            return Some(format!("{x:?}"));
        }
        if let Ok(array) = value.as_array_ref() {
            let count = match array.len() {
                n if n > WHOLE => format!("  // {n} items"),
                _ => String::new(),
            };
            let text = self.array(&array, self.columns - count.len(), 0);
            return Some(text + &count);
        }
        if let Ok(map) = value.as_map_ref() {
            return Some(self.map(&map, self.columns, 0));
        }
        if is_custom(value) {
            return Some(self.custom(value));
        }
        Some(self.inline(value, 0))
    }

    /// A value in one line of at most `width` characters.
    pub fn line(&self, value: &Dynamic, width: usize) -> String {
        shorten(&self.inline(value, 0), width)
    }

    /// The name of a value's type, as messages and the reference call it.
    pub fn type_name(&self, value: &Dynamic) -> String {
        type_name(self.engine, value)
    }

    fn custom(&self, value: &Dynamic) -> String {
        let columns: Dynamic = i64::try_from(self.columns).unwrap_or(80).into();
        let arguments = [columns, self.colour.into()];
        let shown = (0..=arguments.len())
            .rev()
            .find_map(|n| self.call("display", value, &arguments[..n]));
        match shown.unwrap_or_else(|| Ok(self.debug(value))) {
            Ok(text) => text.trim_end().to_string(),
            Err(e) => format!("{} that cannot be shown: {e}", self.type_name(value)),
        }
    }

    /// What a registered type says about itself in one line.
    fn debug(&self, value: &Dynamic) -> String {
        for method in ["to_debug", "to_string"] {
            // Rhai's own to_debug gives the path of the Rust type
            if let Some(Ok(text)) = self.call(method, value, &[])
                && text != value.type_name()
            {
                return text;
            }
        }
        self.type_name(value)
    }

    /// Calls a method if the type has it.
    fn call(
        &self,
        method: &str,
        value: &Dynamic,
        arguments: &[Dynamic],
    ) -> Option<Result<String, String>> {
        let mut all = vec![value.clone()];
        all.extend_from_slice(arguments);
        match self.engine.eval_fn_call::<Dynamic>(method, None, all) {
            Ok(text) => text.into_string().ok().map(Ok),
            Err(e) if matches!(*e, EvalAltResult::ErrorFunctionNotFound(..)) => None,
            Err(e) => Some(Err(crate::script::error::to_core(&e).message)),
        }
    }

    fn inline(&self, value: &Dynamic, level: usize) -> String {
        if value.is_shared() {
            return self.inline(&value.flatten_clone(), level);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return format!("{:?}", shorten(&text, 200));
        }
        if let Ok(x) = value.as_float() {
            return short_float(x);
        }
        if let Ok(array) = value.as_array_ref() {
            if level >= LEVELS {
                return "[…]".into();
            }
            let items = elide(&array, |v| self.inline(v, level + 1));
            return format!("[{}]", items.join(", "));
        }
        if let Ok(map) = value.as_map_ref() {
            if map.is_empty() || level >= LEVELS {
                return if map.is_empty() { "#{}" } else { "#{…}" }.into();
            }
            let entries: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", key(k), self.inline(v, level + 1)))
                .collect();
            return format!("#{{ {} }}", entries.join(", "));
        }
        if let Ok(bytes) = value.as_blob_ref() {
            return format!("blob of {} bytes", bytes.len());
        }
        if let Some(f) = value.read_lock::<rhai::FnPtr>() {
            return match f.fn_name() {
                name if name.starts_with("anon$") => "closure".into(),
                name => format!("function {name}"),
            };
        }
        if is_custom(value) {
            let text = self.debug(value);
            return text.lines().next().unwrap_or_default().to_string();
        }
        if value.is_unit() {
            return "()".into();
        }
        format!("{value:?}")
    }

    /// A value over several lines when it is too long for one; `indent` spaces stand before them.
    fn block(&self, value: &Dynamic, width: usize, indent: usize) -> String {
        if let Ok(array) = value.as_array_ref() {
            return self.array(&array, width, indent);
        }
        if let Ok(map) = value.as_map_ref() {
            return self.map(&map, width, indent);
        }
        self.inline(value, 0)
    }

    fn array(&self, array: &Array, width: usize, indent: usize) -> String {
        let items = elide(array, |v| self.inline(v, 1));
        let line = format!("[{}]", items.join(", "));
        if line.chars().count() <= width {
            return line;
        }
        let nested = array.iter().any(|v| v.is_array() || v.is_map());
        if !nested {
            return fill(&items, width, indent);
        }
        let margin = " ".repeat(indent + 2);
        let inner = width.saturating_sub(2).max(20);
        let items = elide(array, |v| self.block(v, inner, indent + 2));
        let mut out = String::from("[\n");
        for item in items {
            let _ = writeln!(out, "{margin}{item},");
        }
        out + &" ".repeat(indent) + "]"
    }

    fn map(&self, map: &Map, width: usize, indent: usize) -> String {
        let line = self.inline(&Dynamic::from(map.clone()), 0);
        if line.chars().count() <= width {
            return line;
        }
        let margin = " ".repeat(indent + 2);
        let mut out = String::from("#{\n");
        for (k, v) in map {
            let name = key(k);
            let room = width.saturating_sub(name.chars().count() + 5).max(20);
            let _ = writeln!(out, "{margin}{name}: {},", self.block(v, room, indent + 2));
        }
        out + &" ".repeat(indent) + "}"
    }
}

/// The name of a value's type, as messages and the reference call it.
pub(super) fn type_name(engine: &Engine, value: &Dynamic) -> String {
    match value.type_name() {
        "i64" => "int".into(),
        "f64" => "float".into(),
        "Fn" => "function".into(),
        "()" => "nothing".into(),
        name if name.starts_with("core::ops::range") => "range".into(),
        name => {
            let shown = engine.map_type_name(name);
            shown.rsplit("::").next().unwrap_or(shown).to_string()
        }
    }
}

/// Whether it is a type that a binding registered.
fn is_custom(value: &Dynamic) -> bool {
    let name = value.type_name();
    value.is_variant()
        && !name.starts_with("core::ops::range")
        && !matches!(name, "timestamp" | "Fn" | "blob")
}

/// First and last items of a long array, with `…` between them.
fn elide(array: &[Dynamic], show: impl Fn(&Dynamic) -> String) -> Vec<String> {
    if array.len() <= WHOLE {
        return array.iter().map(show).collect();
    }
    let first = array[..FIRST].iter().map(&show);
    let last = array[array.len() - LAST..].iter().map(&show);
    first.chain(["…".to_string()]).chain(last).collect()
}

/// Items over as many lines as they need.
fn fill(items: &[String], width: usize, indent: usize) -> String {
    let margin = " ".repeat(indent + 1);
    let (mut out, mut used) = (String::from("["), 1);
    for (i, item) in items.iter().enumerate() {
        let last = i + 1 == items.len();
        let length = item.chars().count() + 1;
        if used + length > width && used > 1 {
            out.truncate(out.trim_end().len());
            let _ = write!(out, "\n{margin}");
            used = 1;
        }
        out += item;
        out += if last { "]" } else { ", " };
        used += length + 1;
    }
    out
}

/// A number inside a list: at most eight significant digits.
fn short_float(x: f64) -> String {
    let full = format!("{x:?}");
    if full.len() <= 10 {
        return full;
    }
    match format!("{x:.7e}").parse::<f64>() {
        Ok(rounded) => format!("{rounded:?}"),
        Err(_) => full,
    }
}

fn key(name: &str) -> String {
    if rhai::is_valid_identifier(name) {
        name.to_string()
    } else {
        format!("{name:?}")
    }
}

/// A text on its own: quoted, or between backticks when it has several lines.
fn whole_text(text: &str) -> String {
    if !text.trim_end().contains('\n') {
        return format!("{text:?}");
    }
    let lines: Vec<&str> = text.trim_end_matches('\n').lines().collect();
    let mut out = format!("`\n{}", lines[..lines.len().min(LINES)].join("\n"));
    if lines.len() > LINES {
        let _ = write!(out, "\n…  // {} lines; print(ans) shows all", lines.len());
    }
    out + "`"
}

/// At most `width` characters, the last one `…` when something is left out.
pub(super) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Host;

    fn shown(text: &str) -> String {
        let mut host = Host::new(Default::default()).unwrap();
        let value = host.eval_cell(text).unwrap();
        let printer = Printer {
            engine: host.engine(),
            columns: 40,
            colour: false,
        };
        printer.show(&value).unwrap_or_default()
    }

    #[test]
    fn plain_values() {
        for (text, expected) in [
            ("()", ""),
            ("42", "42"),
            ("1.0", "1.0"),
            ("0.1 + 0.2", "0.30000000000000004"),
            ("1e-7", "1e-7"),
            ("true", "true"),
            ("'x'", "'x'"),
            ("\"a\\n\"", "\"a\\n\""),
            ("1..4", "1..4"),
            ("|x| x", "closure"),
            ("fn f(x) { x } Fn(\"f\")", "function f"),
            ("blob(3)", "blob of 3 bytes"),
            ("new_study(#{ a: 1 })", "Study(a)"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn arrays_and_maps() {
        assert_eq!(shown("[1, 0.1 + 0.2, \"a\", ()]"), "[1, 0.3, \"a\", ()]");
        assert_eq!(
            shown("let a = []; for i in 0..1000 { a.push(i); } a"),
            "[0, 1, 2, 3, 4, 5, …,\n 997, 998, 999]  // 1000 items"
        );
        assert_eq!(
            shown("let a = []; for i in 0..12 { a.push(i * 1000); } a"),
            "[0, 1000, 2000, 3000, 4000, 5000, 6000,\n 7000, 8000, 9000, 10000, 11000]"
        );
        assert_eq!(shown("#{}"), "#{}");
        assert_eq!(shown("#{ b: [1], \"a b\": 2 }"), "#{ \"a b\": 2, b: [1] }");
        assert_eq!(
            shown("#{ first: \"a long text, to be sure\", second: #{ x: 1 }, third: 3 }"),
            "#{\n  first: \"a long text, to be sure\",\n  second: #{ x: 1 },\n  third: 3,\n}"
        );
        assert_eq!(
            shown("[#{ name: \"one\", value: 1.5 }, #{ name: \"two\", value: 2.5 }]"),
            "[\n  #{ name: \"one\", value: 1.5 },\n  #{ name: \"two\", value: 2.5 },\n]"
        );
    }

    #[test]
    fn texts_of_several_lines_stay_readable() {
        assert_eq!(shown("\"a  b\\n1  2\\n\""), "`\na  b\n1  2`");
        let long = shown("let t = \"\"; for i in 0..100 { t += `${i}\n`; } t");
        assert!(
            long.ends_with("59\n…  // 100 lines; print(ans) shows all`"),
            "{long}"
        );
    }

    #[test]
    fn types_show_themselves() {
        #[derive(Clone)]
        struct Tensor(usize);
        #[derive(Clone)]
        struct Plain;
        let host = Host::with(Default::default(), |r| {
            r.name_type::<Tensor>("Tensor");
            r.name_type::<Plain>("Plain");
            r.engine()
                .register_fn("display", |t: &mut Tensor, columns: i64| {
                    format!("Tensor [{}] in {columns} columns\n", t.0)
                });
        });
        let host = host.unwrap();
        let printer = Printer {
            engine: host.engine(),
            columns: 40,
            colour: false,
        };
        let show = |v: Dynamic| printer.show(&v).unwrap();
        assert_eq!(show(Dynamic::from(Tensor(3))), "Tensor [3] in 40 columns");
        assert_eq!(show(Dynamic::from(Plain)), "Plain");
        assert_eq!(show(vec![Dynamic::from(Plain)].into()), "[Plain]");
        assert_eq!(printer.line(&"abcdef".into(), 5), "\"abc…");
    }
}
