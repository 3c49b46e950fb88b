//! Script errors as people read them: message, place with the line and a marker, call chain, help.

mod calls;
mod explain;
mod known;

pub use known::Known;

use std::fmt::Write;

use rhai::{EvalAltResult, Position};
use serde_json::{Value, json};

use super::host::{Host, ScriptError};
use super::sources::{PROMPT, Place, Sources};
use crate::error::ErrorKind;

/// An error, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `error` or `warning`.
    pub level: &'static str,
    /// What sort: a core kind (`setting`, `shape`, …), `syntax`, `name`, `type`, `script`.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// Where, if known.
    pub place: Option<Place>,
    /// Number of characters to mark.
    pub width: usize,
    /// The calls that led there, innermost first: what was called, and where.
    pub chain: Vec<(String, Place)>,
    /// What can be done.
    pub help: Vec<String>,
}

/// One level of the call chain: the text it happened in and the position there.
struct Frame {
    called: Option<String>,
    source: String,
    position: Position,
}

impl Report {
    /// Explains an error of `host`.
    pub fn new(host: &Host, error: &ScriptError) -> Self {
        let sources = &host.session().sources;
        let mut frames = Vec::new();
        let leaf = unwind(&error.error, &error.source, &mut frames);
        // the innermost place in the user's own text; a library's line is no help to most
        let own = |f: &Frame| !f.source.starts_with("std/") && !f.position.is_none();
        let at = frames
            .iter()
            .rposition(own)
            .or_else(|| frames.iter().rposition(|f| !f.position.is_none()));
        let place = at.and_then(|i| sources.place(&frames[i].source, frames[i].position));
        let place = place.map(behind_dot);
        let leaf_source = frames.last().map_or("", |f| f.source.as_str());
        let known = Known::new(host, leaf_source);
        let leaf_place = frames
            .last()
            .and_then(|f| sources.place(&f.source, f.position));
        let mut explained = explain::explain(leaf, &known, leaf_place.as_ref());
        let mut report = Self {
            level: "error",
            kind: explained.kind,
            message: explained.message,
            width: place.as_ref().map_or(1, word_width),
            place,
            chain: chain(&frames, sources, at),
            help: std::mem::take(&mut explained.help),
        };
        report.point_at_key(at.map(|i| &frames[i]), sources);
        if report.kind == "syntax" {
            report.place_syntax(frames.last(), sources);
        }
        report
    }

    /// Rhai reports what is missing at the word that follows, often on a later line: move the
    /// marker behind the last word before it.
    fn place_syntax(&mut self, frame: Option<&Frame>, sources: &Sources) {
        let Some((frame, text)) = frame.and_then(|f| Some((f, sources.get(&f.source)?))) else {
            return;
        };
        let (Some(line), Some(column)) = (frame.position.line(), frame.position.position()) else {
            return;
        };
        let before = |line: &str| line.chars().take(column - 1).all(char::is_whitespace);
        let lines: Vec<&str> = text.lines().collect();
        let at_end = lines.iter().skip(line).all(|l| l.trim().is_empty())
            && lines
                .get(line - 1)
                .is_none_or(|l| l.trim_end().chars().count() < column);
        if at_end {
            self.help
                .push("the text ends here: is a bracket, a brace or a string not closed?".into());
        }
        let missing =
            self.message.starts_with("expected ';'") || self.message.starts_with("expected ','");
        if !missing || !lines.get(line - 1).is_none_or(|l| before(l)) {
            return;
        }
        let last = (0..line - 1).rev().find(|i| !lines[*i].trim().is_empty());
        if let Some(last) = last
            && let (Ok(l), Ok(c)) = (
                u16::try_from(last + 1),
                u16::try_from(lines[last].trim_end().chars().count() + 1),
            )
        {
            self.place = sources.place(&frame.source, Position::new(l, c));
            self.width = 1;
        }
    }

