//! Parametrizations.

use std::sync::Arc;

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use crate::error::Error;
use crate::parametrization::{
    Abc, DepthMup, Exponents, Initializer, MeanField, Mup, Ntp, Parametrization, Sp, UnitMup,
    WeightDecayRule,
};
use crate::script::options::{NON_NEGATIVE, POSITIVE};
use crate::script::{RhaiResultOf, raise};

/// A parametrization as scripts hold it.
#[derive(Debug, Clone)]
pub struct Rule(pub Arc<dyn Parametrization>);

crate::script_type!(Rule, "parametrization", "mup()");
crate::choice! { Initializer {
    "pytorch" => Initializer::Pytorch, "lecun_normal" => Initializer::LecunNormal,
    "kaiming_normal" => Initializer::KaimingNormal,
} }
crate::choice! { WeightDecayRule {
    "independent" => WeightDecayRule::Independent, "coupled" => WeightDecayRule::Coupled,
} }

crate::options! {
    /// Settings of the standard parametrization.
    pub struct SpOptions for "sp" {
        /// Initial distributions: PyTorch's defaults (uniform, standard deviation 1/√(3 fan_in),
        /// biases too), normal 1/√fan_in with biases 0, or normal √(2/fan_in) with biases 0.
        init: Initializer = Initializer::Pytorch;
    }
}

crate::options! {
    /// Settings of the neural tangent parametrization.
    pub struct NtpOptions for "ntp" {
        /// Spread σ_w of the weights.
        weight_std: f64 = 1.0, where POSITIVE;
        /// Spread σ_b of the biases; 0 starts them at 0.
        bias_std: f64 = 0.0, where NON_NEGATIVE;
    }
}

crate::options! {
    /// Settings of the maximal update parametrization.
    pub struct MupOptions for "mup" {
        /// Width at which this equals the standard parametrization.
        base_width: usize = 64, where (1..);
        /// Initial distributions at the base width, as in `sp`.
        init: Initializer = Initializer::Pytorch;
        /// Forward multiplier of the readout's weight, on top of the rule's.
        output_mult: f64 = 1.0, where POSITIVE;
        /// Forward multiplier of input weights.
        input_mult: f64 = 1.0, where POSITIVE;
        /// Whether the readout starts at zero.
        zero_readout: bool = false;
        /// `"independent"`: lr · weight_decay does not depend on width (microsoft/mup's default);
        /// `"coupled"`: one weight decay for all.
        weight_decay: WeightDecayRule = WeightDecayRule::Independent;
        /// Whether Adam's epsilon follows the size of the gradients; microsoft/mup leaves it.
        scale_eps: bool = false;
    }
}

crate::options! {
    /// Settings of muP over width and depth.
    pub struct DepthMupOptions for "depth_mup" {
        /// Number of residual blocks at which this equals `mup`.
        base_depth: usize = 2, where (1..);
        /// Width at which this equals the standard parametrization.
        base_width: usize = 64, where (1..);
        /// Initial distributions at the base width, as in `sp`.
        init: Initializer = Initializer::Pytorch;
        /// Forward multiplier of the readout's weight, on top of the rule's.
        output_mult: f64 = 1.0, where POSITIVE;
        /// Forward multiplier of input weights.
        input_mult: f64 = 1.0, where POSITIVE;
        /// Whether the readout starts at zero.
        zero_readout: bool = false;
        /// As in `mup`.
        weight_decay: WeightDecayRule = WeightDecayRule::Independent;
        /// Whether Adam's epsilon follows the size of the gradients, over width and depth.
        scale_eps: bool = false;
    }
}

crate::options! {
    /// Settings of muP over width and depth.
    pub struct CompletePOptions for "complete_p" {
        /// Number of residual blocks at which this equals `mup`.
        base_depth: usize = 2, where (1..);
        /// Width at which this equals the standard parametrization.
        base_width: usize = 64, where (1..);
        /// Initial distributions at the base width, as in `sp`.
        init: Initializer = Initializer::Pytorch;
        /// Forward multiplier of the readout's weight, on top of the rule's.
        output_mult: f64 = 1.0, where POSITIVE;
        /// Forward multiplier of input weights.
        input_mult: f64 = 1.0, where POSITIVE;
        /// Whether the readout starts at zero.
        zero_readout: bool = false;
        /// As in `mup`.
        weight_decay: WeightDecayRule = WeightDecayRule::Independent;
    }
}

