//! The prompt on a terminal.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::error::ReadlineError;
use rustyline::hint::HistoryHinter;
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Editor, Event, EventContext,
    EventHandler, KeyEvent, RepeatCount,
};

use super::helper::Assistant;
use super::history::{ENTRIES, HistoryFile};
use super::shell::{Outcome, Shell};
use super::{give, takes_colour};
use crate::script::{Host, output};

const PROMPT: &str = "> ";

static RUNNING: AtomicBool = AtomicBool::new(false);

/// Whether a prompt on a terminal is running.
pub(super) fn is_running() -> bool {
    RUNNING.load(Ordering::Relaxed)
}

/// Reads and answers until the user leaves; gives the exit status.
pub(super) fn run(host: Host) -> u8 {
    RUNNING.store(true, Ordering::Relaxed);
    let ended = converse(host);
    RUNNING.store(false, Ordering::Relaxed);
    match ended {
        Ok(()) => 0,
        Err(e) => {
            output::message(&format!("error: the terminal cannot be used: {e}"));
            1
        }
    }
}

fn converse(host: Host) -> rustyline::Result<()> {
    let colour = takes_colour(std::io::stdout().is_terminal());
    let mut shell = Shell::new(host);
    shell.colour = colour;
    let shell = Rc::new(RefCell::new(shell));
    let typed = Rc::new(Cell::new(false));
    let mut editor = editor(shell.clone(), typed.clone(), colour)?;
    let mut history = HistoryFile::open(&mut editor);
    output::line(
        &format!(
            "widthwise {} · :help tells what can be typed, Ctrl-D leaves",
            env!("CARGO_PKG_VERSION")
        ),
        false,
    );
    let prompt = (PROMPT, format!("\x1b[1;34m{PROMPT}\x1b[0m"));
    loop {
        typed.set(false);
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                if !typed.get() {
                    output::line("(Ctrl-D or :quit leaves)", false);
                }
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => return Err(e),
        };
        if line.trim().is_empty() {
            continue;
        }
        editor.add_history_entry(line.trim_end())?;
        history.save(&mut editor);
        if let Some((columns, _)) = editor.dimensions() {
            shell.borrow_mut().columns = usize::from(columns).max(30);
        }
        let mut answer = shell.borrow_mut().enter(&line);
        if answer.outcome == Outcome::Interrupted {
            // the terminal has written ^C
            answer.message.insert(0, '\n');
        }
        give(&answer);
        if answer.outcome == Outcome::Leave {
            return Ok(());
        }
    }
}

fn editor(
    shell: Rc<RefCell<Shell>>,
    typed: Rc<Cell<bool>>,
    colour: bool,
) -> rustyline::Result<Editor<Assistant, FileHistory>> {
    let config = Config::builder()
        .max_history_size(ENTRIES)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .color_mode(if colour {
            ColorMode::Enabled
        } else {
            ColorMode::Disabled
        })
        .bracketed_paste(true)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant {
        shell,
        colour,
        typed,
        history: HistoryHinter::new(),
    }));
    editor.bind_sequence(
        KeyEvent::from('\t'),
        EventHandler::Conditional(Box::new(Indent)),
    );
    Ok(editor)
}

/// Tab at the beginning of a line indents it; elsewhere it completes.
struct Indent;

impl ConditionalEventHandler for Indent {
    fn handle(&self, _: &Event, n: RepeatCount, _: bool, ctx: &EventContext) -> Option<Cmd> {
        let before = ctx.line().get(..ctx.pos())?;
        let line = before.rsplit('\n').next().unwrap_or(before);
        let indent = before.contains('\n') && line.trim().is_empty();
        indent.then(|| Cmd::Insert(n, "    ".into()))
    }
}
