//! What tensors, streams, metrics and figures make of a script's mistakes, and of numbers that the
//! examples of the function reference do not show.

use std::path::Path;

use rhai::Dynamic;
use widthwise::script::{Host, HostSettings};

pub fn host(folder: &Path) -> Host {
    Host::new(HostSettings {
        out_dir: folder.to_path_buf(),
        ..HostSettings::default()
    })
    .unwrap()
}

/// The value of a script.
pub fn value(script: &str) -> Dynamic {
    let folder = tempfile::tempdir().unwrap();
    host(folder.path())
        .eval_cell(script)
        .unwrap_or_else(|e| panic!("{script}: {e}"))
}

pub fn text(script: &str) -> String {
    value(script).into_string().unwrap()
}

/// Message and help of a script that fails.
pub fn failure(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    match host(folder.path()).eval_cell(script) {
        Ok(found) => panic!("{script} gave {found:?}"),
        Err(e) => e.to_string(),
    }
}

/// Each script fails, and the message has each of the texts.
pub fn fails(cases: &[(&str, &[&str])]) {
    for (script, parts) in cases {
        let found = failure(script);
        for part in *parts {
            assert!(
                found.contains(part),
                "{script}\ngives {found}\nwithout {part}"
            );
        }
    }
}

#[test]
fn mistakes_with_optimizers_and_schedules_name_the_setting() {
    let shallow = "let m = init(mlp(#{ width: 32, depth: 2 }), mup()); \
                   trainer(m, muon(), data::synthetic_images())";
    let members = "let m = init(mlp(#{ width: 32 }), mup(), #{ members: 2 }); \
                   trainer(m, muon(#{ adam_factor: [1, 2, 3] }), data::synthetic_images())";
    fails(&[
        (shallow, &["muon needs a hidden matrix", "adamw"]),
        (members, &["adam_factor has 3 values", "2 members"]),
        ("muon(#{ adjust: \"spectrl\" })", &["adjust", "`spectral`"]),
        ("muon(#{ ns_steps: 0 })", &["ns_steps", "1"]),
        ("muon(#{ beta: 0.9 })", &["beta", "beta1"]),
        ("lion(#{ beta2: 1.0 })", &["beta2", "1"]),
        ("lion(#{ eps: 0.1 })", &["eps", "lr"]),
        (
            "init(mlp(#{ width: 32 }), mup()).explain(\"lion\")",
            &["\"muon\"", "found \"lion\""],
        ),
        (
            "schedule::wsd(#{ steps: 10, warmup: 6, decay: 5 })",
            &["schedule::wsd", "warmup (6)", "decay (5)", "steps (10)"],
        ),
        ("schedule::wsd(#{ steps: 10 })", &["decay"]),
        (
            "schedule::wsd(#{ steps: 10, decay: 5, shape: \"root\" })",
            &["shape", "linear, cosine, sqrt"],
        ),
        (
            "schedule::linear(#{ steps: 10, warmup: 10 })",
            &["schedule::linear", "warmup (10)", "less than steps (10)"],
        ),
        (
            "schedule::linear(#{ steps: 10, floor: 1.5 })",
            &["floor", "1.5"],
        ),
        (
            "schedule::polynomial(#{ steps: 10, power: 0.0 })",
            &["power"],
        ),
        (
            "trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ ema: 1.0 })",
            &["ema", "1"],
        ),
        (
            "trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher()).ema_model",
            &["keeps no average", "ema: 0.999"],
        ),
        ("schedule::inverse_sqrt(#{ warmup: 0 })", &["warmup", "0"]),
    ]);
}

