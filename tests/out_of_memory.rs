//! The program with little memory: an error with the script's line where it was estimated or asked for
//! first, one line and status 1 otherwise, and records that stay whole.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Addresses that the program may use, in kB. It starts with 1.4 GB, most of them a stack that is
/// used in deep recursion only.
const LIMIT: u64 = 2_200_000;

/// Runs a script with few addresses on two threads: status and messages.
fn run(folder: &Path, script: &str) -> (Option<i32>, String, String) {
    std::fs::write(folder.join("s.rhai"), script).unwrap();
    let program = env!("CARGO_BIN_EXE_widthwise");
    let command =
        format!("ulimit -c 0; ulimit -v {LIMIT}; exec {program} run s.rhai --threads 2 --force");
    let output: Output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    for never in ["panicked", "memory allocation of", "RUST_BACKTRACE"] {
        assert!(!err.contains(never), "{err}");
    }
    (output.status.code(), out, err)
}

/// The message of a script that fails for want of memory in line 2.
fn refused(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (status, out, err) = run(folder.path(), script);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{script}\n{err}");
    assert!(
        err.starts_with("error: not enough memory: "),
        "{script}\n{err}"
    );
    assert!(err.contains(" --> s.rhai:2:"), "{script}\n{err}");
    assert_eq!(err.matches("error:").count(), 1, "{err}");
    err
}

#[test]
fn what_does_not_fit_is_an_error_in_the_scripts_line() {
    for (script, words) in [
        // parameters
        (
            "let rule = sp();\ninit(mlp(#{ width: 4096 }), rule, #{ members: 40 });",
            &[
                "the model needs",
                "layers.1.weight [40, 4096, 4096]",
                " of 40 members would fit",
            ] as &[&str],
        ),
        // buffers of the passes
        (
            "let m = init(mlp(#{ width: 1024 }), sp());\n\
             trainer(m, sgd(#{ lr: 0.1 }), data::synthetic_images(), #{ batch: 200000 });",
            &["training needs", "a batch of ", " would fit"],
        ),
        // gradients and optimizer states
        (
            "let m = init(mlp(#{ width: 2000 }), sp(), #{ members: 8 });\n\
             trainer(m, adam(#{ lr: 0.1 }), data::synthetic_images(), #{ batch: 8 });",
            &[
                "training needs",
                "layers.1.weight (gradient)",
                " of 8 members",
            ],
        ),
        // tangents
        (
            "let m = init(mlp(#{ width: 2048, inputs: 32, outputs: 1 }), sp()); let b = data::teacher().batch(40000);\n\
             metrics::sharpness(m, b);",
            &["a Hessian needs", "a batch of "],
        ),
        // vectors of eigenvalues
        (
            "let m = init(mlp(#{ width: 512, depth: 3, inputs: 32, outputs: 1 }), sp()); let b = data::teacher().batch(8);\n\
             metrics::hessian_eigenvalues(m, b, #{ products: 2000 });",
            &[
                "eigenvalues by Lanczos' iteration needs",
                "of 2000 products would fit",
            ],
        ),
        // kernels
        (
            "let m = init(mlp(#{ width: 64, inputs: 32 }), sp()); let x = randn([20000, 32]);\n\
             metrics::ntk(m, x);",
            &["a kernel needs", "points would fit"],
        ),
        // outputs that probes keep
        (
            "let m = init(mlp(#{ width: 8 }), sp(), #{ members: 50 }); let s = data::synthetic_images(); let t = trainer(m, sgd(#{ lr: 0.1 }), s, #{ test: every(1), keep_predictions: true, record: false });\n\
             t.step(1000);",
            &[
                "keeping the test set's outputs at 1001 steps needs 4.0 GB for [1001, 50, 2000, 10]",
                " of 2000 test points would fit",
            ],
        ),
        // script tensors
        (
            "\nzeros([30000, 30000]);",
            &["zeros needs 3.6 GB", "are available"],
        ),
        ("\nones([30000, 30000]);", &["ones needs 3.6 GB"]),
        ("\nrandn([30000, 30000], 1);", &["randn needs 3.6 GB"]),
        (
            "let t = zeros([20000, 1]);\nt + t.reshape([1, 20000]);",
            &["`+` needs 1.6 GB"],
        ),
        (
            "let t = zeros([20000, 1]);\nt.matmul(t.reshape([1, 20000]));",
            &["matmul needs 1.6 GB"],
        ),
        (
            "let t = zeros([9000, 9000]);\nt.to_dtype(\"f64\").exp();",
            &["to_dtype needs"],
        ),
        (
            "let t = zeros([9000, 9000]);\nt.softmax(1);",
            &["softmax needs 972 MB"],
        ),
        (
            "let t = zeros([9000, 9000]);\nconcat([t, t, t], 0);",
            &["concat needs 972 MB"],
        ),
        (
            "let t = zeros([9000, 9000]);\nt.std(0);",
            &["std needs 1.9 GB"],
        ),
        (
            "let t = zeros([9000, 9000]);\nt.to_array();",
            &["to_array needs"],
        ),
        (
            "let t = zeros([9000, 9000]);\nt.sum();",
            &["a copy of a tensor as f64"],
        ),
        // data
        (
            "let t = data::teacher(#{ inputs: 60000 });\nt.batch(10000);",
            &["inputs of 10000 examples", "a smaller batch"],
        ),
        (
            "\ndata::teacher(#{ inputs: 60000, width: 60000 });",
            &["weights of layer 0 of the teacher"],
        ),
        (
            "let m = init(mlp(#{ width: 16, inputs: 8, outputs: 20000 }), sp()); let x = randn([16000, 8]);\n\
             m.predict(x);",
            &["outputs needs 1.3 GB"],
        ),
    ] {
        let message = refused(script);
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}

#[test]
fn a_large_kernel_says_first_and_once_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let script = "let m = init(mlp(#{ width: 8, depth: 1, inputs: 4, outputs: 1 }), sp()); let x = randn([4000, 4]);\n\
                  for i in 0..2 { metrics::ntk(m, x[0..10]); metrics::ntk(m, x); }";
    let (status, _, err) = run(folder.path(), script);
    assert_eq!(status, Some(0), "{err}");
    let line = "metrics::ntk: a kernel on 4000 points needs ";
    assert_eq!(err.matches(line).count(), 1, "{err}");
    assert!(!err.contains("on 10 points"), "{err}");
}

