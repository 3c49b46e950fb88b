//! The standard library where training diverges: what diverged is said, everything else is measured and saved.

use rhai::{Array, Dynamic, Map};
use widthwise::script::{Host, HostSettings};

struct Ran {
    result: Result<Dynamic, String>,
    folder: tempfile::TempDir,
}

fn run(text: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        device: "cpu".into(),
        print_to_stderr: true,
        ..HostSettings::default()
    });
    let modules = [
        "width",
        "transfer",
        "edge",
        "catapult",
        "agreement",
        "ensemble",
        "representations",
        "spectra",
        "coord",
    ];
    let imports: String = modules
        .iter()
        .map(|m| format!("import \"std/{m}\" as {m};\n"))
        .collect();
    let result = host.unwrap().run_text("t", &(imports + text));
    Ran {
        result: result.map_err(|e| e.to_string()),
        folder,
    }
}

fn value(text: &str) -> Dynamic {
    run(text).result.unwrap()
}

fn array(value: Dynamic) -> Array {
    value.cast()
}

fn ints(value: Dynamic) -> Vec<i64> {
    array(value)
        .into_iter()
        .map(|v| v.as_int().unwrap())
        .collect()
}

/// Which entries are `()`.
fn units(value: Dynamic) -> Vec<bool> {
    array(value).iter().map(Dynamic::is_unit).collect()
}

