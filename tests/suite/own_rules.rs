//! Parametrizations that are functions of a script.

use std::path::Path;
use std::process::Command;

use rhai::{Dynamic, Map};
use widthwise::script::{Host, HostSettings};

fn run_in(folder: &std::path::Path, text: &str) -> Result<Dynamic, String> {
    let host = Host::new(HostSettings {
        out_dir: folder.to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    });
    let result = host.unwrap().run_text("t", text);
    result.map_err(|e| e.to_string())
}

fn run(text: &str) -> Dynamic {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn error(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), text).unwrap_err()
}

/// muP as in its table, written by hand.
const MUP: &str = r#"
    let mine = parametrization("mine", |p| {
        let m_in = 1.0 * p.fan_in / p.base_fan_in;
        let m_out = 1.0 * p.fan_out / p.base_fan_out;
        let adam = p.optimizer != "sgd";
        let spread = 1.0 / sqrt(3.0 * p.fan_in);
        let spread_at_base = 1.0 / sqrt(3.0 * p.base_fan_in);
        let rule = switch p.role {
            "input-like" => #{ init_std: spread, init: "uniform", lr: if adam { 1.0 } else { m_out } },
            "vector-like" => #{ init_std: spread_at_base, init: "uniform", lr: if adam { 1.0 } else { m_out } },
            "hidden" => #{ init_std: spread, init: "uniform", lr: if adam { 1.0 / m_in } else { m_out / m_in } },
            "output-like" => #{ init_std: spread_at_base, init: "uniform", multiplier: 1.0 / m_in,
                lr: if adam { 1.0 } else { m_in } },
            _ => #{ init_std: spread_at_base, init: "uniform" },
        };
        rule.weight_decay = if "lr" in rule { 1.0 / rule.lr } else { 1.0 };
        rule.source = "Table 8, by hand";
        rule
    }, #{ base_width: 16 });
    let net = |w| mlp(#{ width: w, depth: 3, inputs: 6, outputs: 2 });
"#;

#[test]
fn a_rule_written_by_hand_is_the_built_in_one() {
    let found: Map = run(&format!(
        r#"{MUP}
        let a = init(net, mine, #{{ width: 64 }});
        let b = init(net, mup(#{{ base_width: 16 }}), #{{ width: 64 }});
        let relations = [];
        for optimizer in [sgd(#{{ lr: 0.1, weight_decay: 0.1 }}), adam(#{{ lr: 0.01 }}), adamw()] {{
            relations.push(compare(a, b, optimizer).relation);
        }}
        let losses = [];
        for m in [a, b] {{
            let t = trainer(m, sgd(#{{ lr: 0.1 }}), data::teacher(#{{ inputs: 6, outputs: 2 }}), #{{ batch: 8, record: false }});
            t.step(5);
            losses.push(t.record.last("train_loss").to_string());
        }}
        let row = a.explain("adam").rows[2];
        #{{ relations: relations, losses: losses, source: row.source, exponent: row.lr_exponent,
            name: mine.name, text: mine.to_string() }}"#
    ))
    .cast();
    let relations = found["relations"].clone().into_typed_array::<String>();
    assert_eq!(relations.unwrap(), ["equal"; 3]);
    let losses = found["losses"]
        .clone()
        .into_typed_array::<String>()
        .unwrap();
    assert_eq!(losses[0], losses[1]);
    assert_eq!(found["source"].to_string(), "Table 8, by hand");
    assert_eq!(found["exponent"].as_float().unwrap(), -1.0);
    assert_eq!(found["name"].to_string(), "mine");
    assert_eq!(found["text"].to_string(), "mine(base_width: 16)");
}

#[test]
fn what_a_function_leaves_out_is_as_in_the_rule_that_it_is_like() {
    let found = run(r#"
        let net = |w| transformer(#{ width: w, depth: 4, head_size: 8, context: 4, vocab: 9 });
        let base = complete_p(#{ base_depth: 2, base_width: 16 });
        let same = parametrization("same", |p| #{}, #{ like: base });
        let half = parametrization("half", |p| #{ lr: p.scales.lr / 2.0 }, #{ like: base,
            branch_multiplier: |blocks| 1.0 / blocks });
        let of = |rule| init(net, rule, #{ width: 32 });
        let title = of.call(half).explain("adam").to_string();
        [compare(of.call(base), of.call(same), adam()).relation,
         compare(of.call(base), of.call(half), adam()).relation,
         of.call(half).explain("adam").rows[4].lr / of.call(base).explain("adam").rows[4].lr,
         title.contains("branches of 4 blocks times 0.25")]
    "#)
    .into_array()
    .unwrap();
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["equal", "different", "0.5", "true"]);
}

/// A run that stops after its training, resumed with this learning rate in its rule: exit status and output.
fn resumed(out: &Path, lr: &str) -> (Option<i32>, String) {
    let script = out.with_extension("rhai");
    let text = format!(
        r#"{MUP}
        let half = parametrization("half", |p| #{{ lr: p.scales.lr * param("factor", 0.5) }}, #{{ like: mine }});
        let m = init(net, half, #{{ width: 32 }});
        let t = trainer(m, adam(#{{ lr: 0.01 }}), data::teacher(#{{ inputs: 6, outputs: 2 }}),
            #{{ batch: 8, name: "one" }});
        t.step(20);
        if param("stop", false) {{ fail("stopped") }}
        print(m.param("readout.weight"))"#
    );
    std::fs::write(&script, text).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_widthwise"))
            .arg("run")
            .arg(&script)
            .arg("--out")
            .arg(out)
            .args(arguments)
            .output();
        output.unwrap()
    };
    let stopped = run(&["--checkpoint-every", "0", "--set", "stop=true"]);
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
    let output = run(&["--resume", "--set", &format!("factor={lr}")]);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_checkpoint_belongs_to_the_scales_that_a_function_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (code, same) = resumed(&folder.path().join("same"), "0.5");
    assert!(
        code == Some(0) && same.contains("one: resumed at step 20"),
        "{same}"
    );
    let (code, other) = resumed(&folder.path().join("other"), "0.25");
    assert_eq!(code, Some(1));
    let what = "is of another run: scales.layers.0.weight.lr was 0.5, and is 0.25";
    assert!(other.contains(what), "{other}");
    let record = folder.path().join("other/one.jsonl");
    let record = std::fs::read_to_string(&record).unwrap_or_else(|e| panic!("{record:?}: {e}"));
    assert!(record.contains("\"scales\""), "{record}");
}

#[test]
fn wrong_rules_are_named() {
    let with = |function: &str| {
        error(&format!(
            r#"let net = |w| mlp(#{{ width: w, inputs: 6 }});
            let mine = parametrization("mine", {function}, #{{ base_width: 16 }});
            init(net, mine, #{{ width: 32 }})"#
        ))
    };
    for (function, words) in [
        (
            "|p| if p.kind == \"weight\" { #{} }",
            &[
                "mine has no scales for layers.0.bias",
                "vector-like",
                "[32]",
            ][..],
        ),
        (
            "|p| 1.0",
            &["must return a map of scales", "layers.0.weight"],
        ),
        (
            "|p| #{ learning_rate: 1.0 }",
            &["`learning_rate`", "layers.0.weight"],
        ),
        ("|p| #{ multiplyer: 1.0 }", &["did you mean `multiplier`?"]),
        (
            "|p| #{ lr: -1.0 }",
            &["lr must be a number from 0 up, found -1", "layers.0.weight"],
        ),
        (
            "|p| #{ multiplier: 1.0 / 0.0 }",
            &["multiplier must be a finite number", "layers.0.weight"],
        ),
        ("|p| #{ init_std: -0.5 }", &["init_std"]),
        ("|p| #{ init: \"cauchy\" }", &["init", "normal, uniform"]),
        (
            "|p| #{ init_value: 1.0, init_std: 0.5 }",
            &["either init_value or a distribution"],
        ),
        ("|p| #{ lr: p.fan_inn }", &["fan_inn"]),
    ] {
        let message = with(function);
        for word in words {
            assert!(
                message.contains(word),
                "`{word}` is missing in `{message}`, of {function}"
            );
        }
    }
    let message = error(
        r#"let net = |w| transformer(#{ width: w, head_size: 8, context: 4, vocab: 9 });
        init(net, parametrization("mine", |p| #{}, #{ branch_multiplier: |n| -1.0 }), #{ width: 16 })"#,
    );
    assert!(
        message.contains("branch_multiplier must be a number from 0 up"),
        "{message}"
    );
    let message = error(
        r#"let net = |w| mlp(#{ width: w, inputs: 6 });
        let mine = parametrization("mine", |p| #{ multiplier: if p.optimizer == "sgd" { 1.0 } else { 2.0 } });
        init(net, mine, #{ width: 32 }).explain("adam")"#,
    );
    assert!(
        message.contains(
            "layers.0.weight: mine: init and multiplier must not depend on the optimizer"
        ),
        "{message}"
    );
    let message = error(r#"shampoo(#{ exponent_in: 0.0, exponent_out: 0.0 })"#);
    assert!(
        message.contains("one of exponent_in and exponent_out"),
        "{message}"
    );
    let message = error(r#"soap(#{ basis_in: false, basis_out: false })"#);
    assert!(
        message.contains("one of basis_in and basis_out"),
        "{message}"
    );
    let message = error(
        r#"let m = init(mlp(#{ width: 8, depth: 2, inputs: 3 }), mup());
        trainer(m, soap(), data::teacher(#{ inputs: 3 }))"#,
    );
    assert!(message.contains("soap needs a hidden matrix"), "{message}");
}

#[test]
fn a_parameter_whose_role_cannot_be_inferred_is_named() {
    for (network, words) in [
        (
            "|w| sequential([flatten(), linear(4096 / w), relu(), linear(4)])",
            &[
                "role of 1.weight",
                "fan-out falls from 128 at width 32 to 64 at width 64",
            ][..],
        ),
        (
            // a table with a row for each position, and as many positions as channels
            "|w| sequential([embedding(w, 8), flatten(), linear(4)])",
            &[
                "role of 0.weight",
                "shape changes from [32, 8] at width 32 to [64, 8] at width 64",
            ],
        ),
    ] {
        for rule in ["mup()", "sp()"] {
            let message = error(&format!("init({network}, {rule}, #{{ width: 32 }})"));
            for word in words {
                assert!(
                    message.contains(word),
                    "`{word}` is missing in `{message}`, of {network}"
                );
            }
        }
    }
}
