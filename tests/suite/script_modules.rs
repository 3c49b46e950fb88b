//! Modules, closures across module borders, typed methods, and what persists at the prompt.

use std::collections::BTreeMap;

use rhai::Dynamic;
use widthwise::script::diagnostics::Report;
use widthwise::script::{Host, HostSettings};

fn host(modules: &[(&str, &str)]) -> Host {
    let modules: BTreeMap<String, String> = modules
        .iter()
        .map(|(n, t)| (n.to_string(), t.to_string()))
        .collect();
    Host::new(HostSettings {
        modules,
        ..HostSettings::default()
    })
    .unwrap()
}

fn int(value: Dynamic) -> i64 {
    value.as_int().unwrap()
}

const MAKER: &str = r#"
    const STEP = 10;
    fn hidden(x) { x + global::STEP }
    fn adder(n) { |x| hidden(x) + n }
    fn table() { #{ twice: |x| x * 2, hidden: |x| hidden(x) } }
    fn apply(f, x) { f.call(x) }
    fn helper(x) { 1000 }
    fn study(n) { new_study(#{ n: n, f: |x| hidden(x) * n }) }
    fn Study.scaled(k) { hidden(this.n) * k }
    fn map.total() { let t = 0; for v in this.values() { t += v; } t }
"#;

#[test]
fn a_closure_returned_by_a_module_is_callable() {
    let mut h = host(&[("lib/maker", MAKER)]);
    let run = |h: &mut Host, text: &str| int(h.run_text("t", text).unwrap());
    for (text, value) in [
        ("let f = m::adder(1); f.call(5)", 16),
        ("let t = m::table(); t.twice.call(3) + t.hidden.call(1)", 17),
        ("fn use_it(f) { f.call(1) } use_it(m::adder(0))", 11),
        ("[1, 2].map(m::adder(0))[1]", 12),
    ] {
        let text = format!("import \"lib/maker\" as m; {text}");
        assert_eq!(run(&mut h, &text), value, "{text}");
    }
}

#[test]
fn a_closure_through_a_module_that_imports_the_maker() {
    let outer = r#"import "lib/maker" as m; fn make() { m::adder(2) } fn study() { m::study(3) }"#;
    let mut h = host(&[("lib/maker", MAKER), ("lib/outer", outer)]);
    let text = r#"import "lib/outer" as o; o::make().call(1)"#;
    assert_eq!(int(h.run_text("t", text).unwrap()), 13);
    let text = r#"import "lib/outer" as o; o::study().scaled(2)"#;
    assert_eq!(int(h.run_text("t", text).unwrap()), 26);
}

#[test]
fn a_study_has_the_methods_of_the_module_that_made_it() {
    let module = |answer: i64| {
        format!(
            "private fn answer() {{ {answer} }}
             fn make(n) {{ new_study(#{{ n: n }}) }}
             fn Study.total(k) {{ answer() + this.part() * k }}
             fn Study.part() {{ this.n }}
             fn Study.keep(x) {{ this.n = x; }}
             fn Study.broken() {{ fail(\"broken {answer}\") }}"
        )
    };
    let (one, two) = (module(100), module(200) + " fn Study.only() { 5 }");
    let mut h = host(&[("one", &one), ("two", &two)]);
    let imports =
        r#"import "one" as one; import "two" as two; let a = one::make(1); let b = two::make(2);"#;
    for (text, value) in [
        ("a.total(3)", 103),
        ("b.total(3)", 206),
        ("b.only() + a.only() + new_study(#{}).only()", 15),
        ("a.keep(7); a.total(1) + b.total(1)", 107 + 202),
        ("fn total(k) { 0 } a.total(3)", 103),
        ("fn inside(s) { s.total(3) } inside(a) + inside(b)", 309),
    ] {
        let text = format!("{imports} {text}");
        assert_eq!(int(h.run_text("t", &text).unwrap()), value, "{text}");
    }
    let mut error = |text: &str| {
        let text = format!("{imports}\n{text}");
        let error = h.run_text("t", &text).unwrap_err();
        Report::new(&h, &error).render(false)
    };
    let shown = error("b.broken()");
    assert!(
        shown.contains("broken 200")
            && shown.matches("called at").count() == 1
            && shown.contains("t:2"),
        "{shown}"
    );
    // a method that only another module has
    assert!(error("a.absent()").contains("absent"));
}

#[test]
fn typed_methods_work_at_top_level_and_inside_functions() {
    let mut h = host(&[("lib/maker", MAKER)]);
    let text = r#"
        import "lib/maker" as m;
        fn inside(s) { s.scaled(1) + s.n }
        let s = m::study(4);
        let f = s.f;
        inside(s) + s.scaled(2) + f.call(0) + #{ a: 1, b: 2 }.total()
    "#;
    assert_eq!(int(h.run_text("t", text).unwrap()), 14 + 4 + 28 + 40 + 3);
}

#[test]
fn a_closure_of_the_script_keeps_its_own_functions_inside_a_module() {
    let mut h = host(&[("lib/maker", MAKER)]);
    let text = r#"
        import "lib/maker" as m;
        const STEP = 5;
        private fn secret(x) { x }
        fn helper(x) { secret(x) + global::STEP }
        m::apply(|x| helper(x), 1)
    "#;
    assert_eq!(int(h.run_text("t", text).unwrap()), 6);
}

#[test]
fn an_alias_means_what_it_means_in_the_closures_script() {
    let mut h = host(&[
        ("a", "fn name() { 1 }"),
        ("b", "fn name() { 2 }"),
        (
            "lib/user",
            r#"import "b" as x; fn apply(f) { f.call() * 10 + x::name() }"#,
        ),
    ]);
    let text = r#"import "a" as x; import "lib/user" as u; u::apply(|| x::name())"#;
    assert_eq!(int(h.run_text("t", text).unwrap()), 12);
}

#[test]
fn the_embedded_library_can_be_imported() {
    let text = r#"
        import "std/grid" as g;
        g::doubling(64, 512).len() * 100 + g::product(#{ a: [1, 2], b: [3, 4, 5] }).len()
    "#;
    assert_eq!(int(host(&[]).run_text("t", text).unwrap()), 406);
}

#[test]
fn variables_functions_constants_and_imports_persist_between_cells() {
    let mut h = host(&[("lib/maker", MAKER)]);
    for cell in [
        r#"import "lib/maker" as m"#,
        "const K = 7",
        "let x = 2",
        "fn f(a) { a + global::K + m::apply(|y| y, 1) }",
        "let g = m::adder(1); let h = |y| y + x;",
        "x += 1",
        "let s = m::study(4)",
    ] {
        let _ = h.eval_cell(cell).unwrap();
    }
    assert_eq!(int(h.eval_cell("f(x)").unwrap()), 3 + 7 + 1);
    assert_eq!(int(h.eval_cell("g.call(0) + h.call(0)").unwrap()), 11 + 3);
    assert_eq!(int(h.eval_cell("s.scaled(1)").unwrap()), 14);
    let cell = "fn inner(s) { s.scaled(1) } inner(s)";
    assert_eq!(int(h.eval_cell(cell).unwrap()), 14);
    // a redefinition reaches the functions defined before
    let _ = h.eval_cell("fn base() { 1 } fn top() { base() }").unwrap();
    let _ = h.eval_cell("fn base() { 2 }").unwrap();
    assert_eq!(int(h.eval_cell("top()").unwrap()), 2);
    // an error keeps what was done before it
    assert!(h.eval_cell("let kept = 5; kept.nonsense()").is_err());
    assert_eq!(int(h.eval_cell("kept").unwrap()), 5);
    h.reset();
    assert!(h.eval_cell("x").is_err());
}

#[test]
fn module_errors_say_what_was_tried_and_what_is_near() {
    let mut h = host(&[
        ("a", r#"import "b" as b;"#),
        ("b", r#"import "c" as c;"#),
        ("c", r#"import "a" as a;"#),
        ("broken", "fn f( {"),
    ]);
    let mut message = |path: &str| {
        let text = format!("import \"{path}\" as m;");
        h.run_text("t", &text).unwrap_err().to_string()
    };
    assert_eq!(
        message("std/gird"),
        "there is no module `std/gird` (help: did you mean `std/grid`?)"
    );
    assert_eq!(
        message("a"),
        "modules import each other: a → b → c → a (help: move what both need into a third module)"
    );
    assert!(message("nowhere").contains("tried ./nowhere.rhai and ./nowhere"));
    assert!(message("/etc/passwd").contains("not below the script's folder"));
    assert!(message("../../x").contains("not below the script's folder"));
    assert!(
        message("broken").contains("parameters"),
        "{}",
        message("broken")
    );
}

#[test]
fn files_import_relative_to_themselves_and_stay_below_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("outside.rhai", "fn f() { 0 }");
    write(
        "s/main.rhai",
        "#!/usr/bin/env widthwise\nimport \"lib/a\" as a; a::f()",
    );
    write(
        "s/lib/a.rhai",
        "import \"b\" as b; import \"../c\" as c; fn f() { b::f() + c::f() }",
    );
    write("s/lib/b.rhai", "fn f() { 1 }");
    write("s/c.rhai", "fn f() { 2 }");
    write("s/climb.rhai", "import \"../outside\" as o; o::f()");
    let mut h = host(&[]);
    let main = folder.path().join("s/main.rhai");
    assert_eq!(int(h.run_file(&main).unwrap()), 3);
    let error = h.run_file(&folder.path().join("s/climb.rhai")).unwrap_err();
    assert!(
        error.to_string().contains("not below the script's folder"),
        "{error}"
    );
}
