//! Transformers and the layers that they are made of.

use rhai::Map;
use rhai::plugin::*;

use super::Registry;
use super::nn::{LayerValue, plain};
use crate::error::{Error, Result};
use crate::nn::layers::{
    Activation, Attention, AttentionScale, Dropout, Embedding, Pairs, PositionalEmbedding, Rope,
};
use crate::nn::{Network, Positions, Transformer, transformer};
use crate::script::options::{FromScript, POSITIVE, Values};
use crate::script::{OrRaise, RhaiResultOf, raise};

crate::choice! { Positions {
    "learned" => Positions::Learned, "rope" => Positions::Rope, "none" => Positions::None,
} }
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

crate::options! {
    /// Settings of a decoder transformer.
    pub struct TransformerOptions for "transformer" {
        /// Width of the residual stream, a multiple of `head_size`.
        width: usize = 128, where (1..);
        /// Number of blocks.
        depth: usize = 4, where (0..=1000);
        /// Channels of each head.
        head_size: usize = 64, where (1..);
        /// Positions of each example.
        context: usize = 128, where (1..);
        /// Number of tokens; left out, the stream decides.
        vocab: Option<usize> = None, where (1..);
        /// Units of the hidden layer of each block, in widths.
        mlp_ratio: usize = 4, where (1..);
        /// Nonlinearity of the hidden layers.
        activation: Activation = Activation::GeluTanh;
        /// Whether linear layers other than the readout have biases.
        bias: bool = true;
        /// How positions are known: `"learned"`, `"rope"` or `"none"`.
        positions: Positions = Positions::Learned;
        /// Factor of the products of queries and keys for heads of size d.
        scale: AttentionScale = AttentionScale::InverseSqrt;
        /// Probability of dropout after the embedding and in each branch.
        dropout: f64 = 0.0, where (0.0..=0.99);
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

    /// A pre-norm decoder transformer (Vaswani et al., arXiv 1706.03762, in the order of GPT-2):
    /// embedding and positions, `depth` blocks of causal attention and a hidden layer in residual
    /// branches, layer norm, a readout without bias. It takes `context` tokens and has outputs
    /// for the next token at each position; losses are means over examples and positions. With
    /// `positions: "rope"`, channels i and i + head_size/2 of queries and keys turn together.
    ///
    /// Parameters are called `embedding.weight`, `positions.weight`,
    /// `blocks.0.attention.norm.weight`, `blocks.0.attention.qkv.weight`,
    /// `blocks.0.attention.out.weight`, `blocks.0.mlp.norm.weight`, `blocks.0.mlp.up.weight`,
    /// `blocks.0.mlp.down.weight`, …, `norm.weight`, `readout.weight`. Heads keep their size as the
    /// width grows; where they grow, muP wants `scale: "1/d"`.
    ///
    /// ```rhai
    /// let net = transformer(#{ width: 32, depth: 1, head_size: 16, context: 8, vocab: 20 });
    /// init(net, sp()).param("blocks.0.attention.qkv.weight").shape     // → [1, 32, 96]
    /// ```
    #[rhai_fn(name = "transformer", return_raw)]
    pub fn transformer_with(ctx: NativeCallContext, settings: Map) -> RhaiResultOf<Network> {
        let o = TransformerOptions::from_map(&ctx, &settings)?;
        Ok(transformer(Transformer {
            width: o.width,
            depth: o.depth,
            head_size: o.head_size,
            context: o.context,
            vocab: o.vocab,
            mlp_ratio: o.mlp_ratio,
            activation: o.activation,
            bias: o.bias,
            positions: o.positions,
            scale: o.scale,
            dropout: o.dropout,
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
        Ok(plain(PositionalEmbedding { context }))
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
