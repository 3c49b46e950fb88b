//! Optimizers and learning-rate schedules.

use std::sync::Arc;

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use crate::error::Error;
use crate::optim::{Adafactor, Adam, Lion, Optimizer, Sgd};
use crate::script::options::{NON_NEGATIVE, POSITIVE, PerMember};
use crate::script::{RhaiResultOf, raise};

/// An optimizer as scripts hold it.
#[derive(Debug, Clone)]
pub struct OptimizerValue(pub Arc<dyn Optimizer>);

crate::script_type!(OptimizerValue, "optimizer", "sgd(#{ lr: 0.1 })");

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

crate::options! {
    /// Settings of Adafactor. A number may also be an array with one number per member.
    pub struct AdafactorOptions for "adafactor" {
        /// Learning rate, relative to the parameter's root mean square; at step t no more than 1/√t.
        lr: PerMember = PerMember::Same(0.01), where NON_NEGATIVE;
        /// The second moment's decay at step t is 1 − t^beta2_decay.
        beta2_decay: PerMember = PerMember::Same(-0.8), where (..=0.0);
        /// Least size of the root of the second moment; absent means the element type's rounding.
        eps1: Option<f64> = None, where POSITIVE;
        /// Least root mean square of a parameter that a step is relative to.
        eps2: PerMember = PerMember::Same(1e-3), where NON_NEGATIVE;
        /// Largest root mean square of the normalised gradient (PyTorch's `d`).
        clip: PerMember = PerMember::Same(1.0), where (1.0..);
        /// The weight shrinks by lr · weight_decay at each step.
        weight_decay: PerMember = PerMember::Same(0.0), where NON_NEGATIVE;
    }
}

/// Registers optimizers.
pub fn register(registry: &mut Registry) {
    registry.name_type::<OptimizerValue>("Optimizer");
    registry.options(SgdOptions::spec());
    registry.options(AdamOptions::spec());
    registry.options(AdamwOptions::spec());
    registry.options(LionOptions::spec());
    registry.options(AdafactorOptions::spec());
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

    /// Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) as in PyTorch: a matrix keeps only one number for each
    /// row and column of its squared gradient (filters count as `[fan_in, fan_out]`), and steps are in proportion to
    /// the parameter's root mean square. With `mup` the learning rate of hidden matrices falls by 1/√m_in, since
    /// their size does so too.
    ///
    /// ```rhai
    /// adafactor(#{ lr: 0.02 }).name      // → "adafactor"
    /// let m = init(mlp(#{ width: 256, inputs: 20 }), mup(#{ base_width: 64 }));
    /// m.explain(adafactor(#{ lr: 0.02 })).rows[2].lr      // → 0.01
    /// ```
    #[rhai_fn(name = "adafactor", return_raw)]
    pub fn adafactor_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = AdafactorOptions::from_map(&ctx, &settings)?;
        Ok(OptimizerValue(Arc::new(Adafactor {
            lr: o.lr,
            beta2_decay: o.beta2_decay,
            eps1: o.eps1,
            eps2: o.eps2,
            clip: o.clip,
            weight_decay: o.weight_decay,
        })))
    }
    #[rhai_fn(name = "adafactor", return_raw)]
    pub fn adafactor(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        adafactor_with(ctx, Map::new())
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
}
