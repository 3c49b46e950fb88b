//! Probes of scripts, and the steps at which they are measured.

use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};

use super::curvature::SharpnessOptions;
use super::settings::{Measured, ProbeValue};
use crate::error::Error;
use crate::script::api::data::BatchValue;
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
    /// update of that step, and what it returns (numbers, strings, tensors, and arrays and maps of these)
    /// goes into the record; tensors become nested arrays. Let it return what it finds rather than change
    /// variables of the script: a run whose probes do that has no checkpoints.
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
        let function = StoredFn::taking(&ctx, function, &["model", "step"]);
        let function = function.map_err(|e| e.at(format_args!("probe {name:?}")));
        let function = function.or_raise(&ctx)?;
        Ok(ProbeValue {
            name: name.into(),
            when,
            measured: Measured::Function(Box::new(function)),
        })
    }

    /// A probe of the sharpness on a batch in units of the trainer's next step: what `t.sharpness` gives, Adam's
    /// preconditioner as it is at that step included. The settings are those of `t.sharpness`. Before the
    /// first step there is no value for Adam.
    ///
    /// ```rhai
    /// let s = data::teacher(#{ inputs: 4 });
    /// let sharpness = sharpness_probe("sharpness", every(2), s.batch(32), #{ products: 8 });
    /// let t = trainer(init(mlp(#{ width: 8 }), mup(), #{ members: 2 }), adam(), s, #{ batch: 16, probes: [sharpness] });
    /// t.step(4);
    /// let found = t.record.probe("sharpness");
    /// found.steps                             // → [2, 4]
    /// found.values[0].threshold.len           // → 2
    /// found.values[1].values[0].len           // → 1
    /// ```
    #[rhai_fn(name = "sharpness_probe", return_raw)]
    pub fn sharpness_probe_with(
        ctx: NativeCallContext,
        name: &str,
        when: Dynamic,
        batch: BatchValue,
        settings: Map,
    ) -> RhaiResultOf<ProbeValue> {
        let when = When::from_script(&when).or_raise(&ctx)?;
        let settings = SharpnessOptions::read("sharpness_probe", &settings).or_raise(&ctx)?;
        Ok(ProbeValue {
            name: name.into(),
            when,
            measured: Measured::Sharpness(batch.0, settings.into()),
        })
    }

    // every setting has a default
    #[rhai_fn(name = "sharpness_probe", return_raw)]
    pub fn sharpness_probe(
        ctx: NativeCallContext,
        name: &str,
        when: Dynamic,
        batch: BatchValue,
    ) -> RhaiResultOf<ProbeValue> {
        sharpness_probe_with(ctx, name, when, batch, Map::new())
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
        let function = match probe.measured {
            Measured::Function(_) => "probe",
            Measured::Sharpness(..) => "sharpness_probe",
        };
        format!("{function}({:?}, {})", probe.name, probe.when.show())
    }
}
