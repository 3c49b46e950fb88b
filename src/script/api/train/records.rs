//! What scripts read from a record.

use std::path::Path;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map};

use super::{Measured, RecordValue, lock};
use crate::error::Error;
use crate::script::api::tensor::TensorValue;
use crate::script::names::did_you_mean;
use crate::script::{OrRaise, RhaiResultOf, raise, session};
use crate::train::{Record, Series};

/// A record that is looked at.
struct View<'a> {
    record: &'a Record,
    /// Steps that were taken.
    steps: u64,
    /// Names of the probes that there are, measured or not.
    probes: Vec<&'a str>,
    measured: Option<&'a Measured>,
    path: Option<&'a Path>,
}

impl RecordValue {
    /// Looks at it, unless its trainer is taking steps.
    fn view<R>(
        &self,
        ctx: &NativeCallContext,
        look: impl FnOnce(View<'_>) -> RhaiResultOf<R>,
    ) -> RhaiResultOf<R> {
        match self {
            Self::Of(trainer) => {
                let training = lock(ctx, &trainer.0)?;
                let trainer = &training.trainer;
                look(View {
                    record: trainer.record(),
                    steps: trainer.step(),
                    probes: trainer.probe_names().collect(),
                    measured: Some(&training.measured),
                    path: trainer.record().path(),
                })
            }
            Self::Read(record, path) => {
                let mut probes: Vec<_> = record.probes.iter().map(|p| p.1.as_str()).collect();
                probes.sort_unstable();
                probes.dedup();
                let losses = record.series.get("train_loss");
                let last = losses.and_then(|s| s.steps.last());
                look(View {
                    record,
                    steps: last.map_or(0, |step| step + 1),
                    probes,
                    measured: None,
                    path: Some(path),
                })
            }
        }
    }
}

/// Steps and values, as scripts have them.
fn steps_and_values(steps: Array, values: Array) -> Map {
    [
        ("steps".into(), steps.into()),
        ("values".into(), values.into()),
    ]
    .into()
}

fn numbers(values: &[f64]) -> Array {
    values.iter().map(|&v| v.into()).collect()
}

/// A name that the record lacks; `help` is for one that is near none of those it has.
fn unknown(what: &str, name: &str, names: &[&str], help: &str) -> Error {
    let has = match names {
        [] => "none".to_string(),
        names => names.join(", "),
    };
    let error = Error::setting(format!("the record has no {what} `{name}`; it has {has}"));
    let near = did_you_mean(name, names.iter().copied());
    error.with_help(near.unwrap_or_else(|| help.into()))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod records {
    use super::*;

    /// The record of another run, from its file `NAME.jsonl`: of one that has ended, was killed or still goes
    /// on. It has all that a trainer's own record has but kept outputs. Which files may be read is as for
    /// `read_text`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8, name: "first" });
    /// t.step(3);
    /// let r = read_record(t.record.path);
    /// r.series("train_loss") == t.record.series("train_loss")      // → true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_record(ctx: NativeCallContext, path: &str) -> RhaiResultOf<RecordValue> {
        let path = session(&ctx)
            .and_then(|s| s.input_path(path))
            .or_raise(&ctx)?;
        let record = Record::read(&path).or_raise(&ctx)?;
        Ok(RecordValue::Read(Arc::new(record), path))
    }

    /// The settings of the run: `model`, `optimizer`, `stream`, `loss` and `training`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(#{ lr: 0.5 }), data::teacher(), #{ batch: 8 });
    /// t.record.settings.training.batch           // → 8
    /// t.record.settings.optimizer.settings.lr    // → 0.5
    /// ```
    #[rhai_fn(get = "settings", return_raw, pure)]
    pub fn record_settings(
        ctx: NativeCallContext,
        record: &mut RecordValue,
    ) -> RhaiResultOf<Dynamic> {
        record.view(&ctx, |view| {
            let settings = serde_json::from_value(view.record.settings.clone());
            settings.map_err(|e| raise(&ctx, Error::other(format!("settings of a record: {e}"))))
        })
    }

    /// Names of the series: `train_loss`, `lr_factor`, and with `test` also `test_loss`,
    /// `test_accuracy`, `ensemble_test_loss`, `ensemble_test_accuracy`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8, test: [2] });
    /// t.step(2);
    /// t.record.names      // → ["ensemble_test_loss", "lr_factor", "test_loss", "train_loss"]
    /// ```
    #[rhai_fn(get = "names", return_raw, pure)]
    pub fn names(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Array> {
        record.view(&ctx, |view| {
            let names = view.record.series.keys();
            Ok(names.map(|name| name.clone().into()).collect())
        })
    }

    /// A series: `steps`, and `values`, one row per step with one number per member (a single one
    /// for quantities of the ensemble).
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 8 }), mup(), #{ members: 3 });
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// let s = t.record.series("train_loss");
    /// [s.steps, s.values[0].len()]      // → [[0, 1], 3]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn series(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Map> {
        record.view(&ctx, |view| {
            let all = &view.record.series;
            let Some(Series { steps, values }) = all.get(name) else {
                let names: Vec<&str> = all.keys().map(String::as_str).collect();
                let help =
                    "test_loss and test_accuracy are measured with the trainer's setting `test`";
                return Err(raise(&ctx, unknown("series", name, &names, help)));
            };
            Ok(steps_and_values(
                steps.iter().map(|&s| (s as i64).into()).collect(),
                values.iter().map(|row| numbers(row).into()).collect(),
            ))
        })
    }

    /// The last row of a series: one number per member.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.last("train_loss").len()      // → 1
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn last(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Array> {
        let mut series = series(ctx, record, name)?;
        let values = series.remove("values").and_then(Dynamic::try_cast::<Array>);
        Ok(values
            .and_then(|mut rows| rows.pop())
            .and_then(Dynamic::try_cast::<Array>)
            .unwrap_or_default())
    }

    /// What a probe of the script gave: `steps` and `values`, empty before it was measured.
    ///
    /// ```rhai
    /// let p = probe("step", [0, 1], |model, step| step * 10);
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8, probes: [p] });
    /// t.step(2);
    /// t.record.probe("step").values      // → [0, 10]
    /// ```
    #[rhai_fn(name = "probe", return_raw, pure)]
    pub fn probe_results(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        name: &str,
    ) -> RhaiResultOf<Map> {
        record.view(&ctx, |view| {
            if !view.probes.contains(&name) {
                let help =
                    "give the trainer one: probes: [probe(\"name\", every(10), |model, step| …)]";
                return Err(raise(&ctx, unknown("probe", name, &view.probes, help)));
            }
            let (mut steps, mut values) = (Array::new(), Array::new());
            for (step, _, value) in view.record.probes.iter().filter(|p| p.1 == name) {
                steps.push((*step as i64).into());
                let at = (name.to_string(), *step);
                values.push(match view.measured.and_then(|all| all.get(&at)) {
                    Some(value) => value.clone(),
                    None => serde_json::from_value(value.clone())
                        .map_err(|e| raise(&ctx, Error::other(format!("probe {name}: {e}"))))?,
                });
            }
            Ok(steps_and_values(steps, values))
        })
    }

    /// Steps at which the outputs on the test set were kept (trainer's setting `keep_predictions`).
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(),
    ///     #{ batch: 8, test: [0, 2], keep_predictions: true });
    /// t.step(2);
    /// t.record.prediction_steps      // → [0, 2]
    /// ```
    #[rhai_fn(get = "prediction_steps", return_raw, pure)]
    pub fn prediction_steps(
        ctx: NativeCallContext,
        record: &mut RecordValue,
    ) -> RhaiResultOf<Array> {
        record.view(&ctx, |view| {
            let steps = view.record.predictions.keys();
            Ok(steps.map(|&s| (s as i64).into()).collect())
        })
    }

    /// Outputs on the test set that were kept at a step: `[members, points, outputs]`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(),
    ///     #{ batch: 8, test: [2], keep_predictions: true, test_points: 100 });
    /// t.step(2);
    /// t.record.predictions(2).shape      // → [1, 100, 1]
    /// ```
    #[rhai_fn(return_raw, pure)]
    pub fn predictions(
        ctx: NativeCallContext,
        record: &mut RecordValue,
        step: i64,
    ) -> RhaiResultOf<TensorValue> {
        record.view(&ctx, |view| {
            let all = &view.record.predictions;
            let found = u64::try_from(step).ok().and_then(|step| all.get(&step));
            found.cloned().map(TensorValue).ok_or_else(|| {
                let error = Error::setting(format!(
                    "no predictions were kept at step {step}; they were at {:?}",
                    all.keys().collect::<Vec<_>>()
                ));
                raise(
                    &ctx,
                    error.with_help("give the trainer test: […] and keep_predictions: true"),
                )
            })
        })
    }

    /// Members that diverged: maps of `step`, `member`, `seed`, `loss` and `last_finite`.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.divergences      // → []
    /// ```
    #[rhai_fn(get = "divergences", return_raw, pure)]
    pub fn divergences(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Array> {
        let map = |d: &crate::train::Divergence| -> Map {
            [
                ("step".into(), (d.step as i64).into()),
                ("member".into(), (d.member as i64).into()),
                ("seed".into(), (d.seed as i64).into()),
                ("loss".into(), d.loss.into()),
                (
                    "last_finite".into(),
                    d.last_finite.map_or(Dynamic::UNIT, Dynamic::from),
                ),
            ]
            .into()
        };
        record.view(&ctx, |view| {
            let all = view.record.divergences.iter();
            Ok(all.map(|d| map(d).into()).collect())
        })
    }

    /// File that the record is written to, `()` if it is kept in memory only.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.record.path      // → ()
    /// ```
    #[rhai_fn(get = "path", return_raw, pure)]
    pub fn path(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Dynamic> {
        record.view(&ctx, |view| {
            let path = view.path.map(|p| p.display().to_string());
            Ok(path.map_or(Dynamic::UNIT, Dynamic::from))
        })
    }

    /// A record in a few lines: the last values of each series.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.to_string().contains("train_loss")      // → true
    /// ```
    #[rhai_fn(
        name = "to_string",
        name = "to_debug",
        name = "display",
        return_raw,
        pure
    )]
    pub fn record_to_string(
        ctx: NativeCallContext,
        record: &mut RecordValue,
    ) -> RhaiResultOf<String> {
        record.view(&ctx, |view| {
            let mut text = format!("record of {} steps", view.steps);
            for (name, series) in &view.record.series {
                if let (Some(step), Some(row)) = (series.steps.last(), series.values.last()) {
                    let row: Vec<String> = row.iter().map(|v| format!("{v:.4}")).collect();
                    text.push_str(&format!("\n  {name} at step {step}: {}", row.join(" ")));
                }
            }
            for d in &view.record.divergences {
                text.push_str(&format!(
                    "\n  member {} (seed {}) diverged at step {}",
                    d.member, d.seed, d.step
                ));
            }
            Ok(text)
        })
    }
}
