//! The function reference: everything is documented, and every example does what it says.

use std::path::Path;

use rhai::Dynamic;
use widthwise::script::diagnostics::Report;
use widthwise::script::docs::{FunctionDoc, Kind};
use widthwise::script::{Host, HostSettings};

fn host(folder: &Path) -> Host {
    Host::new(HostSettings {
        out_dir: folder.to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    })
    .unwrap()
}

#[test]
fn every_function_has_a_comment_and_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let bare: Vec<String> = host
        .docs()
        .functions()
        .iter()
        // how a value prints is seen wherever it is printed
        .filter(|f| !matches!(f.name.as_str(), "to_string" | "to_debug"))
        .filter(|f| f.summary.is_empty() || f.examples.is_empty())
        .map(|f| format!("{} ({})", f.label(), f.signatures.join("; ")))
        .collect();
    assert!(host.docs().functions().len() > 20);
    assert!(bare.is_empty(), "without comment or example: {bare:#?}");
}

#[test]
fn every_setting_has_a_comment_and_belongs_to_a_function() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    for spec in host.docs().all_options() {
        for function in &spec.functions {
            let found = host.docs().get(function);
            assert!(
                found.iter().any(|f| f.kind == Kind::Function),
                "settings of `{function}`, which is no function"
            );
        }
        for field in &spec.fields {
            assert!(!field.doc.is_empty(), "{:?}: {}", spec.functions, field.key);
        }
    }
}

/// Runs an example; each `// → value` must be the value of what stands before it.
fn run(f: &FunctionDoc, example: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut host = host(folder.path());
    let mut cell = String::new();
    let shown = |e: &widthwise::script::ScriptError, host: &Host| {
        format!(
            "{}:\n{example}\n{}",
            f.path(),
            Report::new(host, e).render(false)
        )
    };
    for line in example.lines() {
        let (code, expected) = match line.split_once("// →") {
            Some((code, expected)) => (code, Some(expected.trim())),
            None => (line, None),
        };
        cell += code;
        cell.push('\n');
        if let Some(expected) = expected {
            let found = host.eval_cell(&cell).map_err(|e| shown(&e, &host))?;
            cell.clear();
            let same = match expected.strip_suffix('…') {
                Some(start) => text(&found).starts_with(start),
                None => {
                    host.eval_cell(expected)
                        .is_ok_and(|e| text(&e) == text(&found))
                        || expected == found.to_string()
                }
            };
            if !same {
                return Err(format!(
                    "{}: expected {expected}, found {}\n{example}",
                    f.label(),
                    text(&found)
                ));
            }
        }
    }
    host.eval_cell(&cell)
        .map(|_| ())
        .map_err(|e| shown(&e, &host))
}

fn text(value: &Dynamic) -> String {
    format!("{value:?}")
}

#[test]
fn every_example_runs_and_gives_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let mut failures = Vec::new();
    let mut checked = 0;
    for f in host.docs().functions() {
        for example in &f.examples {
            checked += 1;
            if let Err(failure) = run(f, example) {
                failures.push(failure);
            }
        }
    }
    assert!(checked > 20, "{checked}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_wrong_example_would_be_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let param = host.docs().get("param")[0];
    assert!(run(param, "param(\"a\", 2)    // → 3").is_err());
    assert!(run(param, "nonsense()").is_err());
    assert!(run(param, "param(\"a\", 2)    // → 2").is_ok());
}

#[test]
fn the_standard_library_passes_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let findings = widthwise::script::check::check(&[folder]).unwrap();
    let shown: Vec<String> = findings.iter().map(|f| f.render(false)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

#[test]
fn settings_appear_in_the_reference_of_their_function() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let found = host.docs().search("doubling");
    assert_eq!(found[0].path(), "grid::doubling");
    assert_eq!(found[0].arities, [2]);
    let page = found[0].page();
    assert!(page.starts_with("grid::doubling(from, to)\n"), "{page}");
}
