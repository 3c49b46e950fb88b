//! The repository's scripts, run through the binary in small settings.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

fn run(script: &str, arguments: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", script, "--out"])
        .arg(out)
        .args(arguments)
        .output()
        .unwrap()
}

fn done(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder that does not exist yet, in one that goes away with the guard.
fn fresh() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    (folder, out)
}

#[test]
fn a_small_study_prints_what_it_did_before() {
    let (_guard, out) = fresh();
    let printed = done(&run("tests/scripts/study.rhai", &[], &out));
    let expected = include_str!("../scripts/study.out");
    assert_eq!(printed.trim(), expected.trim(), "found:\n{printed}");
    let table = std::fs::read_to_string(out.join("small-table.csv")).unwrap();
    assert_eq!(
        table.lines().count(),
        5,
        "a heading and a row for each rule and width"
    );
    for name in ["mup-8", "mup-16", "sp-8", "sp-16"] {
        let record = std::fs::read_to_string(out.join(format!("{name}.jsonl"))).unwrap();
        let lines: Vec<serde_json::Value> = record
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines[0]["type"], "run");
        assert_eq!(lines.iter().filter(|l| l["type"] == "train").count(), 30);
        assert_eq!(lines.last().unwrap()["status"], "done");
    }
    assert!(out.join("run.json").is_file() && out.join("script.rhai").is_file());
    let svg = std::fs::read_to_string(out.join("loss.svg")).unwrap();
    assert!(svg.contains("test loss") && svg.contains("mup"));
}

#[test]
fn one_and_two_threads_write_the_same_record() {
    let records: Vec<String> = ["1", "2"]
        .iter()
        .map(|threads| {
            let (_guard, out) = fresh();
            let status = Command::new(env!("CARGO_BIN_EXE_widthwise"))
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .env("RAYON_NUM_THREADS", threads)
                .args(["run", "tests/scripts/study.rhai", "--out"])
                .arg(&out)
                .output()
                .unwrap();
            done(&status);
            let text = std::fs::read_to_string(out.join("small.csv")).unwrap();
            assert!(text.lines().count() > 100);
            text
        })
        .collect();
    assert_eq!(records[0], records[1]);
}

