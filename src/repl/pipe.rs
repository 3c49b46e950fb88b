//! The prompt without a terminal: cells from a pipe or a file.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::give;
use super::shell::{Outcome, Shell};
use crate::script::{Host, output};

/// How long the rest of a statement may take to arrive.
const MOMENT: Duration = Duration::from_millis(20);

/// Evaluates cells until the input ends, an error or a Ctrl-C; gives the exit status.
///
/// A cell is as many lines as make a whole statement. The first error ends it, since later cells
/// would work on what the failed one did not do; the status is 1 then, and 130 after Ctrl-C.
pub(super) fn run(host: Host, input: impl BufRead + Send + 'static) -> u8 {
    let mut shell = Shell::new(host);
    let mut lines = Lines::new(input);
    let mut cell = String::new();
    let mut first = true;
    loop {
        let next = match lines.next() {
            Ok(next) => next,
            Err(Stop::Interrupted) => return 130,
            Err(Stop::Unreadable(e)) => {
                output::message(&format!("error: the input cannot be read: {e}"));
                return 1;
            }
        };
        let ended = next.is_none();
        let line = next.unwrap_or_default();
        if std::mem::take(&mut first) && line.starts_with("#!") {
            continue;
        }
        cell += &line;
        let open = !cell.trim().is_empty() && (shell.is_incomplete(&cell) || lines.go_on());
        if open && !ended {
            continue;
        }
        let text = std::mem::take(&mut cell);
        if !text.trim().is_empty() {
            let answer = shell.enter(&text);
            give(&answer);
            match answer.outcome {
                Outcome::Done => {}
                Outcome::Failed => return 1,
                Outcome::Interrupted => return 130,
                Outcome::Leave => return 0,
            }
        }
        if ended {
            return 0;
        }
    }
}

/// Why no line comes any more.
enum Stop {
    Interrupted,
    Unreadable(io::Error),
}

/// Lines read on a thread of their own, so that waiting for one can be interrupted, and that it is
/// known whether another one is there.
struct Lines {
    source: Receiver<io::Result<String>>,
    ahead: VecDeque<io::Result<String>>,
}

impl Lines {
    fn new(mut input: impl BufRead + Send + 'static) -> Self {
        let (sender, source) = sync_channel(1024);
        std::thread::spawn(move || {
            loop {
                let mut line = String::new();
                let sent = match input.read_line(&mut line) {
                    Ok(0) => break,
                    Ok(_) => sender.send(Ok(line)),
                    Err(e) => sender.send(Err(e)),
                };
                if sent.is_err() {
                    break;
                }
            }
        });
        Self {
            source,
            ahead: VecDeque::new(),
        }
    }

    /// The next line with its end, or `None` when there are no more.
    fn next(&mut self) -> Result<Option<String>, Stop> {
        if let Some(line) = self.ahead.pop_front() {
            return line.map(Some).map_err(Stop::Unreadable);
        }
        loop {
            match self.source.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return line.map(Some).map_err(Stop::Unreadable),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if crate::interrupt::requested() => {
                    return Err(Stop::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether the next line, if it is there already, continues a statement that is whole without
    /// it: nothing else begins with `.method()` or `else`.
    fn go_on(&mut self) -> bool {
        if self.ahead.is_empty()
            && let Ok(line) = self.source.recv_timeout(MOMENT)
        {
            self.ahead.push_back(line);
        }
        match self.ahead.front() {
            Some(Ok(line)) => continues(line),
            _ => false,
        }
    }
}

/// Whether a line can only be the continuation of another.
fn continues(line: &str) -> bool {
    let line = line.trim_start();
    let is_else = line
        .strip_prefix("else")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_whitespace() || c == '{'));
    let dot = line.starts_with('.') && !line.starts_with("..");
    is_else || dot || ["?.", "??", "&&"].iter().any(|s| line.starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_stand_alone_continues() {
        for line in ["  .table()", "?.x", "else {", "else if x {", "&& y", "?? 1"] {
            assert!(continues(line), "{line}");
        }
        for line in ["..", "x.y", "elsewhere()", "-1", "|x| x", "[1]", ""] {
            assert!(!continues(line), "{line}");
        }
    }
}
