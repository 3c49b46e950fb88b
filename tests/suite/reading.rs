//! Files that scripts read: what was written comes back, and what cannot be read is said.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, text: &str, args: &[&str]) -> Output {
    std::fs::write(folder.join("s.rhai"), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_widthwise"))
        .current_dir(folder)
        .args(["run", "s.rhai", "--force"])
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn what_a_run_wrote_is_read_by_the_next_one() {
    let f = tempfile::tempdir().unwrap();
    let write = r#"
        tensor([[1.5, -2.0], [3.0, 4.0]]).save("x.npy");
        table(["width", "loss", "rule"], [[64, 0.5, "mup"], [128, (), "sp"]]).save("t.csv");
        write_json("v.json", #{ a: [1, 2.5, "three", true, ()], b: #{ c: 1.0 / 3.0 } });
        write_text("n.txt", "größer");
        let own = probe("own", [0, 2], |model, step| #{ step: step });
        let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ name: "one", batch: 8, probes: [own] });
        t.step(2);
    "#;
    let output = run(f.path(), write, &["--out", "first"]);
    assert!(output.status.success(), "{output:?}");
    let read = r#"
        let x = read_tensor("first/x.npy");
        print(x.to_array());
        let t = read_csv("first/t.csv");
        print(t.rows);
        print(read_json("first/v.json"));
        print(read_text("first/n.txt"));
        let s = data::from_tensors(x, tensor([0, 1]).to_dtype("u32"), #{ test_size: 1 });
        print(s.classes);
        let r = read_record("first/one.jsonl");
        print([r.names, r.probe("own").values, r.settings.training.batch, r.series("lr_factor").steps, r.divergences]);
    "#;
    let output = run(f.path(), read, &[]);
    let found = String::from_utf8_lossy(&output.stdout).to_string();
    let expected = "[[1.5, -2.0], [3.0, 4.0]]\n\
        [#{\"loss\": 0.5, \"rule\": \"mup\", \"width\": 64}, #{\"loss\": (), \"rule\": \"sp\", \"width\": 128}]\n\
        #{\"a\": [1, 2.5, \"three\", true, ()], \"b\": #{\"c\": 0.3333333333333333}}\ngrößer\n2\n\
        [[\"lr_factor\", \"train_loss\"], [#{\"step\": 0}, #{\"step\": 2}], 8, [0, 1], []]\n";
    assert_eq!(found, expected, "{output:?}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let f = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("x.txt");
    std::fs::write(&outside, "x").unwrap();
    let outside = outside.to_str().unwrap();
    std::fs::write(f.path().join("bad.json"), "{ \"a\": 1,\n  }").unwrap();
    std::fs::write(f.path().join("bad.csv"), "a,b\n1,2\n3\n").unwrap();
    std::fs::write(f.path().join("bytes.txt"), [b'a', 0xff]).unwrap();
    for (call, message) in [
        (
            "read_text(\"none.txt\")",
            "there is no file or folder none.txt",
        ),
        (
            &format!("read_text(\"{outside}\")"),
            "the script may not read",
        ),
        ("read_text(\".\")", "error: "),
        (
            "read_text(\"bytes.txt\")",
            "expected a text in UTF-8, found another byte at 1",
        ),
        (
            "read_json(\"bad.json\")",
            "expected JSON, found trailing comma at line 2",
        ),
        (
            "read_csv(\"bad.csv\")",
            "bad.csv: CSV error: record 2 (line: 3",
        ),
        (
            "read_record(\"bad.csv\")",
            "expected a record of widthwise in line 1, found",
        ),
        ("read_tensor(\"bad.csv\")", "no array of numpy"),
        (
            "read_tensor(\"bad.npz\", \"x\")",
            "there is no file or folder bad.npz",
        ),
        (
            "read_tensor(\"bad.csv\", \"x\")",
            "expected an archive .npz",
        ),
    ] {
        let output = run(f.path(), &format!("let x = 1;\n{call};"), &[]);
        let told = String::from_utf8_lossy(&output.stderr).to_string();
        assert_eq!(output.status.code(), Some(1), "{call}");
        assert!(
            told.contains(message) && told.contains("s.rhai:2"),
            "{call}: {told}"
        );
    }
    let allowed = run(
        f.path(),
        &format!("print(read_text(\"{outside}\"));"),
        &["--data", outside],
    );
    assert_eq!(allowed.stdout, b"x\n", "{allowed:?}");
}

/// Written by `tests/reference/arrays.py`.
#[test]
fn archives_of_numpy_are_read_by_name() {
    let f = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/fixtures/arrays.npz");
    std::fs::copy(fixture, f.path().join("arrays.npz")).unwrap();
    let output = run(
        f.path(),
        "print(read_tensor(\"arrays.npz\", \"images\").to_array());
        print(read_tensor(\"arrays.npz\", \"turned\").to_array());
        print(read_tensor(\"arrays.npz\", \"half\").to_array());
        read_tensor(\"arrays.npz\")",
        &[],
    );
    let found = String::from_utf8_lossy(&output.stdout).to_string();
    assert_eq!(
        found,
        "[[0, 1, 2], [3, 4, 5]]\n[[0, 3], [1, 4], [2, 5]]\n[0.5, -1.5]\n"
    );
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    let message = "expected one array, found images, turned, half";
    assert!(
        told.contains(message) && told.contains("name the one"),
        "{told}"
    );
}
