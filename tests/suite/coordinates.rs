//! Coordinate checks of every parametrization, with every optimizer, on every architecture: what promises features
//! that do not depend on width has them, and the standard parametrization has not.

use rhai::{Array, Map};
use widthwise::script::{Host, HostSettings};

/// Small images of four classes.
const IMAGES: &str = "
    // classes are not balanced in a batch, or else what examples have in common would not move the outputs
    let labels = [];
    for i in 0..128 { labels.push([0, 0, 1, 0, 2, 0, 3, 0][i % 8]); }
    let inputs = randn([128, 3, 8, 8], 3) + tensor(labels).reshape([128, 1, 1, 1]) * 0.5;
    let stream = data::from_tensors(inputs, labels, #{ classes: 4 });";

const PAIRS: &str = r#"
    import "std/coord" as coord;
    let narrow = widths[0];
    let rules = #{
        mup: mup(#{ base_width: narrow }), mean_field: mean_field(), u_mup: u_mup(),
        depth_mup: depth_mup(#{ base_width: narrow, base_depth: 1 }),
        complete_p: complete_p(#{ base_width: narrow, base_depth: 1 }),
        ntp: ntp(), sp: sp(),
    };
    // functions of a factor: under rules whose weights start with spread 1 the same step is a larger number
    let optimizers = #{
        sgd: |k| sgd(#{ lr: 0.01, momentum: 0.9 }),
        adam: |k| adam(#{ lr: 0.003 * k }),
        adamw: |k| adamw(#{ lr: 0.003 * k, weight_decay: 0.1 }),
        lion: |k| lion(#{ lr: 0.001 * k }),
        adafactor: |k| adafactor(#{ lr: 0.02 }),
        muon: |k| muon(#{ lr: 0.03 * k, adam_factor: 0.1, weight_decay: 0.0 }),
        shampoo: |k| shampoo(#{ lr: 0.03 * k, adam_factor: 0.1, frequency: 1 }),
        shampoo_adam: |k| shampoo(#{ lr: 0.003 * k, graft: "adam", block: 16 }),
        soap: |k| soap(#{ lr: 0.003 * k, weight_decay: 0.0 }),
        soap_blocks: |k| soap(#{ lr: 0.003 * k, block: 8, weight_decay: 0.0 }),
        soap_spectral: |k| soap(#{ lr: 0.03 * k, adam_factor: 0.1, graft: "spectral", block: 32, weight_decay: 0.0 }),
    };
    let found = [];
    for name in optimizers.keys() {
        let make = optimizers[name];
        let unit = make.call(4.0);
        let plain = make.call(1.0);
        let own = #{ mup: plain, depth_mup: plain, complete_p: plain, sp: plain, mean_field: unit, u_mup: unit, ntp: unit };
        // whole matrices have large eigenvalue problems
        let ws = if ["shampoo", "soap"].contains(name) { whole } else { widths };
        let check = coord::check(#{
            network: net, stream: stream, parametrization: rules, optimizer: own,
            widths: ws, members: members, batch: batch, steps: 3, weights: false,
        });
        for rule in check.rules {
            let judged = check.exponents.filter(|e| e.parametrization == rule && e.status != ());
            let changes = judged.filter(|e| e.quantity == "change");
            found.push(#{
                optimizer: name, rule: rule, status: check.status[rule], output: changes[-1].exponent,
                failing: judged.filter(|e| e.status == "fail").map(|e| e.path),
                passing: judged.filter(|e| e.status == "pass").len() * 1.0 / judged.len(),
            });
        }
    }
    found
"#;

fn pairs(setting: &str) -> Vec<Map> {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    });
    let found = host.unwrap().run_text("t", &format!("{setting}{PAIRS}"));
    let found: Array = found.unwrap_or_else(|e| panic!("{e}")).cast();
    let found: Vec<Map> = found.into_iter().map(rhai::Dynamic::cast).collect();
    for row in &found {
        let text = |key: &str| row[key].to_string();
        println!(
            "{} {}: {}, outputs {:.2}, {:.2} pass, {}",
            text("optimizer"),
            text("rule"),
            text("status"),
            row["output"].as_float().unwrap_or(f64::NAN),
            row["passing"].as_float().unwrap(),
            text("failing"),
        );
    }
    assert_eq!(found.len(), 11 * 7);
    found
}

/// What every architecture shows; `apart` says what a rule and an optimizer are excused from.
fn judge(found: &[Map], apart: impl Fn(&str, &str, &[String]) -> bool) {
    let mut passed = 0;
    let mut promised = 0;
    for row in found {
        let text = |key: &str| row[key].clone().into_string().unwrap();
        let (optimizer, rule, status) = (text("optimizer"), text("rule"), text("status"));
        let failing = row["failing"].clone().into_typed_array::<String>().unwrap();
        match rule.as_str() {
            "sp" => assert_eq!(status, "fail", "{optimizer} under sp: {row:?}"),
            // of optimizers of matrices, hidden weights move too little and the readout, by AdamW, too much
            "ntp"
                if ["sgd", "adam", "adamw", "lion", "adafactor"].contains(&optimizer.as_str()) =>
            {
                assert_ne!(status, "pass", "{optimizer} under ntp: {row:?}");
            }
            "ntp" => {}
            // SOAP with whole matrices fails already early: arXiv 2512.05620
            _ if optimizer == "soap" || apart(&rule, &optimizer, &failing) => {}
            _ => {
                assert_ne!(status, "fail", "{optimizer} under {rule}: {row:?}");
                promised += 1;
                passed += usize::from(status == "pass");
            }
        }
    }
    // few widths and members leave some unclear
    assert!(3 * passed >= 2 * promised, "{passed} of {promised} pass");
}

fn nothing(_: &str, _: &str, _: &[String]) -> bool {
    false
}

#[test]
fn perceptrons() {
    let found = pairs(
        "let net = |w| mlp(#{ width: w, depth: 3 }); let widths = [16, 32, 64, 128]; let whole = [16, 32, 64]; let members = 8; let batch = 32;
         let stream = data::teacher(#{ inputs: 16, outputs: 4 });",
    );
    judge(&found, nothing);
}

#[test]
fn convolutional_networks() {
    let found = pairs(&format!(
        "let net = |w| cnn(#{{ width: w, depth: 3, double: false }}); let widths = [8, 16, 32, 64]; let whole = [8, 16, 32]; let members = 8; let batch = 8; {IMAGES}"
    ));
    judge(&found, nothing);
}

#[test]
fn residual_networks() {
    let found = pairs(&format!(
        "let net = |w| resnet(#{{ width: w, blocks: [1, 1], groups: 1 }}); let widths = [8, 16, 32]; let whole = [4, 8, 16]; let members = 4; let batch = 8; {IMAGES}"
    ));
    judge(&found, nothing);
}

#[test]
fn vision_transformers() {
    let found = pairs(&format!(
        "let net = |w| vit(#{{ width: w, depth: 1, head_size: 8 }}); let widths = [16, 32, 64, 128]; let whole = [16, 32, 64]; let members = 4; let batch = 8; {IMAGES}"
    ));
    judge(&found, nothing);
}

#[test]
fn transformers() {
    let found = pairs(
        "let net = |w| transformer(#{ width: w, depth: 1, head_size: 8, context: 8 });
         let widths = [16, 32, 64, 128]; let whole = [16, 32, 64]; let members = 4; let batch = 8; let stream = data::markov_tokens(#{ vocab: 16, context: 8 });",
    );
    let soap =
        |row: &&Map| row["optimizer"].to_string() == "soap" && row["rule"].to_string() == "mup";
    let row = found.iter().find(soap).unwrap();
    assert_eq!(row["status"].to_string(), "fail", "{row:?}");
    // u-muP's learning rate of embeddings falls with width: they change less, by its own rule
    let tables = |path: &String| path.contains("embedding") || path.contains("positions");
    judge(&found, |rule, optimizer, failing| {
        rule == "u_mup" && optimizer != "sgd" && !failing.is_empty() && failing.iter().all(tables)
    });
}
