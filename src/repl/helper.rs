//! What rustyline asks while a line is edited.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::shell::Shell;

/// Answers from the state of the prompt.
pub(super) struct Assistant {
    pub shell: Rc<RefCell<Shell>>,
    pub colour: bool,
    /// Whether something stood on the line when it was last drawn; after Ctrl-C rustyline does
    /// not tell.
    pub typed: Rc<Cell<bool>>,
    pub history: HistoryHinter,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let shell = self.shell.borrow();
        let (start, found) = super::complete::complete(shell.host(), &shell.catalog(), line, pos);
        let pairs = found.into_iter().map(|c| Pair {
            display: c.shown,
            replacement: c.inserted,
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, ctx: &Context<'_>) -> Option<String> {
        self.typed.set(!line.trim().is_empty());
        if line.trim().is_empty() {
            return None;
        }
        let hint = self.history.hint(line, pos, ctx)?;
        // of a longer entry, its first line
        let first = hint.lines().next().unwrap_or_default();
        (!first.is_empty()).then(|| first.to_string())
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if !self.colour {
            return Cow::Borrowed(line);
        }
        let catalog = self.shell.borrow().catalog();
        Cow::Owned(super::highlight::highlight(line, &catalog))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if !self.colour {
            return Cow::Borrowed(hint);
        }
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.colour && kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {
    fn validate(&self, ctx: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match self.shell.borrow().is_incomplete(ctx.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}
