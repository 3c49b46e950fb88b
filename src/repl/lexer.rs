//! Words, texts and brackets of what is being typed. Rhai's own tokenizer stops at the first
//! mistake; text under the cursor is mistaken most of the time.

/// What sort of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Comment,
    /// A string, a character, or a part of a text in backticks.
    Text,
    Number,
    Word,
    Symbol,
}

/// A token and where it stands, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// A text or a block comment that does not end.
    pub open: bool,
}

impl Token {
    /// Its text within `source`.
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        &source[self.start..self.end]
    }

    /// Whether it is the symbol or word `text`.
    pub fn is(&self, source: &str, text: &str) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Word) && self.text(source) == text
    }
}

/// Symbols of more than one character, longest first.
const SYMBOLS: [&str; 30] = [
    "..=", "**=", "<<=", ">>=", "::", "?.", "?[", "??", "..", "#{", "**", "=>", "==", "!=", "<=",
    ">=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "&&", "||", "<<", ">>", "++", "--",
];

/// Splits text into tokens, leaving white space out.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
        templates: Vec::new(),
    };
    while lexer.next() {}
    lexer.tokens
}

/// How many brackets are open at the end of these tokens; negative when too many were closed.
pub(super) fn depth(text: &str, tokens: &[Token]) -> i32 {
    tokens.iter().map(|t| bracket(text, t)).sum()
}

/// 1 for an opening bracket, -1 for a closing one, 0 for everything else.
pub(super) fn bracket(text: &str, token: &Token) -> i32 {
    if token.kind != Kind::Symbol {
        return 0;
    }
    match token.text(text) {
        "(" | "[" | "?[" | "{" | "#{" | "${" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    /// For each text in backticks being interpolated: braces open within.
    templates: Vec<usize>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize, open: bool) {
        let (start, end) = (self.at, self.at + length);
        self.tokens.push(Token {
            kind,
            start,
            end,
            open,
        });
        self.at = end;
    }

    fn next(&mut self) -> bool {
        let rest = self.rest();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return false;
        };
        if rest.starts_with("//") {
            self.push(Kind::Comment, rest.find('\n').unwrap_or(rest.len()), false);
        } else if rest.starts_with("/*") {
            let (length, open) = block_comment(rest);
            self.push(Kind::Comment, length, open);
        } else if let Some((length, open)) = raw_string(rest) {
            self.push(Kind::Text, length, open);
        } else {
            match first {
                '"' => {
                    let (length, open) = quoted(rest, '"');
                    self.push(Kind::Text, length, open);
                }
                '\'' => {
                    let (length, open) = quoted(rest, '\'');
                    self.push(Kind::Text, length, open);
                }
                '`' => self.template(1),
                '0'..='9' => self.push(Kind::Number, number(rest), false),
                c if c.is_alphabetic() || c == '_' => {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                    self.push(Kind::Word, end.unwrap_or(rest.len()), false);
                }
                '}' if self.templates.last() == Some(&0) => {
                    self.templates.pop();
                    self.push(Kind::Symbol, 1, false);
                    self.template(0);
                }
                c => self.symbol(c),
            }
        }
        true
    }

    fn symbol(&mut self, first: char) {
        let rest = self.rest();
        let long = SYMBOLS.iter().find(|s| rest.starts_with(**s));
        let length = long.map_or(first.len_utf8(), |s| s.len());
        if let Some(open) = self.templates.last_mut() {
            match first {
                '{' => *open += 1,
                '#' if length == 2 => *open += 1,
                '}' => *open = open.saturating_sub(1),
                _ => {}
            }
        }
        self.push(Kind::Symbol, length, false);
    }

    /// The part of a text in backticks up to its end or to `${`, after `skip` bytes.
    fn template(&mut self, skip: usize) {
        let rest = self.rest();
        let (tick, hole) = (rest[skip..].find('`'), rest[skip..].find("${"));
        match (tick, hole) {
            (tick, Some(hole)) if tick.is_none_or(|t| hole < t) => {
                self.push(Kind::Text, skip + hole, false);
                self.push(Kind::Symbol, 2, false);
                self.templates.push(0);
            }
            (Some(tick), _) => self.push(Kind::Text, skip + tick + 1, false),
            (None, _) => {
                let length = rest.len();
                self.push(Kind::Text, length, true);
            }
        }
    }
}

/// Length of a block comment, which may hold others, and whether it lacks its end.
fn block_comment(text: &str) -> (usize, bool) {
    let (mut level, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            level += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            level -= 1;
            at += 2;
            if level == 0 {
                return (at, false);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (text.len(), true)
}

/// `#"…"#`, with any number of `#`.
fn raw_string(text: &str) -> Option<(usize, bool)> {
    let hashes = text.bytes().take_while(|b| *b == b'#').count();
    if hashes == 0 || text.as_bytes().get(hashes) != Some(&b'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(match text[hashes + 1..].find(&end) {
        Some(at) => (hashes + 1 + at + end.len(), false),
        None => (text.len(), true),
    })
}

/// A text in quotes; it ends with its line unless a backslash stands before the line's end.
fn quoted(text: &str, quote: char) -> (usize, bool) {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\n' => return (at, false),
            c if c == quote => return (at + 1, false),
            _ => {}
        }
    }
    (text.len(), true)
}

fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes
            .get(at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        {
            at += 1;
            // the sign of an exponent
            let exponent = matches!(bytes[at - 1], b'e' | b'E') && !text.starts_with("0x");
            let signed = matches!(bytes.get(at), Some(b'+' | b'-'));
            if exponent && signed && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
        }
        at
    };
    let whole = digits(0);
    match (bytes.get(whole), bytes.get(whole + 1)) {
        (Some(b'.'), Some(b)) if b.is_ascii_digit() => digits(whole + 1),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        lex(text).iter().map(|t| t.text(text)).collect()
    }

    #[test]
    fn splits_calls_maps_and_numbers() {
        assert_eq!(
            words("mlp(#{ lr: 1.5e-3, w: x.abs() })[0..=2]"),
            [
                "mlp", "(", "#{", "lr", ":", "1.5e-3", ",", "w", ":", "x", ".", "abs", "(", ")",
                "}", ")", "[", "0", "..=", "2", "]"
            ]
        );
        assert_eq!(words("2.abs() 0xff"), ["2", ".", "abs", "(", ")", "0xff"]);
    }

    #[test]
    fn texts_and_comments_are_single_tokens() {
        assert_eq!(
            words(r#"f("a\"b // c") // d"#),
            ["f", "(", r#""a\"b // c""#, ")", "// d"]
        );
        assert_eq!(words("/* a /* b */ c */ x"), ["/* a /* b */ c */", "x"]);
        assert_eq!(words(r##"#"a"b"# x"##), [r##"#"a"b"#"##, "x"]);
        assert_eq!(
            words("`a ${f({1})} b` x"),
            ["`a ", "${", "f", "(", "{", "1", "}", ")", "}", " b`", "x"]
        );
    }

    #[test]
    fn open_ends_are_marked() {
        for (text, open) in [
            ("\"ab", true),
            ("`ab\n", true),
            ("/* ab", true),
            ("\"ab\n", false),
            ("é 'x'", false),
        ] {
            assert_eq!(lex(text).last().unwrap().open, open, "{text}");
        }
        assert_eq!(depth("f(#{ a: [`${x", &lex("f(#{ a: [`${x")), 4);
        assert_eq!(depth("f())", &lex("f())")), -1);
    }
}