const WIDTHS: &str = "let s = width::study(#{
    network: |w| mlp(#{ width: w }), stream: data::teacher(), parametrization: mup(#{ base_width: 8 }),
    widths: [8, 16, 256], optimizer: sgd(#{ lr: 1.0, momentum: 0.9 }), steps: 60, members: 2 });\n";

#[test]
fn a_width_study_goes_on_without_a_width_that_diverges() {
    let ran = run(&format!(
        "{WIDTHS}
        s.save(\"study\");
        s.loss_figure().save(\"loss.svg\");
        s.agreement_figure().save(\"agreement.svg\");
        let t = s.table();
        #{{ diverged: t.column(\"diverged\"), loss: t.column(\"test loss\"), gap: t.column(\"curve gap\"),
            ensemble: t.column(\"ensemble\"), verdict: s.verdict() }}"
    ));
    let found: Map = ran.result.unwrap().cast();
    assert_eq!(ints(found["diverged"].clone()), [0, 1, 2]);
    assert_eq!(units(found["loss"].clone()), [false, false, true]);
    assert_eq!(units(found["ensemble"].clone()), [false, false, true]);
    assert_eq!(units(found["gap"].clone()), [true; 3]);
    let verdict = found["verdict"].to_string();
    assert!(
        verdict.ends_with("1 of 2 members of width 16 diverged; all members of width 256 diverged"),
        "{verdict}"
    );
    for file in ["study.csv", "study.json", "study-table.csv"] {
        assert!(ran.folder.path().join(file).exists(), "{file}");
    }
    let outputs = |width: usize| {
        ran.folder
            .path()
            .join(format!("study-mup-{width}-outputs.npy"))
    };
    assert!(outputs(8).exists() && !outputs(256).exists());
    let loss = std::fs::read_to_string(ran.folder.path().join("loss.svg")).unwrap();
    assert!(loss.contains("256 (0 of 2 members)"), "the legend says it");
    assert!(loss.contains("the line ends where the first member does"));
    let agreement = std::fs::read_to_string(ran.folder.path().join("agreement.svg")).unwrap();
    assert!(
        agreement.contains("no finite data"),
        "outputs of an earlier step do not stand at the end"
    );
}

#[test]
fn a_width_study_compares_the_widths_that_are_left() {
    let found = value(
        "let s = width::study(#{
            network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(), parametrization: ntp(),
            optimizer: sgd(#{ lr: [0.01, 0.01] }), widths: [8, 16], members: 2, steps: 20, test: [20] });
        // as if the second member of width 8 had diverged at step 15
        let run = s.runs[0];
        run.divergences = [#{ step: 15, member: 1 }];
        run.test_loss.values[-1][1] = 1e30;
        s.runs = [run, s.runs[1]];
        [s.table().column(\"diverged\"), s.table().column(\"test loss\")[0] < 100.0,
            s.table().column(\"curve gap\")[0] < 10.0, s.verdict().contains(\"1 of 2 members of width 8 diverged\")]",
    );
    let found = array(found);
    assert_eq!(ints(found[0].clone()), [1, 0]);
    assert!(found[1..].iter().all(|v| v.as_bool().unwrap()), "{found:?}");
}

#[test]
fn a_transfer_study_goes_on_where_all_values_of_a_size_diverge() {
    let found = value(
        "let settings = #{ network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 8, test_size: 50 }),
            sizes: [16, 32], members: 1, steps: 10, batch: 16, optimizer: |lr| sgd(#{ lr: lr }), values: [1e9, 1e10, 1e11] };
        let s = transfer::study(settings);
        s.save(\"transfer\");
        let t = s.table();
        settings.measure = \"train_loss\";
        [t.column(\"diverged\"), t.column(\"note\"), s.data().column(\"test_loss\"), transfer::study(settings).table().column(\"diverged\")]",
    );
    let found = array(found);
    assert_eq!(ints(found[0].clone()), [3, 3]);
    let notes: Vec<String> = array(found[1].clone())
        .iter()
        .map(Dynamic::to_string)
        .collect();
    assert_eq!(notes, ["all diverge", "all diverge"]);
    assert_eq!(units(found[2].clone()), [true; 6]);
    assert_eq!(ints(found[3].clone()), [3, 3]);
}

#[test]
fn edge_and_catapult_draw_the_losses_before_the_divergence() {
    let ran = run("let common = #{
            network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 4 }), widths: [4, 8],
            members: 2, steps: 20, examples: 12 };
        let e = edge::study(common + #{ optimizer: sgd(#{ lr: 30.0 }), every: 1 });
        e.save(\"edge\");
        e.loss_figure().save(\"edge.svg\");
        e.sharpness_figure().save(\"edge-sharpness.svg\");
        let c = catapult::study(common + #{ lrs: [0.05, 30.0] });
        c.save(\"catapult\");
        c.loss_figure().save(\"catapult.svg\");
        c.sharpness_figure().save(\"catapult-sharpness.svg\");
        [e.table().column(\"mean at edge\"), e.table().column(\"diverged\"), c.table().column(\"diverged\")]");
    let found = array(ran.result.unwrap());
    assert_eq!(units(found[0].clone()), [true, true]);
    assert_eq!(ints(found[1].clone()), [2, 2]);
    assert_eq!(ints(found[2].clone()), [0, 2, 0, 2]);
    for file in ["edge.svg", "catapult.svg"] {
        let svg = std::fs::read_to_string(ran.folder.path().join(file)).unwrap();
        assert!(!svg.contains("no finite data"), "{file}");
        let entries = svg.matches(">8").count();
        assert_eq!(entries, 1, "{file}: width 8 has one entry in the legend");
    }
}

#[test]
fn what_diverges_before_the_first_measurement_is_saved_too() {
    let diverged = value(
        "let s = edge::study(#{ network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 4 }),
            widths: [4, 8], members: 2, steps: 4, every: 1, examples: 12, optimizer: adam(#{ lr: 1e30 }) });
        s.save(\"edge\");
        s.sharpness_figure().save(\"s.svg\");
        s.table().column(\"diverged\")",
    );
    assert_eq!(ints(diverged), [2, 2]);
}

#[test]
fn outputs_that_are_not_finite_are_left_out_and_counted() {
    let found = value(
        "let lost = randn([3, 20, 2], 1) * (0.0 / 0.0);
        let part = stack([randn([20, 2], 4), randn([20, 2], 5), randn([20, 2], 6) * (0.0 / 0.0)]);
        let outputs = [lost, part, randn([3, 20, 2], 2)];
        let a = agreement::with_width([4, 8, 16], outputs);
        a.figure(\"outputs\").save(\"a.svg\");
        let classes = outputs[2].argmax(2)[0];
        let e = ensemble::with_width([4, 8, 16], outputs, classes, #{ samples: 10 });
        e.figure().save(\"e.svg\");
        e.equal_size();
        [a.table().column(\"diverged\"), a.table().column(\"variance\"), a.display(),
            e.table().column(\"diverged\"), e.table().column(\"single\")]",
    );
    let found = array(found);
    assert_eq!(ints(found[0].clone()), [3, 1, 0]);
    assert_eq!(units(found[1].clone()), [true, false, false]);
    assert!(
        found[2].to_string().contains("fewer than two widths"),
        "{}",
        found[2]
    );
    assert_eq!(ints(found[3].clone()), [3, 1, 0]);
    assert_eq!(units(found[4].clone()), [true, false, false]);
    let reference = run("agreement::with_width([4, 8],
        [randn([3, 20, 2], 2), randn([3, 20, 2], 1) * (0.0 / 0.0)])");
    let error = reference.result.unwrap_err();
    assert!(
        error.contains(
            "width 8 is the reference and needs two members with finite outputs, found 0 of 3"
        ),
        "{error}"
    );
}

#[test]
fn models_that_diverged_are_rows_without_numbers() {
    let found = value(
        "let stream = data::teacher(#{ inputs: 6, test_size: 30 });
        let network = |w| mlp(#{ width: w, depth: 3, inputs: 6, outputs: 1 });
        let initial = [];
        let trained = [];
        let big = 1e30;
        for (width, i) in [8, 16, 32] {
            let model = init(network, mup(#{ base_width: 8 }), #{ width: width, members: 4 });
            initial.push(init(network, mup(#{ base_width: 8 }), #{ width: width, members: 4 }));
            let lr = [[big, big, big, big], [0.1, 0.1, 0.1, big], [0.1, 0.1, 0.1, 0.1]][i];
            trainer(model, sgd(#{ lr: lr }), stream, #{ batch: 16 }).step(20);
            trained.push(model);
        }
        let r = representations::compare(#{ models: trained, layers: \"layers.1\", inputs: randn([20, 6]) });
        r.kernel_figure().save(\"k.svg\");
        r.density_figure(\"layers.1\").save(\"d.svg\");
        r.save(\"inside\");
        let s = spectra::study(#{ initial: initial, trained: trained, probe: stream.batch(20), test: stream.test_set() });
        s.spectrum_figure().save(\"s.svg\");
        s.power_figure().save(\"p.svg\");
        s.save(\"spectra\");
        [r.table().column(\"diverged\"), r.table().column(\"ensemble CKA\"), r.verdict(),
            s.table().column(\"diverged\"), s.table().column(\"C(10)\"), s.verdict()]",
    );
    let found = array(found);
    assert_eq!(ints(found[0].clone()), [4, 1, 0]);
    assert_eq!(units(found[1].clone()), [true, false, true]);
    assert!(
        found[2]
            .to_string()
            .contains("4 of the members diverged at width 8")
    );
    assert_eq!(ints(found[3].clone()), [0, 4, 0, 1, 0, 0]);
    assert_eq!(
        units(found[4].clone()),
        [false, true, false, false, false, false]
    );
    assert!(
        found[5].to_string().contains("unknown at width 8"),
        "{}",
        found[5]
    );
}

#[test]
fn a_coordinate_check_fits_no_member_that_diverged() {
    let found = value(
        "let c = coord::check(#{ network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 16 }),
            widths: [32, 64], members: 2, steps: 6, optimizer: sgd(#{ lr: 1e10 }) });
        c.save(\"c\");
        [c.status, c.table().column(\"size\"), c.verdict()]",
    );
    let found = array(found);
    assert_eq!(found[0].to_string(), "#{\"mup\": \"fail\"}");
    assert!(units(found[1].clone())[1..].iter().all(|u| *u), "{found:?}");
    assert!(
        found[2]
            .to_string()
            .contains("members diverge at widths [32, 64]"),
        "{}",
        found[2]
    );
}

#[test]
fn settings_of_studies_that_cannot_be_are_named() {
    let given = "network: |w| mlp(#{ width: w }), stream: data::teacher()";
    for (script, text) in [
        (
            format!("width::study(#{{ {given}, widths: [8, 8, 16] }})"),
            "widths must be different ones, such as [8, 16], found [8, 8, 16]",
        ),
        (
            format!("edge::study(#{{ {given}, widths: [8, 8] }})"),
            "widths must be different ones, such as [8], found [8, 8]",
        ),
        (
            format!("width::study(#{{ {given}, steps: 0 }})"),
            "steps must be 1 or more, found 0",
        ),
        (
            format!("width::study(#{{ {given}, members: 0 }})"),
            "members must be 1 or more, found 0",
        ),
        (
            format!("width::study(#{{ {given}, steps: 5, test: [10, 2] }})"),
            "test must be steps from 0 to 5, the last one, found [10, 2]",
        ),
        (
            "width::study(#{ network: 5, stream: data::teacher() })".into(),
            "`network` must be a function of width, such as |w| mlp(#{ width: w }), found i64",
        ),
        (
            "catapult::study(#{ network: 5, stream: data::teacher(), lrs: [0.1] })".into(),
            "`network` must be a function of width",
        ),
        (
            "coord::check(#{ network: \"mlp\", stream: data::teacher() })".into(),
            "`network` must be a function of width",
        ),
        (
            "width::study(#{ network: |w| mlp(#{ width: w }) })".into(),
            "width::study needs the setting `stream`",
        ),
    ] {
        let error = run(&script).result.unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}
