//! What scripts read from a record.

use rhai::plugin::*;
use rhai::{Array, Map};

use super::{RecordValue, lock};
use crate::error::Error;
use crate::script::api::tensor::TensorValue;
use crate::script::names::did_you_mean;
use crate::script::{RhaiResultOf, raise};

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
        let training = lock(&ctx, &record.0)?;
        Ok(training
            .trainer
            .record()
            .series
            .keys()
            .map(|k| k.clone().into())
            .collect())
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
        let training = lock(&ctx, &record.0)?;
        let all = &training.trainer.record().series;
        let Some(series) = all.get(name) else {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            let help = "test_loss and test_accuracy are measured with the trainer's setting `test`";
            return Err(raise(&ctx, unknown("series", name, &names, help)));
        };
        let steps: Array = series.steps.iter().map(|&s| (s as i64).into()).collect();
        let values: Array = series
            .values
            .iter()
            .map(|row| numbers(row).into())
            .collect();
        Ok([
            ("steps".into(), steps.into()),
            ("values".into(), values.into()),
        ]
        .into())
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
        let training = lock(&ctx, &record.0)?;
        let names: Vec<&str> = training.trainer.probe_names().collect();
        if !names.contains(&name) {
            let help =
                "give the trainer one: probes: [probe(\"name\", every(10), |model, step| …)]";
            return Err(raise(&ctx, unknown("probe", name, &names, help)));
        }
        let own = training
            .trainer
            .record()
            .probes
            .iter()
            .filter(|(_, own, _)| own == name);
        let mut steps = Array::new();
        let mut values = Array::new();
        for (step, _, value) in own {
            steps.push((*step as i64).into());
            values.push(match training.measured.get(&(name.to_string(), *step)) {
                Some(value) => value.clone(),
                None => serde_json::from_value(value.clone())
                    .map_err(|e| raise(&ctx, Error::other(format!("probe {name}: {e}"))))?,
            });
        }
        Ok([
            ("steps".into(), steps.into()),
            ("values".into(), values.into()),
        ]
        .into())
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
        let training = lock(&ctx, &record.0)?;
        let steps = training.trainer.record().predictions.keys();
        Ok(steps.map(|&s| (s as i64).into()).collect())
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
        let training = lock(&ctx, &record.0)?;
        let all = &training.trainer.record().predictions;
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
        let training = lock(&ctx, &record.0)?;
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
        Ok(training
            .trainer
            .record()
            .divergences
            .iter()
            .map(|d| map(d).into())
            .collect())
    }

    /// File that the record is written to, `()` if it is kept in memory only.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.record.path      // → ()
    /// ```
    #[rhai_fn(get = "path", return_raw, pure)]
    pub fn path(ctx: NativeCallContext, record: &mut RecordValue) -> RhaiResultOf<Dynamic> {
        let training = lock(&ctx, &record.0)?;
        let path = training.trainer.record().path();
        Ok(path.map_or(Dynamic::UNIT, |p| p.display().to_string().into()))
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
        let training = lock(&ctx, &record.0)?;
        let t = &training.trainer;
        let mut text = format!("record of {} steps", t.step());
        for (name, series) in &t.record().series {
            if let (Some(step), Some(row)) = (series.steps.last(), series.values.last()) {
                let row: Vec<String> = row.iter().map(|v| format!("{v:.4}")).collect();
                text.push_str(&format!("\n  {name} at step {step}: {}", row.join(" ")));
            }
        }
        for d in &t.record().divergences {
            text.push_str(&format!(
                "\n  member {} (seed {}) diverged at step {}",
                d.member, d.seed, d.step
            ));
        }
        Ok(text)
    }
}
