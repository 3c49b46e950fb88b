//! Finding settings keys and declared names in script text.

use rhai::Position;

/// The position of `key:` in the argument list that follows `position`, if there is exactly one.
pub(super) fn find_key(text: &str, position: Position, key: &str) -> Option<Position> {
    let (start_line, start_column) = (position.line()?, position.position()?);
    let mut found = Vec::new();
    let mut depth = 0_i32;
    for (i, line) in text.lines().enumerate().skip(start_line - 1) {
        let chars: Vec<char> = line.chars().collect();
        let first = if i + 1 == start_line {
            start_column - 1
        } else {
            0
        };
        let mut column = first;
        while column < chars.len() {
            match chars[column] {
                '(' => depth += 1,
                ')' => {
                    depth -= 1;
                    if depth <= 0 {
                        return only(&found);
                    }
                }
                '"' => column = end_of_string(&chars, column),
                '/' if chars.get(column + 1) == Some(&'/') => break,
                _ if is_key_at(&chars, column, key) => {
                    let at = (u16::try_from(i + 1), u16::try_from(column + 1));
                    if let (Ok(line), Ok(column)) = at {
                        found.push(Position::new(line, column));
                    }
                }
                _ => {}
            }
            column += 1;
        }
        if i > start_line + 60 {
            break;
        }
    }
    only(&found)
}

fn only(found: &[Position]) -> Option<Position> {
    match found {
        [one] => Some(*one),
        _ => None,
    }
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_key_at(chars: &[char], at: usize, key: &str) -> bool {
    let key: Vec<char> = key.chars().collect();
    let end = at + key.len();
    if end > chars.len() || chars[at..end] != key[..] || (at > 0 && is_word(chars[at - 1])) {
        return false;
    }
    let next = chars[end..].iter().position(|c| !c.is_whitespace());
    next.is_some_and(|n| chars[end + n] == ':' && chars.get(end + n + 1) != Some(&':'))
}

/// Names that a script declares: `(keyword, name)` for `let`, `const`, `fn`, `for`, `as` and
/// parameters.
pub(super) fn declared(text: &str) -> Vec<(&'static str, String)> {
    let words: Vec<&str> = text
        .split(|c: char| !(is_word(c) || c == '|'))
        .filter(|w| !w.is_empty())
        .collect();
    let mut names = Vec::new();
    for pair in words.windows(2) {
        for keyword in ["let", "const", "fn", "for", "as"] {
            if pair[0] == keyword && pair[1].chars().all(is_word) {
                names.push((keyword, pair[1].to_string()));
            }
        }
    }
    // parameters of functions, written `fn name(a, b)`, and of closures, `|a, b|`
    for part in text.split("fn ").skip(1) {
        if let Some((_, rest)) = part.split_once('(')
            && let Some((params, _)) = rest.split_once(')')
        {
            names.extend(params.split(',').map(|p| ("param", p.trim().to_string())));
        }
    }
    for closure in text.split('|').skip(1).step_by(2) {
        let params: Vec<&str> = closure.split(',').map(str::trim).collect();
        if params
            .iter()
            .all(|p| !p.is_empty() && p.chars().all(is_word))
        {
            names.extend(params.iter().map(|p| ("param", (*p).to_string())));
        }
    }
    names
}

/// `name(a, b)` of the functions that a script defines.
pub(super) fn signatures(text: &str, name: &str) -> Vec<String> {
    text.split("fn ")
        .skip(1)
        .filter_map(|part| {
            let (head, rest) = part.split_once('(')?;
            let (params, _) = rest.split_once(')')?;
            let plain = head.trim().rsplit('.').next().unwrap_or(head);
            (plain == name).then(|| format!("{}({})", head.trim(), params.trim()))
        })
        .collect()
}

/// The methods that a text defines for a type: `fn Study.table()`.
pub(super) fn methods(text: &str, receiver: &str) -> Vec<String> {
    let heads = text.split("fn ").skip(1);
    let names = heads.filter_map(|part| {
        let (name, _) = part.trim_start().strip_prefix(receiver)?.split_once('(')?;
        Some(name.strip_prefix('.')?.trim().to_string())
    });
    names.collect()
}

/// Whether a text has `first second` as words, whatever the space between them.
pub(super) fn has_words(text: &str, words: &[&str]) -> bool {
    let all: Vec<&str> = text
        .split(|c: char| !is_word(c))
        .filter(|w| !w.is_empty())
        .collect();
    all.windows(words.len()).any(|w| w == words)
}

/// Imports with a path written out: alias and path.
pub(super) fn imports(text: &str) -> Vec<(String, String)> {
    text.split("import ")
        .skip(1)
        .filter_map(|part| {
            let mut quoted = part.split('"');
            let (before, path, after) = (quoted.next()?, quoted.next()?, quoted.next()?);
            let alias = after.trim_start().strip_prefix("as ")?.trim_start();
            let end = alias.find(|c: char| !is_word(c)).unwrap_or(alias.len());
            before
                .trim()
                .is_empty()
                .then(|| (alias[..end].to_string(), path.to_string()))
        })
        .collect()
}

/// Keys written in map literals.
pub(super) fn map_keys(text: &str) -> Vec<String> {
    text.split(':')
        .filter_map(|part| {
            let word = part.trim_end();
            let start = word.rfind(|c: char| !is_word(c)).map_or(0, |i| {
                i + word[i..].chars().next().map_or(1, char::len_utf8)
            });
            (start < word.len()).then(|| word[start..].to_string())
        })
        .collect()
}
