//! Transformers and the layers that they are made of.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use super::nn::{LayerValue, plain};
use crate::error::{Error, Result};
use crate::nn::layers::{
    Activation, Attention, AttentionScale, ClassToken, Dropout, Embedding, Glu, Pairs,
    PositionPool, PositionalEmbedding, QkNorm, Rope,
};
use crate::nn::{
    Blocks, Heads, Network, NormPosition, Positions, RowNorm, Transformer, transformer,
};
use crate::script::options::{FromScript, POSITIVE, Values};
use crate::script::{OrRaise, RhaiResultOf, raise};

crate::choice! { Positions {
    "learned" => Positions::Learned, "rope" => Positions::Rope, "none" => Positions::None,
} }
crate::choice! { RowNorm { "layer" => RowNorm::Layer, "rms" => RowNorm::Rms } }
crate::choice! { NormPosition { "pre" => NormPosition::Pre, "post" => NormPosition::Post } }
crate::choice! { Preset { "gpt2" => Preset::Gpt2, "llama" => Preset::Llama } }
crate::choice! { Pairs { "adjacent" => Pairs::Adjacent, "halves" => Pairs::Halves } }

impl FromScript for AttentionScale {
    fn words() -> String {
        "\"1/sqrt(d)\", \"1/d\" or number".into()
    }
    fn from_script(value: &Dynamic) -> Result<Self> {
        match value
            .as_immutable_string_ref()
            .as_deref()
            .map(|s| s.as_str())
        {
            Ok("1/sqrt(d)") => Ok(Self::InverseSqrt),
            Ok("1/d") => Ok(Self::Inverse),
            Ok(_) => Err(Values::mismatch::<Self>(value)),
            Err(_) => f64::from_script(value)
                .map(Self::Number)
                .map_err(|_| Values::mismatch::<Self>(value)),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::InverseSqrt => "1/sqrt(d)".to_string().show(),
            Self::Inverse => "1/d".to_string().show(),
            Self::Number(factor) => factor.show(),
        }
    }
}

/// What a transformer's settings are where they are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Radford et al. 2019.
    Gpt2,
    /// Touvron et al., arXiv 2302.13971.
    Llama,
}

crate::options! {
    /// Settings of a decoder transformer.
    pub struct TransformerOptions for "transformer" {
        /// Width of the residual stream, a multiple of `head_size`, or of `heads`.
        width: usize = 128, where (1..);
        /// Number of blocks.
        depth: usize = 4, where (0..=1000);
        /// Channels of each head, 64 if neither this nor `heads` is given; a wider network has more heads.
        head_size: Option<usize> = None, where (1..);
        /// Number of heads; in a wider network they are larger.
        heads: Option<usize> = None, where (1..);
        /// Positions of each example; left out, the stream decides.
        context: Option<usize> = None, where (1..);
        /// Number of tokens; left out, the stream decides.
        vocab: Option<usize> = None, where (1..);
        /// What the next six settings are where they are left out: `"gpt2"`, or `"llama"`.
        preset: Preset = Preset::Gpt2;
        /// Units of the hidden layer of each block, in widths: 4, or 8/3 of Llama.
        mlp_ratio: Option<f64> = None, where POSITIVE;
        /// Nonlinearity of the hidden layers: `"gelu_tanh"`, or `"silu"` of Llama.
        activation: Option<Activation> = None;
        /// Whether a gate multiplies the hidden layers, SwiGLU with `"silu"`: `false`, or `true` of Llama.
        gated: Option<bool> = None;
        /// Whether linear layers other than the readout have biases: `true`, or `false` of Llama.
        bias: Option<bool> = None;
        /// Normalisation, `"layer"` or `"rms"`: `"layer"`, or `"rms"` of Llama.
        norm: Option<RowNorm> = None;
        /// How positions are known, `"learned"`, `"rope"` or `"none"`: `"learned"`, or `"rope"` of Llama.
        positions: Option<Positions> = None;
        /// Whether normalisation comes first in each branch (`"pre"`), or behind each sum (`"post"`).
        norm_position: NormPosition = NormPosition::Pre;
        /// Whether the readout shares the weight of the embedding, as GPT-2's does.
        tied: bool = false;
        /// Whether each head's queries and keys are normalised.
        qk_norm: bool = false;
        /// Factor of the products of queries and keys for heads of size d.
        scale: AttentionScale = AttentionScale::InverseSqrt;
        /// Factor of each residual branch.
        branch_multiplier: f64 = 1.0;
        /// Probability of dropout after the embedding and in each branch.
        dropout: f64 = 0.0, where (0.0..=0.99);
    }
}