    /// A finding without an error behind it, for `check`.
    pub fn finding(kind: &str, message: String, place: Option<Place>, help: Vec<String>) -> Self {
        Self {
            level: "error",
            kind: kind.to_string(),
            message,
            width: place.as_ref().map_or(1, word_width),
            place,
            chain: Vec::new(),
            help,
        }
    }

    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        self.kind == ErrorKind::Interrupted.name()
    }

    /// Moves the marker from a call to the settings key that the message is about.
    fn point_at_key(&mut self, frame: Option<&Frame>, sources: &Sources) {
        if self.kind != ErrorKind::Setting.name() {
            return;
        }
        let (Some(frame), Some(key)) = (frame, key_in_message(&self.message)) else {
            return;
        };
        let Some(text) = sources.get(&frame.source) else {
            return;
        };
        if let Some(position) = calls::find_key(&text, frame.position, &key)
            && let Some(place) = sources.place(&frame.source, position)
        {
            self.width = key.chars().count();
            self.place = Some(place);
        }
    }

    /// As text for people.
    pub fn render(&self, color: bool) -> String {
        let paint = |style: anstyle::Style, text: &str| {
            if color {
                format!("{style}{text}{style:#}")
            } else {
                text.to_string()
            }
        };
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let blue = anstyle::AnsiColor::Blue.on_default().bold();
        let green = anstyle::AnsiColor::Green.on_default();
        let mut out = format!("{}: {}\n", paint(red, self.level), self.message);
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let column = match place.column {
                0 => String::new(),
                c => format!(":{c}"),
            };
            let arrow = paint(blue, "-->");
            let _ = writeln!(out, "{margin}{arrow} {}:{number}{column}", place.source);
            if let Some(text) = &place.text {
                let bar = paint(blue, "|");
                // a tab is as wide above the marker as below it
                let text = text.replace('\t', " ");
                let _ = writeln!(out, "{margin} {bar}");
                let _ = writeln!(out, "{} {bar} {}", paint(blue, &number), text.trim_end());
                if place.column > 0 {
                    let indent = " ".repeat(place.column - 1);
                    let marker = paint(red, &"^".repeat(self.width.max(1)));
                    let _ = writeln!(out, "{margin} {bar} {indent}{marker}");
                }
            }
        }
        for (called, place) in &self.chain {
            let how = match called.as_str() {
                "" => "raised".to_string(),
                called => format!("in {called}, called"),
            };
            let _ = writeln!(out, "  {how} at {}:{}", place.source, place.line);
        }
        for help in &self.help {
            let _ = writeln!(out, "{}: {help}", paint(green, "help"));
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let place = |p: &Place| json!({ "file": p.source, "line": p.line, "column": p.column });
        json!({
            "level": self.level,
            "kind": self.kind,
            "message": self.message,
            "place": self.place.as_ref().map(place),
            "source_line": self.place.as_ref().and_then(|p| p.text.clone()),
            "calls": self.chain.iter().map(|(called, p)| {
                json!({ "function": called, "place": place(p) })
            }).collect::<Vec<_>>(),
            "help": self.help,
        })
    }
}

/// Follows the nested errors to the innermost, noting where each call was.
fn unwind<'a>(
    error: &'a EvalAltResult,
    source: &str,
    frames: &mut Vec<Frame>,
) -> &'a EvalAltResult {
    let mut push = |called: Option<String>| {
        frames.push(Frame {
            called,
            source: source.to_string(),
            position: error.position(),
        });
    };
    match error {
        EvalAltResult::ErrorInFunctionCall(name, inner_source, inner, _) => {
            push(Some(match name.as_str() {
                name if name.starts_with("anon$") => "closure".to_string(),
                name => name.to_string(),
            }));
            let next = match inner_source.as_str() {
                "" => source,
                other => other,
            };
            unwind(inner, next, frames)
        }
        EvalAltResult::ErrorInModule(name, inner, _) => {
            push(Some(format!("import \"{name}\"")));
            unwind(inner, name, frames)
        }
        leaf => {
            push(None);
            leaf
        }
    }
}

/// The calls around the error, innermost first. Where the marker is not at the innermost place
/// (inside a library), that place is the first entry, without a name.
fn chain(frames: &[Frame], sources: &Sources, marked: Option<usize>) -> Vec<(String, Place)> {
    let mut chain: Vec<(String, Place)> = Vec::new();
    if let (Some(leaf), Some(marked)) = (frames.last(), marked)
        && marked + 1 < frames.len()
        && let Some(place) = sources.place(&leaf.source, leaf.position)
    {
        chain.push((String::new(), place));
    }
    for frame in frames.iter().rev() {
        if let Some(called) = &frame.called
            && let Some(place) = sources.place(&frame.source, frame.position)
        {
            chain.push((called.clone(), place));
        }
    }
    // a long recursion says it all at both ends
    if chain.len() > 12 {
        let tail = chain.split_off(chain.len() - 5);
        chain.truncate(6);
        chain.extend(tail);
    }
    chain
}

/// Rhai places some property errors at the dot; users look at the name behind it.
fn behind_dot(mut place: Place) -> Place {
    let at = |text: &String| text.chars().nth(place.column.checked_sub(1)?);
    if place.text.as_ref().and_then(at) == Some('.') {
        place.column += 1;
    }
    place
}

/// Width of the word or string at a place.
fn word_width(place: &Place) -> usize {
    let Some(text) = &place.text else { return 1 };
    let mut rest = text.chars().skip(place.column.saturating_sub(1)).peekable();
    if rest.next_if_eq(&'"').is_some() {
        return 2 + rest.take_while(|c| *c != '"').count();
    }
    let word = rest
        .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
        .collect::<String>();
    word.trim_end_matches(':').chars().count().max(1)
}

/// The settings key that a message of the options reader names.
fn key_in_message(message: &str) -> Option<String> {
    let (_, rest) = message
        .split_once("no setting `")
        .or_else(|| message.rsplit_once("setting `"))?;
    Some(rest.split_once('`')?.0.to_string())
}

/// The name that a prompt cell or script goes by in messages.
pub(crate) fn is_prompt(source: &str) -> bool {
    source == PROMPT
}

#[cfg(test)]
mod tests;
