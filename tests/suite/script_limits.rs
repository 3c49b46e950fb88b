//! What scripts cannot do: endless data, endless depth, silent misspellings.

use widthwise::script::diagnostics::Report;
use widthwise::script::{Host, HostSettings};

fn error(text: &str) -> String {
    let mut host = Host::new(HostSettings::default()).unwrap();
    let error = host.run_text("t", text).unwrap_err();
    let report = Report::new(&host, &error).render(false);
    report.lines().next().unwrap().to_string()
}

fn int(text: &str) -> i64 {
    let mut host = Host::new(HostSettings::default()).unwrap();
    host.run_text("t", text).unwrap().as_int().unwrap()
}

#[test]
fn data_that_grows_without_end_is_an_error() {
    for (text, expected) in [
        (
            "let s = \"x\"; loop { s += s; }",
            "error: a string is longer than 64 MB",
        ),
        (
            "let a = [1]; loop { a += a; }",
            "error: an array has more than 16777216 elements, those within included",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn recursion_ends_in_an_error_at_a_thousand_calls() {
    assert_eq!(
        int("fn f(n) { if n == 0 { 0 } else { 1 + f(n - 1) } } f(900)"),
        900
    );
    assert_eq!(
        error("fn f(n) { 1 + f(n + 1) } f(0)"),
        "error: functions call each other more than 1000 deep"
    );
    // it cannot be caught and tried again for ever
    assert_eq!(
        error("fn f(n) { try { f(n + 1) } catch { f(n) } } f(0)"),
        "error: functions call each other more than 1000 deep"
    );
}

#[test]
fn deep_expressions_are_refused_not_crashed_on() {
    let text = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(error(&text).contains("complexity"), "{}", error(&text));
    assert_eq!(int(&format!("{}1{}", "(".repeat(100), ")".repeat(100))), 1);
}

#[test]
fn misspelt_properties_are_errors_and_new_ones_can_be_set() {
    assert_eq!(
        error("let m = #{ width: 1 }; m.widht"),
        "error: the map has no property `widht`"
    );
    assert_eq!(
        int("let m = #{ width: 1 }; m.depth = 2; m[\"lr\"] = 3; m.depth + m.lr"),
        5
    );
    assert_eq!(
        int("let m = #{ width: 1 }; if \"depth\" in m { 1 } else { 2 }"),
        2
    );
}

#[test]
fn text_cannot_be_run_as_code() {
    assert!(error("eval(\"1 + 1\")").contains("eval"));
}

#[test]
fn errors_can_be_caught_and_read() {
    let text = r#"
        let seen = [];
        try { linspace(0, 1, 1); } catch (e) { seen.push(e.kind); seen.push(e.message); }
        try { table(["loss"]).column("los"); } catch (e) { seen.push(e.help); }
        try { throw "mine"; } catch (e) { seen.push(e); }
        seen
    "#;
    let mut host = Host::new(HostSettings::default()).unwrap();
    let seen = host
        .run_text("t", text)
        .unwrap()
        .into_typed_array::<String>()
        .unwrap();
    assert_eq!(
        seen,
        [
            "setting",
            "linspace: the count must be from 2 to 10000000, found 1",
            "did you mean `loss`?",
            "mine"
        ]
    );
}

#[test]
fn what_does_not_fit_into_memory_is_told_before_it_is_made() {
    for (text, parts) in [
        (
            "init(mlp(#{ width: 2000000, inputs: 10, outputs: 10 }), sp(), #{ members: 3 })",
            [
                "not enough memory: the model needs",
                "layers.1.weight [3, 2000000, 2000000]",
            ],
        ),
        (
            "let m = init(mlp(#{ width: 2000, depth: 2 }), sp());
             trainer(m, sgd(#{ lr: 0.1 }), data::synthetic_images(), #{ batch: 100000000 })",
            [
                "not enough memory: training needs",
                "layers.0 [1, 100000000, 2000]",
            ],
        ),
    ] {
        let found = error(text);
        for part in parts {
            assert!(found.contains(part), "{found}");
        }
    }
}
