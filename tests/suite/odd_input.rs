//! What models, metrics and streams make of nothing, of one example, and of tensors in other layouts:
//! right results or an error that says what is wrong.

use rhai::Dynamic;
use widthwise::script::{Host, HostSettings};

fn eval(script: &str) -> Result<Dynamic, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new(HostSettings {
        out_dir: folder.path().to_path_buf(),
        ..HostSettings::default()
    })
    .unwrap();
    host.eval_cell(script).map_err(|e| e.to_string())
}

#[test]
fn numbers_that_are_not_what_they_say_are_refused() {
    let linear = "let m = init(mlp(#{ depth: 1, inputs: 2, outputs: 3 }), sp()); let s = data::teacher(#{ inputs: 2, outputs: 3 });";
    let low = "let x = randn([1, 12, 2], 1); let k = x.matmul(x.transpose(1, 2));";
    // a kernel whose parts are kernels and which is none
    let indefinite = "
        let n = 1100;
        let i = tensor(linspace(0.0, n - 1.0, n)).reshape([n, 1]);
        let unit = |p| (((i - p) ** 2) * -50.0).exp();
        let k = (((i - i.transpose()) ** 2) * -50.0).exp();
        for p in [[0, 1050, 0.9], [0, 1060, 0.9], [1050, 1060, -0.9]] {
            let product = unit.call(p[0]).matmul(unit.call(p[1]).transpose()) * p[2];
            k = k + product + product.transpose();
        }";
    for (before, script, words) in [
        (
            linear,
            "metrics::sharpness(m, s.batch(8), #{ products: 1, tolerance: 1e-9 })",
            "has not converged",
        ),
        (low, "metrics::eigenspace_overlap(k, k, 5)", "has rank 2"),
        (
            indefinite,
            "metrics::cka(tensor(k), tensor(k))",
            "not positive semi-definite",
        ),
        (
            "import \"std/agreement\" as agreement;",
            "agreement::with_width([8, 16, 32], [randn([2, 5, 2], 1), randn([2, 5, 3], 2), randn([2, 5, 2], 3)])",
            "the outputs of width 16 are [5, 3]",
        ),
        (
            "import \"std/ensemble\" as ensemble;",
            "ensemble::with_width([16, 8], [randn([2, 5, 2], 1), randn([2, 5, 2], 2)], [0, 1, 0, 1, 0])",
            "widths must ascend",
        ),
    ] {
        let error = eval(&format!("{before} {script}")).unwrap_err();
        assert!(error.contains(words), "{script}: {error}");
    }
    for script in [
        "metrics::sharpness(m, s.batch(8), #{ products: 1, tolerance: 0 }).len",
        "metrics::sharpness(m, s.batch(8)).len",
    ] {
        assert_eq!(
            eval(&format!("{linear} {script}")).unwrap().as_int(),
            Ok(1),
            "{script}"
        );
    }
}

/// Beyond its rank a kernel's eigenvectors are any, and what is said of them must not depend on which.
#[test]
fn power_beyond_a_kernels_rank_does_not_depend_on_the_order_of_points() {
    let found = eval(
        "let x = tensor([[[1.0, 2.0], [0.0, 3.0], [-1.0, 1.0], [2.0, 2.0], [4.0, -1.0], [-2.0, 0.0], [1.0, 1.0], [3.0, -3.0], [0.0, -1.0]]]); let y = randn([9, 1], 2);
         let power = |x, y| metrics::task_power(x.matmul(x.transpose(1, 2)), y).cumulative[0].to_array();
         let order = tensor([3, 1, 8, 0, 5, 2, 7, 4, 6].map(|o| {
             let row = [];
             for j in 0..9 { row.push(if j == o { 1.0 } else { 0.0 }); }
             row
         }));
         let other = power.call(order.matmul(x), order.matmul(y));
         let one = power.call(x, y);
         let apart = 0.0;
         for (c, i) in one { apart = max(apart, (c - other[i]).abs()); }
         apart",
    );
    assert!(found.unwrap().as_float().unwrap() < 1e-6);
}

