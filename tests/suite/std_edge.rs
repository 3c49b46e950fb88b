//! The standard library's edge of stability: under muP every width rises to it, under NTP the wider the less; and
//! catapults, which are there above the threshold only.

use rhai::{Array, Dynamic};
use widthwise::script::{Host, HostSettings};

fn run(text: &str) -> Result<Dynamic, String> {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    });
    let text =
        format!("import \"std/edge\" as edge;\nimport \"std/catapult\" as catapult;\n{text}");
    let result = host.unwrap().run_text("t", &text);
    result.map_err(|e| e.to_string())
}

fn column(table: &str, name: &str) -> Vec<Dynamic> {
    let array: Array = run(&format!("{table}\nstudy.table().column(\"{name}\")"))
        .unwrap()
        .cast();
    array
}

fn numbers(column: Vec<Dynamic>) -> Vec<f64> {
    let number = |v: Dynamic| v.as_float().or_else(|_| v.as_int().map(|i| i as f64));
    column.into_iter().map(|v| number(v).unwrap()).collect()
}

#[test]
fn mup_reaches_the_edge_at_every_width_and_ntp_does_not() {
    let study = "let study = edge::study(#{
        network: |w| mlp(#{ width: w, depth: 3, activation: \"tanh\" }),
        stream: data::teacher(#{ inputs: 8, outputs: 4 }), examples: 96, steps: 240, every: 20,
        parametrization: #{ mup: mup(#{ base_width: 32 }), ntp: ntp() },
        optimizer: sgd(#{ lr: 1.0 }), widths: [32, 128], members: 2,
    });";
    let last = numbers(column(study, "last / threshold"));
    assert!(last[..2].iter().all(|l| (0.9..1.3).contains(l)), "{last:?}");
    assert!(last[3] < 0.7 && last[3] < last[2], "{last:?}");
}

#[test]
fn catapults_are_above_the_threshold() {
    let study = "let study = catapult::study(#{
        network: |w| mlp(#{ width: w, depth: 3 }), stream: data::teacher(#{ inputs: 8, outputs: 4 }),
        parametrization: mup(#{ base_width: 32 }), lrs: [0.1, 3.0, 30.0], widths: [32], members: 2, steps: 60,
        examples: 96,
    });";
    let found = numbers(column(study, "catapults"));
    assert_eq!((found[0], found[2]), (0.0, 0.0), "{found:?}");
    assert!(found[1] >= 1.0, "{found:?}");
    assert_eq!(numbers(column(study, "diverged"))[2], 2.0);
    assert!(
        column(study, "spike height")[2].is_unit(),
        "a spike without an end"
    );
}

#[test]
fn adam_is_measured_from_its_first_step_on() {
    let steps = run("edge::study(#{
        network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 4 }),
        optimizer: adam(), widths: [8], members: 1, steps: 6, every: 3, examples: 12,
    }).run(\"mup-8\").steps");
    let steps: Array = steps.unwrap().cast();
    let steps: Vec<i64> = steps.into_iter().map(|s| s.as_int().unwrap()).collect();
    assert_eq!(steps, [1, 3, 6]);
}

#[test]
fn wrong_settings_are_named() {
    let network = "network: |w| mlp(#{ width: w }), stream: data::teacher()";
    for (script, text) in [
        (
            "edge::study(#{})".to_string(),
            "edge::study needs the setting `network`",
        ),
        (
            format!("edge::study(#{{ {network}, every: 0 }})"),
            "every must be 1 or more, found 0",
        ),
        (
            format!("edge::study(#{{ {network}, examples: 0 }})"),
            "examples must be 1 or more",
        ),
        (
            format!("edge::study(#{{ {network}, wdths: [8] }})"),
            "wdths",
        ),
        (
            format!("catapult::study(#{{ {network} }})"),
            "needs the setting `lrs`",
        ),
        (
            format!(
                "edge::study(#{{ {network}, widths: [8], optimizer: lion(), steps: 1, examples: 4 }})"
            ),
            "lion has no stability threshold",
        ),
    ] {
        let error = run(&script).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}
