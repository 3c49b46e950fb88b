//! The commands of the prompt: one table for running, help and completion.

use std::fmt::Write;
use std::time::Instant;

use super::reference;
use super::shell::{Answer, Shell};
use crate::script::names::nearest;

/// What a command takes, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    /// The name of a command.
    Command,
    /// A name in the reference.
    Name,
    /// An expression.
    Script,
    /// A script file.
    File,
}

/// One command.
pub(super) struct Command {
    pub name: &'static str,
    pub argument: Argument,
    /// What stands behind the name in the help.
    pub usage: &'static str,
    /// One line.
    pub summary: &'static str,
    /// More, for `:help NAME`.
    pub details: &'static str,
    run: fn(&mut Shell, &str) -> Answer,
}

/// All commands, in the order of the help.
pub(super) static COMMANDS: [Command; 8] = [
    Command {
        name: "help",
        argument: Argument::Command,
        usage: "[COMMAND]",
        summary: "what can be typed here",
        details: "",
        run: help,
    },
    Command {
        name: "doc",
        argument: Argument::Name,
        usage: "NAME",
        summary: "read about a function, a module, a type or a variable; also ?NAME",
        details: ":doc alone lists everything by module. :doc --search WORD finds what mentions a word.",
        run: doc,
    },
    Command {
        name: "vars",
        argument: Argument::None,
        usage: "",
        summary: "the variables: name, type, value",
        details: "Constants are marked. Functions that cells have defined are listed below them.",
        run: vars,
    },
    Command {
        name: "type",
        argument: Argument::Script,
        usage: "EXPRESSION",
        summary: "the type of a value",
        details: "The expression is evaluated; `ans` stays as it was.",
        run: type_of,
    },
    Command {
        name: "time",
        argument: Argument::Script,
        usage: "STATEMENT",
        summary: "evaluate it and say how long that took",
        details: "The time is wall-clock time of one evaluation, parsing included.",
        run: time,
    },
    Command {
        name: "load",
        argument: Argument::File,
        usage: "FILE",
        summary: "evaluate a script here; its variables and functions stay",
        details: "The imports of the script are looked for in its own folder.",
        run: load,
    },
    Command {
        name: "reset",
        argument: Argument::None,
        usage: "",
        summary: "forget all variables, functions and imports",
        details: "The history stays.",
        run: reset,
    },
    Command {
        name: "quit",
        argument: Argument::None,
        usage: "",
        summary: "leave; so does Ctrl-D",
        details: "",
        run: |_, _| Answer::leave(),
    },
];

/// The names of all commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|c| c.name)
}

/// The command of this name, or the only one that begins so.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    if let Some(exact) = COMMANDS.iter().find(|c| c.name == name) {
        return Some(exact);
    }
    let mut found = COMMANDS.iter().filter(|c| c.name.starts_with(name));
    match (found.next(), found.next()) {
        (Some(command), None) if !name.is_empty() => Some(command),
        _ => None,
    }
}

/// Runs `name argument`, what stands behind the colon.
pub(super) fn run(shell: &mut Shell, line: &str) -> Answer {
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match find(name) {
        Some(command) => (command.run)(shell, argument.trim()),
        None => shell.complain(&format!("there is no command `:{name}`"), unknown(name)),
    }
}

fn unknown(name: &str) -> String {
    let begin: Vec<String> = names()
        .filter(|n| !name.is_empty() && n.starts_with(name))
        .map(|n| format!("`:{n}`"))
        .collect();
    if !begin.is_empty() {
        return format!("{} begin so", begin.join(" and "));
    }
    match nearest(name, names()) {
        Some(near) => format!("did you mean `:{near}`?"),
        None => "`:help` lists the commands".into(),
    }
}

fn help(shell: &mut Shell, argument: &str) -> Answer {
    let name = argument.trim_start_matches(':');
    if !name.is_empty() {
        return match find(name) {
            Some(c) => {
                let details = match c.details {
                    "" => String::new(),
                    details => format!("\n{details}"),
                };
                Answer::done(format!(":{} {}\n{}{details}", c.name, c.usage, c.summary))
            }
            // people ask for help about functions too
            None if !shell.host().docs().get(name).is_empty() => doc(shell, name),
            None => shell.complain(&format!("there is no command `:{name}`"), unknown(name)),
        };
    }
    let mut text =
        String::from("Type an expression to see its value, or a statement to run it.\n\n");
    let lines: Vec<(String, &str)> = COMMANDS
        .iter()
        .map(|c| (format!(":{} {}", c.name, c.usage), c.summary))
        .collect();
    let width = lines.iter().map(|(l, _)| l.len()).max().unwrap_or(0);
    for (left, summary) in &lines {
        let _ = writeln!(text, "  {left:width$}  {summary}");
    }
    text += "
ans                  the last value
x = 1;               a `;` at the end keeps the value from being shown; `ans` holds it all the same
Tab                  completes functions, variables, methods, settings in #{ … } and files
Up, Ctrl-R           earlier input; it is searched as you type
Ctrl-C               stops a computation, which keeps every variable, or clears the line
Ctrl-D               leaves

A statement goes on over several lines until its brackets are closed. Functions do not see the
variables of the prompt: pass them as arguments. Commands can be shortened: `:q`.";
    Answer::done(text)
}