#[test]
fn nothing_is_refused_with_a_reason() {
    let m = "let m = init(mlp(#{ width: 8, inputs: 6, outputs: 3 }), sp());";
    let images = "let rule = sp(); let small = |layers| init(sequential(layers), rule, #{}).predict(zeros([2, 3, 4, 4]));";
    for (before, script, words) in [
        ("", "init(mlp(), sp(), #{ members: 0 })", "members"),
        ("", "init(mlp(#{ width: 0 }), sp())", "width"),
        (
            m,
            "trainer(m, sgd(#{ lr: 0.1 }), data::teacher(), #{ batch: 0 })",
            "batch",
        ),
        (m, "m.predict(zeros([0, 6]))", "no inputs"),
        (m, "m.predict(zeros([0]))", "no inputs"),
        (m, "m.predict(zeros([2, 5]))", "[points, 6]"),
        (m, "m.predict(zeros([]))", "[points, 6]"),
        (m, "m.activation(\"layers.0\", zeros([0, 6]))", "no inputs"),
        (m, "metrics::ntk(m, zeros([0, 6]))", "at least one input"),
        ("", "data::teacher().batch(0)", "between 1 and"),
        ("", "data::teacher(#{ inputs: 0 })", "inputs"),
        (
            "",
            "data::from_tensors(zeros([0, 3]), zeros([0]))",
            "[0, 3]",
        ),
        (
            "",
            "data::from_tensors(zeros([5, 0]), zeros([5]))",
            "[4, 0]",
        ),
        ("", "data::from_tensors(zeros([]), zeros([]))", "[]"),
        ("", "data::from_tensors([], [])", "[0]"),
        (
            "",
            "data::from_tensors(zeros([5, 2]), zeros([5, 0]))",
            "[4, 0]",
        ),
        (
            "",
            "metrics::cross_entropy(zeros([2, 0, 3]), [])",
            "no number",
        ),
        (
            "",
            "metrics::cross_entropy(zeros([0, 2, 3]), [0, 1])",
            "no number",
        ),
        (
            "",
            "metrics::mse(zeros([1, 2, 0]), zeros([2, 0]))",
            "no number",
        ),
        (
            "",
            "metrics::accuracy(zeros([]), [])",
            "[members, points, outputs]",
        ),
        (
            "",
            "metrics::agreement(zeros([1, 0, 3]), zeros([1, 0, 3]))",
            "no number",
        ),
        ("", "zeros([0, 3]).mean()", "at least 1"),
        ("", "zeros([0, 3]).max(0)", "at least 1"),
        ("", "concat([], 0)", "at least one"),
        ("", "sequential([])", "layer"),
        (
            images,
            "small.call([conv2d(4, #{ kernel: 5 }), flatten(), linear(2)])",
            "4",
        ),
        (
            images,
            "small.call([max_pool2d(5), flatten(), linear(2)])",
            "4",
        ),
        (
            images,
            "small.call([avg_pool2d(5), flatten(), linear(2)])",
            "4",
        ),
    ] {
        match eval(&format!("{before}\n{script}")) {
            Ok(found) => panic!("{script} gives {found:?}"),
            Err(message) => assert!(message.contains(words), "{script}: {message}"),
        }
    }
}