#[test]
fn mistakes_with_networks_name_the_setting_or_the_layer() {
    fails(&[
        (
            "transformer(#{ heads: 2, head_size: 16 })",
            &["`head_size` or `heads`, not both", "more heads"],
        ),
        (
            "init(transformer(#{ width: 20, heads: 3, vocab: 9 }), sp())",
            &["multiple of heads 3, got 20"],
        ),
        ("transformer(#{ preset: \"lama\" })", &["preset", "`llama`"]),
        (
            "transformer(#{ positons: \"rope\" })",
            &["positons", "`positions`"],
        ),
        (
            "resnet(#{ depth: 19 })",
            &["19 layers", "6 n + 2", "blocks"],
        ),
        (
            "resnet(#{ width: 12, groups: 8 })",
            &["8 groups of 12 channels"],
        ),
        (
            "cnn(#{ width: 12, norm: \"group\" })",
            &["8 groups of 12 channels"],
        ),
        ("init(cnn(#{ depth: 8 }), sp())", &["layers.5.pool"]),
        (
            "init(vit(#{ patch: 5, width: 64 }), sp())",
            &["patches of 5 × 5", "[3, 32, 32]"],
        ),
        ("glu(\"silo\")", &["silo", "silu"]),
        (
            "init(sequential([flatten(), linear(7), glu(\"silu\")]), sp())",
            &["2: glu", "even", "[7]"],
        ),
        ("parallel([])", &["at least one branch"]),
        (
            "parallel([linear(3)])",
            &["branch 0", "list of layers", "parallel([["],
        ),
        (
            "init(sequential([flatten(), parallel([[linear(3)], [linear(4)]])]), sp())",
            &["1: parallel branches", "[3] and [4]"],
        ),
        (
            "init(transformer(#{ width: 64, vocab: 9, tied: true }), mup(#{ zero_readout: true }))",
            &["readout.weight", "also embedding.weight", "tied: false"],
        ),
        (
            "compare(init(mlp(#{ width: 8 }), sp()), init(mlp(#{ width: 16 }), mup()))",
            &["same network and width", "[3072, 8]"],
        ),
        (
            "init(sequential([flatten(), linear(4)]), complete_p())",
            &["complete_p", "function of width"],
        ),
    ]);
}