#[test]
fn a_script_can_catch_it_and_go_on() {
    let script = "
        let kind = \"\";
        for members in [1000, 100, 1] {
            try {
                init(mlp(#{ width: 2048 }), sp(), #{ members: members });
                print(`${members} after ${kind}`);
            } catch (e) { kind = e.kind; }
        }
        try { zeros([100000, 100000]); } catch (e) { print(e.kind); }";
    let folder = tempfile::tempdir().unwrap();
    let (status, out, err) = run(folder.path(), script);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out, "1 after memory\nmemory\n");
}

/// The number before `words` in a message.
fn number_before(message: &str, words: &str) -> u64 {
    let before = message.split(words).next().unwrap();
    let number = before.split_whitespace().last().unwrap().parse();
    number.unwrap_or_else(|_| panic!("no number before {words}: {message}"))
}

#[test]
fn the_advice_fits() {
    let members = |n: u64| {
        format!(
            "let rule = sp();\ninit(mlp(#{{ width: 2048, inputs: 3072 }}), rule, #{{ members: {n} }});"
        )
    };
    let training = |members: u64, batch: u64| {
        format!(
            "let m = init(mlp(#{{ width: 1024, inputs: 3072, outputs: 10 }}), sp(), #{{ members: {members} }});\n\
             trainer(m, adam(#{{ lr: 0.1 }}), data::synthetic_images(), #{{ batch: {batch} }}).step();"
        )
    };
    let sharpness = |points: u64| {
        format!(
            "let m = init(mlp(#{{ width: 128, inputs: 32, outputs: 1 }}), sp()); let b = data::teacher().batch(300000);\n\
             metrics::sharpness(m, b.narrow(0, {points}), #{{ products: 1, tolerance: 0 }});"
        )
    };
    let kernel = |points: u64| {
        format!(
            "let m = init(mlp(#{{ width: 16, inputs: 32, outputs: 1 }}), sp()); let x = randn([20000, 32]);\n\
             metrics::ntk(m, x[0..{points}]);"
        )
    };
    let fits = |script: String| {
        let folder = tempfile::tempdir().unwrap();
        let (status, _, err) = run(folder.path(), &script);
        assert_eq!(status, Some(0), "{script}\n{err}");
    };
    let fit = number_before(&refused(&members(40)), " of 40 members would fit");
    assert!((5..40).contains(&fit), "{fit}");
    fits(members(fit));

    let message = refused(&training(6, 4000));
    let (fewer, smaller) = (
        number_before(&message, " of 6 members, or"),
        number_before(&message, ", would fit"),
    );
    assert!(
        (1..6).contains(&fewer) && (10..4000).contains(&smaller),
        "{message}"
    );
    fits(training(fewer, 4000));
    fits(training(6, smaller));

    let fit = number_before(&refused(&sharpness(300000)), " would fit");
    fits(sharpness(fit));

    let fit = number_before(&refused(&kernel(20000)), " of 20000 points would fit");
    fits(kernel(fit));
}

/// Memory that Rhai asks for cannot be refused: the program ends with one line.
#[test]
fn what_nobody_can_refuse_ends_with_one_line_and_status_1() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
        let m = init(mlp(#{ width: 8 }), sp());
        let t = trainer(m, sgd(#{ lr: 0.01 }), data::teacher());
        t.step(50);
        print(\"trained\");
        fn fill() {
            let long = \"x\";
            for i in 0..25 { long += long; }
            fill() + long.len()
        }
        fill()";
    let (status, out, err) = run(folder.path(), script);
    assert_eq!((status, out.as_str()), (Some(1), "trained\n"), "{err}");
    let lines: Vec<&str> = err.lines().filter(|l| l.contains("error")).collect();
    assert_eq!(lines.len(), 1, "{err}");
    assert!(lines[0].starts_with("error: not enough memory: "), "{err}");
    let records: Vec<_> = find(folder.path(), "jsonl");
    assert_eq!(records.len(), 1, "{records:?}");
    whole(&records[0]);
}

#[test]
fn the_record_of_an_earlier_run_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let script = "let stream = data::teacher();
        for width in [8, 50000] {
            let m = init(mlp(#{ width: width }), sp());
            trainer(m, sgd(#{ lr: 0.01 }), stream).step(20);
        }";
    let (status, _, err) = run(folder.path(), script);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("not enough memory: the model needs"), "{err}");
    assert!(err.contains(" --> s.rhai:3:"), "{err}");
    let records = find(folder.path(), "jsonl");
    assert_eq!(records.len(), 1, "{records:?}");
    whole(&records[0]);
}

/// Every line is JSON, from the settings to the end of the run.
fn whole(record: &Path) {
    let text = std::fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "run");
    assert_eq!(lines[lines.len() - 1]["type"], "end");
    assert_eq!(lines[lines.len() - 1]["status"], "done");
    assert!(text.ends_with('\n'));
}

/// Files with this ending below a folder.
fn find(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found
}
