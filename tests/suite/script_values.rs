//! What becomes of a script's values: in files and records, in comparisons, in functions of numbers.

use serde_json::{Value, json};

use crate::script_bindings::{fails, host, text, value};

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

#[test]
fn comparisons_without_an_answer_are_errors() {
    let numbers = &["compare numbers of it: `min(a)`"];
    let tensors = &["compare numbers of it: `t.min()`"];
    fails(&[
        ("[1.0] < 2.0", &["`<` cannot compare an array with a float"]),
        ("let a = [1.0]; let b = 2; a >= b", numbers),
        ("let a = [1.0]; [0.5].filter(|x| x > a)", numbers),
        ("[1.0] == 1.0", numbers),
        (
            "2 != [1.0]",
            &["`!=` cannot compare an integer with an array"],
        ),
        ("tensor([5.0]) > 1.0", tensors),
        ("tensor([5.0]) == 5", tensors),
        ("tensor([5.0]) < tensor([6.0])", &["a tensor with a tensor"]),
        ("tensor([5.0]) == [5.0]", &["make both arrays"]),
        ("() < 3", &["nothing with an integer", "value != ()"]),
        ("true > 0", &["a bool with an integer"]),
        ("\"3\" < 4", &["a string with an integer"]),
        ("#{} >= #{}", &["a map with a map"]),
        ("sgd() > 1", &["an optimizer with an integer"]),
    ]);
}

#[test]
fn comparisons_with_an_answer_have_the_right_one() {
    for script in [
        "1 < 2",
        "1 < 1.5",
        "2.5 > 2",
        "2 == 2.0",
        "!(2 != 2.0)",
        "2 <= 2.0",
        // as numpy has them: near is not equal, and infinity is above all
        "0.1 + 0.2 != 0.3",
        "1e-17 > 0",
        "1.0 / 0.0 > 1e300",
        "1 < 1.0 / 0.0",
        "1.0 / 0.0 == 1.0 / 0.0",
        "!(0.0 / 0.0 == 0.0 / 0.0)",
        "!(0.0 / 0.0 < 1.0)",
        "\"a\" < \"b\"",
        "\"a\" == 'a'",
        "() == ()",
        "[1] != ()",
        "tensor([1]) != ()",
        "\"auto\" != [1, 2]",
        "[1, 2] == [1.0, 2.0]",
        "#{ a: 1 } == #{ a: 1.0 }",
        "[1, 2].contains(2.0)",
        "2 in [1, 2]",
        "true != false",
        "let limit = 2; [1, 3].filter(|x| x < limit) == [1]",
        "let n = 0; while n < 10 { n += 1; } n == 10",
    ] {
        assert_eq!(value(script).as_bool(), Ok(true), "{script}");
    }
}

#[test]
fn functions_of_numbers_take_integers_and_arrays() {
    let all = "[sqrt(16), exp(0), ln(1), log(100), log(8, 2), log(8.0, 2), tanh(0), 64.sqrt(), \
               floor(3), round_to(-1251.0, -2), round_to(7.0, -400)]";
    assert_eq!(
        text(&format!("`${{{all}}}`")),
        "[4.0, 1.0, 0.0, 2.0, 3.0, 3.0, 0.0, 8.0, 3.0, -1300.0, 0.0]"
    );
    let all = "[sum([1, 2]), sum([1, 0.5]), [3, 1].max(), min([2.5, 3]), max(1, 2), \
               sum([9223372036854775807, 1]) > 9e18]";
    assert_eq!(text(&format!("`${{{all}}}`")), "[3, 1.5, 3, 2.5, 2, true]");
    fails(&[
        ("sum([])", &["sum: needs at least 1 value, found 0"]),
        ("max([])", &["max: needs at least 1 value"]),
        (
            "min([1.0, 0.0 / 0.0])",
            &["min: value 1 of 2 is NaN", "summary"],
        ),
        ("sum([1, \"a\"])", &["sum: values", "\"a\""]),
        ("median([])", &["median: needs at least 1 value"]),
    ]);
}

#[test]
fn integers_hold_only_numbers_of_their_range() {
    fails(&[
        (
            "tensor([300.7, -5.0]).to_dtype(\"u32\")",
            &["to_dtype: -5 cannot be a number of type u32, which goes from 0 to 4294967295"],
        ),
        (
            "tensor([0.0 / 0.0]).to_dtype(\"i64\")",
            &["to_dtype: NaN", "i64"],
        ),
        (
            "tensor([5000000000]).to_dtype(\"u32\")",
            &["5000000000", "u32"],
        ),
        ("tensor([-1], \"u32\")", &["tensor: numbers", "-1", "u32"]),
    ]);
    assert_eq!(
        text("`${tensor([300.7, -0.5]).to_dtype(\"u32\").to_array()}`"),
        "[300, 0]"
    );
}
