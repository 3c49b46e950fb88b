//! `widthwise bench` as users run it. Nothing here depends on how fast anything is.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `widthwise bench` with words in between spaces.
fn bench(folder: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(folder)
        .arg("bench")
        .args(words.split_whitespace())
        .output()
        .unwrap()
}

fn repository(words: &str) -> Output {
    bench(Path::new(env!("CARGO_MANIFEST_DIR")), words)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command that must succeed prints.
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    out(output)
}

/// The result lines that a command prints.
fn lines(output: &Output) -> Vec<Value> {
    let text = done(output);
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// A folder with benchmark scripts, and the program's answer to them.
fn with_scripts(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("scripts/bench");
    std::fs::create_dir_all(&home).unwrap();
    for (name, text) in scripts {
        std::fs::write(home.join(name), text).unwrap();
    }
    folder
}

const SUMS: (&str, &str) = (
    "sums.rhai",
    "// Adding up\n\
     for n in param(\"sizes\", [10, 20]) {\n\
         bench::run(`SUM-${n}`, || {\n\
             let x = ones([n, n]);\n\
             bench::measure(|| x.sum(), #{ unit: \"sums\", flops: 1.0 * n * n, bytes: 4.0 * n * n,\n\
                 settings: #{ size: n } })\n\
         });\n\
     }\n\
     print(\"printed\");\n",
);
const OTHER: (&str, &str) = (
    "other.rhai",
    "bench::run(\"OTHER\", || bench::measure(|| 1 + 1, #{ report: \"time\" }));\n\
     bench::run(\"SKIPPED\", || { return; });\n",
);

#[test]
fn cases_are_found_by_script_name_and_beginning() {
    let f = with_scripts(&[SUMS, OTHER]);
    let list = |words: &str| done(&bench(f.path(), &format!("--list {words}")));
    assert_eq!(
        list(""),
        "other: \n    OTHER, SKIPPED\nsums: Adding up\n    SUM-10, SUM-20\n"
    );
    assert_eq!(list("sums"), "sums: Adding up\n    SUM-10, SUM-20\n");
    assert_eq!(list("SUM"), list("sums"));
    assert_eq!(list("scripts/bench/sums.rhai"), list("sums"));
    assert_eq!(list("SUM-20"), "sums: Adding up\n    SUM-20\n");
    // a case of a script that is named, and one of another
    let named = "scripts/bench/sums.rhai SUM-20";
    assert_eq!(list(named), list("SUM-20"));
    assert_eq!(list(&format!("{named} OTHER")).lines().count(), 4);
    assert_eq!(list("SUM --set sizes=7"), "sums: Adding up\n    SUM-7\n");
    let answer: Value = serde_json::from_str(&list("--json OTHER")).unwrap();
    assert_eq!(
        answer["scripts"][0]["cases"],
        serde_json::json!(["OTHER", "SKIPPED"])
    );
}

#[test]
fn wrong_names_and_settings_give_the_nearest() {
    let f = with_scripts(&[SUMS, OTHER]);
    for (words, message, help) in [
        ("sms", "no script and no case `sms`", "did you mean `sums`?"),
        (
            "SUM-12",
            "no script and no case `SUM-12`",
            "did you mean `SUM-10`?",
        ),
        (
            "nothing-like-it",
            "the scripts are other, sums",
            "widthwise bench --list",
        ),
        (
            "SUM --set size=3",
            "the script has no setting `size`",
            "did you mean `sizes`?",
        ),
        ("no/such.rhai", "there is no script no/such.rhai", ""),
        ("--seconds 0", "a number of seconds above 0", ""),
        ("--threads 0", "0 is not in 1..=1024", ""),
        ("--from absent.jsonl", "absent.jsonl", ""),
        ("--page scripts/bench/sums.rhai", "<!-- results -->", ""),
    ] {
        let o = bench(f.path(), words);
        assert_eq!(o.status.code(), Some(2), "{words}: {}", err(&o));
        assert_eq!(out(&o), "", "{words}");
        let told = err(&o);
        assert!(
            told.contains(message) && told.contains(help),
            "{words}: {told}"
        );
    }
    let empty = tempfile::tempdir().unwrap();
    let o = bench(empty.path(), "");
    assert!(
        err(&o).contains("there is no folder scripts/bench here"),
        "{}",
        err(&o)
    );
    let f = with_scripts(&[("none.rhai", "1 + 1")]);
    assert!(err(&bench(f.path(), "")).contains("the scripts have no cases"));
}

#[test]
fn results_are_lines_of_json_that_other_tools_read() {
    let f = with_scripts(&[SUMS, OTHER]);
    let o = bench(f.path(), "--seconds 0.02 --json --threads 1");
    let lines = lines(&o);
    assert!(
        err(&o).contains("printed"),
        "what scripts print is no result"
    );
    let names: Vec<&str> = lines.iter().map(|l| l["group"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["OTHER", "SUM-10", "SUM-20"],
        "a case without result has no line"
    );
    let time = &lines[0];
    assert_eq!(
        (&time["metric"], &time["variant"]),
        (&"seconds".into(), &"script".into())
    );
    let sum = &lines[1];
    assert_eq!(
        (&sum["peer"], &sum["work"]),
        (&"widthwise".into(), &"SUM-10".into())
    );
    assert_eq!(
        (&sum["metric"], &sum["threads"]),
        (&"sums_per_s".into(), &1.into())
    );
    assert_eq!(sum["size"], 10);
    let number = |key: &str| {
        sum[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {sum}"))
    };
    assert!(number("lo") <= number("median") && number("median") <= number("hi"));
    assert!(number("n") >= 5.0);
    for key in [
        "gflops",
        "gb_per_s",
        "share_of_peak",
        "over_floor",
        "spread",
    ] {
        assert!(number(key) >= 0.0, "{key}");
    }
    let rate = number("median") * 100.0;
    assert!((number("gflops") * 1e9 / rate - 1.0).abs() < 0.01, "{sum}");
    if cfg!(target_os = "linux") {
        assert!(number("maxrss_mb") > 1.0 && number("foreign_cpu") >= 0.0);
    }
    assert!(!f.path().join("runs").exists(), "nothing is written");
}

#[test]
fn tables_compare_with_other_programs_and_go_into_a_page() {
    let f = with_scripts(&[SUMS]);
    let at = |name: &str| f.path().join(name);
    let ours = done(&bench(f.path(), "SUM --seconds 0.02 --json"));
    std::fs::write(at("ours.jsonl"), format!("{ours}{ours}")).unwrap();
    let first: Value = serde_json::from_str(ours.lines().next().unwrap()).unwrap();
    let theirs = |variant: &str, factor: f64| {
        let median = factor * first["median"].as_f64().unwrap();
        format!(
            "{{\"peer\": \"slow\", \"work\": \"x\", \"variant\": \"{variant}\", \"metric\": \"sums_per_s\", \
             \"median\": {median}, \"lo\": 1, \"hi\": 2, \"n\": 3, \"group\": \"SUM-10\", \"maxrss_mb\": 1e6}}\n"
        )
    };
    std::fs::write(at("theirs.jsonl"), theirs("a", 0.25) + &theirs("b", 0.5)).unwrap();
    let targets = "case,measure,peers,must,goal\nSUM-10,speed,,1,3\nSUM-10,memory,slow:a,1,2\n";
    std::fs::write(at("scripts/bench/targets.csv"), targets).unwrap();
    let page = "# Page\n<!-- results -->\nold\n<!-- /results -->\nend\n";
    std::fs::write(at("page.md"), page).unwrap();
    let o = bench(
        f.path(),
        "--from ours.jsonl --peers theirs.jsonl --page page.md",
    );
    let printed = done(&o);
    for words in ["slow b", "2.0", "must reached", "slow a", "goal reached"] {
        assert!(printed.contains(words), "{words}:\n{printed}");
    }
    let page = std::fs::read_to_string(at("page.md")).unwrap();
    assert!(
        page.starts_with("# Page\n<!-- results -->\n\nwidthwise "),
        "{page}"
    );
    assert!(
        page.ends_with("\n<!-- /results -->\nend\n") && !page.contains("old"),
        "{page}"
    );
    for words in [
        "### Ratios",
        "### sums",
        "### All programs",
        "| SUM-10 | slow b |",
        "| size |",
    ] {
        assert!(page.contains(words), "{words}:\n{page}");
    }
    // made again from the same results, it is the same
    done(&bench(
        f.path(),
        "--from ours.jsonl --peers theirs.jsonl --page page.md",
    ));
    assert_eq!(page, std::fs::read_to_string(at("page.md")).unwrap());
    assert_eq!(lines(&bench(f.path(), "--from ours.jsonl --json")).len(), 4);
    let ratios = lines(&bench(
        f.path(),
        "--from ours.jsonl --peers theirs.jsonl --json",
    ));
    let found: Vec<_> = ratios
        .iter()
        .map(|r| (&r["by"], r["ratio"].as_f64().unwrap() > 1.0, &r["verdict"]))
        .collect();
    let (speed, memory) = (Value::from("slow b"), Value::from("slow a"));
    let (must, goal) = (Value::from("must reached"), Value::from("goal reached"));
    assert_eq!(found, [(&speed, true, &must), (&memory, true, &goal)]);
}

#[test]
fn mistakes_in_scripts_are_shown_at_their_place() {
    for (text, message) in [
        ("bench::run(\"a\", || 1);", "must return a measurement"),
        (
            "bench::run(\"a\", || ()); bench::run(\"a\", || ());",
            "two cases are called `a`",
        ),
        ("bench::run(\"a\", || fail(\"broken\"));", "broken"),
        (
            "bench::run(\"a\", || bench::measure(|| fail(\"within\")));",
            "within",
        ),
        (
            "bench::run(\"a\", || bench::with_threads(0, || 1));",
            "from 1 to 1024, found 0",
        ),
        (
            "bench::run(\"a\", || bench::with_threads(1, || fail(\"inside\")));",
            "inside",
        ),
        (
            "bench::run(\"a\", || bench::startup(\"absent.rhai\"));",
            "absent.rhai",
        ),
        (
            "bench::run(\"a\", || bench::startup(\"a.rhai\"));",
            "the measured process failed",
        ),
        (
            "bench::run(\"a\", || {\n\
                 let t = trainer(init(mlp(#{ width: 4 }), sp()), sgd(#{ lr: 1e30 }), data::teacher(), #{ record: false });\n\
                 bench::training(t)\n\
             });",
            "member 0 diverged",
        ),
    ] {
        let f = with_scripts(&[("a.rhai", text)]);
        let o = bench(f.path(), "");
        assert_eq!(o.status.code(), Some(1), "{text}: {}", err(&o));
        let told = err(&o);
        assert!(
            told.contains(message) && told.contains("--> "),
            "{text}: {told}"
        );
    }
}

#[test]
fn the_repository_s_scripts_measure_what_they_say() {
    let o = repository(
        "W1 W2 SCALE THREADS-mlp --seconds 0.02 --json --set widths=8 --set members=3 --set steps=3 \
         --set seconds=0.02",
    );
    let found = lines(&o);
    let groups: Vec<&str> = found.iter().map(|l| l["group"].as_str().unwrap()).collect();
    assert_eq!(
        groups,
        [
            "W2-8",
            "W1-8",
            "SCALE-8-3",
            "THREADS-mlp-8-1",
            "THREADS-mlp-8-2"
        ]
    );
    assert_eq!(
        (&found[0]["metric"], &found[0]["members"]),
        (&"member_steps_per_s".into(), &3.into())
    );
    assert_eq!(
        (&found[1]["metric"], &found[1]["width"]),
        (&"steps_per_s".into(), &8.into())
    );
    assert_eq!(
        (&found[3]["threads"], &found[4]["threads"]),
        (&1.into(), &2.into())
    );
    assert_eq!(found[3]["bits"], found[4]["bits"]);
    assert!(
        found
            .iter()
            .all(|l| l["over_floor"].as_f64().unwrap() > 0.0)
    );
    let left_out = "scaling --json --set widths=100000 --set members=1,1000000";
    let o = repository(left_out);
    assert!(lines(&o).is_empty());
    assert_eq!(
        err(&o).matches("at least").count() + err(&o).matches("needs ").count(),
        2
    );
}

#[test]
fn a_process_is_measured_until_its_mark() {
    let found = lines(&repository("START --set width=8 --json"));
    assert_eq!(found[0]["metric"], "start_to_first_step_s");
    assert_eq!(found[0]["n"], 5);
    assert!(found[0]["median"].as_f64().unwrap() > 0.0);
}

#[test]
fn threads_can_be_chosen_for_scripts() {
    let f = with_scripts(&[("t.rhai", "print(bench::machine().threads);")]);
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_widthwise"));
        let o = command
            .current_dir(f.path())
            .arg("run")
            .args(words)
            .output()
            .unwrap();
        done(&o)
    };
    assert_eq!(run(&["scripts/bench/t.rhai", "--threads", "3"]), "3\n");
}