crate::options! {
    /// Settings of the unit-scaled maximal update parametrization.
    pub struct UMupOptions for "u_mup" {
        /// Forward multiplier of the readout's weight, on top of the rule's.
        output_mult: f64 = 1.0, where POSITIVE;
        /// `"independent"`: lr · weight_decay depends neither on width nor on depth; `"coupled"`: one weight
        /// decay for all.
        weight_decay: WeightDecayRule = WeightDecayRule::Independent;
    }
}

crate::options! {
    /// Settings of the mean-field parametrization.
    pub struct MeanFieldOptions for "mean_field" {
        /// Richness γ₀: near 0 lazy, 1 as muP, large ultra-rich.
        gamma0: f64 = 1.0, where POSITIVE;
    }
}

crate::options! {
    /// Exponents of width over base width: `[a, b, c]` for forward multiplier m^-a, initial
    /// standard deviation ∝ m^-b, learning rate ∝ m^-c.
    pub struct AbcOptions for "abc" {
        /// Width at which this equals the standard parametrization.
        base_width: usize = 64, where (1..);
        /// Initial distributions at the base width, as in `sp`.
        init: Initializer = Initializer::Pytorch;
        /// Of input weights, biases and norm parameters.
        input: Vec<f64> = vec![-0.5, 0.5, 0.0];
        /// Of hidden weights.
        hidden: Vec<f64> = vec![0.0, 0.5, 0.0];
        /// Of output weights.
        output: Vec<f64> = vec![0.5, 0.5, 0.0];
    }
}

