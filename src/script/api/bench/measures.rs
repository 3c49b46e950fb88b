//! Measurements of functions, of training and of whole processes.

use rhai::plugin::*;
use rhai::{FnPtr, Map};

use super::settings::{
    Count, MeasureOptions, Report, StartupOptions, TrainingOptions, labels, protocol,
};
use crate::bench::machine::Machine;
use crate::bench::process::Watch;
use crate::bench::{Measurement, Quantity, Work, startup};
use crate::error::{Error, Result};
use crate::script::api::train::TrainerValue;
use crate::script::convert::to_json;
use crate::script::{OrRaise, RhaiResultOf, Session, StoredFn, session};

fn measure_function(session: &Session, work: &StoredFn, o: MeasureOptions) -> Result<Measurement> {
    let quantity = match o.report {
        Report::Rate => Quantity::Rate {
            unit: o.unit,
            per_call: o.per,
        },
        Report::Time => Quantity::Seconds("seconds".into()),
    };
    let done = Work {
        flops: o.flops,
        bytes: o.bytes,
    };
    let labels = labels(o.work, o.variant, &o.settings)?;
    let protocol = protocol(session, o.seconds, o.warmup);
    Measurement::take(labels, quantity, done, protocol, &mut |n| {
        (0..n).try_for_each(|_| work.call::<Dynamic>(()).map(drop))
    })
}

fn measure_process(session: &Session, script: &str, o: StartupOptions) -> Result<Measurement> {
    let Some(program) = &session.settings.bench.program else {
        return Err(Error::other("a process can be measured from scripts only")
            .with_help("use widthwise bench or widthwise run"));
    };
    let script = session.input_path(script)?;
    let machine = Machine::here();
    let out = session.output_folder().join("startup");
    let mut arguments = vec!["run".to_string(), script.display().to_string()];
    arguments.extend(["--force".into(), "--out".into(), out.display().to_string()]);
    arguments.extend(["--threads".into(), machine.threads.to_string()]);
    for (name, value) in &o.set {
        let value = match to_json(value).map_err(|e| e.at(format_args!("set: {name}")))? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        arguments.extend(["--set".into(), format!("{name}={value}")]);
    }
    let watch = Watch::start();
    let found = startup::measure(program, &arguments, o.repetitions)?;
    let memory: Vec<u64> = found.iter().filter_map(|f| f.1).collect();
    Ok(Measurement {
        name: String::new(),
        labels: labels(o.work, o.variant, &o.settings)?,
        quantity: Quantity::Seconds(o.metric),
        seconds: found.iter().map(|f| f.0).collect(),
        work: Work::default(),
        machine,
        peak_memory: memory.into_iter().max(),
        others: watch.others(),
    })
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// Measures how fast `work` is: it is called for a second to warm up, then again and again for
    /// some seconds, in repetitions of a quarter of a second. A call of a script function takes a
    /// microsecond or so by itself; let `work` do much more than that.
    ///
    /// ```rhai
    /// let x = ones([64, 64]);
    /// let m = bench::measure(|| x.matmul(x), #{ seconds: 0.02, flops: 2.0 * 64 * 64 * 64 });
    /// m.metric        // → "calls_per_s"
    /// ```
    #[rhai_fn(name = "measure", return_raw, volatile)]
    pub fn measure_with(
        ctx: NativeCallContext,
        work: FnPtr,
        settings: Map,
    ) -> RhaiResultOf<Measurement> {
        let o = MeasureOptions::from_map(&ctx, &settings)?;
        let session = session(&ctx).or_raise(&ctx)?;
        let work = StoredFn::new(&ctx, work).or_raise(&ctx)?;
        measure_function(&session, &work, o).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "measure", return_raw, volatile)]
    pub fn measure(ctx: NativeCallContext, work: FnPtr) -> RhaiResultOf<Measurement> {
        measure_with(ctx, work, Map::new())
    }

    /// Measures how fast a trainer takes steps, with everything that it does in a step but no
    /// progress display. The steps are real: the model is trained. Give the trainer `record: false`,
    /// or writing the record is measured too. Floating-point operations (two for each multiply-add
    /// of the matrix products) and the bytes that a step must move follow from the network's
    /// description. A diverging member is an error, since its updates would be left out.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 16 }), sp(), #{ members: 2 });
    /// let t = trainer(m, sgd(#{ lr: 0.01 }), data::teacher(), #{ batch: 8, record: false });
    /// bench::training(t, #{ seconds: 0.02 }).metric      // → "member_steps_per_s"
    /// ```
    #[rhai_fn(name = "training", return_raw, volatile)]
    pub fn training_with(
        ctx: NativeCallContext,
        trainer: TrainerValue,
        settings: Map,
    ) -> RhaiResultOf<Measurement> {
        let o = TrainingOptions::from_map(&ctx, &settings)?;
        let session = session(&ctx).or_raise(&ctx)?;
        let labels = labels(o.work, o.variant, &o.settings).or_raise(&ctx)?;
        let protocol = protocol(&session, o.seconds, o.warmup);
        trainer.silently(&ctx, |trainer, hooks| {
            let members = trainer.active().len();
            let each = match o.unit {
                Some(unit) => unit == Count::MemberSteps,
                None => members > 1,
            };
            let quantity = Quantity::Rate {
                unit: if each { "member_steps" } else { "steps" }.into(),
                per_call: if each { members as f64 } else { 1.0 },
            };
            crate::bench::training(trainer, hooks, labels, quantity, protocol)
        })
    }

    // every setting has a default
    #[rhai_fn(name = "training", return_raw, volatile)]
    pub fn training(ctx: NativeCallContext, trainer: TrainerValue) -> RhaiResultOf<Measurement> {
        training_with(ctx, trainer, Map::new())
    }

    /// Measures a whole process: this program is started on `script`, a path from the measuring
    /// script's folder, and timed until that script calls `bench::mark()`. It is started once before,
    /// so that its files are in memory. Memory is that of the started process, at the mark.
    ///
    /// ```rhai
    /// let kind = "";
    /// try { bench::startup("no/such/script.rhai") } catch (e) { kind = e.kind; }
    /// kind        // → "other"
    /// ```
    #[rhai_fn(name = "startup", return_raw, volatile)]
    pub fn startup_with(
        ctx: NativeCallContext,
        script: &str,
        settings: Map,
    ) -> RhaiResultOf<Measurement> {
        let o = StartupOptions::from_map(&ctx, &settings)?;
        let session = session(&ctx).or_raise(&ctx)?;
        measure_process(&session, script, o).or_raise(&ctx)
    }

    // every setting has a default
    #[rhai_fn(name = "startup", return_raw, volatile)]
    pub fn startup(ctx: NativeCallContext, script: &str) -> RhaiResultOf<Measurement> {
        startup_with(ctx, script, Map::new())
    }
}
