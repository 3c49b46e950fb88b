//! Making trainers and taking steps.

use std::sync::{Arc, RwLock};

use rhai::Map;
use rhai::plugin::*;

use super::settings::TrainerOptions;
use super::{RecordValue, TrainerValue, lock, make};
use crate::error::Error;
use crate::script::api::data::StreamValue;
use crate::script::api::model::ModelValue;
use crate::script::api::optim::OptimizerValue;
use crate::script::{OrRaise, RhaiResultOf, raise};
use crate::train::RunEnd;

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// A trainer: model, optimizer and stream, which takes steps. The model takes open sizes (input
    /// shape, number of outputs) from the stream.
    ///
    /// In a script the run is recorded in the output folder as `NAME.jsonl`, one JSON value per
    /// line, while it goes on; at the prompt only if it has a name. Its first call of `step` also leaves
    /// checkpoints, from which `widthwise run … --resume` goes on with the same bits; later calls are done
    /// again. So give it all steps at once, and measure with `test` and `probes` rather than between calls.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 32 }), mup(), #{ members: 2 });
    /// let t = trainer(m, sgd(#{ lr: 0.1, momentum: 0.9 }), data::synthetic_images(), #{ batch: 16 });
    /// t.step(3);
    /// t.steps        // → 3
    /// ```
    #[rhai_fn(name = "trainer", return_raw, volatile)]
    pub fn trainer_with(
        ctx: NativeCallContext,
        model: ModelValue,
        optimizer: OptimizerValue,
        stream: StreamValue,
        settings: Map,
    ) -> RhaiResultOf<TrainerValue> {
        let o = TrainerOptions::from_map(&ctx, &settings)?;
        make(&ctx, &model, &optimizer, &stream, o).or_raise(&ctx)
    }
    #[rhai_fn(name = "trainer", return_raw, volatile)]
    pub fn trainer(
        ctx: NativeCallContext,
        model: ModelValue,
        optimizer: OptimizerValue,
        stream: StreamValue,
    ) -> RhaiResultOf<TrainerValue> {
        trainer_with(ctx, model, optimizer, stream, Map::new())
    }

    /// Takes `n` steps, with progress on stderr. Ctrl-C stops at the next step; model and record are
    /// kept. A member whose loss is no longer finite is marked as diverged, with a warning, and the
    /// others go on.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, adam(), data::sparse_parity(#{ inputs: 10, k: 2 }), #{ batch: 8 });
    /// t.step(2);
    /// t.step();
    /// t.steps        // → 3
    /// ```
    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step_n(ctx: NativeCallContext, trainer: &mut TrainerValue, n: i64) -> RhaiResultOf<()> {
        let Ok(steps) = u64::try_from(n) else {
            let error = Error::setting(format!(
                "step: the number of steps must be 0 or more, found {n}"
            ));
            return Err(raise(&ctx, error));
        };
        match lock(&ctx, &trainer.0)?.run(steps).or_raise(&ctx)? {
            RunEnd::Interrupted => Err(raise(&ctx, Error::interrupted())),
            RunEnd::Done | RunEnd::AllDiverged => Ok(()),
        }
    }
    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<()> {
        step_n(ctx, trainer, 1)
    }

    /// Number of steps taken so far.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.steps        // → 0
    /// ```
    #[rhai_fn(get = "steps", return_raw, pure)]
    pub fn steps(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<i64> {
        Ok(lock(&ctx, &trainer.0)?.trainer.step() as i64)
    }

    /// The model that is trained.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.model.width      // → 8
    /// ```
    #[rhai_fn(get = "model", return_raw, pure)]
    pub fn model(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<ModelValue> {
        Ok(ModelValue(lock(&ctx, &trainer.0)?.trainer.model().clone()))
    }

    /// A model with the exponential moving average of the weights, as it is now, for a trainer made with
    /// `ema`: PyTorch's `AveragedModel` with `get_ema_multi_avg_fn`, so the average begins with the
    /// weights after the first step; running estimates of batch norm are those of the trained model. It
    /// is a copy, which further steps leave alone. Of a diverged member it is the average before.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8, ema: 0.99 });
    /// t.step(3);
    /// t.ema_model.width      // → 8
    /// ```
    #[rhai_fn(get = "ema_model", return_raw, pure)]
    pub fn ema_model(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<ModelValue> {
        let model = lock(&ctx, &trainer.0)?.trainer.ema_model().or_raise(&ctx)?;
        let model = model.ok_or_else(|| {
            let error = Error::setting("ema_model: this trainer keeps no average of the weights");
            raise(&ctx, error.with_help("give trainer the setting ema: 0.999"))
        })?;
        Ok(ModelValue(Arc::new(RwLock::new(model))))
    }

    /// The stream that is trained on.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.stream.name      // → "teacher"
    /// ```
    #[rhai_fn(get = "stream", return_raw, pure)]
    pub fn stream(ctx: NativeCallContext, trainer: &mut TrainerValue) -> RhaiResultOf<StreamValue> {
        Ok(StreamValue(
            lock(&ctx, &trainer.0)?.trainer.stream().clone(),
        ))
    }

    /// The optimizer.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.optimizer.name      // → "sgd"
    /// ```
    #[rhai_fn(get = "optimizer", return_raw, pure)]
    pub fn optimizer(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<OptimizerValue> {
        Ok(OptimizerValue(
            lock(&ctx, &trainer.0)?.trainer.optimizer().clone(),
        ))
    }

    /// Paths of the parameters that have received no gradient other than 0 in the first steps; a
    /// warning names them during training too.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.without_gradient      // → []
    /// ```
    #[rhai_fn(get = "without_gradient", return_raw, pure)]
    pub fn without_gradient(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<rhai::Array> {
        let training = lock(&ctx, &trainer.0)?;
        Ok(training
            .trainer
            .without_gradient()
            .into_iter()
            .map(Dynamic::from)
            .collect())
    }

    /// The record: settings, series and probe results so far.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.step(2);
    /// t.record.names      // → ["lr_factor", "train_loss"]
    /// ```
    #[rhai_fn(get = "record", pure)]
    pub fn record(trainer: &mut TrainerValue) -> RecordValue {
        RecordValue::Of(trainer.clone())
    }

    /// A trainer in one line.
    ///
    /// ```rhai
    /// let t = trainer(init(mlp(#{ width: 8 }), mup()), sgd(), data::teacher(), #{ batch: 8 });
    /// t.to_string()      // → "trainer at step 0: sgd on teacher, batch 8"
    /// ```
    #[rhai_fn(
        name = "to_string",
        name = "to_debug",
        name = "display",
        return_raw,
        pure
    )]
    pub fn trainer_to_string(
        ctx: NativeCallContext,
        trainer: &mut TrainerValue,
    ) -> RhaiResultOf<String> {
        let training = lock(&ctx, &trainer.0)?;
        let t = &training.trainer;
        let mut text = format!(
            "trainer at step {}: {} on {}, batch {}",
            t.step(),
            t.optimizer().name(),
            t.stream().name(),
            t.batch_size()
        );
        if let Some(loss) = t
            .record()
            .series
            .get("train_loss")
            .and_then(|s| s.values.last())
        {
            let loss: Vec<String> = loss.iter().map(|l| format!("{l:.4}")).collect();
            text.push_str(&format!(", loss {}", loss.join(" ")));
        }
        Ok(text)
    }
}