/// Registers the parametrizations.
pub fn register(registry: &mut Registry) {
    registry.name_type::<Rule>("Parametrization");
    registry.options(SpOptions::spec());
    registry.options(NtpOptions::spec());
    registry.options(MupOptions::spec());
    registry.options(DepthMupOptions::spec());
    registry.options(CompletePOptions::spec());
    registry.options(UMupOptions::spec());
    registry.options(MeanFieldOptions::spec());
    registry.options(AbcOptions::spec());
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

    /// Standard parametrization: PyTorch's defaults spelled out. Initial variance falls as
    /// 1/fan_in, there are no multipliers, and all parameters share one learning rate. Width
    /// changes what it does: features blow up or the learning rate has to fall.
    ///
    /// ```rhai
    /// sp().name      // → "sp"
    /// ```
    #[rhai_fn(name = "sp", return_raw)]
    pub fn sp_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = SpOptions::from_map(&ctx, &settings)?;
        Ok(Rule(Arc::new(Sp { init: o.init })))
    }
    #[rhai_fn(name = "sp", return_raw)]
    pub fn sp(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        sp_with(ctx, Map::new())
    }

    /// Neural tangent parametrization (Jacot, Gabriel, Hongler 2018): weights N(0, 1) with forward
    /// multiplier σ_w/√fan_in, one learning rate. Its wide limit is a kernel machine that learns no
    /// features.
    ///
    /// ```rhai
    /// ntp(#{ weight_std: 1.4 }).name      // → "ntp"
    /// ```
    #[rhai_fn(name = "ntp", return_raw)]
    pub fn ntp_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = NtpOptions::from_map(&ctx, &settings)?;
        Ok(Rule(Arc::new(Ntp {
            weight_std: o.weight_std,
            bias_std: o.bias_std,
        })))
    }
    #[rhai_fn(name = "ntp", return_raw)]
    pub fn ntp(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        ntp_with(ctx, Map::new())
    }

    /// Maximal update parametrization (muP; *Tensor Programs V*, arXiv 2203.03466, Table 8) with
    /// microsoft/mup's conventions: at the base width it equals `sp`, and learning rates, the readout's
    /// multiplier and initial spreads follow width so that features move as much at every width. Learning rates of
    /// Muon, Shampoo and SOAP are those of arXiv 2512.05620, of Adafactor those of arXiv 2407.05872.
    /// `model.explain()` prints what it does.
    ///
    /// ```rhai
    /// mup(#{ base_width: 128, zero_readout: true }).name      // → "mup"
    /// ```
    #[rhai_fn(name = "mup", return_raw)]
    pub fn mup_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = MupOptions::from_map(&ctx, &settings)?;
        Ok(Rule(Arc::new(Mup {
            base_width: o.base_width,
            init: o.init,
            output_mult: o.output_mult,
            input_mult: o.input_mult,
            zero_readout: o.zero_readout,
            weight_decay: o.weight_decay,
            scale_eps: o.scale_eps,
        })))
    }
    #[rhai_fn(name = "mup", return_raw)]
    pub fn mup(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        mup_with(ctx, Map::new())
    }

    /// muP over width and depth with residual branches that are multiplied by 1/√m_L, where m_L is the number
    /// of blocks over `base_depth` (Depth-muP: Yang, Yu, Zhu, Hayou, arXiv 2310.02244; Bordelon et al., arXiv
    /// 2309.16620). In branches Adam's learning rate falls by 1/√m_L, and that of SGD stays. At the base depth it
    /// equals [`mup`].
    ///
    /// ```rhai
    /// depth_mup(#{ base_depth: 4 }).name      // → "depth_mup"
    /// ```
    #[rhai_fn(name = "depth_mup", return_raw)]
    pub fn depth_mup_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = DepthMupOptions::from_map(&ctx, &settings)?;
        let width = Mup {
            base_width: o.base_width,
            init: o.init,
            output_mult: o.output_mult,
            input_mult: o.input_mult,
            zero_readout: o.zero_readout,
            weight_decay: o.weight_decay,
            scale_eps: o.scale_eps,
        };
        Ok(Rule(Arc::new(DepthMup::new(width, o.base_depth))))
    }
    #[rhai_fn(name = "depth_mup", return_raw)]
    pub fn depth_mup(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        depth_mup_with(ctx, Map::new())
    }

    /// CompleteP (Dey et al., arXiv 2505.01618): muP over width and depth with residual branches that are
    /// multiplied by 1/m_L, where m_L is the number of blocks over `base_depth`. Adam's learning rate does not
    /// depend on depth, that of SGD in branches grows by m_L; Adam's epsilon follows the size of the
    /// gradients over width and depth, and biases and norm parameters do not decay. The paper scales attention by
    /// `"1/d"`.
    ///
    /// ```rhai
    /// let net = transformer(#{ width: 32, depth: 8, head_size: 16, context: 8, vocab: 20 });
    /// let m = init(net, complete_p(#{ base_depth: 2, base_width: 32 }));
    /// m.explain().to_string().contains("branches of 8 blocks times 0.25")      // → true
    /// ```
    #[rhai_fn(name = "complete_p", return_raw)]
    pub fn complete_p_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = CompletePOptions::from_map(&ctx, &settings)?;
        let width = Mup {
            base_width: o.base_width,
            init: o.init,
            output_mult: o.output_mult,
            input_mult: o.input_mult,
            zero_readout: o.zero_readout,
            weight_decay: o.weight_decay,
            scale_eps: true,
        };
        Ok(Rule(Arc::new(DepthMup::complete_p(width, o.base_depth))))
    }
    #[rhai_fn(name = "complete_p", return_raw)]
    pub fn complete_p(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        complete_p_with(ctx, Map::new())
    }

    /// The unit-scaled maximal update parametrization (u-muP; Blake et al., arXiv 2407.17465, Table 2): muP without a
    /// base width. Every weight starts N(0, 1) and enters with the multiplier 1/√fan_in, the readout's with
    /// 1/fan_in; Adam's learning rate falls by 1/√fan_in, of embeddings by 1/√width, in residual branches also by
    /// 1/√blocks, whose branches are multiplied by 1/√blocks. Learning rates are therefore larger than `mup`'s:
    /// around 1 for Adam.
    ///
    /// It is the paper's table of parameters. Constant gains of activations and attention are the network's, and gradients
    /// that are scaled apart from the forward pass make no difference to Adam; neither is part of it.
    ///
    /// ```rhai
    /// let m = init(mlp(#{ width: 256, inputs: 16 }), u_mup());
    /// m.explain("adam").rows[2].lr              // → 0.0625
    /// m.explain("adam").rows[2].multiplier      // → 0.0625
    /// ```
    #[rhai_fn(name = "u_mup", return_raw)]
    pub fn u_mup_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = UMupOptions::from_map(&ctx, &settings)?;
        Ok(Rule(Arc::new(UnitMup {
            output_mult: o.output_mult,
            weight_decay: o.weight_decay,
        })))
    }
    #[rhai_fn(name = "u_mup", return_raw)]
    pub fn u_mup(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        u_mup_with(ctx, Map::new())
    }

    /// Mean-field parametrization with richness γ₀ (arXiv 2410.04642): weights N(0, 1), hidden
    /// multipliers 1/√fan_in, readout multiplier 1/(γ₀ N), SGD learning rate γ₀² N for every
    /// parameter. γ₀ near 0 is lazy, 1 as muP, large ultra-rich.
    ///
    /// ```rhai
    /// mean_field(#{ gamma0: 0.1 }).name      // → "mean_field"
    /// ```
    #[rhai_fn(name = "mean_field", return_raw)]
    pub fn mean_field_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = MeanFieldOptions::from_map(&ctx, &settings)?;
        Ok(Rule(Arc::new(MeanField { gamma0: o.gamma0 })))
    }
    #[rhai_fn(name = "mean_field", return_raw)]
    pub fn mean_field(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        mean_field_with(ctx, Map::new())
    }

    /// A parametrization from your own exponents (*Tensor Programs IV*, arXiv 2011.14522): with
    /// m = width / base width, `[a, b, c]` means forward multiplier m^-a, initial standard deviation
    /// ∝ m^-b, learning rate ∝ m^-c. At the base width it equals `sp`. Biases and norm parameters
    /// follow the input row. The defaults are muP for SGD.
    ///
    /// ```rhai
    /// let ntk = abc(#{ input: [0, 0, 0], hidden: [0.5, 0, 0], output: [0.5, 0, 0] });
    /// ntk.name      // → "abc"
    /// ```
    #[rhai_fn(name = "abc", return_raw)]
    pub fn abc_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Rule> {
        let o = AbcOptions::from_map(&ctx, &settings)?;
        let row = |name: &str, values: &[f64]| match *values {
            [a, b, c] => Ok(Exponents { a, b, c }),
            _ => Err(raise(
                &ctx,
                Error::setting(format!(
                    "{name} must be three exponents [a, b, c], found {} numbers",
                    values.len()
                )),
            )),
        };
        Ok(Rule(Arc::new(Abc {
            base_width: o.base_width,
            init: o.init,
            input: row("input", &o.input)?,
            hidden: row("hidden", &o.hidden)?,
            output: row("output", &o.output)?,
        })))
    }
    #[rhai_fn(name = "abc", return_raw)]
    pub fn abc(ctx: NativeCallContext) -> RhaiResultOf<Rule> {
        abc_with(ctx, Map::new())
    }

    /// Name of a parametrization.
    ///
    /// ```rhai
    /// mup().name      // → "mup"
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn rule_name(rule: &mut Rule) -> String {
        rule.0.name().to_string()
    }

    /// A parametrization in one line, with its settings.
    ///
    /// ```rhai
    /// mean_field().to_string()      // → "mean_field(gamma0: 1.0)"
    /// ```
    #[rhai_fn(name = "to_string", name = "to_debug", name = "display", pure)]
    pub fn rule_to_string(rule: &mut Rule) -> String {
        super::super::one_line(rule.0.name(), &rule.0.settings())
    }
}
