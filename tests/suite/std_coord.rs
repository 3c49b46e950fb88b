//! The standard library's coordinate checks and hyperparameter transfer: muP passes, SP and NTP fail
//! as theory says, and the numbers are what they are called.

use rhai::{Dynamic, Map};
use widthwise::script::{Host, HostSettings};

fn host() -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    });
    (folder, host.unwrap())
}

const IMPORTS: &str = "import \"std/coord\" as coord; import \"std/transfer\" as transfer;\n";

fn run(text: &str) -> Dynamic {
    let (_folder, mut host) = host();
    let result = host.run_text("t", &format!("{IMPORTS}{text}"));
    result.unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn error(text: &str) -> String {
    let (_folder, mut host) = host();
    let result = host.run_text("t", &format!("{IMPORTS}{text}"));
    result.unwrap_err().to_string()
}

fn text(map: &Map, key: &str) -> String {
    map[key].clone().into_string().unwrap()
}

/// Status of every rule, and the exponents of the changes at the given layers.
fn check(settings: &str, layers: &[&str]) -> (Map, Vec<Map>) {
    let script = format!(
        "let check = coord::check({settings});
         let found = [];
         for layer in {layers:?} {{
             let row = #{{}};
             for rule in check.rules {{ row[rule] = check.exponent(rule, \"change\", layer).exponent; }}
             found.push(row);
         }}
         #{{ status: check.status, found: found }}"
    );
    let result: Map = run(&script).cast();
    let found = result["found"].clone().into_typed_array().unwrap();
    (result["status"].clone().cast(), found)
}

fn number(map: &Map, key: &str) -> f64 {
    map[key].as_float().unwrap()
}

#[test]
fn perceptrons_with_sgd_pass_under_mup_and_mean_field_and_fail_under_ntp_and_sp() {
    let (status, found) = check(
        "#{ network: |w| mlp(#{ width: w, depth: 3 }), stream: data::teacher(#{ inputs: 8, outputs: 4 }),
            parametrization: #{ mup: mup(#{ base_width: 32 }), zero: mup(#{ base_width: 32, zero_readout: true }),
                mean_field: mean_field(), ntp: ntp(), sp: sp() },
            optimizer: #{ mup: sgd(#{ lr: 0.2 }), zero: sgd(#{ lr: 0.2 }), mean_field: sgd(#{ lr: 0.2 }),
                ntp: sgd(#{ lr: 0.2 }), sp: sgd(#{ lr: 0.05 }) },
            widths: [32, 64, 128, 256], members: 8, batch: 32 }",
        &["layers.0", "layers.1", "readout"],
    );
    for (rule, expected) in [
        ("mup", "pass"),
        ("zero", "pass"),
        ("mean_field", "pass"),
        ("ntp", "fail"),
        ("sp", "fail"),
    ] {
        assert_eq!(text(&status, rule), expected, "{rule}: {found:?}");
    }
    for layer in &found[..2] {
        assert!((number(layer, "ntp") + 0.5).abs() < 0.15, "{layer:?}");
    }
    assert!(number(&found[2], "ntp").abs() < 0.15, "{found:?}");
    assert!(number(&found[2], "sp") > 0.3, "{found:?}");
}

#[test]
fn perceptrons_with_adam_pass_under_mup_and_grow_under_sp() {
    let (status, found) = check(
        "#{ network: |w| mlp(#{ width: w, depth: 3 }), stream: data::teacher(#{ inputs: 8, outputs: 4 }),
            parametrization: #{ mup: mup(#{ base_width: 32 }), sp: sp() }, optimizer: adam(#{ lr: 0.003 }),
            widths: [32, 64, 128, 256], members: 8, batch: 32, fixed_batch: false, measure: \"l1\", dtype: \"f64\" }",
        &["layers.1", "readout"],
    );
    assert_eq!(text(&status, "mup"), "pass", "{found:?}");
    assert_eq!(text(&status, "sp"), "fail", "{found:?}");
    for layer in &found {
        assert!(number(layer, "mup").abs() < 0.15, "{found:?}");
        assert!(number(layer, "sp") > 0.5, "{found:?}");
    }
}

#[test]
fn transformers_with_adam_keep_their_changes_under_mup_only() {
    let (status, found) = check(
        "#{ network: |w| transformer(#{ width: w, depth: 1, head_size: 16, context: 8 }),
            stream: data::markov_tokens(#{ vocab: 16, context: 8 }),
            parametrization: #{ mup: mup(#{ base_width: 32 }), sp: sp() }, optimizer: adam(#{ lr: 0.003 }),
            widths: [32, 64, 128], members: 4, batch: 8, steps: 3, weights: false }",
        &["blocks.0.mlp", "readout"],
    );
    assert_ne!(text(&status, "mup"), "fail", "{found:?}");
    assert_eq!(text(&status, "sp"), "fail", "{found:?}");
    for layer in &found {
        assert!(number(layer, "mup").abs() < 0.25, "{found:?}");
        assert!(number(layer, "sp") > 0.35, "{found:?}");
    }
}

#[test]
fn residual_networks_with_sgd_keep_their_outputs_under_mup_only() {
    let (status, found) = check(
        "#{ network: |w| resnet18(#{ width: w, groups: 1 }), stream: data::synthetic_images(),
            parametrization: #{ mup: mup(#{ base_width: 4 }), sp: sp() }, optimizer: sgd(#{ lr: 0.02 }),
            widths: [4, 8, 16], members: 3, batch: 4, steps: 2, weights: false }",
        &["readout"],
    );
    assert_ne!(text(&status, "mup"), "fail", "{found:?}");
    assert_eq!(text(&status, "sp"), "fail", "{found:?}");
    assert!(number(&found[0], "mup").abs() < 0.3, "{found:?}");
    assert!(number(&found[0], "sp") > 0.5, "{found:?}");
}

/// Largest singular value of a matrix by rows, by many steps of power iteration.
fn spectral_norm(rows: &[Vec<f64>]) -> f64 {
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut x: Vec<f64> = (0..rows[0].len()).map(|i| 1.0 + (i % 7) as f64).collect();
    let mut value = 0.0;
    for _ in 0..2000 {
        let size = norm(&x);
        x.iter_mut().for_each(|v| *v /= size);
        let y: Vec<f64> = rows
            .iter()
            .map(|row| row.iter().zip(&x).map(|(a, b)| a * b).sum())
            .collect();
        value = norm(&y);
        x = (0..x.len())
            .map(|j| rows.iter().zip(&y).map(|(row, v)| row[j] * v).sum())
            .collect();
    }
    value
}

#[test]
fn sizes_changes_and_norms_are_those_of_the_tensors() {
    let script = r#"
        let stream = data::teacher(#{ inputs: 6, outputs: 3 });
        let net = |w| mlp(#{ width: w, depth: 2 });
        let rule = mup(#{ base_width: 8 });
        let optimizer = sgd(#{ lr: 0.3 });
        let run = coord::check(#{
            network: net, stream: stream, parametrization: rule, optimizer: optimizer,
            widths: [8, 16], members: 2, batch: 10, steps: 3, fixed_batch: false,
        }).runs_of("mup")[1];
        let m = init(net, rule, #{ width: 16, members: 2 });
        let t = trainer(m, optimizer, stream, #{ batch: 10, record: false });
        let batch = stream.batch(10);
        let start = m.activation("layers.0", batch);
        let weight = m.param("readout.weight");
        t.step(3);
        #{
            found: [run.size[0][1], run.change[3][1], run.spectral_norm[2], run.spectral_update[2], run.relative_update[2]],
            parameter: run.parameters[2], layer: run.layers[1], multiplier: m.explain().rows[2].multiplier,
            start: start.select(0, 1).reshape([1, -1]).to_array(),
            change: (m.activation("layers.0", batch) - start).select(0, 1).reshape([1, -1]).to_array(),
            weight: weight.select(0, 1).to_array(),
            update: (m.param("readout.weight") - weight).select(0, 1).to_array(),
        }
    "#;
    let result: Map = run(script).cast();
    let table = |key: &str| -> Vec<Vec<f64>> {
        let rows = result[key].clone().into_array().unwrap();
        rows.into_iter()
            .map(|r| r.into_typed_array::<f64>().unwrap())
            .collect()
    };
    let squares = |rows: &[Vec<f64>]| rows.iter().flatten().map(|v| v * v).sum::<f64>();
    let rms = |rows: &[Vec<f64>]| (squares(rows) / rows.concat().len() as f64).sqrt();
    let multiplier = number(&result, "multiplier");
    assert_eq!(text(&result, "parameter"), "readout.weight");
    assert_eq!(text(&result, "layer"), "layers.0");
    assert_eq!(multiplier, 0.5, "muP's at twice the base width");
    let scale = multiplier / (3.0f64 / 16.0).sqrt();
    let (weight, update) = (table("weight"), table("update"));
    let expected = [
        rms(&table("start")),
        rms(&table("change")),
        spectral_norm(&weight) * scale,
        spectral_norm(&update) * scale,
        (squares(&update) / squares(&weight)).sqrt(),
    ];
    for (found, expected) in table("found").iter().zip(expected) {
        assert!(
            (found[1] / expected - 1.0).abs() < 1e-4,
            "{found:?} {expected}"
        );
    }
}

#[test]
fn a_part_of_mup_is_that_column_of_its_table() {
    let script = r#"
        let found = [];
        for optimizer in ["sgd", "adam"] {
            for part in ["init", "lr", "readout"] {
                let rule = coord::part_of_mup(#{ only: part, base_width: 8 });
                let rows = init(mlp(#{ width: 32, depth: 3, inputs: 5 }), rule).explain(optimizer).rows;
                for i in [0, 2, 4] {
                    found.push([rows[i].init_std_exponent, rows[i].multiplier_exponent, rows[i].lr_exponent]);
                }
            }
        }
        found
    "#;
    let found: Vec<Vec<f64>> = run(script)
        .into_array()
        .unwrap()
        .into_iter()
        .map(|row| row.into_typed_array::<f64>().unwrap())
        .collect();
    // initial spread, multiplier and learning rate of the input's, a hidden and the output's weight
    let expected = [
        [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [-1.0, 0.0, 0.0]],
        [[0.0, 0.0, 1.0], [-0.5, 0.0, 0.0], [-0.5, 0.0, -1.0]],
        [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [0.0, -1.0, 1.0]],
        [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [-1.0, 0.0, 0.0]],
        [[0.0, 0.0, 0.0], [-0.5, 0.0, -1.0], [-0.5, 0.0, -1.0]],
        [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [0.0, -1.0, 0.0]],
    ];
    for (found, expected) in found.iter().zip(expected.as_flattened()) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-9, "{found:?} {expected:?}");
        }
    }
}

#[test]
fn a_diverged_member_fails_its_parametrization() {
    let script = r#"
        let check = coord::check(#{
            network: |w| mlp(#{ width: w, depth: 3 }), stream: data::teacher(#{ inputs: 4 }),
            parametrization: mup(#{ base_width: 8 }), optimizer: sgd(#{ lr: [0.1, 1e30] }),
            widths: [8, 16], members: 2, steps: 3, batch: 8,
        });
        check.figure(); check.save("diverged");
        // at one width only
        let one = check.to_map();
        for run in one.runs { run.change[3][1][0] = 1.0; }
        one.runs[0].change[3][1][1] = 1.0;
        new_study(one).figure("change", ["layers.0"]);
        [check.status.mup, check.verdict()]
    "#;
    let found: Vec<String> = run(script).into_typed_array().unwrap();
    assert_eq!(found[0], "fail");
    assert!(found[1].contains("diverge at widths [8, 16]"), "{found:?}");
}

const TRANSFER: &str = "#{
    network: |w| mlp(#{ width: w }), stream: data::teacher(#{ inputs: 8, outputs: 2, test_size: 300 }),
    parametrization: #{ mup: mup(#{ base_width: 16 }), sp: sp() },
    sizes: [16, 32, 64, 128], members: 3, steps: 60, batch: 32,";

#[test]
fn the_best_learning_rate_stays_under_mup_and_falls_under_sp() {
    let script = format!(
        "let values = []; for k in -10..-2 {{ values.push(2.0 ** k); }}
         let study = transfer::study({TRANSFER} optimizer: |lr| adam(#{{ lr: lr }}), values: values }});
         print(study); study.figure(); study.save(\"transfer\");
         #{{ mup: study.drift.mup.slope, sp: study.drift.sp.slope, verdict: study.status.sp,
             rows: study.data().len(), regret: study.table().column(\"regret\")[7] }}"
    );
    let found: Map = run(&script).cast();
    assert!(number(&found, "mup").abs() < 0.3, "{found:?}");
    assert!(number(&found, "sp") < -0.45, "{found:?}");
    assert_eq!(text(&found, "verdict"), "fail");
    assert_eq!(found["rows"].as_int().unwrap(), 2 * 4 * 8 * 3);
    assert!(number(&found, "regret") > 0.02, "{found:?}");
}

#[test]
fn many_small_models_find_what_one_large_one_finds() {
    let with = |memory: &str| {
        let script = format!(
            "let study = transfer::study(#{{
                 network: |d| mlp(#{{ width: 8, depth: d }}), scale: \"depth\", sizes: [2, 3],
                 stream: data::teacher(#{{ inputs: 4, test_size: 20 }}), measure: \"train_loss\",
                 optimizer: |m| sgd(#{{ lr: 0.05, momentum: m }}), values: [0.1, 0.2, 0.4, 0.8], hyperparameter: \"momentum\",
                 members: 2, steps: 12, batch: 8, {memory} }});
             [study.data().csv(), study.table().csv()]"
        );
        run(&script).into_typed_array::<String>().unwrap()
    };
    let together = with("");
    assert!(
        together[1].starts_with("parametrization,depth,best momentum"),
        "{together:?}"
    );
    assert_eq!(together, with("memory_mb: 0.001"));
    assert_eq!(together, with("memory_mb: 0.1"));
}

#[test]
fn a_minimum_that_is_not_inside_is_unclear() {
    let script = format!(
        "let study = transfer::study({TRANSFER} optimizer: |lr| adam(#{{ lr: lr }}),
             values: [1e-5, 2e-5, 4e-5], steps: 5, sizes: [16, 32], members: 1 }});
         [study.status.mup, study.verdict()]"
    )
    .replace("sizes: [16, 32, 64, 128], members: 3, steps: 60,", "");
    let found: Vec<String> = run(&script).into_typed_array().unwrap();
    assert_eq!(found[0], "unclear");
    assert!(
        found[1].contains("at an end of the values at width [16, 32]"),
        "{found:?}"
    );
}

#[test]
fn wrong_settings_are_named() {
    let net = "network: |w| mlp(#{ width: w })";
    let stream = "stream: data::teacher(#{ inputs: 4 })";
    let both = format!("{net}, {stream}");
    for (call, words) in [
        (format!("coord::check(#{{ {stream} }})"), "`network`"),
        (format!("coord::check(#{{ {net} }})"), "`stream`"),
        (
            format!("coord::check(#{{ {both}, widths: [64] }})"),
            "`widths`",
        ),
        (
            format!("coord::check(#{{ {both}, widths: [64, 64] }})"),
            "`widths`",
        ),
        (
            format!("coord::check(#{{ {both}, width: [64, 128] }})"),
            "`widths`",
        ),
        (format!("coord::check(#{{ {both}, steps: 0 }})"), "steps"),
        (
            format!("coord::check(#{{ {both}, members: 0 }})"),
            "members",
        ),
        (
            format!("coord::check(#{{ {both}, measure: \"l3\" }})"),
            "measure must be \"rms\" or \"l1\"",
        ),
        (
            format!("coord::check(#{{ {both}, tolerance: 0.0 }})"),
            "tolerance",
        ),
        (
            format!("coord::check(#{{ {both}, optimizer: #{{ sp: sgd() }} }})"),
            "optimizer has no entry for the parametrization mup",
        ),
        (
            "coord::check(#{ network: |w| transformer(#{ width: w, head_size: 16, context: 4 }),
                stream: data::markov_tokens(#{ vocab: 8, context: 4 }), widths: [16, 24] })"
                .into(),
            "head_size",
        ),
        (
            "coord::part_of_mup(#{ only: \"rate\" })".into(),
            "only must be \"init\", \"lr\" or \"readout\"",
        ),
        (format!("transfer::study(#{{ {stream} }})"), "`network`"),
        (format!("transfer::study(#{{ {net} }})"), "`stream`"),
        (
            format!("transfer::study(#{{ {both}, optimizer: |lr| sgd(#{{ lr: lr }}) }})"),
            "`values`",
        ),
        (
            format!("transfer::study(#{{ {both}, optimizer: sgd(), values: [0.1, 0.2, 0.4] }})"),
            "`optimizer` must be a function",
        ),
        (
            format!("transfer::study(#{{ {both}, values: [0.1, 0.2] }})"),
            "`values`",
        ),
        (
            format!("transfer::study(#{{ {both}, values: [-0.1, 0.2, 0.4] }})"),
            "values must be above 0",
        ),
        (
            format!("transfer::study(#{{ {both}, sizes: [64] }})"),
            "`sizes`",
        ),
        (
            format!("transfer::study(#{{ {both}, widths: [64, 128] }})"),
            "`widths`",
        ),
        (
            format!("transfer::study(#{{ {both}, measure: \"loss\" }})"),
            "measure must be",
        ),
    ] {
        let message = error(&call);
        assert!(
            message.contains(words),
            "`{words}` is missing in `{message}`, of {call}"
        );
    }
}
