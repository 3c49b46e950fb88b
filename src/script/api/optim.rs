//! Optimizers and learning-rate schedules.

use std::sync::Arc;

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use crate::error::{Error, Result};
use crate::optim::{Adam, Adjust, DecayShape, Lion, Muon, Optimizer, Schedule, Sgd};
use crate::script::options::{NON_NEGATIVE, POSITIVE, PerMember};
use crate::script::{OrRaise, RhaiResultOf, raise};

/// An optimizer as scripts hold it.
#[derive(Debug, Clone)]
pub struct OptimizerValue(pub Arc<dyn Optimizer>);

crate::script_type!(OptimizerValue, "optimizer", "sgd(#{ lr: 0.1 })");
crate::script_type!(Schedule, "schedule", "schedule::cosine(#{ steps: 1000 })");

crate::options! {
    /// Settings of stochastic gradient descent. A number may also be an array with one number per
    /// member.
    pub struct SgdOptions for "sgd" {
        /// Learning rate.
        lr: PerMember = PerMember::Same(0.1), where NON_NEGATIVE;
        /// Momentum.
        momentum: PerMember = PerMember::Same(0.0), where (0.0..1.0);
        /// Nesterov momentum.
        nesterov: bool = false;
        /// L2 penalty added to the gradient.
        weight_decay: PerMember = PerMember::Same(0.0), where NON_NEGATIVE;
    }
}

crate::options! {
    /// Settings of Adam. A number may also be an array with one number per member.
    pub struct AdamOptions for "adam" {
        /// Learning rate.
        lr: PerMember = PerMember::Same(0.001), where NON_NEGATIVE;
        /// Decay of the first moment.
        beta1: PerMember = PerMember::Same(0.9), where (0.0..1.0);
        /// Decay of the second moment.
        beta2: PerMember = PerMember::Same(0.999), where (0.0..1.0);
        /// Added to the root of the second moment.
        eps: PerMember = PerMember::Same(1e-8), where NON_NEGATIVE;
        /// L2 penalty added to the gradient.
        weight_decay: PerMember = PerMember::Same(0.0), where NON_NEGATIVE;
    }
}

crate::options! {
    /// Settings of AdamW. A number may also be an array with one number per member.
    pub struct AdamwOptions for "adamw" {
        /// Learning rate.
        lr: PerMember = PerMember::Same(0.001), where NON_NEGATIVE;
        /// Decay of the first moment.
        beta1: PerMember = PerMember::Same(0.9), where (0.0..1.0);
        /// Decay of the second moment.
        beta2: PerMember = PerMember::Same(0.999), where (0.0..1.0);
        /// Added to the root of the second moment.
        eps: PerMember = PerMember::Same(1e-8), where NON_NEGATIVE;
        /// The weight shrinks by lr · weight_decay at each step.
        weight_decay: PerMember = PerMember::Same(0.01), where NON_NEGATIVE;
    }
}

crate::options! {
    /// Settings of Lion. A number may also be an array with one number per member.
    pub struct LionOptions for "lion" {
        /// Learning rate.
        lr: PerMember = PerMember::Same(1e-4), where NON_NEGATIVE;
        /// Weight of the momentum in the interpolation whose sign is taken.
        beta1: PerMember = PerMember::Same(0.9), where (0.0..1.0);
        /// Decay of the momentum.
        beta2: PerMember = PerMember::Same(0.99), where (0.0..1.0);
        /// The weight shrinks by lr · weight_decay at each step.
        weight_decay: PerMember = PerMember::Same(0.0), where NON_NEGATIVE;
    }
}

crate::choice! { Adjust {
    "original" => Adjust::Original, "match_rms_adamw" => Adjust::MatchRmsAdamw,
    "spectral" => Adjust::Spectral,
} }

