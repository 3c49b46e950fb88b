//! The examples of the function reference run and give what they say.

use widthwise::script::{Host, HostSettings};

/// The text before and after the `// →` of a line.
fn split(line: &str) -> (&str, Option<&str>) {
    match line.split_once("// →") {
        Some((code, value)) => (code, Some(value.trim())),
        None => (line, None),
    }
}

/// Runs one example as cells of a prompt: a cell ends where a value is promised.
fn check(example: &str, folder: &std::path::Path) -> Result<usize, String> {
    let settings = HostSettings {
        out_dir: folder.to_path_buf(),
        ..HostSettings::default()
    };
    let mut host = Host::new(settings).map_err(|e| e.to_string())?;
    let mut cell = String::new();
    let mut values = 0;
    let debug = |v: &rhai::Dynamic| format!("{v:?}");
    for line in example.lines() {
        let (code, value) = split(line);
        cell.push_str(code);
        cell.push('\n');
        let Some(value) = value else { continue };
        let found = host
            .eval_cell(&cell)
            .map_err(|e| format!("{cell}\n{e} ({:?})", e.error))?;
        let expected = host
            .eval_cell(value)
            .map_err(|e| format!("`{value}` is no expression: {e}"))?;
        if debug(&found) != debug(&expected) {
            return Err(format!("{cell}\ngives {found:?}, not {expected:?}"));
        }
        values += 1;
        cell.clear();
    }
    if !cell.trim().is_empty() {
        let _ = host
            .eval_cell(&cell)
            .map_err(|e| format!("{cell}\n{e} ({:?})", e.error))?;
    }
    Ok(values)
}

#[test]
fn every_documented_function_has_examples_that_hold() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostSettings::default()).unwrap();
    let mut wrong = Vec::new();
    let mut values = 0;
    for function in host.docs().functions() {
        if function.receivers == ["Error"] {
            continue; // what `catch (e)` gives is described with the language
        }
        let path = format!("{} {:?}", function.path(), function.receivers);
        if function.summary.is_empty() {
            wrong.push(format!("{path}: no comment"));
        }
        if function.examples.is_empty() {
            wrong.push(format!("{path}: no example"));
        }
        for example in &function.examples {
            match check(example, folder.path()) {
                Ok(n) => values += n,
                Err(e) => wrong.push(format!("{path}: {e}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(values > 50, "only {values} values were compared");
}

#[test]
fn an_example_that_does_not_hold_is_found() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(check("let x = 1;\nx + 1   // → 2", folder.path()), Ok(1));
    assert!(check("1 + 1   // → 3", folder.path()).is_err());
    assert!(check("no_such_function()", folder.path()).is_err());
}
