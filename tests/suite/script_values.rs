//! What becomes of a script's values: in files and records, in comparisons, in functions of numbers.

use serde_json::{Value, json};

use crate::script_bindings::{fails, host};

/// A trainer with one probe, stepped once.
const PROBED: &str = "let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), \
                      #{ name: \"r\", batch: 8, probes: [probe(\"p\", every(1), f)] }); t.step(1);";

#[test]
fn tensors_are_nested_numbers_in_files_and_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = host(folder.path());
    let script = format!(
        "let f = |m, step| #{{ row: tensor([1.0, 0.0 / 0.0]), all: [tensor([[1, 2]])], one: tensor(0.5) }}; {PROBED} \
         write_json(\"x.json\", #{{ a: tensor([[1.0], [2.0]]), b: [tensor(3)], c: table([\"w\"], [[1]]) }}); \
         write_csv(\"x.csv\", [#{{ a: tensor([1.0]), b: tensor(2.5) }}]); \
         t.record.probe(\"p\").values[0]"
    );
    let found = host.eval_cell(&script).unwrap_or_else(|e| panic!("{e}"));
    let map = found.as_map_ref().unwrap();
    let row = map["row"].as_array_ref().unwrap();
    assert_eq!(row[0].as_float(), Ok(1.0));
    // what was measured stays not a number, though the record's file has no word for it
    assert!(row[1].as_float().unwrap().is_nan());
    assert_eq!(map["one"].as_float(), Ok(0.5));

    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let expected = json!({ "a": [[1.0], [2.0]], "b": [3], "c": [{ "w": 1 }] });
    assert_eq!(json(&read("x.json")), expected);
    assert_eq!(read("x.csv"), "a,b\n[1.0],2.5\n");
    let record = read("r.jsonl");
    let line = record.lines().find(|l| l.contains("\"probe\"")).unwrap();
    let expected = json!({ "row": [1.0, null], "all": [[[1, 2]]], "one": 0.5 });
    assert_eq!(json(line)["value"], expected);
}

#[test]
fn what_is_no_data_is_refused_where_it_stands() {
    let of_probe = |f: &str| format!("let f = |m, step| {f}; {PROBED}");
    fails(&[
        (
            "write_json(\"x.json\", #{ a: [1, mlp()] })",
            &[
                "write_json: x.json: at .a[1]: a network is no data",
                "tensors",
            ],
        ),
        ("write_json(\"x.json\", |x| x)", &["a function is no data"]),
        (
            "write_csv(\"x.csv\", [#{ a: 1 }, #{ a: sgd() }])",
            &["row 1: column `a`: an optimizer is no data"],
        ),
        (
            "table([\"a\"], [[|x| x]])",
            &["column `a`: a function is no data"],
        ),
        (&of_probe("m"), &["probe \"p\": a model is no data"]),
        (
            &of_probe("#{ models: [m] }"),
            &["probe \"p\": at .models[0]: a model is no data"],
        ),
    ]);
}