crate::options! {
    /// Settings of Muon. A number may also be an array with one number per member.
    pub struct MuonOptions for "muon" {
        /// Learning rate of hidden matrices.
        lr: PerMember = PerMember::Same(0.001), where NON_NEGATIVE;
        /// Decay of the momentum.
        momentum: PerMember = PerMember::Same(0.95), where (0.0..1.0);
        /// Nesterov momentum.
        nesterov: bool = true;
        /// Iterations of Newton and Schulz.
        ns_steps: usize = 5, where (1..100);
        /// Least norm that a momentum is divided by.
        eps: PerMember = PerMember::Same(1e-7), where POSITIVE;
        /// Size of an update by its matrix's shape: `"original"`, √max(1, fan_out/fan_in);
        /// `"match_rms_adamw"`, 0.2 √max(fan_in, fan_out); `"spectral"`, √(fan_out/fan_in) (PyTorch's
        /// `spectral_unclamped`).
        adjust: Adjust = Adjust::Original;
        /// The weight shrinks by lr · weight_decay at each step, with the learning rate that it has.
        weight_decay: PerMember = PerMember::Same(0.1), where NON_NEGATIVE;
        /// Learning rate of all other parameters, which follow AdamW, over `lr`.
        adam_factor: PerMember = PerMember::Same(1.0), where NON_NEGATIVE;
        /// AdamW's decay of the first moment.
        beta1: PerMember = PerMember::Same(0.9), where (0.0..1.0);
        /// AdamW's decay of the second moment.
        beta2: PerMember = PerMember::Same(0.999), where (0.0..1.0);
        /// AdamW's epsilon, added to the root of the second moment.
        adam_eps: PerMember = PerMember::Same(1e-8), where NON_NEGATIVE;
    }
}

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

