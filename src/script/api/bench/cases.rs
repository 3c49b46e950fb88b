//! Cases of benchmark scripts, and the surroundings that they are measured in.

use rhai::FnPtr;
use rhai::plugin::*;

use crate::bench::startup::Mark;
use crate::bench::{self, Measurement};
use crate::error::{Error, Result};
use crate::script::api::model::ModelValue;
use crate::script::options::Values;
use crate::script::{OrRaise, RhaiResultOf, StoredFn, callback, output, raise, session};

/// Stack of a thread that evaluates script functions, in bytes; virtual memory only.
const STACK: usize = 64 << 20;

fn with_pool(threads: i64, function: &StoredFn) -> Result<Dynamic> {
    let Some(threads) = usize::try_from(threads)
        .ok()
        .filter(|n| (1..=1024).contains(n))
    else {
        return Err(Error::setting(format!(
            "with_threads: the number of threads must be from 1 to 1024, found {threads}"
        )));
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .build()
        .map_err(|e| Error::other(format!("with_threads: {e}")))?;
    pool.install(|| function.call(()))
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod functions {
    use super::*;

    /// A case of a benchmark script: `function` makes what is needed, measures it, and returns the
    /// measurement, which gets the case's name. `widthwise bench NAME` calls the wanted cases only,
    /// and `widthwise bench --list` none; then the result is `()`, and so it is if `function` returns
    /// nothing. Cases of one script need different names.
    ///
    /// ```rhai
    /// let m = bench::run("sums", || bench::measure(|| [1, 2, 3].reduce(|a, b| a + b, 0), #{ seconds: 0.01 }));
    /// m.name      // → "sums"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn run(ctx: NativeCallContext, name: &str, function: FnPtr) -> RhaiResultOf<Dynamic> {
        let session = session(&ctx).or_raise(&ctx)?;
        if !session.cases().add(name) {
            let error = Error::setting(format!("two cases are called `{name}`"));
            return Err(raise(&ctx, error));
        }
        let request = &session.settings.bench;
        if !request.wants(name) {
            return Ok(Dynamic::UNIT);
        }
        let found = callback::call::<Dynamic>(&ctx, &function, ()).or_raise(&ctx)?;
        if found.is_unit() {
            return Ok(found);
        }
        let kind = Values::type_name(&found);
        let Some(mut measurement) = found.try_cast::<Measurement>() else {
            let error = Error::setting(format!(
                "the case `{name}` must return a measurement or nothing, but returned a {kind}"
            ));
            return Err(raise(
                &ctx,
                error.with_help("for instance bench::measure(|| …)"),
            ));
        };
        measurement.name = name.into();
        if measurement.labels.work.is_empty() {
            measurement.labels.work = name.into();
        }
        if request.json {
            let line = measurement.line(session.script_name().as_deref());
            output::line(&line.json().to_string(), false);
        } else if request.progress {
            output::message(&measurement.to_string());
        }
        session.cases().finish(measurement.clone());
        Ok(Dynamic::from(measurement))
    }

    /// Calls `function` with `n` threads for all computing inside, and returns what it returns.
    /// Results do not depend on the number of threads, only times do.
    ///
    /// ```rhai
    /// bench::with_threads(1, || bench::machine().threads)      // → 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn with_threads(ctx: NativeCallContext, n: i64, function: FnPtr) -> RhaiResultOf<Dynamic> {
        let function = StoredFn::new(&ctx, function).or_raise(&ctx)?;
        with_pool(n, &function).or_raise(&ctx)
    }

    /// Sixteen hexadecimal digits that are equal for models whose parameters are equal bit for bit,
    /// and for no others.
    ///
    /// ```rhai
    /// let a = init(mlp(#{ width: 8 }), sp());
    /// let b = init(mlp(#{ width: 8 }), sp());
    /// bench::fingerprint(a) == bench::fingerprint(b)      // → true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn fingerprint(ctx: NativeCallContext, model: ModelValue) -> RhaiResultOf<String> {
        let number = bench::fingerprint(&model.read()).or_raise(&ctx)?;
        Ok(format!("{number:016x}"))
    }

    /// Prints the time of day and the largest resident size so far as a line of JSON: the end of what
    /// `bench::startup` measures, in the script that it starts.
    ///
    /// ```rhai
    /// bench::mark();
    /// ```
    #[rhai_fn(volatile)]
    pub fn mark() {
        let line = serde_json::to_string(&Mark::now()).unwrap_or_default();
        output::line(&line, false);
    }
}
