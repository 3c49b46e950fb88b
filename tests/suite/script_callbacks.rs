//! Script functions called from the core: at once, later, from other threads; errors both ways.

use std::sync::{Mutex, PoisonError};

use rhai::plugin::*;
use rhai::{FnPtr, Map};
use widthwise::error::{Error, Result};
use widthwise::options;
use widthwise::script::api::Registry;
use widthwise::script::callback;
use widthwise::script::diagnostics::Report;
use widthwise::script::{Host, HostSettings, OrRaise, RhaiResultOf, StoredFn};

/// Something that keeps a function of the step, as a trainer keeps its schedule.
#[derive(Debug, Clone)]
struct Schedule(StoredFn);

options! {
    /// Settings of the thing under test.
    struct ScheduleOptions for "schedule", "area::schedule" {
        /// Learning rate at each step.
        lr: FnPtr;
        /// Number of steps.
        steps: usize = 3, where (1..);
    }
}

/// A core function that knows nothing of scripts.
fn core_sum(f: &(dyn Fn(i64) -> Result<f64> + Sync), steps: i64) -> Result<f64> {
    let mut sum = 0.0;
    for step in 0..steps {
        sum += f(step).map_err(|e| e.at(format_args!("step {step}")))?;
    }
    Ok(sum)
}

#[export_module]
mod functions {
    use super::*;

    #[rhai_fn(return_raw)]
    pub fn schedule(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = ScheduleOptions::from_map(&ctx, &settings)?;
        StoredFn::new(&ctx, o.lr).map(Schedule).or_raise(&ctx)
    }

    #[rhai_fn(pure, return_raw)]
    pub fn total(ctx: NativeCallContext, s: &mut Schedule, steps: i64) -> RhaiResultOf<f64> {
        core_sum(&|step| s.0.call::<f64>((step,)), steps).or_raise(&ctx)
    }

    #[rhai_fn(pure, return_raw)]
    pub fn total_threads(ctx: NativeCallContext, s: &mut Schedule) -> RhaiResultOf<f64> {
        let sum = Mutex::new(0.0);
        std::thread::scope(|threads| {
            for step in 0..4_i64 {
                let (s, sum) = (&s.0, &sum);
                threads.spawn(move || {
                    let value = s.call::<f64>((step,)).unwrap_or(f64::NAN);
                    *sum.lock().unwrap_or_else(PoisonError::into_inner) += value;
                });
            }
        });
        let sum = *sum.lock().unwrap_or_else(PoisonError::into_inner);
        if sum.is_nan() {
            Err(Error::other("a thread failed")).or_raise(&ctx)
        } else {
            Ok(sum)
        }
    }

    #[rhai_fn(return_raw)]
    pub fn twice(ctx: NativeCallContext, f: FnPtr) -> RhaiResultOf<i64> {
        let a: i64 = callback::call(&ctx, &f, (1_i64,)).or_raise(&ctx)?;
        let b: i64 = callback::call(&ctx, &f, (2_i64,)).or_raise(&ctx)?;
        Ok(a + b)
    }
}

fn host() -> Host {
    let settings = HostSettings {
        modules: [(
            "lib".to_string(),
            "fn half(x) { x / 2.0 }\nfn make(lr) { schedule(#{ lr: |s| half(lr) }) }\n\
             fn run(s) { s.total(2) }\nfn rate(x) { 1000.0 }"
                .to_string(),
        )]
        .into(),
        ..HostSettings::default()
    };
    Host::with(settings, |r: &mut Registry| {
        r.name_type::<Schedule>("Schedule");
        r.options(ScheduleOptions::spec());
        r.global(rhai::exported_module!(functions));
        r.module("area", rhai::exported_module!(functions));
    })
    .unwrap()
}

fn float(host: &mut Host, text: &str) -> f64 {
    match host.run_text("t", text) {
        Ok(value) => value.as_float().unwrap(),
        Err(e) => panic!("{}", Report::new(host, &e).render(false)),
    }
}

