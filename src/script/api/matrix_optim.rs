//! Optimizers of whole matrices.

use std::sync::Arc;

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use super::optim::OptimizerValue;
use crate::error::Error;
use crate::optim::{Adjust, Graft, Muon, Shampoo, Soap};
use crate::script::options::{NON_NEGATIVE, POSITIVE, PerMember};
use crate::script::{RhaiResultOf, raise};

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

crate::choice! { Graft {
    "none" => Graft::None, "adam" => Graft::Adam, "spectral" => Graft::Spectral,
} }

crate::options! {
    /// Settings of Shampoo. A number may also be an array with one number per member.
    pub struct ShampooOptions for "shampoo" {
        /// Learning rate of hidden matrices.
        lr: PerMember = PerMember::Same(0.001), where NON_NEGATIVE;
        /// Decay of the first moment.
        beta1: PerMember = PerMember::Same(0.9), where (0.0..1.0);
        /// Decay of the second moments.
        beta2: PerMember = PerMember::Same(0.95), where (0.0..1.0);
        /// Added to the second moments, in units of their largest eigenvalue.
        eps: PerMember = PerMember::Same(1e-5), where POSITIVE;
        /// Power of the second moment on the side of the fan-in; 0 leaves that side out.
        exponent_in: f64 = 0.25, where (0.0..=1.0);
        /// Power of the second moment on the side of the fan-out; 0 leaves that side out.
        exponent_out: f64 = 0.25, where (0.0..=1.0);
        /// Largest side of a block; absent means that matrices are not cut into blocks.
        block: Option<usize> = None, where (1..);
        /// Steps between two refreshments of the powers.
        frequency: usize = 10, where (1..);
        /// Size of a step: `"none"`, its own; `"adam"`, the Frobenius norm of Adam's step (grafting);
        /// `"spectral"`, the spectral norm √(fan_out/fan_in) by power iteration (spectral normalisation).
        graft: Graft = Graft::None;
        /// The weight shrinks by lr · weight_decay at each step, with the learning rate that it has.
        weight_decay: PerMember = PerMember::Same(0.0), where NON_NEGATIVE;
        /// Learning rate of all other parameters, which follow AdamW, over `lr`.
        adam_factor: PerMember = PerMember::Same(1.0), where NON_NEGATIVE;
        /// Epsilon of AdamW and of the Adam that is grafted onto.
        adam_eps: PerMember = PerMember::Same(1e-8), where NON_NEGATIVE;
    }
}

crate::options! {
    /// Settings of SOAP. A number may also be an array with one number per member.
    pub struct SoapOptions for "soap" {
        /// Learning rate of hidden matrices.
        lr: PerMember = PerMember::Same(0.003), where NON_NEGATIVE;
        /// Decay of the first moment.
        beta1: PerMember = PerMember::Same(0.95), where (0.0..1.0);
        /// Decay of the second moment in the bases.
        beta2: PerMember = PerMember::Same(0.95), where (0.0..1.0);
        /// Decay of the second moments whose eigenvectors the bases are; absent means `beta2`.
        shampoo_beta: Option<PerMember> = None, where (0.0..1.0);
        /// Added to the root of the second moment.
        eps: PerMember = PerMember::Same(1e-8), where NON_NEGATIVE;
        /// Whether there is a basis on the side of the fan-in.
        basis_in: bool = true;
        /// Whether there is a basis on the side of the fan-out.
        basis_out: bool = true;
        /// Largest side of a block; absent means that matrices are not cut into blocks.
        block: Option<usize> = None, where (1..);
        /// Steps between two refreshments of the bases.
        frequency: usize = 10, where (1..);
        /// Size of a step, as in `shampoo`.
        graft: Graft = Graft::None;
        /// The weight shrinks by lr · weight_decay at each step, with the learning rate that it has.
        weight_decay: PerMember = PerMember::Same(0.01), where NON_NEGATIVE;
        /// Learning rate of all other parameters, which follow AdamW, over `lr`.
        adam_factor: PerMember = PerMember::Same(1.0), where NON_NEGATIVE;
    }
}

