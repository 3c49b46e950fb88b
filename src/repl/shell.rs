//! What happens to one input, without a terminal.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use rhai::Dynamic;

use super::catalog::Catalog;
use super::commands;
use super::display::Printer;
use super::judge::is_silent;
use crate::error::ErrorKind;
use crate::script::Host;
use crate::script::api::study::Study;
use crate::script::diagnostics::Report;
use crate::script::host::ScriptError;

/// How an input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It worked.
    Done,
    /// There was an error.
    Failed,
    /// The user stopped it.
    Interrupted,
    /// It asked to leave.
    Leave,
}

/// What an input gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For stdout, without a line end.
    pub output: String,
    /// For stderr, without a line end.
    pub message: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl Answer {
    pub(super) fn done(output: String) -> Self {
        Self {
            output,
            message: String::new(),
            outcome: Outcome::Done,
        }
    }

    pub(super) fn leave() -> Self {
        Self {
            outcome: Outcome::Leave,
            ..Self::done(String::new())
        }
    }

    fn error(message: String, outcome: Outcome) -> Self {
        Self {
            output: String::new(),
            message,
            outcome,
        }
    }

    /// Whether there was an error or an interruption.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed | Outcome::Interrupted)
    }
}

/// A host with the conveniences of a prompt: commands, `ans`, values laid out for people.
#[derive(Debug)]
pub struct Shell {
    host: Host,
    /// Width of the terminal.
    pub columns: usize,
    /// Whether answers may hold ANSI colours.
    pub colour: bool,
    catalog: RefCell<Option<Rc<Catalog>>>,
}

/// The variable with the last value.
const ANS: &str = "ans";

impl Shell {
    /// A prompt for 80 columns without colour.
    pub fn new(mut host: Host) -> Self {
        host.scope_mut().push(ANS, ());
        Self {
            host,
            columns: 80,
            colour: false,
            catalog: RefCell::default(),
        }
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The names that can be used now.
    pub(super) fn catalog(&self) -> Rc<Catalog> {
        let mut slot = self.catalog.borrow_mut();
        slot.get_or_insert_with(|| Rc::new(Catalog::new(&self.host)))
            .clone()
    }

    /// Lays values out.
    pub fn printer(&self) -> Printer<'_> {
        Printer {
            engine: self.host.engine(),
            columns: self.columns,
            colour: self.colour,
        }
    }

    /// Whether an input needs more lines.
    pub fn is_incomplete(&self, text: &str) -> bool {
        super::judge::is_incomplete(self.host.engine(), self.host.scope(), text)
    }

    /// Evaluates an input: a command, a question (`?mlp`, `mlp?`), or a cell.
    pub fn enter(&mut self, text: &str) -> Answer {
        let trimmed = text.trim();
        if let Some(command) = trimmed.strip_prefix(':') {
            return commands::run(self, command);
        }
        let word = trimmed.trim_matches('?').trim();
        if word.len() < trimmed.len() && !word.contains(char::is_whitespace) && !word.is_empty() {
            return commands::run(self, &format!("doc {word}"));
        }
        // words that people try first
        if self.host.scope().get(trimmed).is_none() {
            match trimmed {
                "exit" | "quit" | "exit()" | "quit()" | "exit;" | "quit;" | "q" => {
                    return Answer::leave();
                }
                "help" | "help()" | "?" => return commands::run(self, "help"),
                _ => {}
            }
        }
        self.cell(text)
    }

    /// Evaluates a cell and shows its value.
    pub(super) fn cell(&mut self, text: &str) -> Answer {
        match self.evaluate(text) {
            Ok(value) => self.answer(value, is_silent(text)),
            Err(answer) => answer,
        }
    }

    fn answer(&mut self, value: Dynamic, silent: bool) -> Answer {
        // a Ctrl-C that came too late must not disturb the display
        crate::interrupt::clear();
        let scope = self.host.scope_mut();
        let kept = !value.is_unit() && scope.is_constant(ANS) != Some(true);
        if kept {
            scope.set_value(ANS, value.clone());
        }
        let shown = match silent {
            true => None,
            false if kept && value.is::<Study>() => {
                self.study().or_else(|| self.printer().show(&value))
            }
            false => self.printer().show(&value),
        };
        Answer::done(shown.unwrap_or_default())
    }

    /// What the library that made the study in `ans` says about it, if it has a `Study.display`.
    fn study(&mut self) -> Option<String> {
        let shown = self.host.eval_cell(&format!("{ANS}.display()")).ok()?;
        shown.into_string().ok()
    }

    /// Evaluates a cell.
    pub(super) fn evaluate(&mut self, text: &str) -> Result<Dynamic, Answer> {
        let result = self.host.eval_cell(text);
        self.finish(result)
    }

    /// Evaluates a script file as a cell.
    pub(super) fn load(&mut self, path: &str) -> Answer {
        let result = self.host.load_cell(expand_home(path).as_ref());
        match self.finish(result) {
            Ok(value) => self.answer(value, false),
            Err(answer) => answer,
        }
    }

    fn finish(&mut self, result: Result<Dynamic, ScriptError>) -> Result<Dynamic, Answer> {
        *self.catalog.borrow_mut() = None;
        self.drop_shadowed();
        result.map_err(|error| {
            let report = Report::new(&self.host, &error);
            if report.is_interruption() {
                let at = report
                    .place
                    .map_or(String::new(), |p| format!(" at {}:{}", p.source, p.line));
                return Answer::error(format!("interrupted{at}"), Outcome::Interrupted);
            }
            let text = report.render(self.colour);
            Answer::error(text.trim_end().to_string(), Outcome::Failed)
        })
    }

    /// Declaring a variable again hides the old one, whose value (a model, a data set) would stay
    /// in memory for ever.
    fn drop_shadowed(&mut self) {
        let names: BTreeSet<&str> = self.host.scope().iter().map(|(n, _, _)| n).collect();
        if names.len() < self.host.scope().len() {
            let visible = self.host.scope().clone_visible();
            *self.host.scope_mut() = visible;
        }
    }

    /// The variables in the order of their declaration: name, whether constant, value.
    pub(super) fn variables(&self) -> Vec<(&str, bool, &Dynamic)> {
        let scope = self.host.scope();
        let mut all: Vec<(&str, bool, &Dynamic)> = scope
            .iter()
            .filter_map(|(name, constant, _)| Some((name, constant, scope.get(name)?)))
            .filter(|(name, _, value)| *name != ANS || !value.is_unit())
            .collect();
        all.sort_by_key(|(name, _, _)| *name != ANS);
        all
    }

    /// Forgets what cells have defined.
    pub(super) fn reset(&mut self) {
        self.host.reset();
        self.host.scope_mut().push(ANS, ());
        *self.catalog.borrow_mut() = None;
    }

    /// An error that is not the script's.
    pub(super) fn complain(&self, message: &str, help: String) -> Answer {
        let report = Report::finding(ErrorKind::Other.name(), message.into(), None, vec![help]);
        let text = report.render(self.colour);
        Answer::error(text.trim_end().to_string(), Outcome::Failed)
    }
}

/// A path with `~/` replaced by the user's folder.
pub(super) fn expand_home(path: &str) -> String {
    match (path.strip_prefix("~/"), directories::BaseDirs::new()) {
        (Some(rest), Some(base)) => base.home_dir().join(rest).display().to_string(),
        _ => path.to_string(),
    }
}