#[test]
fn the_quickstart_writes_its_table_figures_and_data() {
    let (_guard, out) = fresh();
    let small = [
        "--set",
        "widths=8,16",
        "--set",
        "steps=6",
        "--set",
        "members=2",
    ];
    let printed = done(&run("scripts/quickstart.rhai", &small, &out));
    assert!(
        printed.contains("parametrization") && printed.contains("mup: loss curves"),
        "{printed}"
    );
    for file in [
        "loss.svg",
        "loss.png",
        "agreement.svg",
        "agreement.png",
        "study.csv",
        "study.json",
    ] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn the_coordinate_check_prints_its_verdicts_and_writes_its_figures() {
    let (_guard, out) = fresh();
    let small = ["widths=16,32", "members=2", "steps=2"].map(|s| ["--set", s]);
    let printed = done(&run("scripts/coord_check.rhai", small.as_flattened(), &out));
    for words in [
        "parametrization",
        "relative update",
        "mup: ",
        "readout only: ",
    ] {
        assert!(
            printed.contains(words),
            "`{words}` is missing in\n{printed}"
        );
    }
    for file in [
        "change.png",
        "size.svg",
        "updates.svg",
        "parts.svg",
        "coordinates.csv",
        "coordinates-weights.csv",
    ] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn the_learning_rate_transfer_prints_its_verdicts_and_writes_its_figure() {
    let (_guard, out) = fresh();
    let small = [
        "widths=16,32",
        "members=2",
        "steps=10",
        "from=0.005",
        "to=0.1",
        "optimizer=sgd",
    ]
    .map(|s| ["--set", s]);
    let printed = done(&run("scripts/lr_transfer.rhai", small.as_flattened(), &out));
    for words in ["best lr", "sp: ", "octaves per doubling of width"] {
        assert!(
            printed.contains(words),
            "`{words}` is missing in\n{printed}"
        );
    }
    for file in ["transfer.png", "transfer.csv", "transfer-table.csv"] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn the_transfer_of_a_gpt_reads_a_text_and_says_where_one_is_missing() {
    let (guard, out) = fresh();
    let none = run("scripts/gpt_transfer.rhai", &[], &out);
    assert_eq!(none.status.code(), Some(1));
    let message = String::from_utf8_lossy(&none.stderr).to_string();
    assert!(message.contains("--set text=FILE"), "{message}");
    let text = guard.path().join("some.txt");
    std::fs::write(&text, "The wider, the better? ".repeat(30)).unwrap();
    let text = format!("text={}", text.display());
    let small = [
        text.as_str(),
        "widths=32,64",
        "steps=3",
        "context=8",
        "batch=4",
        "from=0.005",
        "to=0.02",
        "test_points=4",
    ]
    .map(|s| ["--set", s]);
    let printed = done(&run(
        "scripts/gpt_transfer.rhai",
        small.as_flattened(),
        &out,
    ));
    for words in ["best lr", "sp: from width 32 to 64 the best lr moves by"] {
        assert!(
            printed.contains(words),
            "`{words}` is missing in\n{printed}"
        );
    }
    for file in ["transfer.png", "transfer.csv", "transfer-table.csv"] {
        assert!(out.join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn the_tour_runs() {
    let (_guard, out) = fresh();
    let printed = done(&run("scripts/tour.rhai", &[], &out));
    for words in [
        "3.1.weight",
        "endless, 3×32×32",
        "predict the same class",
        "mup: pass",
        "mlp has no setting `widht`",
    ] {
        assert!(
            printed.contains(words),
            "`{words}` is missing in\n{printed}"
        );
    }
}

/// The four idx files with a few random-looking images, gzipped.
fn fashion_mnist(folder: &Path) {
    let write = |name: &str, head: &[u32], bytes: Vec<u8>| {
        let file = std::fs::File::create(folder.join(format!("{name}.gz"))).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        for word in head {
            gz.write_all(&word.to_be_bytes()).unwrap();
        }
        gz.write_all(&bytes).unwrap();
        gz.finish().unwrap();
    };
    for (part, count) in [("train", 64u32), ("t10k", 32)] {
        let pixels = (0..count * 784).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
        write(
            &format!("{part}-images-idx3-ubyte"),
            &[0x803, count, 28, 28],
            pixels.collect(),
        );
        let labels = (0..count).map(|i| (i % 10) as u8).collect();
        write(
            &format!("{part}-labels-idx1-ubyte"),
            &[0x801, count],
            labels,
        );
    }
}

#[test]
fn the_fashion_script_reads_a_folder_and_says_what_is_missing() {
    let (guard, out) = fresh();
    let data = guard.path().join("fashion");
    std::fs::create_dir(&data).unwrap();
    let set = format!("data={}", data.display());
    let empty = run("scripts/fashion_widths.rhai", &["--set", &set], &out);
    assert_eq!(empty.status.code(), Some(1));
    let message = String::from_utf8_lossy(&empty.stderr).to_string();
    assert!(message.contains("train-images-idx3-ubyte"), "{message}");
    fashion_mnist(&data);
    let small = [
        "--set",
        &set,
        "--set",
        "widths=8,16",
        "--set",
        "members=2",
        "--set",
        "steps=3",
        "--set",
        "batch=16",
        "--force",
    ];
    let printed = done(&run("scripts/fashion_widths.rhai", &small, &out));
    assert!(printed.contains("sp"), "{printed}");
    let truncated = data.join("train-labels-idx1-ubyte.gz");
    let bytes = std::fs::read(&truncated).unwrap();
    std::fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let broken = run("scripts/fashion_widths.rhai", &small, &out);
    assert_eq!(broken.status.code(), Some(1));
    let message = String::from_utf8_lossy(&broken.stderr).to_string();
    assert!(message.contains("train-labels-idx1-ubyte.gz"), "{message}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_at_a_step_and_leaves_a_readable_record() {
    let (guard, out) = fresh();
    let script = guard.path().join("long.rhai");
    let text = "let m = init(mlp(#{ width: 8 }), mup(), #{ members: 2 });\n\
        trainer(m, sgd(), data::teacher(), #{ name: \"long\", batch: 8 }).step(100000000);\n";
    std::fs::write(&script, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .args(["run", script.to_str().unwrap(), "--out"])
        .arg(&out)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let record = out.join("long.jsonl");
    let lines = || std::fs::read_to_string(&record).map_or(0, |text| text.lines().count());
    let start = std::time::Instant::now();
    while lines() < 20 && start.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let text = std::fs::read_to_string(&record).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "interrupted");
    assert_eq!(
        last["steps"].as_u64().unwrap() as usize,
        text.lines().count() - 2
    );
}

/// A run killed in the middle of its second trainer and resumed writes what an unbroken one does.
#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let (guard, whole) = fresh();
    let broken = guard.path().join("broken");
    let script = guard.path().join("two.rhai");
    let text = r#"
        for width in [8, 16] {
            let m = init(mlp(#{ width: width }), mup(#{ base_width: 8 }), #{ members: 2 });
            let t = trainer(m, adam(#{ lr: 0.01 }), data::teacher(#{ inputs: 8 }), #{
                name: `run-${width}`, batch: 16, test: every(100), test_points: 50, keep_predictions: true,
                schedule: schedule::cosine(#{ steps: 3000 }),
            });
            t.step(3000);
            t.step(10);
            print(t.record.last("train_loss"));
            print(m.param("layers.1.weight").sum());
            print(t.record.predictions(1000).sum());
        }
    "#;
    std::fs::write(&script, text).unwrap();
    let script = script.to_str().unwrap();
    let every = ["--checkpoint-every", "0.02"];
    let expected = done(&run(script, &every, &whole));
    let mut child = Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .args(["run", script, "--out"])
        .arg(&broken)
        .args(every)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !broken.join("checkpoints/run-16.safetensors").is_file() && start.elapsed().as_secs() < 60
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(broken.join("checkpoints/run-8.safetensors").is_file());
    let refused = run(script, &every, &broken);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--resume"));
    let resumed = run(script, &["--resume", "--checkpoint-every", "0.02"], &broken);
    assert_eq!(done(&resumed), expected);
    let told = String::from_utf8_lossy(&resumed.stderr).to_string();
    for words in ["run-8: resumed at step 3000", "run-16: resumed at step "] {
        assert!(told.contains(words), "{told}");
    }
    let lines = |folder: &Path, name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        text.lines()
            .filter(|l| !l.contains("\"type\":\"end\""))
            .map(String::from)
            .collect()
    };
    for name in ["run-8.jsonl", "run-16.jsonl"] {
        assert_eq!(lines(&broken, name), lines(&whole, name), "{name}");
        assert!(lines(&whole, name).len() > 3000);
    }
    assert!(
        !broken.join("checkpoints").exists(),
        "a finished script leaves no checkpoints"
    );
}

/// The script's own probe and schedule: what the probe gave before the run was killed is there again.
#[test]
fn a_run_with_probes_of_its_own_resumes() {
    let (guard, whole) = fresh();
    let script = guard.path().join("own.rhai");
    let text = r#"
        let s = data::teacher(#{ inputs: 4 });
        let (batch, seen) = (s.batch(8), []);
        let own = probe("own", every(2), |model, step| { step + model.predict(batch).shape[1] });
        let counting = probe("counting", every(2), |model, step| { seen.push(step); seen.len() });
        let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), s, #{
            batch: 8, name: "own", schedule: |step| 1.0 / (1.0 + step.to_float()),
            probes: if param("counts", false) { [counting] } else { [own] },
        });
        t.step(20);
        if param("later", false) { t.step(20); }
        print(t.record.probe(if param("counts", false) { "counting" } else { "own" }));
        print(t.record.series("lr_factor"));
        print(t.record.last("train_loss"));
        if param("stop", false) { fail("stopped") }
    "#;
    let text = text.replace(
        "let (batch, seen) = (s.batch(8), []);",
        "let batch = s.batch(8); let seen = [];",
    );
    std::fs::write(&script, text).unwrap();
    let script = script.to_str().unwrap();
    let expected = done(&run(script, &[], &whole));
    assert!(
        expected.contains("[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]"),
        "{expected}"
    );
    let now = ["--checkpoint-every", "0"];
    let stop = ["--set", "stop=true"];
    let broken = guard.path().join("broken");
    let stopped = run(script, &[now, stop].concat(), &broken);
    let told = String::from_utf8_lossy(&stopped.stderr).to_string();
    assert!(
        stopped.status.code() == Some(1) && !told.contains("no checkpoint"),
        "{told}"
    );
    let resumed = run(script, &["--resume"], &broken);
    assert_eq!(done(&resumed), expected);
    assert!(String::from_utf8_lossy(&resumed.stderr).contains("own: resumed at step 20"));

    // what cannot be brought back is said, and done again
    let counts = ["--set", "counts=true"];
    let (_guard, other) = fresh();
    let stopped = run(script, &[now, stop, counts].concat(), &other);
    let told = String::from_utf8_lossy(&stopped.stderr).to_string();
    let why = "no checkpoint at step 1: the probe `counting` changes a variable of the script";
    assert_eq!(told.matches(why).count(), 1, "{told}");
    let whole = done(&run(script, &[&counts[..], &["--force"]].concat(), &whole));
    let resumed = run(script, &[&["--resume"], &counts[..]].concat(), &other);
    assert_eq!(done(&resumed), whole);
    assert!(!String::from_utf8_lossy(&resumed.stderr).contains("resumed"));
    let (_guard, later) = fresh();
    let output = run(script, &[now, ["--set", "later=true"]].concat(), &later);
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(
        told.contains("no checkpoint at step 21: only a trainer's first call"),
        "{told}"
    );
}

#[test]
fn a_checkpoint_that_is_damaged_or_of_other_settings_is_an_error_and_stays() {
    let (guard, out) = fresh();
    let script = guard.path().join("one.rhai");
    let text = "let m = init(mlp(#{ width: 8 }), mup()); \
        let t = trainer(m, sgd(#{ lr: param(\"lr\", 0.1) }), data::teacher(), #{ name: \"one\" }); \
        t.step(param(\"steps\", 20)); if param(\"stop\", false) { fail(\"stopped\") }";
    std::fs::write(&script, text).unwrap();
    let script = script.to_str().unwrap();
    let every = ["--checkpoint-every", "0"];
    let stopped = run(script, &[every[0], every[1], "--set", "stop=true"], &out);
    assert_eq!(stopped.status.code(), Some(1));
    let checkpoint = out.join("checkpoints/one.safetensors");
    assert!(
        checkpoint.is_file(),
        "a failed script keeps its checkpoints"
    );
    let record = std::fs::read(out.join("one.jsonl")).unwrap();
    let refused = |more: &[&str], words: &[&str]| {
        let output = run(script, &[&["--resume"], more].concat(), &out);
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8_lossy(&output.stderr).to_string();
        for word in words {
            assert!(message.contains(word), "{message}");
        }
        assert!(checkpoint.is_file());
    };
    let was = "one.safetensors is of another run: optimizer.settings.lr was 0.1, and is 0.2";
    refused(&["--set", "lr=0.2"], &[was, "--force"]);
    refused(
        &["--set", "steps=10"],
        &["is at step 20, and the run has 10 steps"],
    );
    assert_eq!(std::fs::read(out.join("one.jsonl")).unwrap(), record);
    std::fs::write(out.join("one.jsonl"), &record[..100]).unwrap();
    refused(
        &[],
        &["one.jsonl holds 100 bytes", "put the run's record back"],
    );
    std::fs::write(out.join("one.jsonl"), &record).unwrap();
    let mut spoilt = std::fs::read(&checkpoint).unwrap();
    let last = spoilt.len() - 1;
    spoilt[last] ^= 1;
    let whole = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &spoilt).unwrap();
    refused(&[], &["one.safetensors", "not a checkpoint"]);
    std::fs::write(&checkpoint, &whole).unwrap();
    std::fs::write(&checkpoint, b"torn").unwrap();
    let broken = run(script, &["--resume"], &out);
    assert_eq!(broken.status.code(), Some(1));
    let message = String::from_utf8_lossy(&broken.stderr).to_string();
    for words in ["one.safetensors", "not a checkpoint", "delete it"] {
        assert!(message.contains(words), "{message}");
    }
}