#[test]
fn a_network_that_is_the_same_at_every_width_is_refused() {
    let same =
        "the network is the same at width 64 and at width 128: no parameter grows with width";
    let help = "use the width in the function, such as |w| mlp(#{ width: w })";
    fails(&[
        (
            "init(|w| mlp(#{ width: 32 }), mup(), #{ width: 64 })",
            &[same, help],
        ),
        (
            "init(|w| mlp(#{ width: 32 }), sp(), #{ width: 64 })",
            &[same, help],
        ),
        (
            "init(mlp(#{ width: 32, depth: 1 }), sp(), #{ width: 64 })",
            &[same],
        ),
        (
            "import \"std/width\" as width;
            width::study(#{ network: |w| sequential([flatten(), linear(7)]), stream: data::teacher(), widths: [64, 8] })",
            &["at width 8 and at width 16"],
        ),
        (
            "init(sequential([flatten(), linear(7)]), sp(), #{ width: 64 })",
            &[
                "the setting `width` is 64, but the network is of one size",
                "|w| sequential([flatten(), linear(w)",
            ],
        ),
    ]);
    // of one size, and meant to be
    assert_eq!(
        text("let m = init(sequential([flatten(), linear(7)]), sp()); type_of(m)"),
        "Model"
    );
    assert_eq!(text("type_of(init(mlp(#{ depth: 1 }), sp()))"), "Model");
}

#[test]
fn mistakes_with_tensors_name_the_operation_and_the_shapes() {
    fails(&[
        (
            "tensor([1, 2]) + tensor([1, 2, 3])",
            &["`+`", "[2] and [3]", "equal or 1"],
        ),
        (
            "zeros([2, 3]).matmul(zeros([2, 3]))",
            &["matmul", "[2, 3] and [2, 3]"],
        ),
        ("tensor([1, 2])[2]", &["position 2", "[2]", "-2 to 1"]),
        ("tensor([1, 2])[1..5]", &["1..5", "[2]"]),
        ("zeros([2, 3]).mean(2)", &["mean", "[2, 3]", "axis 2"]),
        ("zeros([2, 3]).item()", &["item", "[2, 3]", "6 numbers"]),
        ("zeros([2, 3]).reshape([4, -1])", &["reshape", "[4, -1]"]),
        (
            "zeros([2, 3]).reshape([2.0, 3])",
            &["reshape", "integers", "f64 at index 0"],
        ),
        ("tensor(1.0).std(0)", &["std", "axis 0", "single number"]),
        ("tensor([[1, 2], [3]])", &["tensor", "unequal lengths"]),
        ("tensor([[1, 2], 3])", &["tensor", "unequal lengths"]),
        ("tensor([1, \"a\"])", &["tensor", "\"a\" (string)"]),
        (
            "tensor([1], \"f23\")",
            &["dtype", "f32, f64, i64, u32", "did you mean"],
        ),
        (
            "stack([zeros([2]), zeros([3])])",
            &["stack", "tensor 1", "[3]", "[2]"],
        ),
        ("stack([])", &["stack", "at least one"]),
        ("zeros([-1])", &["zeros", "[-1]"]),
        ("zeros([100000, 100000])", &["zeros", "[100000, 100000]"]),
        (
            "zeros([2]).close_to(zeros([2]), #{ rtl: 1 })",
            &["close_to has no setting `rtl`", "`rtol`"],
        ),
        (
            "zeros([2]).close_to(zeros([2]), #{ rtol: -1 })",
            &["`rtol`", "from 0 up", "-1"],
        ),
    ]);
}

#[test]
fn tensors_keep_their_types_and_take_numbers_from_either_side() {
    assert_eq!(text("(tensor([1, 2]) + 1).dtype"), "i64");
    assert_eq!(text("(tensor([1, 2]) + 1.0).dtype"), "f32");
    assert_eq!(text("(1 / tensor([1.0, 2.0], \"f64\")).dtype"), "f64");
    assert_eq!(text("`${2 - tensor([1.5])}`"), "Tensor [1] f32 [0.5]");
    assert_eq!(
        text("`${2 ** tensor([1, 3])}`"),
        "Tensor [2] f32 [2.0, 8.0]"
    );
    assert_eq!(text("`${-tensor([1, 3])}`"), "Tensor [2] i64 [-1, -3]");
    assert_eq!(text("type_of(tensor([1]))"), "Tensor");
    // methods of a part: the chain must not write back into the tensor
    assert_eq!(
        text(
            "let t = tensor([[1.0, 2.0], [3.0, 4.0]]); `${t[0].sum()} ${t[1].flatten()[1]} ${t[0..2].mean()}`"
        ),
        "3.0 4.0 2.5"
    );
}

#[test]
fn mistakes_with_streams_name_the_setting() {
    fails(&[
        (
            "data::from_tensors([[1.0], [2.0], [3.0]], [1.0, 2.0])",
            &["from_tensors: 3 inputs, labels for 2"],
        ),
        (
            "data::synthetic_images(#{ sed: 1 })",
            &["synthetic_images has no setting `sed`", "`seed`"],
        ),
        (
            "data::synthetic_images(#{ classes: 11 })",
            &["`classes`", "from 2 to 10", "11"],
        ),
        (
            "data::synthetic_images(#{ noise: \"much\" })",
            &["`noise`", "number", "\"much\""],
        ),
        (
            "data::teacher(#{ activation: \"rleu\" })",
            &["`activation`", "relu", "did you mean"],
        ),
        ("data::sparse_parity(#{ k: 40 })", &["`k`", "40"]),
        ("data::sparse_parity().batch(-1)", &["batch", "size", "-1"]),
        ("data::sparse_parity().batch(0)", &["between 1 and"]),
        ("data::sparse_parity().batch(-1, 5)", &["start", "-1"]),
        (
            "data::sparse_parity().batch(4).narrow(2, 3)",
            &["narrow", "batch of 4"],
        ),
        (
            "data::cifar10(\"no/such\")",
            &["no/such", "expected a folder", "data_batch_1.bin"],
        ),
        (
            "data::mnist(\"no/such\", #{ limit: 0 })",
            &["`limit`", "from 1 up", "0"],
        ),
        (
            "data::from_tensors([[1], [2]], [0])",
            &["from_tensors: 2 inputs, labels for 1"],
        ),
        (
            "data::from_tensors([[1], [2]], [0, 1], #{ test_inputs: [[1]] })",
            &["test_inputs and test_labels go together"],
        ),
        (
            "data::from_tensors([[1], [2]], [0, 1], #{ test_size: 2 })",
            &["2 as test set"],
        ),
        (
            "data::from_tensors([[1], [2]], [0, 5], #{ classes: 3, test_size: 1 })",
            &["classes", "5"],
        ),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let error = host(folder.path()).eval_cell("\n\ndata::mnist(\"no/such\")");
    assert_eq!(error.unwrap_err().error.position().line(), Some(3));
}

#[test]
fn streams_of_own_numbers_keep_the_last_fifth_for_testing() {
    let found = value(
        "let x = []; let y = [];
         for i in 0..10 { x.push([i, -i]); y.push(i.to_float() / 2); }
         let s = data::from_tensors(x, y);
         [s.len, s.outputs, s.classes, s.test_set().inputs.to_array(), s.batch(2).labels.to_array()]",
    );
    assert_eq!(
        format!("{found:?}"),
        "[8, 1, (), [[8.0, -8.0], [9.0, -9.0]], [[0.0], [0.5]]]"
    );
}

#[test]
fn mistakes_with_metrics_name_the_metric_and_the_shapes() {
    fails(&[
        (
            "metrics::accuracy(zeros([2, 3]), [0, 1])",
            &["accuracy", "[members, points, outputs]", "[2, 3]"],
        ),
        (
            "metrics::accuracy(zeros([1, 2, 3]), [0, 1, 2])",
            &["accuracy", "2 points", "[3]"],
        ),
        (
            "metrics::cross_entropy(zeros([1, 2, 3]), [0, 3])",
            &["cross_entropy", "class 3", "3 outputs"],
        ),
        (
            "metrics::cross_entropy(zeros([1, 2, 3]), [0.5, 1.0])",
            &["class labels", "mse"],
        ),
        (
            "metrics::cross_entropy(zeros([1, 2, 3]), \"labels\")",
            &["cross_entropy: labels", "\"labels\" (string)"],
        ),
        (
            "metrics::agreement(zeros([1, 2, 3]), zeros([1, 4, 3]))",
            &["2 points", "4", "same test set"],
        ),
        (
            "metrics::agreement_within(zeros([1, 2, 3]))",
            &["2 members", "members: 2"],
        ),
        (
            "metrics::ensemble_accuracy(zeros([1, 2, 3]), [0, 1], #{ average: \"logit\" })",
            &[
                "`average`",
                "logits, probabilities",
                "did you mean `logits`",
            ],
        ),
        (
            "metrics::loss_deviation([1.0], [1.0, 2.0])",
            &["1 losses and 2 reference"],
        ),
        (
            "metrics::deviation_onset([0, 1.5], [0.1, 0.2])",
            &["steps", "1.5 at index 1"],
        ),
        ("metrics::smooth_log_time([1, 1], [0.1, 0.2])", &["ascend"]),
        ("mean([])", &["mean", "at least 1"]),
        (
            "mean([1.0, 0.0 / 0.0])",
            &["mean", "value 1", "NaN", "summary"],
        ),
        ("mean([1, \"a\"])", &["mean: values", "index 1"]),
        ("quantile([1, 2], 1.5)", &["1.5", "0..=1"]),
        ("linear_fit([1, 1], [1, 2])", &["no slope"]),
        ("log_log_fit([0, 1], [1, 2])", &["x[0] is 0"]),
    ]);
}

#[test]
fn diverged_members_are_left_out_and_counted() {
    let found = value(
        "let nan = 0.0 / 0.0;
         let logits = tensor([[[1.0, 0.0]], [[nan, 0.0]], [[3.0, 0.0]]]);
         let e = metrics::ensemble_logits(logits);
         let a = metrics::agreement_within(logits).mean_squared_distance;
         [e.logits.to_array(), e.count, e.excluded, a.mean, a.count, a.excluded,
          metrics::accuracy(logits, [0])[0], metrics::accuracy(logits, [0])[1].is_nan()]",
    );
    assert_eq!(
        format!("{found:?}"),
        "[[[2.0, 0.0]], 2, 1, 2.0, 2, 4, 1.0, true]"
    );
    // a measure that is not defined for one output
    let found = value(
        "let a = metrics::agreement([[[1.0]], [[2.0]]], [[[1.0]]]).top1_agreement;
         [a.mean.is_nan(), a.std, a.count, a.excluded]",
    );
    assert_eq!(format!("{found:?}"), "[true, (), 0, 2]");
}

#[test]
fn a_test_where_no_output_is_finite_any_more_does_not_end_the_run() {
    let found = value(
        "let m = init(mlp(#{ width: 16, depth: 2 }), sp(), #{ members: 2 });
         let t = trainer(m, sgd(#{ lr: 1e4 }), data::teacher(#{ inputs: 4, test_size: 20 }),
             #{ batch: 8, test: every(1), keep_predictions: true });
         t.step(60);
         [t.record.divergences.len(), t.record.names.contains(\"ensemble_test_loss\")]",
    );
    assert_eq!(format!("{found:?}"), "[2, true]");
}

#[test]
fn outputs_that_are_not_kept_are_measured_in_pieces() {
    // 27 members × 2,000 outputs × 1,200 points are 259 MB, two pieces
    let found = value(
        "let measured = |keep| {
             let labels = [];
             for i in 0..1210 { labels.push(i * 7 % 2000); }
             let stream = data::from_tensors(randn([1210, 4]), labels, #{ classes: 2000, test_size: 1200 });
             let m = init(mlp(#{ width: 4, depth: 2 }), sp(), #{ members: 27 });
             let t = trainer(m, sgd(#{ lr: 0.1 }), stream, #{ batch: 8, test: [1], keep_predictions: keep, record: false });
             t.step(1);
             let names = [\"test_loss\", \"test_accuracy\", \"ensemble_test_loss\", \"ensemble_test_accuracy\"];
             [names.map(|n| t.record.series(n).values[0]), t.record.prediction_steps.len()]
         };
         let whole = measured.call(true);
         let pieces = measured.call(false);
         let apart = 0.0;
         for (row, i) in whole[0] { for (x, j) in row { apart = max(apart, (x - pieces[0][i][j]).abs()); } }
         [apart < 1e-12, whole[0][0].len(), whole[1], pieces[1]]",
    );
    assert_eq!(format!("{found:?}"), "[true, 27, 1, 0]");
}

#[test]
fn a_study_without_outputs_says_so() {
    let study = "import \"std/width\" as width;
         let s = width::study(#{
             network: |w| mlp(#{ width: w, depth: 2 }), stream: data::teacher(#{ inputs: 8, test_size: 50 }),
             widths: [8, 16], members: 2, steps: 4, batch: 16, keep_outputs: false,
         });";
    let found = value(&format!(
        "{study} let t = s.table(); [t.column(\"distance\"), t.column(\"test loss\").len(), s.verdict() != \"\"]"
    ));
    assert_eq!(format!("{found:?}"), "[[(), ()], 2, true]");
    for call in ["s.outputs(\"mup\", -1)", "s.agreement_figure()"] {
        let message = failure(&format!("{study} {call}"));
        assert!(
            message.contains("made with keep_outputs: false"),
            "{message}"
        );
    }
}

#[test]
fn mistakes_with_figures_name_the_setting_or_the_series() {
    fails(&[
        (
            "plot::line([1, 2], #{ titel: \"a\" })",
            &["line has no setting `titel`", "`title`"],
        ),
        (
            "plot::line([1, 2, 3], [1, 2])",
            &["line", "x has 3", "y has 2"],
        ),
        ("plot::line(\"loss\")", &["`y`", "\"loss\" (string)"]),
        (
            "plot::line([1, 2, 3], [[1, 2, 3], [4, 5, 6]])",
            &["2 rows and 3 columns", "x has 3", "member_axis: 0"],
        ),
        ("plot::line([[1, 2], [3]])", &["`y`", "row 1 has 1"]),
        (
            "plot::line([1, 2], #{ y_scale: \"lgo\" })",
            &["`y_scale`", "log2", "did you mean"],
        ),
        (
            "plot::line([1, 2], #{ band: \"sdt\" })",
            &["`band`", "std_error", "did you mean `std`"],
        ),
        (
            "plot::line([1, 2], #{ width: 64, colour: \"blue\" })",
            &["either `width`", "`colour`"],
        ),
        (
            "plot::line([1, 2], #{ colour: \"bleu\" })",
            &["colour", "bleu", "#rrggbb"],
        ),
        (
            "plot::line([1, 2], #{ x_limits: [1] })",
            &["`x_limits`", "[low, high]"],
        ),
        (
            "plot::line([1, 2], #{ x_limits: [3, 1] })",
            &["min 3", "max 1"],
        ),
        (
            "plot::line([1, 2], #{ low: [0, 1] })",
            &["`low` and `high`"],
        ),
        ("plot::lines([])", &["lines", "no series"]),
        (
            "plot::lines([#{ y: [1] }, #{ y: [1], lable: \"a\" }])",
            &["series 1 has no setting `lable`", "`label`"],
        ),
        (
            "plot::lines([#{ x: [1] }])",
            &["series 0 needs the setting `y`"],
        ),
        (
            "plot::lines([#{ y: [1] }, 5])",
            &["series 1", "5 (integer)"],
        ),
        (
            "plot::lines([#{ y: [0, -1] }], #{ y_scale: \"log\" })",
            &["log"],
        ),
        (
            "plot::scatter([1], [[1], [2]])",
            &["scatter", "found a table"],
        ),
        (
            "plot::heatmap([[1, 2]], #{ x_ticks: [1] })",
            &["2", "1 x labels"],
        ),
        (
            "plot::heatmap([1, 2])",
            &["heatmap: matrix", "1 (integer) at index 0"],
        ),
        ("plot::heatmap(zeros([2]))", &["heatmap: matrix", "[2]"]),
        ("plot::histogram([1, 2], #{ bins: 0 })", &["bins", "0"]),
        (
            "plot::histogram([1, 2], #{ bins: \"many\" })",
            &["`bins`", "number of bins"],
        ),
        (
            "plot::histogram(#{ a: [1], b: [2] }, #{ label: \"c\" })",
            &["`label`", "single set"],
        ),
        (
            "plot::histogram(#{ a: [1], b: 2 })",
            &["samples of `b`", "2 (integer)"],
        ),
        (
            "plot::panels([1])",
            &["panels", "element 0", "figure", "1 (integer)"],
        ),
        ("plot::panels([])", &["panel"]),
        (
            "plot::line([1, 2]).save(\"../a.svg\")",
            &["../a.svg", "output folder"],
        ),
        (
            "plot::line([1, 2]).save(\"a.jpg\")",
            &["a.jpg", ".svg or .png"],
        ),
    ]);
}

#[test]
fn tables_over_members_become_a_mean_with_a_band() {
    let by_step = "plot::line([1, 2], [[1.0, 3.0], [2.0, 6.0]], #{ band: \"min_max\" }).csv()";
    let by_member = "plot::line([1, 2], [[1.0, 2.0], [3.0, 6.0]], #{ band: \"min_max\", member_axis: 0 }).csv()";
    assert!(
        text(by_step).contains("line,1,,2,1,3,"),
        "{}",
        text(by_step)
    );
    assert!(text(by_step).contains("line,2,,4,2,6,"));
    assert_eq!(text(by_step), text(by_member));
    let tensor =
        "plot::line([1, 2], tensor([[1.0, 3.0], [2.0, 6.0]]), #{ band: \"min_max\" }).csv()";
    assert_eq!(text(by_step), text(tensor));
    let none = "plot::line([1, 2], [[1.0, 3.0], [2.0, 6.0]], #{ band: \"none\" }).csv()";
    assert!(text(none).contains("line,1,,2,,,"), "{}", text(none));
    let quantiles = "plot::line([[0, 1, 2, 3, 4]], #{ band: \"quantiles\" }).csv()";
    assert!(
        text(quantiles).contains("line,0,,2,1,3,"),
        "{}",
        text(quantiles)
    );
}

#[test]
fn histograms_by_label_are_in_numerical_order_and_share_bins() {
    let csv = text("plot::histogram(#{ \"1024\": [1, 2], \"64\": [0, 4] }, #{ bins: 2 }).csv()");
    let (narrow, wide) = (csv.find("64,hist").unwrap(), csv.find("1024,hist").unwrap());
    assert!(narrow < wide, "{csv}");
    assert_eq!(csv.matches("histogram,0,2,").count(), 2, "{csv}");
}

#[test]
fn figures_are_written_where_they_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = host(folder.path());
    for (name, start) in [
        ("a/loss.svg", &b"<svg"[..]),
        ("loss.png", b"\x89PNG"),
        ("loss.csv", b"panel,"),
        ("loss.json", b"{"),
    ] {
        let script = format!("plot::line([3, 2, 1]).save(\"{name}\")");
        let path = host.eval_cell(&script).unwrap().into_string().unwrap();
        assert_eq!(Path::new(&path), folder.path().join(name));
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            bytes.windows(start.len()).take(200).any(|w| w == start),
            "{name}"
        );
    }
}

#[test]
fn series_of_widths_share_one_map_and_a_heading() {
    let json = text(
        "plot::lines([64, 256].map(|w| #{ y: [1.0, 1.0 / w], width: w }), #{ y_scale: \"log\" }).json()",
    );
    assert!(json.contains("\"group\": \"width\""), "{json}");
    assert!(json.contains("\"label\": \"256\""), "{json}");
    let own = text("plot::lines([#{ y: [1, 2], width: 64, group: \"SP\" }]).json()");
    assert!(own.contains("\"group\": \"SP\""), "{own}");
}
