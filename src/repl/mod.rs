//! The prompt: cells of script, commands and answers, on a terminal or from a pipe.
//!
//! [`Shell`] answers one input at a time and knows no terminal. On a terminal rustyline edits the
//! lines, with highlighting, history and completion; from a pipe, cells are read line by line.

mod catalog;
mod commands;
mod complete;
mod display;
mod helper;
mod highlight;
mod history;
mod infer;
mod judge;
mod lexer;
mod pipe;
mod reference;
mod shell;
mod terminal;

#[cfg(test)]
mod tests;

pub use display::Printer;
pub use judge::is_incomplete;
pub use shell::{Answer, Outcome, Shell};

use std::io::IsTerminal;

use crate::script::{Host, output};

/// Runs the prompt until the user leaves or the input ends; gives the exit status: 0, or 1 when a
/// cell from a pipe failed (the cells after it are not evaluated), or 130 when it was interrupted.
pub fn run(host: Host) -> u8 {
    if std::io::stdin().is_terminal() {
        terminal::run(host)
    } else {
        pipe::run(host, std::io::BufReader::new(std::io::stdin()))
    }
}

/// Whether a second Ctrl-C must not end the program: at a prompt on a terminal it would throw all
/// variables away because one operation takes long. Tells the user so.
pub(crate) fn keeps_running() -> bool {
    let keeps = terminal::is_running();
    if keeps {
        output::message("\nstopping after the current operation; Ctrl-\\ ends the program at once");
    }
    keeps
}

/// Writes an answer.
fn give(answer: &Answer) {
    if !answer.output.is_empty() {
        output::line(&answer.output, false);
    }
    if !answer.message.is_empty() {
        output::message(&answer.message);
    }
}

/// Whether to write ANSI colours.
fn takes_colour(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
