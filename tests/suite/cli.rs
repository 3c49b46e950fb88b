//! The program as users run it: exit status, streams, settings, folders, JSON.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_widthwise"));
    command.current_dir(folder);
    command
}

/// A folder with the given script as `s.rhai`.
fn with_script(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.rhai"), text).unwrap();
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    program(folder).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn print_goes_to_stdout_and_debug_to_stderr() {
    let f = with_script("#!/usr/bin/env widthwise\nprint(\"result\"); debug(\"detail\");");
    let o = run(f.path(), &["run", "s.rhai"]);
    assert_eq!((status(&o), out(&o).as_str()), (0, "result\n"));
    assert_eq!(err(&o), "s.rhai:2: \"detail\"\n");
}

#[test]
fn a_failing_script_has_status_1_and_a_marked_line() {
    let f = with_script("let width = 3;\nprint(widht);");
    let o = run(f.path(), &["run", "s.rhai"]);
    assert_eq!((status(&o), out(&o).as_str()), (1, ""));
    assert_eq!(
        err(&o),
        "error: there is no variable `widht`\n --> s.rhai:2:7\n  |\n2 | print(widht);\n  |       ^^^^^\nhelp: did you mean `width`?\n"
    );
}

#[test]
fn wrong_usage_has_status_2() {
    let f = with_script("print(1);");
    for args in [
        &["run"] as &[&str],
        &["run", "absent.rhai"],
        &["run", "s.rhai", "--set", "novalue"],
        &["run", "s.rhai", "--device", "tpu"],
        &["run", "s.rhai", "--set", "a=1"],
        &["nonsense"],
        &["check"],
        &["check", "absent.rhai"],
    ] {
        let o = run(f.path(), args);
        assert_eq!(status(&o), 2, "{args:?}: {}", err(&o));
        assert_eq!(out(&o), "", "{args:?}");
        assert!(
            err(&o).starts_with("error: ") || err(&o).contains("Usage"),
            "{}",
            err(&o)
        );
    }
}

#[test]
fn settings_have_the_type_of_their_default() {
    let f = with_script(
        "print(param(\"n\", 1)); print(param(\"lr\", 0.5)); print(param(\"on\", false));\n\
         print(param(\"name\", \"x\")); print(param(\"widths\", [64, 128])); print(param(\"lrs\", [0.1]));",
    );
    let o = run(f.path(), &["run", "s.rhai"]);
    assert_eq!(out(&o), "1\n0.5\nfalse\nx\n[64, 128]\n[0.1]\n");
    let set = [
        "--set",
        "n=7",
        "--set",
        "lr=2",
        "--set",
        "on=true",
        "--set",
        "name=a=b",
        "--set",
        "widths=[32,64]",
        "--set",
        "lrs=1,2",
    ];
    let o = run(f.path(), &[&["run", "s.rhai"] as &[&str], &set].concat());
    assert_eq!(
        out(&o),
        "7\n2.0\ntrue\na=b\n[32, 64]\n[1.0, 2.0]\n",
        "{}",
        err(&o)
    );
    for (given, expected) in [
        ("n=x", "--set n=x: expected integer, found `x`"),
        ("n=1.5", "--set n=1.5: expected integer, found `1.5`"),
        (
            "on=yes",
            "--set on=yes: expected true or false, found `yes`",
        ),
        (
            "widths=[1,b]",
            "--set widths=[1,b]: expected integer, found `b`",
        ),
    ] {
        let o = run(f.path(), &["run", "s.rhai", "--set", given]);
        assert_eq!(status(&o), 1, "{given}");
        assert!(
            err(&o).starts_with(&format!("error: {expected}\n --> s.rhai:")),
            "{}",
            err(&o)
        );
    }
}

#[test]
fn an_unknown_setting_is_found_before_the_script_runs() {
    let f = with_script("print(\"started\"); param(\"widths\", [1]);");
    let o = run(f.path(), &["run", "s.rhai", "--set", "width=3"]);
    assert_eq!((status(&o), out(&o).as_str()), (2, ""));
    assert_eq!(
        err(&o),
        "error: --set width: the script has no setting `width`; it has widths\nhelp: did you mean `widths`?\n"
    );
    // a computed name can only be judged when the script has ended
    let f = with_script("print(\"started\"); param(\"wid\" + \"ths\", [1]);");
    let o = run(f.path(), &["run", "s.rhai", "--set", "width=3"]);
    assert_eq!((status(&o), out(&o).as_str()), (1, "started\n"));
    assert!(err(&o).contains("did you mean `widths`?"));
}

#[test]
fn settings_of_imported_modules_are_known() {
    let f = with_script("import \"lib\" as lib; print(lib::steps());");
    std::fs::write(
        f.path().join("lib.rhai"),
        "fn steps() { param(\"steps\", 5) }",
    )
    .unwrap();
    let o = run(f.path(), &["run", "s.rhai", "--set", "steps=6"]);
    assert_eq!((status(&o), out(&o).as_str()), (0, "6\n"), "{}", err(&o));
}

#[test]
fn output_goes_below_its_folder_with_a_description() {
    let f = with_script("param(\"n\", 3); write_text(\"a/b.txt\", \"hello\");");
    let o = run(
        f.path(),
        &["run", "s.rhai", "--set", "n=4", "--device", "cpu"],
    );
    assert_eq!(status(&o), 0, "{}", err(&o));
    let read = |name: &str| std::fs::read_to_string(f.path().join("runs/s").join(name)).unwrap();
    assert_eq!(read("a/b.txt"), "hello");
    assert!(read("script.rhai").contains("write_text"));
    let info: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(info["settings"]["n"], 4);
    assert_eq!(info["device"], "cpu");
    assert_eq!(info["versions"]["rhai"], "1.27.0");
    // a second run is refused, unless forced or sent elsewhere
    let o = run(f.path(), &["run", "s.rhai"]);
    assert_eq!(status(&o), 2);
    assert!(
        err(&o).contains("the output folder runs/s is not empty"),
        "{}",
        err(&o)
    );
    assert_eq!(status(&run(f.path(), &["run", "s.rhai", "--force"])), 0);
    assert_eq!(
        status(&run(f.path(), &["run", "s.rhai", "--out", "other"])),
        0
    );
    assert!(f.path().join("other/a/b.txt").is_file());
}

#[test]
fn files_of_a_run_are_not_written_over_by_its_script_or_by_another_run() {
    let train = "let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ name: \"one\" }); t.step(2);";
    for (name, what) in [
        ("one.jsonl", "one.jsonl is the record of a trainer"),
        ("run.json", "run.json is written by widthwise itself"),
    ] {
        let f = with_script(&format!("{train}\nwrite_text(\"{name}\", \"x\");"));
        let o = run(f.path(), &["run", "s.rhai"]);
        assert_eq!(status(&o), 1);
        assert!(
            err(&o).contains(what) && err(&o).contains("s.rhai:2"),
            "{}",
            err(&o)
        );
        let info = std::fs::read_to_string(f.path().join("runs/s/run.json")).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["device"], "cpu");
    }
    let f = with_script(train);
    assert_eq!(status(&run(f.path(), &["run", "s.rhai"])), 0);
    std::fs::write(f.path().join("other.rhai"), train).unwrap();
    let o = run(
        f.path(),
        &["run", "other.rhai", "--out", "runs/s", "--resume"],
    );
    assert_eq!(status(&o), 2);
    let what = "runs/s is of another script: s.rhai, and this is other.rhai";
    assert!(err(&o).contains(what), "{}", err(&o));
    #[cfg(unix)]
    {
        let held = std::fs::File::open(f.path().join("runs/s")).unwrap();
        held.lock().unwrap();
        let o = run(f.path(), &["run", "s.rhai", "--force"]);
        assert_eq!(status(&o), 1);
        assert!(
            err(&o).contains("another run writes to the output folder"),
            "{}",
            err(&o)
        );
        drop(held);
        assert_eq!(status(&run(f.path(), &["run", "s.rhai", "--force"])), 0);
    }
    let o = run(f.path(), &["run", "s.rhai", "--force", "--data", "nowhere"]);
    assert_eq!(status(&o), 2);
    assert!(
        err(&o).contains("--data nowhere: there is no such"),
        "{}",
        err(&o)
    );
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let f = with_script("print(1);");
    let o = Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(f.path())
        .args(["run", "s.rhai"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(status(&o), 1);
    assert!(err(&o).contains("error: writing output"), "{}", err(&o));
}

#[test]
fn a_script_cannot_write_elsewhere() {
    for name in [
        "/widthwise-outside.txt",
        "../outside.txt",
        "a/../../outside.txt",
    ] {
        let f = with_script(&format!("write_text(\"{name}\", \"x\");"));
        let o = run(f.path(), &["run", "s.rhai"]);
        assert_eq!(status(&o), 1);
        assert!(
            err(&o).contains("is not below the output folder"),
            "{}",
            err(&o)
        );
    }
}

#[test]
fn nothing_is_created_by_a_script_that_writes_nothing() {
    let f = with_script("print(1);");
    assert_eq!(status(&run(f.path(), &["run", "s.rhai"])), 0);
    assert!(!f.path().join("runs").exists());
}

#[test]
fn json_answers_carry_result_settings_and_errors() {
    let f = with_script("print(\"noise\"); #{ loss: 0.5, n: param(\"n\", 2) }");
    let o = run(f.path(), &["run", "s.rhai", "--json"]);
    let answer: Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!((status(&o), err(&o).as_str()), (0, "noise\n"));
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["result"]["loss"], 0.5);
    assert_eq!(answer["settings"]["n"], 2);
    let f = with_script("fn f() { fail(\"no\") }\nf();");
    let o = run(f.path(), &["run", "s.rhai", "--json"]);
    let answer: Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!(status(&o), 1);
    assert_eq!(answer["error"]["message"], "no");
    assert_eq!(answer["error"]["place"]["line"], 1);
    assert_eq!(answer["error"]["calls"][0]["function"], "f");
}

#[test]
fn a_device_that_this_build_lacks_is_refused_in_one_line() {
    let f = with_script("print(1);");
    let o = run(f.path(), &["run", "s.rhai", "--device", "cuda"]);
    if status(&o) != 0 {
        assert_eq!(status(&o), 2);
        assert!(
            err(&o).contains("this build of widthwise has no CUDA"),
            "{}",
            err(&o)
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let f = with_script("for i in 0..200000 { print(i); }");
    let mut child = program(f.path())
        .args(["run", "s.rhai"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let o = child.wait_with_output().unwrap();
    assert_eq!(&first, b"0\n1\n");
    assert_eq!((status(&o), err(&o).as_str()), (0, ""));
}

#[test]
fn check_reports_all_mistakes_and_runs_nothing() {
    let f = with_script(
        "print(\"must not run\");\n\
         import \"lib\" as lib;\n\
         lib::twice(1, 2);\n\
         lib::thrice(1);\n\
         parm(\"a\", 1);\n\
         let m = #{ f: |x| x, g: 1 };\n\
         m.f(1);\n\
         m.nosuch(1);\n\
         lib::study(#{ steps: 1, widht: 2 });\n\
         let s = new_study(m);\n\
         s.area();\n\
         import \"std/width\" as width;\n\
         print(widht + nosuch);\n\
         width::study(#{ widhts: [3] });\n",
    );
    let lib = "fn twice(x) { 2 * x }\nfn Study.area() { 1 }\n\
               fn study(s) { study_settings(\"study\", s, #{ steps: 10, width: 3 }) }\n";
    std::fs::write(f.path().join("lib.rhai"), lib).unwrap();
    let o = run(f.path(), &["check", "s.rhai"]);
    assert_eq!((status(&o), out(&o).as_str()), (1, ""));
    let lines: Vec<String> = err(&o)
        .lines()
        .filter(|l| l.starts_with("error") || l.contains("-->"))
        .map(|l| l.trim().to_string())
        .collect();
    assert_eq!(
        lines,
        [
            "error: `lib::twice` takes 1 argument, and is given 2",
            "--> s.rhai:3:6",
            "error: there is no function `lib::thrice`",
            "--> s.rhai:4:6",
            "error: there is no function `parm`",
            "--> s.rhai:5:1",
            "error: there is no method `nosuch`",
            "--> s.rhai:8:3",
            "error: study has no setting `widht`; it accepts steps, width",
            "--> s.rhai:9:25",
            "error: there is no variable `widht`",
            "--> s.rhai:13:7",
            "error: there is no variable `nosuch`",
            "--> s.rhai:13:15",
            "error: width::study has no setting `widhts`; it accepts batch, dtype, keep_models, keep_outputs, loss, members, network, optimizer, parametrization, probes, schedule, seed, steps, stream, test, test_points, widths",
            "--> s.rhai:14:17",
        ]
    );
    assert!(err(&o).ends_with("8 mistakes found\n"));
    let o = run(f.path(), &["check", "--json", "s.rhai"]);
    let answer: Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!(answer["findings"].as_array().unwrap().len(), 8);
    assert_eq!(answer["findings"][2]["help"][0], "did you mean `param`?");
}

#[test]
fn check_accepts_a_correct_folder_and_finds_syntax_errors() {
    let f = with_script(
        "import \"std/grid\" as g;\nlet f = |x| g::doubling(x, 8);\nprint(f.call(2).map(|v| v * 2));",
    );
    let o = run(f.path(), &["check", "."]);
    assert_eq!((status(&o), err(&o).as_str()), (0, ""));
    std::fs::write(f.path().join("t.rhai"), "let x = 1\nlet y = 2;").unwrap();
    std::fs::write(
        f.path().join("u.rhai"),
        "import \"t\" as t; import \"std/gird\" as g;",
    )
    .unwrap();
    let o = run(f.path(), &["check", "."]);
    assert_eq!(status(&o), 1);
    assert!(err(&o).contains("--> ./t.rhai:1:10"), "{}", err(&o));
    assert!(err(&o).contains("did you mean `std/grid`?"), "{}", err(&o));
    assert!(err(&o).ends_with("2 mistakes found\n"), "{}", err(&o));
}

#[test]
fn doc_prints_the_reference() {
    let f = tempfile::tempdir().unwrap();
    let o = run(f.path(), &["doc", "param"]);
    assert_eq!(status(&o), 0);
    assert!(
        out(&o).starts_with("param(name: string, default: any) -> any\n"),
        "{}",
        out(&o)
    );
    assert!(out(&o).contains("Example:"));
    let o = run(f.path(), &["doc", "--search", "doubling"]);
    assert!(out(&o).contains("grid::doubling"), "{}", out(&o));
    let o = run(f.path(), &["doc", "parma"]);
    assert_eq!((status(&o), out(&o).as_str()), (1, ""));
    assert!(err(&o).contains("did you mean `param`?"));
    let o = run(f.path(), &["doc", "--json", "param"]);
    let answer: Value = serde_json::from_str(&out(&o)).unwrap();
    assert_eq!(answer["functions"][0]["name"], "param");
}

#[test]
fn doc_lists_types_and_modules() {
    let f = tempfile::tempdir().unwrap();
    let o = run(f.path(), &["doc", "Table"]);
    assert!(
        out(&o).contains("csv") && out(&o).contains("columns"),
        "{}",
        out(&o)
    );
    assert!(!out(&o).contains("param"));
    let o = run(f.path(), &["doc", "grid"]);
    assert!(out(&o).starts_with("grid::doubling"), "{}", out(&o));
    let o = run(f.path(), &["doc", "Table.save"]);
    assert!(
        out(&o).starts_with("Table.save(name: string)\n"),
        "{}",
        out(&o)
    );
}

#[test]
fn cells_from_a_pipe_print_their_values() {
    let f = tempfile::tempdir().unwrap();
    let mut child = program(f.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"let x = 3\nfn f(a) { a * 2 }\nf(x)\ntable([\"n\"], [[1]])\n")
        .unwrap();
    drop(input);
    let o = child.wait_with_output().unwrap();
    assert_eq!((status(&o), out(&o).as_str()), (0, "6\nn\n─\n1\n"));
}

#[test]
fn replacing_a_host_function_is_warned_of() {
    let f = with_script("fn linspace(a, b, c) { 1 } print(linspace(1, 2, 3));");
    let o = run(f.path(), &["run", "s.rhai"]);
    assert_eq!((status(&o), out(&o).as_str()), (0, "1\n"));
    assert!(
        err(&o).starts_with("warning: the script's function `linspace` replaces"),
        "{}",
        err(&o)
    );
}

#[test]
fn help_and_version_are_on_stdout() {
    let f = tempfile::tempdir().unwrap();
    let o = run(f.path(), &["--version"]);
    assert_eq!(
        (status(&o), out(&o)),
        (0, format!("widthwise {}\n", env!("CARGO_PKG_VERSION")))
    );
    let o = run(f.path(), &["--help"]);
    assert_eq!(status(&o), 0);
    for word in ["run", "repl", "check", "doc"] {
        assert!(out(&o).contains(&format!("  {word}")), "{}", out(&o));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_an_endless_loop_with_status_130() {
    let f = with_script("print(\"started\"); loop { }");
    let mut child = program(f.path())
        .args(["run", "s.rhai"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let o = child.wait_with_output().unwrap();
    assert_eq!(status(&o), 130);
    assert!(
        err(&o).starts_with("error: interrupted\n --> s.rhai:1:"),
        "{}",
        err(&o)
    );
}