fn doc(shell: &mut Shell, argument: &str) -> Answer {
    let found = match argument.split_once(char::is_whitespace) {
        Some(("--search" | "-s", word)) => reference::search(shell, word.trim()),
        _ if argument == "--search" => {
            return shell.complain(
                "`:doc --search` needs a word",
                "as in `:doc --search learning`".into(),
            );
        }
        _ if argument.is_empty() => Ok(reference::overview(shell)),
        _ => reference::lookup(shell, argument),
    };
    match found {
        Ok(text) => Answer::done(text),
        Err(help) => shell.complain(&format!("nothing is documented as `{argument}`"), help),
    }
}

fn vars(shell: &mut Shell, _: &str) -> Answer {
    let printer = shell.printer();
    let rows: Vec<(String, String, &rhai::Dynamic)> = shell
        .variables()
        .into_iter()
        .map(|(name, constant, value)| {
            let ty = printer.type_name(value);
            let ty = if constant { format!("const {ty}") } else { ty };
            (name.to_string(), ty, value)
        })
        .collect();
    let functions: Vec<String> = shell
        .catalog()
        .cells()
        .iter()
        .map(|f| f.signature())
        .collect();
    if rows.is_empty() && functions.is_empty() {
        return Answer::done("there are no variables yet".into());
    }
    let longest = |lengths: Vec<usize>| lengths.into_iter().max().unwrap_or(0);
    let names = longest(rows.iter().map(|r| r.0.chars().count()).collect());
    let types = longest(rows.iter().map(|r| r.1.chars().count()).collect());
    let room = printer.columns.saturating_sub(names + types + 4).max(20);
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, ty, value)| {
            let value = printer.line(value, room);
            let value = if value == *ty { "" } else { &value };
            format!("{name:names$}  {ty:types$}  {value}")
                .trim_end()
                .to_string()
        })
        .collect();
    lines.extend(functions.into_iter().map(|f| format!("fn {f}")));
    Answer::done(lines.join("\n"))
}

fn type_of(shell: &mut Shell, argument: &str) -> Answer {
    if argument.is_empty() {
        return shell.complain(
            "`:type` needs an expression",
            "as in `:type 1 + 0.5`".into(),
        );
    }
    match shell.evaluate(argument) {
        Ok(value) => Answer::done(shell.printer().type_name(&value)),
        Err(answer) => answer,
    }
}

fn time(shell: &mut Shell, argument: &str) -> Answer {
    if argument.is_empty() {
        return shell.complain(
            "`:time` needs a statement",
            "as in `:time t.step(100)`".into(),
        );
    }
    let start = Instant::now();
    let mut answer = shell.cell(argument);
    let seconds = start.elapsed().as_secs_f64();
    if !answer.failed() {
        if !answer.output.is_empty() {
            answer.output.push('\n');
        }
        answer.output += &duration(seconds);
    }
    answer
}

/// A time in the unit that suits it.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

fn load(shell: &mut Shell, argument: &str) -> Answer {
    let path = argument.trim_matches('"');
    if path.is_empty() {
        return shell.complain(
            "`:load` needs a file",
            "as in `:load scripts/tour.rhai`".into(),
        );
    }
    shell.load(path)
}

fn reset(shell: &mut Shell, _: &str) -> Answer {
    shell.reset();
    Answer::done("variables, functions and imports are forgotten".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_shortened_unless_two_begin_so() {
        assert_eq!(find("quit").map(|c| c.name), Some("quit"));
        assert_eq!(find("q").map(|c| c.name), Some("quit"));
        assert!(find("t").is_none());
        assert!(find("").is_none());
        assert_eq!(unknown("t"), "`:type` and `:time` begin so");
        assert_eq!(unknown("hlep"), "did you mean `:help`?");
        assert_eq!(unknown("xyz"), "`:help` lists the commands");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(2.5e-5), "25 µs");
        assert_eq!(duration(0.0215), "21.5 ms");
        assert_eq!(duration(2.25), "2.25 s");
        assert_eq!(duration(125.0), "2 min 5 s");
    }
}