/// How the width is divided into heads.
pub(super) fn heads_of(
    ctx: &NativeCallContext,
    head_size: Option<usize>,
    heads: Option<usize>,
) -> RhaiResultOf<Heads> {
    match (head_size, heads) {
        (Some(_), Some(_)) => Err(raise(
            ctx,
            Error::setting("give `head_size` or `heads`, not both").with_help(
                "with `head_size` a wider network has more heads, with `heads` larger ones",
            ),
        )),
        (None, Some(count)) => Ok(Heads::Count(count)),
        (size, None) => Ok(Heads::Size(size.unwrap_or(64))),
    }
}

crate::options! {
    /// Settings of query–key normalisation.
    pub struct QkNormOptions for "qk_norm" {
        /// Channels of each head.
        head_size: usize = 64, where (1..);
        /// Added to the mean square.
        eps: f64 = 1e-5, where POSITIVE;
    }
}

crate::options! {
    /// Settings of attention.
    pub struct AttentionOptions for "attention" {
        /// Channels of each head.
        head_size: usize = 64, where (1..);
        /// Whether a position sees only itself and those before it.
        causal: bool = true;
        /// Factor of the products of queries and keys for heads of size d.
        scale: AttentionScale = AttentionScale::InverseSqrt;
    }
}

crate::options! {
    /// Settings of rotary positions.
    pub struct RopeOptions for "rope" {
        /// Channels of each head, an even number.
        head_size: usize = 64, where (2..);
        /// Pair i turns by `base ** (-2 * i / head_size)` a position.
        base: f64 = 10_000.0, where POSITIVE;
        /// Which channels turn together: `"halves"` (i and i + head_size/2, as in Hugging Face's
        /// Llama) or `"adjacent"` (2i and 2i + 1, as in the paper and Meta's Llama).
        pairs: Pairs = Pairs::Halves;
    }
}

/// Registers transformers.
pub fn register(registry: &mut Registry) {
    registry.options(TransformerOptions::spec());
    registry.options(AttentionOptions::spec());
    registry.options(RopeOptions::spec());
    registry.options(QkNormOptions::spec());
    registry.global(rhai::exported_module!(functions));
}

/// A size given by position.
fn at_least_one(ctx: &NativeCallContext, what: &str, n: i64) -> RhaiResultOf<usize> {
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(raise(
            ctx,
            Error::setting(format!("{what} must be at least 1, found {n}")),
        )),
    }
}

#[allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the comments are the script reference; the macro unwraps what it has checked"
)]
#[export_module]
mod functions {
    use super::*;