/// Registers optimizers and schedules.
pub fn register(registry: &mut Registry) {
    registry.name_type::<OptimizerValue>("Optimizer");
    registry.name_type::<Schedule>("Schedule");
    registry.options(SgdOptions::spec());
    registry.options(AdamOptions::spec());
    registry.options(AdamwOptions::spec());
    registry.options(LionOptions::spec());
    registry.options(MuonOptions::spec());
    registry.options(CosineOptions::spec());
    registry.options(LinearOptions::spec());
    registry.options(PolynomialOptions::spec());
    registry.options(WsdOptions::spec());
    registry.options(InverseSqrtOptions::spec());
    registry.options(StepOptions::spec());
    registry.global(rhai::exported_module!(functions));
    registry.module("schedule", rhai::exported_module!(schedules));
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// Stochastic gradient descent as in PyTorch: `g += weight_decay · p; v = momentum · v + g;
    /// p -= lr · v` (with Nesterov, `p -= lr · (g + momentum · v)`).
    ///
    /// ```rhai
    /// sgd(#{ lr: 0.1, momentum: 0.9 }).name      // → "sgd"
    /// sgd(#{ lr: [0.1, 0.2, 0.4] }).name         // one learning rate per member
    /// ```
    #[rhai_fn(name = "sgd", return_raw)]
    pub fn sgd_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = SgdOptions::from_map(&ctx, &settings)?;
        if o.nesterov && o.momentum.values().contains(&0.0) {
            let error = Error::setting("sgd: nesterov needs a momentum above 0");
            return Err(raise(&ctx, error.with_help("give momentum: 0.9")));
        }
        Ok(OptimizerValue(Arc::new(Sgd {
            lr: o.lr,
            momentum: o.momentum,
            nesterov: o.nesterov,
            weight_decay: o.weight_decay,
        })))
    }
    #[rhai_fn(name = "sgd", return_raw)]
    pub fn sgd(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        sgd_with(ctx, Map::new())
    }

    /// Adam (Kingma & Ba 2015) as in PyTorch, with bias correction and `eps` outside the root.
    ///
    /// ```rhai
    /// adam(#{ lr: 0.01 }).name      // → "adam"
    /// ```
    #[rhai_fn(name = "adam", return_raw)]
    pub fn adam_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = AdamOptions::from_map(&ctx, &settings)?;
        Ok(OptimizerValue(Arc::new(Adam {
            lr: o.lr,
            beta1: o.beta1,
            beta2: o.beta2,
            eps: o.eps,
            weight_decay: o.weight_decay,
            decoupled: false,
        })))
    }
    #[rhai_fn(name = "adam", return_raw)]
    pub fn adam(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        adam_with(ctx, Map::new())
    }

    /// AdamW (Loshchilov & Hutter 2019) as in PyTorch: Adam with weight decay apart from the
    /// gradient.
    ///
    /// ```rhai
    /// adamw(#{ lr: 0.01, weight_decay: 0.1 }).name      // → "adamw"
    /// ```
    #[rhai_fn(name = "adamw", return_raw)]
    pub fn adamw_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = AdamwOptions::from_map(&ctx, &settings)?;
        Ok(OptimizerValue(Arc::new(Adam {
            lr: o.lr,
            beta1: o.beta1,
            beta2: o.beta2,
            eps: o.eps,
            weight_decay: o.weight_decay,
            decoupled: true,
        })))
    }
    #[rhai_fn(name = "adamw", return_raw)]
    pub fn adamw(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        adamw_with(ctx, Map::new())
    }

    /// Lion (Chen et al. 2023, arXiv 2302.06675) as in lion-pytorch: each number moves by `lr` against
    /// the sign of `beta1 · m + (1 - beta1) · g`, then `m = beta2 · m + (1 - beta2) · g`; weight decay is
    /// apart from the gradient. Parametrizations treat it as Adam. Its learning rate is usually three
    /// to ten times smaller than AdamW's.
    ///
    /// ```rhai
    /// lion(#{ lr: 0.0003, weight_decay: 0.1 }).name      // → "lion"
    /// ```
    #[rhai_fn(name = "lion", return_raw)]
    pub fn lion_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = LionOptions::from_map(&ctx, &settings)?;
        Ok(OptimizerValue(Arc::new(Lion {
            lr: o.lr,
            beta1: o.beta1,
            beta2: o.beta2,
            weight_decay: o.weight_decay,
        })))
    }
    #[rhai_fn(name = "lion", return_raw)]
    pub fn lion(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        lion_with(ctx, Map::new())
    }

    /// Muon (Jordan et al. 2024) as in PyTorch, in the model's own precision: a hidden matrix (fan-in
    /// and fan-out grow with width; filters count as `[fan_in, fan_out]`) moves along its
    /// momentum with all singular values made nearly 1, by a few iterations of Newton and Schulz.
    /// Every other parameter (input and output weights, embeddings, biases, norm parameters) follows
    /// AdamW with learning rate `lr · adam_factor`. A network without a hidden matrix is an error.
    ///
    /// With `mup` the learning rate of hidden matrices follows √(fan_out/fan_in) relative to the base
    /// shape (arXiv 2512.05620), and `adjust` sees the base shape, so that no choice of it spoils
    /// transfer; `model.explain(muon())` shows the learning rates before `adjust`.
    ///
    /// ```rhai
    /// muon(#{ lr: 0.02, weight_decay: 0.0, adam_factor: 0.1 }).name      // → "muon"
    /// let m = init(mlp(#{ width: 128, inputs: 20 }), mup(#{ base_width: 64 }));
    /// m.explain(muon(#{ lr: 0.02, adam_factor: 0.1 })).rows[2].lr         // → 0.02
    /// m.explain(muon(#{ lr: 0.02, adam_factor: 0.1 })).rows[0].lr         // → 0.002
    /// ```
    #[rhai_fn(name = "muon", return_raw)]
    pub fn muon_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = MuonOptions::from_map(&ctx, &settings)?;
        Ok(OptimizerValue(Arc::new(Muon {
            lr: o.lr,
            momentum: o.momentum,
            nesterov: o.nesterov,
            ns_steps: o.ns_steps,
            eps: o.eps,
            adjust: o.adjust,
            weight_decay: o.weight_decay,
            adam_factor: o.adam_factor,
            beta1: o.beta1,
            beta2: o.beta2,
            adam_eps: o.adam_eps,
        })))
    }
    #[rhai_fn(name = "muon", return_raw)]
    pub fn muon(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        muon_with(ctx, Map::new())
    }

    /// Name of an optimizer.
    ///
    /// ```rhai
    /// adamw().name      // → "adamw"
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn optimizer_name(optimizer: &mut OptimizerValue) -> String {
        optimizer.0.name().to_string()
    }

    /// An optimizer in one line, with its settings.
    ///
    /// ```rhai
    /// sgd(#{ lr: 0.5 }).to_string()
    /// // → "sgd(lr: 0.5, momentum: 0.0, nesterov: false, weight_decay: 0.0)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn optimizer_to_string(optimizer: &mut OptimizerValue) -> String {
        super::super::one_line(optimizer.0.name(), &optimizer.0.settings())
    }

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