#[test]
fn a_kept_function_is_called_later_with_its_surroundings() {
    let mut h = host();
    let text = "fn rate(s) { 0.5 * s }\nlet k = 2.0;\nlet s = schedule(#{ lr: |step| rate(step) + k });\ns.total(3)";
    assert_eq!(float(&mut h, text), 7.5);
    // an integer is taken where the core wants a float
    assert_eq!(
        float(&mut h, "let s = schedule(#{ lr: |step| step }); s.total(3)"),
        3.0
    );
    let text = "import \"lib\" as lib; let s = lib::make(3.0); s.total(2)";
    assert_eq!(float(&mut h, text), 3.0);
    // called inside a library, it still means the script's own function
    let text = "import \"lib\" as lib; fn rate(x) { 1.0 } lib::run(schedule(#{ lr: |s| rate(s) }))";
    assert_eq!(float(&mut h, text), 2.0);
}

#[test]
fn a_kept_function_works_in_later_cells_and_other_threads() {
    let mut h = host();
    for cell in [
        "fn rate(s) { 2.0 * s }",
        "let s = schedule(#{ lr: |x| rate(x) })",
    ] {
        let _ = h.eval_cell(cell).unwrap();
    }
    assert_eq!(h.eval_cell("s.total(3)").unwrap().as_float().unwrap(), 6.0);
    assert_eq!(
        h.eval_cell("s.total_threads()")
            .unwrap()
            .as_float()
            .unwrap(),
        12.0
    );
}

#[test]
fn an_error_in_a_callback_keeps_its_place_and_can_be_caught() {
    let mut h = host();
    let text = "let s = schedule(#{\n    lr: |step| step.nonsense\n});\ns.total(3);";
    let e = h.run_text("t", text).unwrap_err();
    let shown = Report::new(&h, &e).render(false);
    assert!(
        shown.starts_with("error: int has no property `nonsense`\n --> t:2:"),
        "{shown}"
    );
    assert!(shown.contains("in closure, called at t:4"), "{shown}");
    let text = "let s = schedule(#{ lr: |step| fail(\"too wide\") });\nlet m = \"\"; try { s.total(3); } catch (e) { m = e.message; } m";
    let value = h.run_text("t", text).unwrap();
    assert_eq!(value.into_string().unwrap(), "too wide");
    let e = h
        .run_text("t", "schedule(#{ lr: |s| \"fast\" }).total(1)")
        .unwrap_err();
    assert_eq!(
        e.to_string(),
        "step 0: the function must return a number, but returned \"fast\" (string)"
    );
}

#[test]
fn errors_of_qualified_calls_have_a_place() {
    let mut h = host();
    let e = h
        .run_text("t", "let a = 1;\narea::schedule(#{ lrs: 1 });")
        .unwrap_err();
    let shown = Report::new(&h, &e).render(false);
    assert_eq!(
        shown,
        "error: schedule has no setting `lrs`; it accepts lr, steps\n --> t:2:19\n  |\n\
         2 | area::schedule(#{ lrs: 1 });\n  |                   ^^^\nhelp: did you mean `lr`?\n"
    );
    let text = "let k = \"\"; try { area::schedule(#{ lr: 1 }); } catch (e) { k = e.kind + \": \" + e.message; } k";
    assert_eq!(
        h.run_text("t", text).unwrap().into_string().unwrap(),
        "setting: schedule: setting `lr`: expected function, such as |x| x, found 1 (integer)"
    );
}

#[test]
fn a_function_can_be_called_at_once() {
    let mut h = host();
    assert_eq!(
        h.run_text("t", "let k = 10; twice(|x| x * k)")
            .unwrap()
            .as_int()
            .unwrap(),
        30
    );
}

#[test]
fn settings_belong_to_both_paths_in_the_reference() {
    let h = host();
    for name in ["schedule", "area::schedule"] {
        let found = h
            .docs()
            .functions()
            .iter()
            .find(|f| f.path() == name)
            .unwrap();
        assert_eq!(found.options.unwrap().keys(), ["lr", "steps"]);
        assert!(
            found.page().contains("steps: integer (from 1 up) = 3"),
            "{}",
            found.page()
        );
        assert!(
            found
                .page()
                .contains("lr: function, such as |x| x, must be given")
        );
    }
}
