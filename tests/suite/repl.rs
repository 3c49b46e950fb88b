//! The prompt through a pseudo-terminal, as a person at a keyboard meets it, and through a pipe.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect, Regex, Session};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const TAB: &str = "\t";
const UP: &str = "\x1b[A";

fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_widthwise"));
    command
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .current_dir(home);
    command
}

/// A prompt on a terminal, past its banner.
struct Prompt {
    session: OsSession,
}

impl Prompt {
    fn start(home: &Path) -> Self {
        Self::of(program(home))
    }

    fn of(command: Command) -> Self {
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        let mut prompt = Self { session };
        prompt.sees(concat!("widthwise ", env!("CARGO_PKG_VERSION")));
        prompt.sees("> ");
        prompt
    }

    fn types(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
    }

    /// Types a line, and Enter.
    fn enters(&mut self, line: &str) {
        self.session.send(format!("{line}\r")).unwrap();
    }

    fn sees(&mut self, text: &str) {
        if let Err(e) = self.session.expect(text) {
            panic!("waiting for {text:?}: {e}");
        }
    }

    /// The answer stands on a line of its own; the echo of what was typed does not.
    fn answers(&mut self, text: &str) {
        self.sees(&format!("\n{text}\r\n"));
    }

    fn leaves(mut self) {
        // between two prompts the terminal itself takes Ctrl-D, so it is typed until it is heard
        self.session
            .set_expect_timeout(Some(Duration::from_secs(2)));
        let heard =
            (0..30).any(|_| self.session.send(CTRL_D).is_err() || self.session.expect(Eof).is_ok());
        assert!(heard, "Ctrl-D does not leave");
        let status = self.session.get_process().wait().unwrap();
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

#[test]
fn statements_functions_and_errors() {
    let home = tempfile::tempdir().unwrap();
    let mut p = Prompt::start(home.path());
    p.enters("let x = 20 + 1");
    p.enters("x * 2");
    p.answers("42");
    // over several lines
    p.enters("fn half(a) {");
    p.enters("  a / 2");
    p.enters("}");
    p.enters("half(ans)");
    p.answers("21");
    // an error shows the place and keeps the variables
    p.enters("x + missing");
    p.sees("there is no variable `missing`");
    p.sees("repl[5]:1:5");
    p.enters("x");
    p.answers("21");
    // a silent value is still the answer
    p.enters("x + 100;");
    p.enters("ans + 1");
    p.answers("122");
    p.leaves();
}

#[test]
fn ctrl_c_stops_a_computation_and_keeps_the_variables() {
    let home = tempfile::tempdir().unwrap();
    let mut p = Prompt::start(home.path());
    p.enters("let kept = 7; let n = 0;");
    p.enters("print(\"going\"); while true { n += 1; }");
    p.answers("going");
    std::thread::sleep(Duration::from_millis(200));
    p.types(CTRL_C);
    p.answers("interrupted at repl[2]:1");
    p.enters("[kept, n > 10]");
    p.answers("[7, true]");
    p.sees("> ");
    // with nothing typed it says how to leave
    p.types(CTRL_C);
    p.sees(":quit leaves");
    p.sees("> ");
    // a half-typed line is thrown away
    p.types("kept + 1");
    p.sees("kept + 1");
    p.types(CTRL_C);
    // keys that come in one read with Ctrl-C are lost with the line
    std::thread::sleep(Duration::from_millis(500));
    p.sees("> ");
    p.enters("kept + 2");
    p.answers("9");
    p.leaves();
}

#[test]
fn tab_completes() {
    let home = tempfile::tempdir().unwrap();
    let mut p = Prompt::start(home.path());
    p.enters("let learning_rate = 0.25");
    p.types("2.0 * learn");
    p.types(TAB);
    p.sees("learning_rate");
    p.enters("");
    p.answers("0.5");
    p.types(":var");
    p.types(TAB);
    p.enters("");
    p.sees("learning_rate  float  0.25");
    // settings of a function
    p.types("mlp(#{ wid");
    p.types(TAB);
    p.sees("width: ");
    p.enters("32 }).width");
    p.answers("32");
    p.leaves();
}

#[test]
fn history_stays_from_one_session_to_the_next() {
    let home = tempfile::tempdir().unwrap();
    let mut p = Prompt::start(home.path());
    p.enters("fn triple(a) {");
    p.enters("3 * a }");
    p.enters("triple(14)");
    p.answers("42");
    // killed, not left
    drop(p);
    let mut p = Prompt::start(home.path());
    p.enters("fn triple(a) { 5 * a }");
    p.types(UP);
    p.types(UP);
    p.enters("");
    p.answers("70");
    p.leaves();
    let file = home.path().join("data/widthwise/history");
    assert!(
        std::fs::read_to_string(file)
            .unwrap()
            .contains("triple(14)")
    );
}

#[test]
fn a_history_that_cannot_be_written_is_a_warning() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("data"), "a file, not a folder").unwrap();
    let mut session = Session::spawn(program(home.path())).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(60)));
    session.expect("warning: the history is not kept").unwrap();
    session.send("6 * 7\r").unwrap();
    session.expect("\n42\r\n").unwrap();
}

#[test]
fn colour_unless_it_is_not_wanted() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(home.path());
    command.env_remove("NO_COLOR");
    let mut p = Prompt::of(command);
    p.types("let a = 1");
    p.sees("\x1b[35mlet\x1b[0m");
    drop(p);
    let mut p = Prompt::start(home.path());
    p.types("let a = 1");
    p.sees("let a = 1");
    p.enters("; nothing_here");
    let error = p
        .session
        .expect(Regex("error.*there is no variable"))
        .unwrap();
    let text = String::from_utf8_lossy(error.as_bytes()).to_string();
    assert!(!text.contains("\x1b[3"), "{text:?}");
}

fn piped(input: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut child = program(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn cells_come_from_a_pipe() {
    let output = piped(
        "#!/usr/bin/env widthwise\nlet x = 3\nfn f(a) {\n  a * 2\n}\n\nf(x)\n\"text\"; // silent\n\
         [3, 1]\n  .map(|v| v + 1)\nif x > 5 { 1 }\nelse { 2 }\nprint(\"printed\")\nx",
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "6\n[4, 2]\n2\nprinted\n3\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_error_in_a_pipe_ends_it_with_status_1() {
    let output = piped("1\nmissing\n2\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("there is no variable `missing`"),
        "{stderr}"
    );
    assert!(stderr.contains("repl[2]:1:1"), "{stderr}");
    assert!(!stderr.contains('\x1b'), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    // a statement that never ends is one too
    let output = piped("fn f(a) {\n a\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(piped("1\n:quit\n2\n").stdout, b"1\n");
}
