//! Colours for what is being typed.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::catalog::{Catalog, KEYWORDS};
use super::lexer::{Kind, lex};

/// The text with ANSI colours: keywords, strings, numbers, comments, and names that exist.
pub(super) fn highlight(line: &str, catalog: &Catalog) -> String {
    let bold = Style::new().bold();
    if line.starts_with([':', '?']) {
        let end = line.find(char::is_whitespace).unwrap_or(line.len());
        return format!("{bold}{}{bold:#}{}", &line[..end], &line[end..]);
    }
    let mut out = String::with_capacity(2 * line.len());
    let mut at = 0;
    let tokens = lex(line);
    for (i, token) in tokens.iter().enumerate() {
        let text = token.text(line);
        let behind_dot = i > 0 && line[..token.start].ends_with('.');
        let style = match token.kind {
            Kind::Comment => Some(AnsiColor::BrightBlack.on_default()),
            Kind::Text => Some(AnsiColor::Green.on_default()),
            Kind::Number => Some(AnsiColor::Cyan.on_default()),
            Kind::Word if behind_dot => None,
            Kind::Word if catalog.is_function(text) && is_called(line, token.end) => {
                Some(AnsiColor::Blue.on_default())
            }
            Kind::Word if KEYWORDS.contains(&text) => Some(AnsiColor::Magenta.on_default()),
            Kind::Word if catalog.is_module(text) && line[token.end..].starts_with("::") => {
                Some(AnsiColor::Yellow.on_default())
            }
            Kind::Word | Kind::Symbol => None,
        };
        out += &line[at..token.start];
        match style {
            Some(style) => {
                let _ = write!(out, "{style}{text}{style:#}");
            }
            None => out += text,
        }
        at = token.end;
    }
    out + &line[at..]
}

fn is_called(line: &str, end: usize) -> bool {
    line[end..].starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Host;

    /// Colours written as letters, so that the expectations can be read.
    fn marked(line: &str) -> String {
        let catalog = Catalog::new(&Host::new(Default::default()).unwrap());
        let mut text = highlight(line, &catalog);
        for (code, letter) in [
            ("\x1b[90m", "<c "),
            ("\x1b[32m", "<s "),
            ("\x1b[36m", "<n "),
            ("\x1b[35m", "<k "),
            ("\x1b[34m", "<f "),
            ("\x1b[1m", "<b "),
            ("\x1b[0m", ">"),
        ] {
            text = text.replace(code, letter);
        }
        text
    }

    #[test]
    fn words_get_their_colours() {
        assert_eq!(
            marked("let x = param(\"a\", 1); // why"),
            "<k let> x = <f param>(<s \"a\">, <n 1>); <c // why>"
        );
        assert_eq!(marked("unknown(x).print"), "unknown(x).print");
        assert_eq!(marked(":time x"), "<b :time> x");
    }

    #[test]
    fn nothing_but_colours_is_added() {
        let catalog = Catalog::new(&Host::new(Default::default()).unwrap());
        for line in [
            "",
            "fn f(a) {\n  `x ${a + 1} é`\n}",
            "\"open",
            "/* open",
            "1..=2 ? # @",
        ] {
            let mut plain = String::new();
            let mut chars = highlight(line, &catalog);
            while let Some(at) = chars.find('\x1b') {
                plain += &chars[..at];
                let end = chars[at..].find('m').unwrap();
                chars = chars[at + end + 1..].to_string();
            }
            assert_eq!(plain + &chars, line);
        }
    }
}
