//! Learning-rate schedules.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use crate::error::{Error, Result};
use crate::optim::{DecayShape, Schedule};
use crate::script::options::POSITIVE;
use crate::script::{OrRaise, RhaiResultOf, raise};

crate::script_type!(Schedule, "schedule", "schedule::cosine(#{ steps: 1000 })");

crate::options! {
    /// Settings of a cosine schedule.
    pub struct CosineOptions for "schedule::cosine" {
        /// Step at which the floor is reached.
        steps: u64, where (1..);
        /// Steps of linear warm-up before.
        warmup: u64 = 0;
        /// Final factor.
        floor: f64 = 0.0, where (0.0..=1.0);
    }
}

crate::options! {
    /// Settings of a linear schedule.
    pub struct LinearOptions for "schedule::linear" {
        /// Step at which the floor is reached.
        steps: u64, where (1..);
        /// Steps of linear warm-up before.
        warmup: u64 = 0;
        /// Final factor.
        floor: f64 = 0.0, where (0.0..=1.0);
    }
}

crate::options! {
    /// Settings of a polynomial schedule.
    pub struct PolynomialOptions for "schedule::polynomial" {
        /// Step at which the floor is reached.
        steps: u64, where (1..);
        /// Power of the way down: 1 is linear.
        power: f64 = 1.0, where POSITIVE;
        /// Steps of linear warm-up before.
        warmup: u64 = 0;
        /// Final factor.
        floor: f64 = 0.0, where (0.0..=1.0);
    }
}

crate::choice! { DecayShape {
    "linear" => DecayShape::Linear, "cosine" => DecayShape::Cosine, "sqrt" => DecayShape::Sqrt,
} }

crate::options! {
    /// Settings of a schedule of warm-up, stable rate and decay.
    pub struct WsdOptions for "schedule::wsd" {
        /// Step at which the floor is reached.
        steps: u64, where (1..);
        /// Steps of linear warm-up.
        warmup: u64 = 0;
        /// Steps of decay, the last ones before `steps`.
        decay: u64, where (1..);
        /// Final factor.
        floor: f64 = 0.0, where (0.0..=1.0);
        /// The way down after x of it: `"linear"`, 1 − x; `"cosine"`, half a cosine; `"sqrt"`, 1 − √x.
        shape: DecayShape = DecayShape::Linear;
    }
}

crate::options! {
    /// Settings of an inverse square root schedule.
    pub struct InverseSqrtOptions for "schedule::inverse_sqrt" {
        /// Steps of linear warm-up, after which the factor is 1.
        warmup: u64, where (1..);
    }
}

crate::options! {
    /// Settings of a step schedule: give `every` or `at`.
    pub struct StepOptions for "schedule::step" {
        /// Steps between two reductions.
        every: Option<u64> = None, where (1..);
        /// Steps of the reductions.
        at: Option<Vec<u64>> = None;
        /// Factor of one reduction.
        gamma: f64 = 0.1, where POSITIVE;
    }
}

/// Checks that there are steps left after the warm-up.
fn warmup_fits(schedule: &str, warmup: u64, steps: u64) -> Result<()> {
    if warmup < steps {
        return Ok(());
    }
    Err(Error::setting(format!(
        "schedule::{schedule}: warmup ({warmup}) must be less than steps ({steps})"
    )))
}