/// Registers optimizers of matrices.
pub fn register(registry: &mut Registry) {
    registry.options(MuonOptions::spec());
    registry.options(ShampooOptions::spec());
    registry.options(SoapOptions::spec());
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

    /// Shampoo (Gupta, Koren, Singer 2018, arXiv 1802.09568) with moving averages and blocks (Anil et al., arXiv
    /// 2002.09018; Shi et al., arXiv 2309.06497): a hidden matrix moves along its first moment M between inverse
    /// powers of the gradient's second moments, `L^-exponent_in · M · R^-exponent_out`, where L and R are moving
    /// averages of `G Gᵀ` and `Gᵀ G` with bias corrected and `eps` times their largest eigenvalue added. Every
    /// other parameter follows AdamW with learning rate `lr · adam_factor`. Exponents of 1/4 are the original's;
    /// with 1/2 steps are as large as Adam's. On a GPU the powers are taken by the host, every `frequency` steps;
    /// all else is done there.
    ///
    /// With `mup` (arXiv 2512.05620, e the sum of both exponents) the learning rate of hidden matrices follows
    /// (fan_out/fan_in)^(1−e) and the number of blocks to the power −e; with `graft: "adam"` Adam's 1/fan_in,
    /// with `graft: "spectral"` the √(fan_out/fan_in) of Muon.
    ///
    /// ```rhai
    /// shampoo(#{ lr: 0.01, block: 128, graft: "spectral" }).name      // → "shampoo"
    /// let m = init(mlp(#{ width: 256, inputs: 20 }), mup(#{ base_width: 64 }));
    /// // 16 blocks
    /// m.explain(shampoo(#{ lr: 0.01, block: 64 })).rows[2].lr         // → 0.0025
    /// m.explain(shampoo(#{ lr: 0.01, graft: "adam" })).rows[2].lr     // → 0.0025
    /// ```
    #[rhai_fn(name = "shampoo", return_raw)]
    pub fn shampoo_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = ShampooOptions::from_map(&ctx, &settings)?;
        if o.exponent_in + o.exponent_out == 0.0 {
            let error =
                Error::setting("shampoo: one of exponent_in and exponent_out must be above 0");
            return Err(raise(
                &ctx,
                error.with_help("0.25 on both sides is usual; sgd has none"),
            ));
        }
        Ok(OptimizerValue(Arc::new(Shampoo {
            lr: o.lr,
            beta1: o.beta1,
            beta2: o.beta2,
            eps: o.eps,
            exponent_in: o.exponent_in,
            exponent_out: o.exponent_out,
            block: o.block,
            frequency: o.frequency,
            graft: o.graft,
            weight_decay: o.weight_decay,
            adam_factor: o.adam_factor,
            adam_eps: o.adam_eps,
        })))
    }
    #[rhai_fn(name = "shampoo", return_raw)]
    pub fn shampoo(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        shampoo_with(ctx, Map::new())
    }

    /// SOAP (Vyas et al., arXiv 2409.11321), in the order of the authors' code: a hidden matrix follows Adam in
    /// the eigenbases of moving averages of `G Gᵀ` and `Gᵀ G`, which are refreshed every `frequency` steps by one
    /// power iteration and a QR decomposition; its first step only finds the bases. Every other parameter follows
    /// AdamW with learning rate `lr · adam_factor`. On a GPU the bases are found and refreshed by the host; all else is
    /// done there.
    ///
    /// With `mup` (arXiv 2512.05620) the learning rate of hidden matrices follows √(b_in b_out)/fan_in with the
    /// sides b of a block (of the matrix if there are no blocks; 1 on a side without basis); with
    /// `graft: "adam"` Adam's 1/fan_in, with `graft: "spectral"` the √(fan_out/fan_in) of Muon.
    ///
    /// ```rhai
    /// soap(#{ lr: 0.01, frequency: 5 }).name      // → "soap"
    /// let m = init(mlp(#{ width: 256, inputs: 20 }), mup(#{ base_width: 64 }));
    /// m.explain(soap(#{ lr: 0.01 })).rows[2].lr                 // → 0.01
    /// // blocks as at the base width
    /// m.explain(soap(#{ lr: 0.01, block: 64 })).rows[2].lr      // → 0.0025
    /// ```
    #[rhai_fn(name = "soap", return_raw)]
    pub fn soap_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<OptimizerValue> {
        let o = SoapOptions::from_map(&ctx, &settings)?;
        if !o.basis_in && !o.basis_out {
            let error = Error::setting("soap: one of basis_in and basis_out must be true");
            return Err(raise(&ctx, error.with_help("without bases it is adamw")));
        }
        Ok(OptimizerValue(Arc::new(Soap {
            lr: o.lr,
            beta1: o.beta1,
            beta2: o.beta2,
            shampoo_beta: o.shampoo_beta,
            eps: o.eps,
            basis_in: o.basis_in,
            basis_out: o.basis_out,
            block: o.block,
            frequency: o.frequency,
            graft: o.graft,
            weight_decay: o.weight_decay,
            adam_factor: o.adam_factor,
        })))
    }
    #[rhai_fn(name = "soap", return_raw)]
    pub fn soap(ctx: NativeCallContext) -> RhaiResultOf<OptimizerValue> {
        soap_with(ctx, Map::new())
    }
}