    /// A decoder transformer (Vaswani et al., arXiv 1706.03762): embedding and positions, `depth` blocks of
    /// causal attention and a hidden layer in residual branches, a readout without bias. It takes
    /// `context` tokens and has outputs for the next token at each position; losses are means over
    /// examples and positions. `preset` chooses between the layers of GPT-2 and those of Llama (rotary positions, RMS
    /// norm, SwiGLU of 8/3 widths, no biases); every setting can be given on its own. With rotary
    /// positions, channels i and i + head_size/2 of queries and keys turn together.
    ///
    /// Parameters are called `embedding.weight`, `positions.weight`,
    /// `blocks.0.attention.norm.weight`, `blocks.0.attention.qkv.weight`,
    /// `blocks.0.attention.out.weight`, `blocks.0.mlp.norm.weight`, `blocks.0.mlp.up.weight` (with a gate:
    /// gate and value side by side), `blocks.0.mlp.down.weight`, …, `norm.weight`, `readout.weight`; with `qk_norm` also
    /// `blocks.0.attention.qk_norm.query.weight` and `….key.weight`. With `head_size` heads keep their
    /// size as the width grows; where they grow, with `heads`, muP wants `scale: "1/d"`.
    ///
    /// ```rhai
    /// let net = transformer(#{ width: 32, depth: 1, head_size: 16, context: 8, vocab: 20 });
    /// init(net, sp()).param("blocks.0.attention.qkv.weight").shape     // → [1, 32, 96]
    /// let llama = transformer(#{ preset: "llama", width: 48, depth: 1, heads: 4, context: 8, vocab: 20 });
    /// init(llama, sp()).param("blocks.0.mlp.up.weight").shape          // → [1, 48, 256]
    /// let tied = transformer(#{ width: 32, depth: 1, head_size: 16, vocab: 20, tied: true });
    /// init(tied, mup()).params[-1]                                     // → "norm.bias"
    /// ```
    #[rhai_fn(name = "transformer", return_raw)]
    pub fn transformer_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = TransformerOptions::from_map(&ctx, &settings)?;
        let llama = o.preset == Preset::Llama;
        let (activation, norm, positions) = match o.preset {
            Preset::Gpt2 => (Activation::GeluTanh, RowNorm::Layer, Positions::Learned),
            Preset::Llama => (Activation::Silu, RowNorm::Rms, Positions::Rope),
        };
        Ok(transformer(Transformer {
            width: o.width,
            context: o.context,
            vocab: o.vocab,
            tied: o.tied,
            blocks: Blocks {
                depth: o.depth,
                heads: heads_of(&ctx, o.head_size, o.heads)?,
                mlp_ratio: o.mlp_ratio.unwrap_or(if llama { 8.0 / 3.0 } else { 4.0 }),
                activation: o.activation.unwrap_or(activation),
                gated: o.gated.unwrap_or(llama),
                bias: o.bias.unwrap_or(!llama),
                norm: o.norm.unwrap_or(norm),
                norm_position: o.norm_position,
                qk_norm: o.qk_norm,
                positions: o.positions.unwrap_or(positions),
                causal: true,
                scale: o.scale,
                dropout: o.dropout,
                multiplier: o.branch_multiplier,
            },
        }))
    }
    #[rhai_fn(name = "transformer", return_raw)]
    pub fn transformer_default(ctx: NativeCallContext) -> RhaiResultOf<Network> {
        transformer_with(ctx, Map::new())
    }

    /// The row of a table `[vocab, width]` for each token. Inputs are whole numbers below `vocab`,
    /// outputs have one more axis of `width`.
    ///
    /// ```rhai
    /// type_of(embedding(256, 64))        // → "Layer"
    /// ```
    #[rhai_fn(name = "embedding", return_raw)]
    pub fn embedding(ctx: NativeCallContext, vocab: i64, width: i64) -> RhaiResultOf<LayerValue> {
        Ok(plain(Embedding {
            vocab: at_least_one(&ctx, "vocab", vocab)?,
            width: at_least_one(&ctx, "width", width)?,
        }))
    }

    /// Adds a learned vector per position to inputs `[positions, width]` of at most `context`
    /// positions.
    ///
    /// ```rhai
    /// type_of(positional_embedding(128))        // → "Layer"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn positional_embedding(ctx: NativeCallContext, context: i64) -> RhaiResultOf<LayerValue> {
        let context = at_least_one(&ctx, "context", context)?;
        Ok(plain(PositionalEmbedding {
            context: Some(context),
        }))
    }

    /// Multi-head attention without parameters, softmax(scale · q kᵀ) v for each head: inputs
    /// `[positions, 3 · heads · head_size]` are queries, keys and values side by side, outputs
    /// `[positions, heads · head_size]`. Linear layers go before and after it.
    ///
    /// ```rhai
    /// let block = residual([layer_norm(), linear(3 * 64), attention(#{ head_size: 16 }), linear(64)]);
    /// type_of(block)        // → "Layer"
    /// ```
    #[rhai_fn(name = "attention", return_raw)]
    pub fn attention_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = AttentionOptions::from_map(&ctx, &settings)?;
        Ok(plain(Attention {
            head_size: o.head_size,
            causal: o.causal,
            scale: o.scale,
        }))
    }
    #[rhai_fn(name = "attention", return_raw)]
    pub fn attention(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        attention_with(ctx, Map::new())
    }

    /// Rotary positions (Su et al., arXiv 2104.09864): turns queries and keys of inputs
    /// `[positions, 3 · heads · head_size]` by their positions; goes between the linear layer that
    /// makes them and attention.
    ///
    /// ```rhai
    /// type_of(rope(#{ head_size: 16, pairs: "adjacent" }))        // → "Layer"
    /// ```
    #[rhai_fn(name = "rope", return_raw)]
    pub fn rope_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = RopeOptions::from_map(&ctx, &settings)?;
        let layer = Rope::new(o.head_size, o.base, o.pairs).or_raise(&ctx)?;
        Ok(plain(layer))
    }
    #[rhai_fn(name = "rope", return_raw)]
    pub fn rope(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        rope_with(ctx, Map::new())
    }

    /// RMS normalisation of each head's queries and keys in inputs `[positions, 3 · heads · head_size]`
    /// (Henry et al., arXiv 2010.04245), with one gain for the queries of all heads and one for
    /// their keys; goes before [`rope`] and [`attention`].
    ///
    /// ```rhai
    /// type_of(qk_norm(#{ head_size: 16 }))        // → "Layer"
    /// ```
    #[rhai_fn(name = "qk_norm", return_raw)]
    pub fn qk_norm_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<LayerValue> {
        let o = QkNormOptions::from_map(&ctx, &settings)?;
        Ok(plain(QkNorm {
            head_size: o.head_size,
            eps: o.eps,
        }))
    }
    #[rhai_fn(name = "qk_norm", return_raw)]
    pub fn qk_norm(ctx: NativeCallContext) -> RhaiResultOf<LayerValue> {
        qk_norm_with(ctx, Map::new())
    }

    /// The gated linear unit φ(a) · b of the halves a (the gate) and b of the last axis (Shazeer, arXiv
    /// 2002.05202), with the nonlinearity φ of this name: `[…, 2 · width]` to `[…, width]`. With
    /// `"silu"` behind a linear layer it is SwiGLU, with `"gelu"` GEGLU.
    ///
    /// ```rhai
    /// let net = sequential([flatten(), linear(2 * 64), glu("silu"), linear(10)]);
    /// init(net, sp()).param("3.weight").shape        // → [1, 64, 10]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn glu(ctx: NativeCallContext, activation: Dynamic) -> RhaiResultOf<LayerValue> {
        let activation = Activation::from_script(&activation).or_raise(&ctx)?;
        Ok(plain(Glu { activation }))
    }

    /// Puts a learned row before the positions of every example (Dosovitskiy et al., arXiv 2010.11929):
    /// `[positions, width]` to `[positions + 1, width]`.
    ///
    /// ```rhai
    /// let net = sequential([patches(8), linear(64), class_token(), first_position(), linear(10)]);
    /// init(net, sp()).param("2.weight").shape        // → [1, 1, 64]
    /// ```
    pub fn class_token() -> LayerValue {
        plain(ClassToken)
    }

    /// The first of the positions, where [`class_token`] is: `[positions, width]` to `[width]`.
    ///
    /// ```rhai
    /// first_position().to_string()        // → "first_position"
    /// ```
    pub fn first_position() -> LayerValue {
        plain(PositionPool::First)
    }

    /// The mean over positions: `[positions, width]` to `[width]`.
    ///
    /// ```rhai
    /// mean_over_positions().to_string()        // → "mean_over_positions"
    /// ```
    pub fn mean_over_positions() -> LayerValue {
        plain(PositionPool::Mean)
    }

    /// During training sets each number to 0 with probability `p` and divides the others by
    /// 1 − p; otherwise does nothing. What is dropped depends on the member's seed, the path, the
    /// step and the place alone.
    ///
    /// ```rhai
    /// type_of(dropout(0.1))        // → "Layer"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn dropout(ctx: NativeCallContext, p: f64) -> RhaiResultOf<LayerValue> {
        if !(0.0..1.0).contains(&p) {
            let error = Error::setting(format!(
                "dropout needs a probability from 0 to below 1, found {p}"
            ));
            return Err(raise(&ctx, error));
        }
        Ok(plain(Dropout { p }))
    }
}