/// Registers schedules.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Schedule>("Schedule");
    registry.options(CosineOptions::spec());
    registry.options(LinearOptions::spec());
    registry.options(PolynomialOptions::spec());
    registry.options(WsdOptions::spec());
    registry.options(InverseSqrtOptions::spec());
    registry.options(StepOptions::spec());
    registry.module("schedule", rhai::exported_module!(schedules));
    registry.global(rhai::exported_module!(functions));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A schedule in one line, with its settings.
    ///
    /// ```rhai
    /// schedule::step(#{ every: 100, gamma: 0.5 }).to_string()
    /// // → "schedule(schedule: \"step\", every: 100, gamma: 0.5)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn schedule_to_string(schedule: &mut Schedule) -> String {
        super::super::one_line(
            "schedule",
            &serde_json::to_value(&*schedule).unwrap_or_default(),
        )
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod schedules {
    use super::*;

    /// A learning rate that stays.
    ///
    /// ```rhai
    /// schedule::constant().factor(100)      // → 1.0
    /// ```
    pub fn constant() -> Schedule {
        Schedule::Constant
    }

    /// A learning rate that grows linearly over `steps` steps, with factor 1/steps at the first, and
    /// then stays.
    ///
    /// ```rhai
    /// schedule::warmup(10).factor(4)      // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn warmup(ctx: NativeCallContext, steps: i64) -> RhaiResultOf<Schedule> {
        match u64::try_from(steps) {
            Ok(warmup) => Ok(Schedule::Warmup { warmup }),
            Err(_) => Err(raise(
                &ctx,
                Error::setting(format!(
                    "schedule::warmup needs a number of steps from 0 up, found {steps}"
                )),
            )),
        }
    }

    /// Linear warm-up, then half a cosine down to `floor` at step `steps`, and `floor` after that
    /// (Loshchilov & Hutter 2017).
    ///
    /// ```rhai
    /// schedule::cosine(#{ steps: 100 }).factor(50)      // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cosine(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = CosineOptions::from_map(&ctx, &settings)?;
        warmup_fits("cosine", o.warmup, o.steps).or_raise(&ctx)?;
        Ok(Schedule::Cosine {
            steps: o.steps,
            warmup: o.warmup,
            floor: o.floor,
        })
    }

    /// Linear warm-up, then linearly down to `floor` at step `steps`, and `floor` after that.
    ///
    /// ```rhai
    /// schedule::linear(#{ steps: 100 }).factor(25)                    // → 0.75
    /// schedule::linear(#{ steps: 100, warmup: 20, floor: 0.1 }).factor(200)      // → 0.1
    /// ```
    #[rhai_fn(return_raw)]
    pub fn linear(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = LinearOptions::from_map(&ctx, &settings)?;
        warmup_fits("linear", o.warmup, o.steps).or_raise(&ctx)?;
        Ok(Schedule::Linear {
            steps: o.steps,
            warmup: o.warmup,
            floor: o.floor,
        })
    }

    /// Linear warm-up, then down to `floor` at step `steps` as `(1 - x)^power` with x from 0 to 1
    /// (PyTorch's `PolynomialLR`), and `floor` after that.
    ///
    /// ```rhai
    /// schedule::polynomial(#{ steps: 100, power: 2.0 }).factor(50)      // → 0.25
    /// ```
    #[rhai_fn(return_raw)]
    pub fn polynomial(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = PolynomialOptions::from_map(&ctx, &settings)?;
        warmup_fits("polynomial", o.warmup, o.steps).or_raise(&ctx)?;
        Ok(Schedule::Polynomial {
            steps: o.steps,
            warmup: o.warmup,
            floor: o.floor,
            power: o.power,
        })
    }

    /// Warm-up–stable–decay (arXiv 2404.06395, 2405.18392): linear warm-up, factor 1, and over the last
    /// `decay` steps down to `floor` at step `steps`; `floor` after that.
    ///
    /// ```rhai
    /// let s = schedule::wsd(#{ steps: 100, warmup: 10, decay: 20 });
    /// s.factor(4)       // → 0.5
    /// s.factor(80)      // → 1.0
    /// s.factor(90)      // → 0.5
    /// schedule::wsd(#{ steps: 100, decay: 40, shape: "sqrt" }).factor(70)      // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn wsd(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = WsdOptions::from_map(&ctx, &settings)?;
        if o.warmup.saturating_add(o.decay) > o.steps {
            let (steps, warmup, decay) = (o.steps, o.warmup, o.decay);
            return Err(raise(
                &ctx,
                Error::setting(format!(
                    "schedule::wsd: warmup ({warmup}) and decay ({decay}) must be at most steps ({steps}) together"
                )),
            ));
        }
        Ok(Schedule::Wsd {
            steps: o.steps,
            warmup: o.warmup,
            decay: o.decay,
            floor: o.floor,
            shape: o.shape,
        })
    }

    /// Linear warm-up to factor 1 at update number `warmup`, then √(warmup / number) at every update,
    /// counted from 1 (Vaswani et al. 2017).
    ///
    /// ```rhai
    /// schedule::inverse_sqrt(#{ warmup: 10 }).factor(9)       // → 1.0
    /// schedule::inverse_sqrt(#{ warmup: 10 }).factor(39)      // → 0.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn inverse_sqrt(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = InverseSqrtOptions::from_map(&ctx, &settings)?;
        Ok(Schedule::InverseSqrt { warmup: o.warmup })
    }

    /// A learning rate that is multiplied by `gamma` every `every` steps (PyTorch's `StepLR`), or
    /// at each of the steps `at` (`MultiStepLR`).
    ///
    /// ```rhai
    /// schedule::step(#{ every: 100, gamma: 0.5 }).factor(250)      // → 0.25
    /// schedule::step(#{ at: [10, 40] }).factor(9)                  // → 1.0
    /// ```
    #[rhai_fn(return_raw)]
    pub fn step(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Schedule> {
        let o = StepOptions::from_map(&ctx, &settings)?;
        let gamma = o.gamma;
        match (o.every, o.at) {
            (Some(every), None) => Ok(Schedule::Step { every, gamma }),
            (None, Some(at)) => Ok(Schedule::MultiStep { at, gamma }),
            _ => Err(raise(
                &ctx,
                Error::setting("schedule::step needs either `every` or `at`"),
            )),
        }
    }

    /// The factor of the learning rate at a step, counted from 0.
    ///
    /// ```rhai
    /// schedule::warmup(4).factor(0)      // → 0.25
    /// ```
    #[rhai_fn(global, pure)]
    pub fn factor(schedule: &mut Schedule, step: i64) -> f64 {
        let step = u64::try_from(step).unwrap_or(0);
        schedule.factor(step).unwrap_or(1.0)
    }
}
