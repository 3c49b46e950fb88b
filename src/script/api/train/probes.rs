//! Probes of scripts, and the steps at which they are measured.

use rhai::plugin::*;
use rhai::{Array, FnPtr};

use super::settings::ProbeValue;
use crate::error::Error;
use crate::script::options::FromScript;
use crate::script::{OrRaise, RhaiResultOf, StoredFn, raise};
use crate::train::When;

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
pub mod probes {
    use super::*;

    /// A measurement of your own: `function(model, step)` is called at the chosen steps, before the
    /// update of that step, and what it returns (numbers, arrays, maps) goes into the record.
    ///
    /// ```rhai
    /// let size = probe("readout", every(2), |model, step| model.param("readout.weight").std());
    /// let m = init(mlp(#{ width: 8 }), mup());
    /// let t = trainer(m, sgd(), data::teacher(), #{ batch: 8, probes: [size] });
    /// t.step(4);
    /// t.record.probe("readout").steps      // → [0, 2, 4]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn probe(
        ctx: NativeCallContext,
        name: &str,
        when: Dynamic,
        function: FnPtr,
    ) -> RhaiResultOf<ProbeValue> {
        let when = When::from_script(&when).or_raise(&ctx)?;
        let function = StoredFn::new(&ctx, function).or_raise(&ctx)?;
        Ok(ProbeValue {
            name: name.into(),
            when,
            function,
        })
    }

    /// Every `n`-th step from 0 on.
    ///
    /// ```rhai
    /// every(10).to_string()      // → "every(10)"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn every(ctx: NativeCallContext, n: i64) -> RhaiResultOf<When> {
        match u64::try_from(n) {
            Ok(n) if n > 0 => Ok(When::Every(n)),
            _ => Err(raise(
                &ctx,
                Error::setting(format!("every needs a number of steps above 0, found {n}")),
            )),
        }
    }

    /// Step 0, then `n` steps per doubling: the whole numbers nearest to 2^(i/n).
    ///
    /// ```rhai
    /// log_steps(2).to_string()      // → "log_steps(2)"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn log_steps(ctx: NativeCallContext, n: i64) -> RhaiResultOf<When> {
        match u64::try_from(n) {
            Ok(n) if n > 0 => Ok(When::Log(n)),
            _ => Err(raise(
                &ctx,
                Error::setting(format!("log_steps needs a number above 0, found {n}")),
            )),
        }
    }

    /// The steps from 0 to `last` at which this is due.
    ///
    /// ```rhai
    /// every(2).up_to(5)           // → [0, 2, 4]
    /// log_steps(1).up_to(10)      // → [0, 1, 2, 4, 8]
    /// ```
    #[rhai_fn(pure)]
    pub fn up_to(when: &mut When, last: i64) -> Array {
        let steps = 0..=u64::try_from(last).unwrap_or(0);
        steps
            .filter(|&s| when.due(s))
            .map(|s| (s as i64).into())
            .collect()
    }

    /// Steps in one line.
    ///
    /// ```rhai
    /// every(5).to_string()      // → "every(5)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn when_to_string(when: &mut When) -> String {
        when.show()
    }

    /// The probe's name, under which the record has what it gave.
    ///
    /// ```rhai
    /// probe("norm", every(5), |model, step| 0.0).name      // → "norm"
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn probe_name(probe: &mut ProbeValue) -> String {
        probe.name.clone()
    }

    /// A probe in one line.
    ///
    /// ```rhai
    /// probe("norm", every(5), |model, step| 0.0).to_string()      // → "probe(\"norm\", every(5))"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn probe_to_string(probe: &mut ProbeValue) -> String {
        format!("probe({:?}, {})", probe.name, probe.when.show())
    }
}
