//! Whether what has been typed is a whole statement.

use rhai::{Engine, ParseErrorType, Position, Scope};

use super::lexer::{Kind, depth, lex};

/// Whether more lines must follow before the text can be evaluated. A text with a mistake in it is
/// complete: evaluating it shows the mistake.
///
/// Nothing is run; the engine's parser decides, which knows the variables of `scope`.
pub fn is_incomplete(engine: &Engine, scope: &Scope, text: &str) -> bool {
    let trimmed = text.trim_end();
    if trimmed.trim_start().starts_with([':', '?']) {
        return false;
    }
    let tokens = lex(trimmed);
    let Some(last) = tokens.last() else {
        return false;
    };
    if last.open && !trimmed[last.start..].starts_with(['"', '\'']) {
        return true;
    }
    // Rhai takes `|x|` without a body for whole
    if last.is(trimmed, "|") || last.is(trimmed, "||") {
        return true;
    }
    let Err(error) = engine.compile_with_scope(scope, trimmed) else {
        return false;
    };
    match *error.0 {
        // a misspelt name stops the parser before the end: ask the brackets
        ParseErrorType::VariableUndefined(_) | ParseErrorType::ModuleUndefined(_) => {
            depth(trimmed, &tokens) > 0
        }
        _ => is_at_end(trimmed, error.1),
    }
}

/// Whether a position is at or past the end of the text.
fn is_at_end(text: &str, position: Position) -> bool {
    let (Some(line), column) = (position.line(), position.position().unwrap_or(0)) else {
        return true;
    };
    let last = text.lines().count();
    let length = text.lines().last().map_or(0, |l| l.chars().count());
    line > last || (line == last && column > length)
}

/// Whether a cell ends with `;`, so that its value is not to be shown.
pub(super) fn is_silent(text: &str) -> bool {
    let tokens = lex(text);
    let code = tokens.iter().rfind(|t| t.kind != Kind::Comment);
    code.is_some_and(|t| t.is(text, ";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Host;

    #[test]
    fn the_parser_judges() {
        let mut host = Host::new(Default::default()).unwrap();
        let _ = host.eval_cell("let x = 1; let m = #{ a: 1 };").unwrap();
        let judge = |text: &str| is_incomplete(host.engine(), host.scope(), text);
        for text in [
            "fn f(",
            "fn f(a)",
            "fn f(a) {",
            "fn f(a) {\n  a +",
            "fn f(a) {\n  misspelt + a\n",
            "let y =",
            "x +",
            "x.",
            "[1,\n",
            "f(1,",
            "#{ a",
            "#{ a:",
            "if true {",
            "if x > 0 { 1 } else",
            "for i in 0..3",
            "switch x {",
            "do { x }",
            "`abc",
            "`abc\n\n",
            "`a ${x",
            "/* a comment",
            "x /* a comment",
            "let f = |a|",
            "let f = || ",
            "import \"std/grid\" as",
            "misspelt(#{ a: 1,",
            "misspelt::f(",
        ] {
            assert!(judge(text), "should wait for more: {text:?}");
        }
        for text in [
            "",
            "  \n",
            "// only a comment",
            "x",
            "x;",
            "fn f(a) { a }",
            "let y = x + 1",
            "x y",
            "\"abc",
            "f(\"abc",
            "}",
            "x)",
            "misspelt",
            "misspelt +",
            "/* a comment */",
            "`abc`",
            "x || true",
            ":time fn f(",
            "?mlp",
            "m.a",
        ] {
            assert!(!judge(text), "should be evaluated: {text:?}");
        }
    }

    #[test]
    fn judging_runs_nothing() {
        let mut host = Host::new(Default::default()).unwrap();
        let _ = host.eval_cell("let x = 1;").unwrap();
        assert!(!is_incomplete(
            host.engine(),
            host.scope(),
            "x = 5; loop {}"
        ));
        let x = host.eval_cell("x").unwrap();
        assert_eq!(x.as_int(), Ok(1));
    }

    #[test]
    fn a_semicolon_at_the_end_silences() {
        assert!(is_silent("x;"));
        assert!(is_silent("x; // why\n"));
        assert!(!is_silent("x; y"));
        assert!(!is_silent("\"a;\""));
    }
}