#[test]
fn one_and_none_have_their_right_results() {
    for script in [
        "zeros([0, 3]).sum() == 0.0",
        "zeros([0, 3]).sum(0).to_array() == [0.0, 0.0, 0.0]",
        "(zeros([0, 3]) + 1).shape == [0, 3]",
        "(zeros([0, 3]) + zeros([3])).shape == [0, 3]",
        "zeros([0, 3]).matmul(zeros([3, 2])).shape == [0, 2]",
        "zeros([2, 0]).matmul(zeros([0, 3])).to_array() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]",
        "zeros([2, 0]).reshape([0, 5]).shape == [0, 5]",
        "zeros([2, 0]).softmax(0).shape == [2, 0]",
        "randn([0]).to_array() == []",
        "let m = init(mlp(#{ width: 8, inputs: 6, outputs: 3 }), sp(), #{ members: 2 });
         let x = randn([300, 6]);
         m.predict(x[7..8]) == m.predict(x).narrow(1, 7, 1)",
        "metrics::accuracy(tensor([[[1.0, 2.0]]]), [1]) == [1.0]",
        "let s = data::from_tensors([[1.0]], [0], #{ test_inputs: [[1.0]], test_labels: [0] });
         s.batch(3).inputs.to_array() == [[1.0], [1.0], [1.0]]",
        "let m = init(mlp(#{ width: 4 }), sp());
         let t = trainer(m, sgd(#{ lr: 0.1 }), data::teacher(), #{ batch: 1 });
         t.step(2); t.steps == 2",
    ] {
        match eval(script) {
            Ok(found) => assert!(found.as_bool() == Ok(true), "{script} gives {found:?}"),
            Err(message) => panic!("{script}: {message}"),
        }
    }
}

/// A tensor whose numbers do not lie in order gives what its copy gives.
#[test]
fn other_layouts_give_the_same_results() {
    let layouts = "
        let m = init(mlp(#{ width: 8, inputs: 6, outputs: 3 }), sp(), #{ members: 2 });
        let wide = randn([300, 9], 1);
        let turned = randn([6, 300], 2).transpose();
        let views = [wide.narrow(1, 2, 6), turned, wide.narrow(0, 5, 40).narrow(1, 1, 6)];
        let copy = |t| tensor(t.to_array());
        let classes = |n| { let c = []; for i in 0..n { c.push(i % 3); } c };";
    for check in [
        "m.predict(v) == m.predict(c)",
        "m.activation(\"layers.0.relu\", v) == m.activation(\"layers.0.relu\", c)",
        "metrics::ntk(m, v[0..20]) == metrics::ntk(m, c[0..20])",
        "data::from_tensors(v, classes.call(v.len)).batch(9).inputs == c[0..9]",
        "data::from_tensors(v, v).batch(9).labels == c[0..9]",
        "metrics::mse(v.unsqueeze(0), c) == [0.0]",
        "metrics::cross_entropy(v.unsqueeze(0), classes.call(v.len)) == metrics::cross_entropy(c.unsqueeze(0), classes.call(v.len))",
        "metrics::squared_bias(stack([v, c]), stack([v, v])).distance == 0.0",
        "metrics::ensemble_logits(stack([v, c])).logits == metrics::ensemble_logits(stack([c, c])).logits",
        "v.sum() == c.sum()",
        "v.sum(0) == c.sum(0)",
        "v.argmax(1) == c.argmax(1)",
        "v.std(1) == c.std(1)",
        "v.softmax(1) == c.softmax(1)",
        "v.exp() == c.exp()",
        "v ** 2 == c ** 2",
        "v + c == c * 2",
        "v.to_dtype(\"f64\") == c.to_dtype(\"f64\")",
        "v.reshape([-1]) == c.reshape([-1])",
        "v.transpose().matmul(v).close_to(c.transpose().matmul(c))",
        "concat([v, c], 0) == concat([c, c], 0)",
        "stack([v, c]) == stack([c, c])",
    ] {
        let script = format!(
            "{layouts}\nlet wrong = [];\n\
             for (v, i) in views {{ let c = copy.call(v); if !({check}) {{ wrong.push(i); }} }}\nwrong.is_empty()"
        );
        match eval(&script) {
            Ok(found) => assert!(found.as_bool() == Ok(true), "{check} gives {found:?}"),
            Err(message) => panic!("{check}: {message}"),
        }
    }
}

#[test]
fn training_on_a_view_is_training_on_its_copy() {
    let script = "
        let x = randn([7, 50], 2).transpose();
        let y = randn([50, 4], 3).narrow(1, 1, 2);
        let train = |x, y| {
            let m = init(mlp(#{ width: 8 }), sp());
            let t = trainer(m, sgd(#{ lr: 0.1 }), data::from_tensors(x, y), #{ batch: 7 });
            t.step(5);
            bench::fingerprint(m)
        };
        train.call(x, y) == train.call(tensor(x.to_array()), tensor(y.to_array()))";
    assert_eq!(eval(script).unwrap().as_bool(), Ok(true));
}
