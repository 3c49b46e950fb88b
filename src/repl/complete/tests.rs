use super::*;
use crate::script::HostSettings;

fn host() -> Host {
    let mut host = Host::new(HostSettings::default()).unwrap();
    for cell in [
        "let record = #{ losses: [1.0], lr: 0.1, nested: #{ deep: 1 } };",
        "let rate = 0.5; let list = [#{ inner: 1 }]; let word = \"abc\";",
        "let s = new_study(#{ widths: [64] });",
        "fn scaled(x) { x } fn now_then() { 1 }",
        "import \"std/grid\" as grid;",
    ] {
        let _ = host.eval_cell(cell).unwrap();
    }
    host
}

/// Completes at `|` and gives the line before the cursor with each candidate put in.
fn offers(host: &Host, marked: &str) -> Vec<String> {
    let at = marked.find('|').unwrap();
    let line = marked.replacen('|', "", 1);
    let (start, found) = complete(host, &Catalog::new(host), &line, at);
    found
        .iter()
        .map(|c| format!("{}{}", &line[..start], c.inserted))
        .collect()
}

#[test]
fn names() {
    let host = host();
    for (line, expected) in [
        (":ti|", vec![":time"]),
        (":t|", vec![":time", ":type"]),
        (":type rat|", vec![":type rate"]),
        (":help q|", vec![":help quit"]),
        (":vars r|", vec![]),
        ("?new_st|", vec!["?new_study"]),
        ("rat|", vec!["rate"]),
        ("let y = 2 * rat|", vec!["let y = 2 * rate"]),
        ("scal|", vec!["scaled("]),
        ("scal|(1)", vec!["scaled"]),
        ("now_t|", vec!["now_then()"]),
        ("new_st|", vec!["new_study("]),
        ("gri|", vec!["grid::"]),
        ("whi|", vec!["while"]),
        ("|", vec![]),
        ("1.5|", vec![]),
        ("// rat|", vec![]),
        ("rate // rat|", vec![]),
        ("\"${rat|", vec![]),
        ("`${rat|", vec!["`${rate"]),
    ] {
        assert_eq!(offers(&host, line), expected, "{line}");
    }
}

#[test]
fn members_of_values_and_modules() {
    let host = host();
    for (line, expected) in [
        (
            "record.l|",
            vec!["record.len()", "record.losses", "record.lr"],
        ),
        ("record.nested.dee|", vec!["record.nested.deep"]),
        ("record[\"nested\"].dee|", vec!["record[\"nested\"].deep"]),
        ("list[0].in|", vec!["list[0].inner"]),
        ("record.losses.pus|", vec!["record.losses.push("]),
        ("word.to_up|", vec!["word.to_upper()"]),
        ("\"abc\".to_up|", vec!["\"abc\".to_upper()"]),
        ("(rate).flo|", vec!["(rate).floor()"]),
        ("s.wid|", vec!["s.widths"]),
        ("s.to_m|", vec!["s.to_map()"]),
        ("new_study(#{}).to_m|", vec!["new_study(#{}).to_map()"]),
        (
            "new_study(#{}).to_map().contai|",
            vec!["new_study(#{}).to_map().contains("],
        ),
    ] {
        assert_eq!(offers(&host, line), expected, "{line}");
    }
    let grid = offers(&host, "grid::|");
    assert!(!grid.is_empty());
    assert!(grid.iter().all(|g| g.starts_with("grid::")), "{grid:?}");
}

#[allow(dead_code, reason = "only the descriptions of the settings are used")]
mod settings {
    use super::*;
    use crate::choice;
    use crate::options;
    use crate::script::RhaiResultOf;
    use rhai::Map;
    use rhai::plugin::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Shape {
        Round,
        Square,
    }
    choice! { Shape { "round" => Shape::Round, "square" => Shape::Square } }

    options! {
        /// The handle.
        struct Handle for "handle" {
            /// Its length.
            length: f64 = 1.0;
            /// Its shape.
            shape: Shape = Shape::Round;
        }
    }

    options! {
        /// A pan.
        struct Pan for "kitchen::pan", "pan" {
            /// Its width.
            width: i64;
            /// Its weight.
            weight: f64 = 1.0;
            /// Its handle.
            handle: Handle = Handle { length: 1.0, shape: Shape::Round };
        }
    }

    #[export_module]
    mod functions {
        use super::*;
        #[rhai_fn(return_raw)]
        pub fn pan(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<i64> {
            Ok(Pan::from_map(&ctx, &settings)?.width)
        }
    }

    #[test]
    fn keys_and_choices() {
        let host = Host::with(HostSettings::default(), |r| {
            r.options(Pan::spec());
            r.global(rhai::exported_module!(functions));
            r.module("kitchen", rhai::exported_module!(functions));
        })
        .unwrap();
        for (line, expected) in [
            ("pan(#{ w|", vec!["pan(#{ weight: ", "pan(#{ width: "]),
            (
                "pan(#{|",
                vec!["pan(#{handle: ", "pan(#{weight: ", "pan(#{width: "],
            ),
            ("kitchen::pan(#{ h|", vec!["kitchen::pan(#{ handle: "]),
            (
                "pan(#{ width: f(1, 2), we|",
                vec!["pan(#{ width: f(1, 2), weight: "],
            ),
            ("pan(#{ width: 1, wid|", vec![]),
            (
                "pan(#{\n  width: 1,\n  ha|",
                vec!["pan(#{\n  width: 1,\n  handle: "],
            ),
            ("pan(#{ handle: #{ l|", vec!["pan(#{ handle: #{ length: "]),
            (
                "pan(#{ handle: #{ shape: \"|",
                vec![
                    "pan(#{ handle: #{ shape: \"round\"",
                    "pan(#{ handle: #{ shape: \"square\"",
                ],
            ),
            (
                "pan(#{ handle: #{ shape: \"s|",
                vec!["pan(#{ handle: #{ shape: \"square\""],
            ),
            ("let m = #{ weig|", vec![]),
        ] {
            assert_eq!(offers(&host, line), expected, "{line}");
        }
        let values = offers(&host, "pan(#{ handle: #{ shape: |");
        assert_eq!(values[0], "pan(#{ handle: #{ shape: \"round\"");
    }
}

#[test]
fn files_and_modules_to_import() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["study.rhai", "stuff.csv", ".stealth.rhai"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("stub")).unwrap();
    let host = host();
    let base = folder.path().display().to_string();
    let path = |rest: &str| rest.replace('@', &base);
    for (line, expected) in [
        (":load @/st|", vec![":load @/stub/", ":load @/study.rhai"]),
        (
            "open(\"@/stu|",
            vec![
                "open(\"@/stub/",
                "open(\"@/study.rhai",
                "open(\"@/stuff.csv",
            ],
        ),
        ("import \"@/stud|", vec!["import \"@/study"]),
        ("import \"std/gr|", vec!["import \"std/grid\""]),
        ("'@/st|", vec![]),
    ] {
        let mut expected: Vec<String> = expected.into_iter().map(path).collect();
        let mut found = offers(&host, &path(line));
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{line}");
    }
}
