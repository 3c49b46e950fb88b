use super::Report;
use crate::script::{Host, HostSettings};

/// The report of a script, as text.
fn report(text: &str) -> String {
    let settings = HostSettings {
        modules: [
            (
                "lib/m".to_string(),
                "fn inner(x) {\n    x.missing()\n}\nfn outer(x) { inner(x) }\n\
                 private fn secret() { 1 }\nconst DEFAULT = 1;"
                    .to_string(),
            ),
            (
                "std/own".to_string(),
                "fn study() { new_study(#{ a: 1 }) }\nfn Study.table() { this.a }".to_string(),
            ),
            (
                "std/strict".to_string(),
                "fn grow(w) {\n    if w < 1 { fail(\"widths must grow\"); }\n    w\n}".to_string(),
            ),
        ]
        .into(),
        ..HostSettings::default()
    };
    let mut host = Host::new(settings).unwrap();
    let error = host.run_text("s.rhai", text).unwrap_err();
    Report::new(&host, &error).render(false)
}

/// `cases.txt` holds scripts and what is said about them. `BLESS=1 cargo test diagnostics` rewrites
/// the answers; read the difference before committing it.
#[test]
fn mistakes_are_reported_with_place_and_help() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut written = String::new();
    let mut checked = 0;
    for case in include_str!("cases.txt").split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (script, expected) = rest.split_once("\n---\n").unwrap();
        let found = report(script);
        if bless {
            written += &format!("=== {title}\n{script}\n---\n{found}\n");
        } else {
            assert_eq!(found.trim(), expected.trim(), "{title}, found:\n{found}");
        }
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
    if bless {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/script/diagnostics/cases.txt"
        );
        std::fs::write(path, written).unwrap();
    }
}
