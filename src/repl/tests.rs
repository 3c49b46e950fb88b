//! Inputs and answers, as they look at the prompt.

use super::*;
use crate::script::HostSettings;

/// One input and what it should give.
struct Exchange {
    line: usize,
    input: String,
    expected: String,
}

/// Reads `> input`, `· more input`, and the answer up to the next `> `.
fn exchanges(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line == "#" || line.starts_with("# ") {
            continue;
        }
        if let Some(input) = line.strip_prefix("> ") {
            all.push(Exchange {
                line: i + 1,
                input: input.to_string(),
                expected: String::new(),
            });
        } else if let Some(last) = all.last_mut() {
            match line.strip_prefix("· ") {
                Some(more) => last.input = format!("{}\n{more}", last.input),
                None if line.is_empty() => {}
                None => last.expected += &format!("{line}\n"),
            }
        }
    }
    all
}

fn check(name: &str, text: &str) {
    let settings = HostSettings {
        interactive: true,
        ..HostSettings::default()
    };
    let mut shell = Shell::new(Host::new(settings).unwrap());
    for Exchange {
        line,
        input,
        expected,
    } in exchanges(text)
    {
        assert!(
            !shell.is_incomplete(&input),
            "{name}:{line}: waits for more after {input}"
        );
        let answer = shell.enter(&input);
        let given: Vec<&str> = [&answer.output, &answer.message]
            .into_iter()
            .flat_map(|t| t.lines())
            .filter(|l| !l.is_empty())
            .collect();
        assert_eq!(
            given.join("\n"),
            expected.trim_end(),
            "{name}:{line}: {input}"
        );
        assert_eq!(
            answer.failed(),
            !answer.message.is_empty(),
            "{name}:{line}: {input}"
        );
    }
}

macro_rules! transcripts {
    ($($name:ident),+) => { $(
        #[test]
        fn $name() {
            let name = concat!("tests/repl/", stringify!($name), ".txt");
            check(name, include_str!(concat!("../../tests/repl/", stringify!($name), ".txt")));
        }
    )+ };
}

transcripts!(cells, errors, commands, values);

#[test]
fn questions_and_words_people_try_first() {
    let mut shell = Shell::new(Host::new(HostSettings::default()).unwrap());
    for text in ["exit", "quit()", ":quit", ":q", " exit; "] {
        assert_eq!(shell.enter(text).outcome, Outcome::Leave, "{text}");
    }
    let page = shell.enter(":doc param").output;
    assert!(page.contains("param("), "{page}");
    assert_eq!(shell.enter("?param").output, page);
    assert_eq!(shell.enter("param?").output, page);
    assert!(shell.enter("help").output.contains(":load FILE"));
    // a variable of that name is a variable
    shell.enter("let quit = 5");
    assert_eq!(shell.enter("quit").output, "5");
}

#[test]
fn shadowed_values_are_given_up() {
    let mut shell = Shell::new(Host::new(HostSettings::default()).unwrap());
    for _ in 0..10 {
        shell.enter("let big = [1, 2, 3]; let other = 1;");
    }
    assert_eq!(shell.host().scope().len(), 3);
    assert_eq!(shell.enter("big[0] + other").output, "2");
}

#[test]
fn loaded_files_are_cells_with_their_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.rhai");
    std::fs::write(folder.path().join("help.rhai"), "fn double(x) { 2 * x }").unwrap();
    std::fs::write(
        &path,
        "#!/usr/bin/env widthwise\nimport \"help\" as help;\nlet y = help::double(21);\nfn fail() {\n  throw \"no\";\n}\n\
         fn quadruple(x) { help::double(help::double(x)) }\ny",
    )
    .unwrap();
    let mut shell = Shell::new(Host::new(HostSettings::default()).unwrap());
    let load = format!(":load {}", path.display());
    assert_eq!(shell.enter(&load).output, "42");
    assert_eq!(shell.enter("y + ans").output, "84");
    assert_eq!(shell.enter("help::double(2)").output, "4");
    assert_eq!(shell.enter("quadruple(2)").output, "8");
    let message = shell.enter("fail()").message;
    assert!(message.contains("study.rhai:5"), "{message}");
    let missing = shell.enter(":load nowhere.rhai");
    assert!(missing.message.contains("nowhere.rhai"), "{missing:?}");
}
