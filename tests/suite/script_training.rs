//! What trainers and models make of a script's mistakes with probes, schedules and sizes.

use crate::script_bindings::{fails, text, value};

/// A script that trains a small model with these settings.
fn training(before: &str, settings: &str) -> String {
    format!(
        "{before} let t = trainer(init(mlp(#{{ width: 8 }}), mup()), sgd(), data::teacher(), \
         #{{ batch: 8, {settings} }}); t.step(3);"
    )
}

#[test]
fn a_record_tells_probes_apart() {
    let two = "let a = probe(\"x\", every(1), |m, s| 5); let b = probe(\"x\", every(1), |m, s| 6);";
    let one = training("let a = probe(\"norm\", [2, 9], |m, s| s);", "probes: [a]");
    let none = training("", "");
    fails(&[
        (
            &training(two, "probes: [a, b]"),
            &["setting `probes`: two probes are called \"x\""],
        ),
        (
            &format!("{one} t.record.probe(\"nrom\")"),
            &["no probe `nrom`; it has norm", "did you mean `norm`?"],
        ),
        (
            &format!("{none} t.record.probe(\"norm\")"),
            &["no probe `norm`; it has none", "probes: [probe("],
        ),
        (
            &format!("{none} t.record.series(\"tran_loss\")"),
            &[
                "no series `tran_loss`; it has lr_factor, train_loss",
                "`train_loss`?",
            ],
        ),
    ]);
    assert_eq!(
        text(&format!("{one} `${{t.record.probe(\"norm\").steps}}`")),
        "[2]"
    );
    let early = "let a = probe(\"norm\", [9], |m, s| s);";
    let script = format!(
        "{} t.record.probe(\"norm\").steps.len()",
        training(early, "probes: [a]")
    );
    assert_eq!(value(&script).as_int(), Ok(0));
}

#[test]
fn a_schedule_gives_numbers_from_zero_up() {
    let words = "the schedule's factor at step 1 must be a finite number from 0 up, found";
    let from_step_one = |factor: &str| {
        training(
            "",
            &format!("schedule: |step| if step == 0 {{ 1.0 }} else {{ {factor} }}"),
        )
    };
    fails(&[
        (&from_step_one("0.0 / 0.0"), &[words, "NaN"]),
        (&from_step_one("-0.5"), &[words, "-0.5"]),
        (&from_step_one("1.0 / 0.0"), &[words, "inf"]),
    ]);
    assert_eq!(
        value(&format!("{} t.steps", from_step_one("0"))).as_int(),
        Ok(3)
    );
}

#[test]
fn a_transformer_takes_its_context_from_the_stream() {
    let script = "let m = init(transformer(#{ width: 16, heads: 2, depth: 1 }), mup()); \
                  let before = m.param(\"positions.weight\").shape; \
                  let t = trainer(m, adam(), data::markov_tokens(#{ context: 8, vocab: 5 }), #{ batch: 4 }); \
                  t.step(2); `${before} ${t.model.param(\"positions.weight\").shape}`";
    assert_eq!(text(script), "[1, 128, 16] [1, 8, 16]");
    fails(&[(
        "let m = init(transformer(#{ width: 16, heads: 2, depth: 1, context: 4 }), mup()); \
         trainer(m, adam(), data::markov_tokens(#{ context: 8 }))",
        &["takes inputs of shape [4], but the stream gives [8]"],
    )]);
}

#[test]
fn members_that_do_not_fit_are_refused_before_their_seeds_are_made() {
    let start = std::time::Instant::now();
    fails(&[(
        "init(mlp(#{ width: 64, depth: 3 }), mup(), #{ members: 100000000000 })",
        &[
            "init: setting `members`",
            "of 100000000000 members would fit",
        ],
    )]);
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn functions_are_held_against_what_they_are_for() {
    fails(&[
        (
            "probe(\"norm\", every(1), |m| 1.0)",
            &[
                "probe \"norm\": the function must take (model, step), but takes 1 argument",
                "write |model, step| …",
            ],
        ),
        (
            &training("", "schedule: || 1.0"),
            &["setting `schedule`: the function must take (step), but takes 0 arguments"],
        ),
        (
            &training("", "schedule: |step| \"a\""),
            &["schedule: the function must return a number, but returned \"a\" (string)"],
        ),
        (
            "init(|w| 3, mup(), #{ width: 8 })",
            &["the function must return a network, but returned 3 (integer)"],
        ),
        (
            "mlp(#{ width: -3 })",
            &["expected integer (from 1 up), found -3"],
        ),
    ]);
    // what a closure captures is none of its arguments
    let captured = training(
        "let a = 2; let p = probe(\"p\", every(1), |m, s| s * a);",
        "probes: [p]",
    );
    assert_eq!(
        text(&format!("{captured} `${{t.record.probe(\"p\").values}}`")),
        "[0, 2, 4, 6]"
    );
}
